"""Queries from someone who is not trusted: one `select` on the published marts, within limits.

DuckDB runs in its own process, so that any query can be ended in time.
docs/decisions/mcp-server.md says why each guard is there.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import resource
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date, time
from decimal import Decimal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import duckdb

from warehouse.errors import ProjectError
from warehouse.published import Reader, catalog, described_marts, literal, open_reader

START_SECONDS = 120  # to start the process and to open a build; the query's own time comes after
GRACE_SECONDS = 2  # DuckDB ends most queries in time; after this the process is killed
MEMORY_BYTES = 2 * 1024**3  # for DuckDB; the whole process may use twice as much
ANSWER_CHARACTERS = 100_000

# Kinds of nodes of a parsed query. Anything else is refused, such as INSERT_QUERY_NODE. DuckDB's
# statement types do not help: a `select` whose `with` has an `insert` or a `copy` is a SELECT.
PARTS = {
    *("SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"),
    *("BASE_TABLE", "SUBQUERY", "JOIN", "PIVOT", "EXPRESSION_LIST", "EMPTY", "TABLE_FUNCTION"),
    *("ORDER_MODIFIER", "LIMIT_MODIFIER", "LIMIT_PERCENT_MODIFIER", "DISTINCT_MODIFIER"),
    *("ORDER_DEFAULT", "ASCENDING", "DESCENDING"),
}
TABLE_FUNCTIONS = {"generate_series", "range", "unnest"}
# these show the engine's settings and paths, or only wait
REFUSED_FUNCTIONS = {
    *("current_setting", "getvariable", "pg_get_viewdef", "pg_sleep", "sleep_ms", "write_log"),
}
ONE_SELECT = (
    "Only one `select` on the published marts is answered, with or without `with`: nothing else."
)
TOO_MUCH = "The query needed too much memory: ask for less at once."
DIED = "The query ended its process, perhaps because it needed too much memory: ask for less."


class Guarded:
    """The published marts. Threads take turns, and each answer is of the newest published build."""

    def __init__(self, warehouse: Path, schema: str, seconds: float) -> None:
        self.arguments = (warehouse, schema, seconds)
        self.seconds = seconds
        self.turn = threading.Lock()
        self.pipe: Connection | None = None

    def marts(self, names: list[str]) -> dict[str, Any]:
        """The build and its marts: all of them in brief, or those named with all descriptions.

        Raises ProjectError where nothing is published, and for a mart that is not there.
        """
        return self._ask(marts, names)

    def query(self, sql: str, rows: int) -> dict[str, Any]:
        """The build, the columns and first rows of the answer, and whether there are more rows.

        Raises ProjectError for anything but one `select`, for an error in it, and at a limit.
        """
        return self._ask(answer, sql, rows)

    def _ask(self, what: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
        with self.turn:
            pipe = self.pipe or self._start()
            try:
                pipe.send((what, arguments))
                problem, found = "", {}
                for seconds in (START_SECONDS, self.seconds + GRACE_SECONDS):
                    if not problem:
                        if not pipe.poll(seconds):
                            raise TimeoutError
                        problem, found = pipe.recv()
            except TimeoutError:
                self._end()
                raise ProjectError(too_long(self.seconds)) from None
            except (EOFError, OSError):
                self._end()
                raise ProjectError(DIED) from None
            if problem == TOO_MUCH:
                self._end()  # the process does not give all of its memory back
        if problem:
            raise ProjectError(problem)
        return found

    def _start(self) -> Connection:
        spawn = multiprocessing.get_context("spawn")
        self.pipe, end = spawn.Pipe()
        self.process = spawn.Process(target=serve, args=(end, *self.arguments), daemon=True)
        self.process.start()
        end.close()
        return self.pipe

    def _end(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe = None


def too_long(seconds: float) -> str:
    return f"The query took longer than {seconds:g} s and was ended: ask for less at once."


# --- in the process of DuckDB


def serve(pipe: Connection, warehouse: Path, schema: str, seconds: float) -> None:
    """Answer until the other end closes. An empty reply before the answer starts the clock."""
    os.dup2(2, 1)  # standard output belongs to the protocol of the server
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limit_process()
    reader, state = None, None
    for what, arguments in questions(pipe):
        problem, found = "", {}
        try:
            now = state_of(warehouse, schema)
            if not reader or now != state:
                reader, state = locked(open_reader(warehouse, schema), seconds), now
            pipe.send(("", {}))
            found = {"build": reader.build, **what(reader, *arguments)}
        except duckdb.InterruptException:
            problem = too_long(seconds)
        except (MemoryError, duckdb.OutOfMemoryException):
            problem = TOO_MUCH
        except (ProjectError, duckdb.Error, OSError) as error:
            problem = str(error)
        pipe.send((problem, found))


def limit_process() -> None:
    """From now on this process writes no bytes to any file, and its memory has a limit."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (2 * MEMORY_BYTES, 2 * MEMORY_BYTES))


def questions(pipe: Connection) -> Iterator[tuple[Callable[..., Any], tuple[Any, ...]]]:
    try:
        while True:
            yield pipe.recv()
    except EOFError:
        return


