"""SQL on the warehouse of any target: by a Spark session, or by Thrift."""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from warehouse.errors import ProjectError
from warehouse.session import Target, load_target, spark_session


class SqlError(ProjectError):
    """Spark refused a statement, or did not answer."""


class Connection(ABC):
    """Statements to Spark, one after the other; each method raises SqlError.

    `lost` is why the next statement must not run, as the lock is another command's by now.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.lost = ""

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The answer to a query, or what a procedure returns."""
        self._check_lock()
        return self._rows(sql)

    def execute(self, sql: str) -> None:
        """Run a statement whose answer does not matter."""
        self.rows(sql)

    @abstractmethod
    def columns(self, sql: str) -> dict[str, str]:
        """Columns of a query, in their order, with a name of their type."""

    @abstractmethod
    def another(self) -> Connection:
        """A connection for another thread; `close` it."""

    def close(self) -> None:  # noqa: B027  a session is shared with others, and stays
        """End the connection."""

    @abstractmethod
    def _rows(self, sql: str) -> list[tuple[Any, ...]]: ...

    def _check_lock(self) -> None:
        if self.lost:
            raise ProjectError(self.lost)

    def tables(self, schema: str) -> list[str]:
        """Tables of a schema as `<schema>.<table>`; none where there is no such schema."""
        if not self.rows(f"show schemas like '{schema}'"):
            return []
        shown = self.rows(f"show tables in {schema}")
        return sorted(f"{schema}.{name}" for _, name, is_temporary in shown if not is_temporary)

    def catalog(self) -> str:
        """Name of the catalog that the tables are in."""
        return self.rows("select current_catalog()")[0][0]


class SparkConnection(Connection):
    """In this process, or over Spark Connect."""

    def __init__(self, target: Target, spark: SparkSession) -> None:
        super().__init__(target)
        self.spark = spark

    def columns(self, sql: str) -> dict[str, str]:
        with _in_one_sentence(PySparkException):
            return dict(self.spark.sql(sql).dtypes)

    def another(self) -> Connection:
        return SparkConnection(self.target, self.spark)

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        with _in_one_sentence(PySparkException):
            return [tuple(row) for row in self.spark.sql(sql).collect()]


class ThriftConnection(Connection):
    """Over Thrift, by PyHive."""

    def __init__(self, target: Target) -> None:
        from pyhive import hive

        super().__init__(target)
        # else each attempt is told by Thrift, too
        logging.getLogger("thrift").setLevel(logging.CRITICAL)
        host, port, user = target.address
        try:
            self._connection = hive.connect(host, port, username=user)
        except Exception as error:
            raise SqlError(
                f"No answer from {host}:{port} (target {target.name}): start a server, "
                f"`make server ARGS=--writable`, or choose another --target. ({error})"
            ) from error

    def columns(self, sql: str) -> dict[str, str]:
        return self._run(sql)[0]

    def another(self) -> Connection:
        return ThriftConnection(self.target)

    def close(self) -> None:
        self._connection.close()

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self._run(sql)[1]

    def _run(self, sql: str) -> tuple[dict[str, str], list[tuple[Any, ...]]]:
        from pyhive import exc
        from thrift.transport.TTransport import TTransportException

        with (
            _in_one_sentence(exc.Error, TTransportException, OSError, EOFError),
            self._connection.cursor() as cursor,
        ):
            cursor.execute(sql)
            if not cursor.description:
                return {}, []
            return {name: kind for name, kind, *_ in cursor.description}, cursor.fetchall()


@contextmanager
def connect(
    target: str | None = None,
    profiles_dir: str | os.PathLike[str] | None = None,
    is_built: bool = True,
) -> Iterator[Connection]:
    """A connection to a target of profiles.yml; makes no warehouse where there is none.

    Raises ProjectError as `load_target` and `spark_session` do, where there is no warehouse and,
    with `is_built`, where no build has loaded a line yet.
    """
    rendered = load_target(target, profiles_dir)
    nothing = ProjectError(
        f"Nothing is built in schema {rendered.schema} of target {rendered.name}: run `dbt build` "
        "first, or choose the warehouse with --target, CHURN_WAREHOUSE or CHURN_SCHEMA."
    )
    folder = rendered.settings.get("spark.sql.catalog.lake.warehouse", "")
    if rendered.is_embedded and not Path(folder, "catalog.db").is_file():
        raise nothing
    connection: Connection
    if rendered.method == "session":
        connection = SparkConnection(rendered, spark_session(target, profiles_dir)[0])
    else:
        connection = ThriftConnection(rendered)
    try:
        if is_built and f"{rendered.staging}.base_events" not in connection.tables(
            rendered.staging
        ):
            raise nothing
        yield connection
    finally:
        connection.close()


def text(value: str) -> str:
    """A text as a literal of Spark's SQL, which takes `${name}` for a setting's value."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("${", "\\u0024{")
    return f"'{escaped}'"


def is_one_of(column: str, values: Iterable[str]) -> str:
    """Condition: the value of a column is one of these texts."""
    return f"{column} in ({', '.join(map(text, values))})"


@contextmanager
def _in_one_sentence(*errors: type[Exception]) -> Iterator[None]:
    try:
        yield
    except errors as error:
        # PyHive has the server's answer as its argument, with the message in it
        status = getattr(error.args[0] if error.args else None, "status", None)
        message = getattr(status, "errorMessage", None) or str(error)
        first_line = message.strip().partition("\n")[0]
        raise SqlError(f"Spark: {first_line or type(error).__name__}") from error
