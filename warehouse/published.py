"""The published marts without Spark or Java: pyiceberg finds their files, DuckDB queries them.

    python -m warehouse query "select * from churn_published.weekly_kpis"

Reads a warehouse of the target `local`; writes nothing.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import duckdb
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table
from sqlalchemy import URL

from warehouse.errors import ProjectError

ROOT = Path(__file__).resolve().parent.parent
WAREHOUSE = ROOT / (os.environ.get("CHURN_WAREHOUSE") or "data/warehouse")
SCHEMA = os.environ.get("CHURN_SCHEMA", "churn")
# types of Iceberg that DuckDB calls otherwise
DUCKDB_TYPES = {"string": "varchar", "long": "bigint", "timestamptz": "timestamp"}


class ReaderError(ProjectError):
    """What is published cannot be read."""


def catalog(warehouse: Path = WAREHOUSE) -> SqlCatalog:
    """The catalog that Spark keeps, opened to read.

    Raises ReaderError where there is none.
    """
    file = warehouse.resolve() / "catalog.db"
    if not file.is_file():
        raise ReaderError(f"No warehouse in {warehouse}: run `dbt build` first.")
    # twice a URI, of SQLite in SQLAlchemy's: a path may hold what has a meaning in either
    uri = URL.create("sqlite", database=file.as_uri(), query={"mode": "ro", "uri": "true"})
    return SqlCatalog("lake", uri=uri.render_as_string(), init_catalog_tables="false")


def connect(warehouse: Path = WAREHOUSE, schema: str = SCHEMA) -> duckdb.DuckDBPyConnection:
    """A DuckDB with a view `<schema>_published.<mart>` of each mart, as of its tag `published`.

    The views are of the versions that are published now; connect again to see a later build.
    Nothing is read before it is asked for.

    Raises ReaderError where nothing is published, and for a table with rows marked as deleted.
    """
    lake = catalog(warehouse)
    connection = duckdb.connect()
    connection.execute(f"create schema {schema}_published")
    # the one function of the questions in analyses/ that DuckDB has not
    connection.execute(
        "create macro try_divide(dividend, divisor) as dividend / nullif(divisor, 0)"
    )
    found, marts = 0, f"{schema}_marts"
    for identifier in lake.list_tables(marts) if lake.namespace_exists(marts) else []:
        table = lake.load_table(identifier)
        if "published" in table.metadata.refs:
            view = f"{schema}_published.{identifier[-1]}"
            connection.execute(f"create view {view} as {published_rows(table)}")
            found += 1
    if not found:
        raise ReaderError(f"Nothing is published in {schema}_published: run `dbt build` first.")
    return connection


def published_rows(table: Table) -> str:
    """A query of DuckDB for the rows of the tag `published`, by the schema that they had."""
    scan = table.scan(snapshot_id=table.metadata.refs["published"].snapshot_id)
    columns = {field.name: str(field.field_type) for field in scan.projection().fields}
    tasks = list(scan.plan_files())
    if any(task.delete_files for task in tasks):
        raise ReaderError(f"{'.'.join(table.name())} has delete files: read it with pyiceberg.")
    if not tasks:
        nothing = (f'null::{DUCKDB_TYPES.get(kind, kind)} "{c}"' for c, kind in columns.items())
        return f"select {', '.join(nothing)} where false"
    # instants become UTC timestamps, whatever the time zone of the machine
    chosen = (
        f'make_timestamp(epoch_us("{c}")) "{c}"' if kind == "timestamptz" else f'"{c}"'
        for c, kind in columns.items()
    )
    files = ", ".join(f"'{local_path(task.file.file_path)}'" for task in tasks)
    return f"select {', '.join(chosen)} from read_parquet([{files}], hive_partitioning = false)"


def local_path(location: str) -> str:
    """Path of a file as DuckDB takes it, with quotes doubled.

    A file of just that name comes before those that the name, as a pattern, would stand for.

    Iceberg has a path as it is, with `file:` before it or not; it is no URI, and `%20` is no blank.
    """
    return re.sub(r"^file:(//)?(?=/)", "", location).replace("'", "''")


def ask(sql: str, max_rows: int = 20) -> None:
    """Print the answer to one query.

    Raises ReaderError where it is none of DuckDB, too.
    """
    try:
        connect().sql(sql).show(max_width=200, max_rows=max_rows)
    except duckdb.Error as error:
        raise ReaderError(str(error)) from error