def state_of(warehouse: Path, schema: str) -> list[tuple[str, ...]]:
    """The metadata files of all tables and views that a reader reads. Each commit changes one."""
    catalog(warehouse)  # raises ReaderError where there is no warehouse
    file = warehouse.resolve() / "catalog.db"
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", 60, uri=True)) as tables:
        return tables.execute(
            "select table_namespace, table_name, metadata_location from iceberg_tables "
            "where table_namespace in (?, ?, ?, ?) or (table_namespace = ? and table_name = ?)",
            [f"{schema}_{part}" for part in ("staging", "marts", "published", "ml", "audit")]
            + ["publications"],
        ).fetchall()


def locked(reader: Reader, seconds: float) -> Reader:
    """The same reader, whose DuckDB from now on opens no file but those of the marts."""
    for setting in (
        f"schema = {literal(reader.schema)}",
        f"allowed_paths = [{', '.join(map(literal, reader.files))}]",
        f"memory_limit = '{MEMORY_BYTES}B'",
        f"max_execution_time = {seconds * 1000:.0f}",
        "temp_directory = ''",
        "max_temp_directory_size = '0B'",
        "autoinstall_known_extensions = false",
        "autoload_known_extensions = false",
        "python_enable_replacements = false",
        "enable_external_access = false",
        "lock_configuration = true",
    ):
        reader.connection.execute(f"set {setting}")
    return reader


def marts(reader: Reader, names: list[str]) -> dict[str, Any]:
    """Marts as `described_marts` has them. Without names, columns have a type only."""
    found = described_marts(reader, names)
    if not names:
        for mart in found:
            mart["columns"] = {each["name"]: each["type"] for each in mart["columns"]}
    return {"marts": found}


def answer(reader: Reader, sql: str, rows: int) -> dict[str, Any]:
    """Columns and first rows of one `select`; raises ProjectError for anything else."""
    check(sql, reader)
    found = reader.connection.execute(sql)
    columns = [name for name, *_ in found.description or []]
    first = [[plain(value) for value in row] for row in found.fetchmany(rows + 1)]
    size = len(json.dumps(first[:rows]))
    if size > ANSWER_CHARACTERS:
        raise ProjectError(
            f"The answer has {size:,} characters, and {ANSWER_CHARACTERS:,} are the most: ask for "
            "fewer rows or columns."
        )
    return {"columns": columns, "rows": first[:rows], "has_more_rows": len(first) > rows}


def plain(value: Any) -> Any:
    """A value that JSON has: numbers stay numbers, dates and times are ISO text."""
    if isinstance(value, Decimal):
        value = int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def check(sql: str, reader: Reader) -> None:
    """Raise ProjectError for anything but one `select` on the marts, by DuckDB's own parser."""
    ((text,),) = reader.connection.execute("select json_serialize_sql(?)", [sql]).fetchall()
    parsed = json.loads(text)
    if parsed["error"]:
        is_syntax = parsed["error_type"] == "parser"
        raise ProjectError(f"{parsed['error_message']}." if is_syntax else ONE_SELECT)
    if len(parsed["statements"]) != 1:
        raise ProjectError(ONE_SELECT)
    views = reader.connection.execute("select schema_name, view_name from duckdb_views()")
    names: dict[str, set[str]] = {"": set()}
    for schema, view in views.fetchall():
        names.setdefault(schema if schema == reader.schema else "", set()).add(view)
    parts = list(parts_of(parsed["statements"]))
    marts = names[reader.schema]
    # outside of its `with`, such a name would mean DuckDB's own view
    subqueries = {name.lower() for part in parts for name in names_of_with(part)} - names[""]
    for part in parts:
        check_part(part, reader.schema, marts, subqueries)


def parts_of(tree: Any) -> Iterator[dict[str, Any]]:
    """All objects of a parsed query."""
    if isinstance(tree, dict):
        yield tree
    for branch in tree.values() if isinstance(tree, dict) else tree:
        if isinstance(branch, dict | list):
            yield from parts_of(branch)


def names_of_with(part: dict[str, Any]) -> list[str]:
    return [each["key"] for each in part.get("cte_map", {}).get("map", [])]


def check_part(part: dict[str, Any], schema: str, marts: set[str], subqueries: set[str]) -> None:
    """Raise ProjectError for a part of a query that is not allowed."""
    kind = part.get("type")
    if "class" in part:  # an expression
        function = str(part.get("function_name", "")).lower()
        if function in REFUSED_FUNCTIONS:
            raise ProjectError(f"The function {function} is not allowed here.")
    elif isinstance(kind, str) and kind not in PARTS:
        raise ProjectError(ONE_SELECT)
    if kind == "TABLE_FUNCTION":
        function = str(part["function"].get("function_name", "")).lower()
        if function not in TABLE_FUNCTIONS:
            raise ProjectError(
                f"The function {function} is not allowed here: a query reads the published marts "
                "alone."
            )
    if kind == "BASE_TABLE":
        name, of = part["table_name"].lower(), (part["catalog_name"], part["schema_name"].lower())
        if not (
            (name in marts and of in (("", ""), ("", schema.lower()), ("memory", schema.lower())))
            or (name in subqueries and of == ("", ""))
        ):
            raise ProjectError(f"{name} is no published mart: `list_marts` names them.")
