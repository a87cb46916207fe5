"""The published marts without Spark or Java: pyiceberg finds their files, DuckDB queries them.

    python -m warehouse query "select * from churn_published.weekly_kpis"

Reads a warehouse of the target `local`; writes nothing.
"""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Mapping
from graphlib import TopologicalSorter
from pathlib import Path

import duckdb
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table
from sqlalchemy import URL, text

from warehouse.errors import ProjectError

ROOT = Path(__file__).resolve().parent.parent
WAREHOUSE = ROOT / (os.environ.get("CHURN_WAREHOUSE") or "data/warehouse")
SCHEMA = os.environ.get("CHURN_SCHEMA", "churn")
# to read only, and to wait for a process that commits, in seconds
QUERY = {"mode": "ro", "uri": "true", "timeout": "60"}
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
    uri = URL.create("sqlite", database=file.as_uri(), query=QUERY)
    return SqlCatalog("lake", uri=uri.render_as_string(), init_catalog_tables="false")


def connect(warehouse: Path = WAREHOUSE, schema: str = SCHEMA) -> duckdb.DuckDBPyConnection:
    """A DuckDB with a view `<schema>_published.<mart>` of each mart, as of its tag `published`.

    A mart that is a view, as `churn_risk` is, is the same query as in Spark: of these, of the
    tables of `<schema>_ml`, and of those of `<schema>_staging` that such views read, which are
    there too. All are of the versions of now; connect again to see a later build or later scores.
    Nothing is read before it is asked for.

    Raises ReaderError where nothing is published, and for a table with rows marked as deleted.
    """
    lake = catalog(warehouse)
    connection = duckdb.connect()
    # functions of analyses/ and of marts that are views, which DuckDB has not
    connection.execute(
        "create macro try_divide(dividend, divisor) as dividend / nullif(divisor, 0)"
    )
    connection.execute("create macro unix_date(day) as day - date '1970-01-01'")
    published = f"{schema}_published"
    staging, marts, ml = (
        tables_of(lake, f"{schema}_{part}") for part in ("staging", "marts", "ml")
    )
    views = {
        f"{published}.{name}": published_rows(table)
        for name, table in marts.items()
        if "published" in table.metadata.refs
    }
    if not views:
        raise ReaderError(f"Nothing is published in {published}: run `dbt build` first.")
    views |= {f"{schema}_ml.{name}": published_rows(table, "main") for name, table in ml.items()}
    views |= {
        f"{schema}_staging.{name}": published_rows(table)
        for name, table in staging.items()
        if "published" in table.metadata.refs
    }
    of_views = {
        f"{published}.{name}": sql.replace(" version as of 'published'", "")
        for name, sql in views_of(lake, published).items()
        if f"{published}.{name}" not in views
    }
    for part in ("staging", "published", "ml"):
        connection.execute(f"create schema {schema}_{part}")
    for view, sql in views.items():
        connection.execute(f"create view {view} as {sql}")
    # one that reads others comes after them
    reads = {
        view: {other for other in of_views if re.search(rf"\b{re.escape(other)}\b", sql)}
        for view, sql in of_views.items()
    }
    for view in TopologicalSorter(reads).static_order():
        connection.execute(f"create view {view} as {of_views[view]}")
    return connection


def tables_of(lake: SqlCatalog, schema: str) -> Mapping[str, Table]:
    """The tables of a schema by name; none where there is no such schema."""
    found = lake.list_tables(schema) if lake.namespace_exists(schema) else []
    return {identifier[-1]: lake.load_table(identifier) for identifier in found}


def views_of(lake: SqlCatalog, schema: str) -> Mapping[str, str]:
    """SQL of the views of a schema by name, of which pyiceberg does not know."""
    query = text(
        "select table_name, metadata_location from iceberg_tables where catalog_name = :catalog "
        "and table_namespace = :schema and iceberg_type = 'VIEW'"
    )
    with lake.engine.connect() as connection:
        rows = connection.execute(query, {"catalog": lake.name, "schema": schema}).all()
    return {str(row[0]): sql_of_view(path_of(str(row[1]))) for row in rows}


def sql_of_view(metadata: Path) -> str:
    """SQL of the version that a view has now, by its metadata file."""
    content = metadata.read_bytes()
    view = json.loads(gzip.decompress(content) if ".gz." in metadata.name else content)
    (version,) = (
        each for each in view["versions"] if each["version-id"] == view["current-version-id"]
    )
    return version["representations"][0]["sql"]


def published_rows(table: Table, ref: str = "published") -> str:
    """A query of DuckDB for the rows of a tag, or of now (`main`), by the schema that they had."""
    snapshot = table.metadata.refs.get(ref)
    scan = table.scan(snapshot_id=snapshot.snapshot_id if snapshot else None)
    columns = {field.name: str(field.field_type) for field in scan.projection().fields}
    tasks = list(scan.plan_files())
    if any(task.delete_files for task in tasks):
        raise ReaderError(f"{'.'.join(table.name())} has delete files: read it with pyiceberg.")
    if not tasks:
        nothing = (f'null::{_duckdb_type(kind)} "{c}"' for c, kind in columns.items())
        return f"select {', '.join(nothing)} where false"
    # instants become UTC timestamps, whatever the time zone of the machine
    chosen = (
        f'make_timestamp(epoch_us("{c}")) "{c}"' if kind == "timestamptz" else f'"{c}"'
        for c, kind in columns.items()
    )
    files = ", ".join(f"'{local_path(task.file.file_path)}'" for task in tasks)
    return f"select {', '.join(chosen)} from read_parquet([{files}], hive_partitioning = false)"


def _duckdb_type(kind: str) -> str:
    """DuckDB's name of a type of Iceberg, lists among them."""
    if kind.startswith("list<"):
        return f"{_duckdb_type(kind[5:-1])}[]"
    return DUCKDB_TYPES.get(kind, kind)


def local_path(location: str) -> str:
    """Path of a file as DuckDB takes it, with quotes doubled.

    A file of just that name comes before those that the name, as a pattern, would stand for.

    Iceberg has a path as it is, with `file:` before it or not; it is no URI, and `%20` is no blank.
    """
    return str(path_of(location)).replace("'", "''")


def path_of(location: str) -> Path:
    return Path(re.sub(r"^file:(//)?(?=/)", "", location))


def ask(sql: str, max_rows: int = 20) -> None:
    """Print the answer to one query.

    Raises ReaderError where it is none of DuckDB, too.
    """
    try:
        connect().sql(sql).show(max_width=200, max_rows=max_rows)
    except duckdb.Error as error:
        raise ReaderError(str(error)) from error
