"""The published marts without Spark or Java: pyiceberg finds their files, DuckDB queries them.

    python -m tools.published "select * from churn_published.weekly_kpis order by week_start_date"

Reads a warehouse of the target `local`; writes nothing.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

import duckdb
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table

ROOT = Path(__file__).resolve().parent.parent
WAREHOUSE = Path(os.environ.get("CHURN_WAREHOUSE", ROOT / "warehouse"))
SCHEMA = os.environ.get("CHURN_SCHEMA", "churn")


class ReaderError(Exception):
    """Says in one sentence what is wrong and what to do."""


def catalog(warehouse: Path = WAREHOUSE) -> SqlCatalog:
    """The catalog that Spark keeps, opened to read.

    Raises ReaderError where there is none.
    """
    file = warehouse.resolve() / "catalog.db"
    if not file.is_file():
        raise ReaderError(f"No warehouse in {warehouse}: run `dbt build` first.")
    uri = f"sqlite:///file:{file}?mode=ro&uri=true"
    return SqlCatalog("lake", uri=uri, init_catalog_tables="false")


def connect(warehouse: Path = WAREHOUSE, schema: str = SCHEMA) -> duckdb.DuckDBPyConnection:
    """A DuckDB with a view `<schema>_published.<mart>` of each mart, as of its tag `published`.

    The views are of the versions that are published now; connect again to see a later build.
    Nothing is read before it is asked for.

    Raises ReaderError where nothing is published, and for a table with rows marked as deleted.
    """
    lake = catalog(warehouse)
    connection = duckdb.connect(config={"TimeZone": "UTC"})
    connection.execute(f"create schema {schema}_published")
    # the one function of the questions in analyses/ that DuckDB has not
    connection.execute(
        "create macro try_divide(dividend, divisor) as dividend / nullif(divisor, 0)"
    )
    found = 0
    for identifier in lake.list_tables(f"{schema}_marts"):
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
    snapshot = table.snapshot_by_name("published")
    columns = table.scan(snapshot_id=snapshot.snapshot_id).projection().fields
    tasks = list(table.scan(snapshot_id=snapshot.snapshot_id).plan_files())
    if any(task.delete_files for task in tasks):
        raise ReaderError(f"{table.name()} has delete files: read it with pyiceberg's own scan.")
    if not tasks:
        nothing = ", ".join(
            f'null::{duckdb_type(str(c.field_type))} as "{c.name}"' for c in columns
        )
        return f"select {nothing} where false"
    names = ", ".join(f'"{column.name}"' for column in columns)
    files = ", ".join(f"'{local_path(task.file.file_path)}'" for task in tasks)
    return f"select {names} from read_parquet([{files}], hive_partitioning = false)"


def local_path(location: str) -> str:
    """Path of a file as DuckDB takes it, quotes doubled."""
    parts = urlsplit(location)
    path = unquote(parts.path) if parts.scheme == "file" else location
    return path.replace("'", "''")


def duckdb_type(iceberg_type: str) -> str:
    """The type of a column, as DuckDB calls it."""
    names = {"string": "varchar", "long": "bigint", "timestamptz": "timestamptz"}
    return names.get(iceberg_type, iceberg_type)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the answer to one query."""
    parser = argparse.ArgumentParser(prog="python -m tools.published", description=__doc__)
    parser.add_argument("sql", help="a query of the published views, in DuckDB's SQL")
    options = parser.parse_args(arguments)
    try:
        connect().sql(options.sql).show(max_width=200)
    except (ReaderError, duckdb.Error) as error:
        parser.exit(1, f"{error}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
