"""The published marts without Spark or Java: pyiceberg finds their files, DuckDB queries them.

    python -m warehouse query "select * from churn_published.weekly_kpis"

Reads a warehouse of the target `local`; writes nothing.
"""

from __future__ import annotations

import gzip
import itertools
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import duckdb
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import DataScan, Table
from sqlalchemy import URL, text

from warehouse.errors import ProjectError

ROOT = Path(__file__).resolve().parent.parent
WAREHOUSE = ROOT / (os.environ.get("CHURN_WAREHOUSE") or "data/warehouse")
SCHEMA = os.environ.get("CHURN_SCHEMA", "churn")
# to read only, and to wait for a process that commits, in seconds
QUERY = {"mode": "ro", "uri": "true", "timeout": "60"}
OF_BUILD = r" version as of '(\w+)'"


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


@dataclass(frozen=True)
class Reader:
    """The published marts of one build, in `schema`. Queries on them read `files` and no others.

    `published_at` is UTC. `build` is empty, and `published_at` None, in a warehouse of an earlier
    version of the project, which kept no list of publications.
    """

    connection: duckdb.DuckDBPyConnection
    schema: str
    build: str
    published_at: datetime | None
    files: list[str]


def connect(warehouse: Path = WAREHOUSE, schema: str = SCHEMA) -> duckdb.DuckDBPyConnection:
    """A DuckDB with a view `<schema>_published.<mart>` of each mart, with its descriptions.

    A mart that is a view, as `churn_risk` is, is the same query as in Spark: of these, of the
    tables of `<schema>_ml`, and of those of `<schema>_staging` that such views read, which are
    there too. All are of the versions of now; connect again to see a later build or later scores.
    Nothing is read before it is asked for.

    Raises ReaderError where nothing is published, and for a table with rows marked as deleted.
    """
    return open_reader(warehouse, schema).connection


def open_reader(warehouse: Path = WAREHOUSE, schema: str = SCHEMA) -> Reader:
    """As `connect`, and which build it is: the last one decided on, even before its tags move."""
    lake = catalog(warehouse)
    connection = duckdb.connect()
    # functions of analyses/ and of marts that are views, which DuckDB has not
    connection.execute(
        "create macro try_divide(dividend, divisor) as dividend / nullif(divisor, 0)"
    )
    connection.execute("create macro unix_date(day) as day - date '1970-01-01'")
    published = f"{schema}_published"
    build, published_at = last_publication(lake, schema, connection)
    staging, marts, ml = (
        tables_of(lake, f"{schema}_{part}") for part in ("staging", "marts", "ml")
    )
    versions = {
        f"{published}.{name}": (table, tag_shown(table, build))
        for name, table in marts.items()
        if {build, "published"} & table.metadata.refs.keys()
    }
    if not versions:
        raise ReaderError(f"Nothing is published in {published}: run `dbt build` first.")
    views = views_of(lake, published)
    versions |= {
        name: (table, tag_shown(table, build, tag))
        for name, tag in tables_of_views(views).items()
        if (table := staging.get(name.rpartition(".")[2]))
    }
    versions |= {f"{schema}_ml.{name}": (table, "main") for name, table in ml.items()}
    files = {view: files_of(*version) for view, version in versions.items()}
    for part in ("staging", "published", "ml"):
        connection.execute(f"create schema {schema}_{part}")
    for view, version in versions.items():
        connection.execute(f"create view {view} as {rows_of(*version, files[view])}")
    of_views = {name: view for name, view in views.items() if f"{published}.{name}" not in versions}
    create_mart_views(connection, published, of_views)
    comment_on(connection, published, views)
    read = [file for each in files.values() for file in each]
    return Reader(connection, published, build, published_at, read)


def tag_shown(table: Table, build: str, tag: str = "published") -> str:
    """The tag that readers see. After the decision for a build, tags and views follow."""
    return build if build in table.metadata.refs else tag


def tables_of_views(views: Mapping[str, dict[str, Any]]) -> dict[str, str]:
    """The tables of staging that marts read which are views, and the tag by which they do."""
    found = (re.findall(r"(\w+_staging\.\w+)" + OF_BUILD, view["sql"]) for view in views.values())
    return dict(itertools.chain.from_iterable(found))


def last_publication(
    lake: SqlCatalog, schema: str, connection: duckdb.DuckDBPyConnection
) -> tuple[str, datetime | None]:
    """The build that readers are to see, and since when (UTC); ('', None) without a list."""
    table = tables_of(lake, f"{schema}_audit").get("publications")
    if not table:
        return "", None
    rows = rows_of(table, "main", files_of(table, "main"))
    found = connection.execute(
        f"select build_name, published_at from ({rows}) order by number desc limit 1"
    ).fetchall()
    return found[0] if found else ("", None)


def create_mart_views(
    connection: duckdb.DuckDBPyConnection, schema: str, views: Mapping[str, dict[str, Any]]
) -> None:
    """Make the marts that are views, with their types in Spark. What reads others comes last."""
    queries = {
        f"{schema}.{name}": re.sub(OF_BUILD, "", view["sql"]) for name, view in views.items()
    }
    reads = {
        view: {other for other in queries if re.search(rf"\b{re.escape(other)}\b", sql)}
        for view, sql in queries.items()
    }
    for view in TopologicalSorter(reads).static_order():
        fields = views[view.removeprefix(f"{schema}.")]["fields"]
        columns = (
            f'"{each["name"]}"::{duckdb_type(each["type"])} "{each["name"]}"' for each in fields
        )
        connection.execute(
            f"create view {view} as select {', '.join(columns)} from ({queries[view]})"
        )


def comment_on(
    connection: duckdb.DuckDBPyConnection, schema: str, views: Mapping[str, dict[str, Any]]
) -> None:
    """Give views and columns their descriptions, which `duckdb_columns()` then lists."""
    there = connection.execute(
        "select table_name, column_name from duckdb_columns() where schema_name = ?", [schema]
    ).fetchall()
    for name in {name for name, _ in there} & views.keys():
        comment = literal(views[name]["properties"].get("comment", ""))
        connection.execute(f"comment on view {schema}.{name} is {comment}")
        for field in views[name]["fields"]:
            if (name, field["name"]) in there:
                comment = literal(field.get("doc", ""))
                connection.execute(
                    f'comment on column {schema}.{name}."{field["name"]}" is {comment}'
                )


def described_marts(reader: Reader, marts: Sequence[str]) -> list[dict[str, Any]]:
    """Name, grain, description and columns of the named marts (default: all), by name.

    Raises ProjectError for a mart that is not there.
    """
    rows = reader.connection.execute(
        """
        select
            view_name,
            coalesce(views.comment, ''),
            list({'name': column_name, 'type': lower(data_type), 'description': columns.comment}
                order by column_index)
        from duckdb_views() as views
        inner join duckdb_columns() as columns
            on views.schema_name = columns.schema_name and view_name = table_name
        where views.schema_name = ?
        group by all
        order by view_name
        """,
        [reader.schema],
    ).fetchall()
    there = {
        name: {
            "name": name,
            "grain": description.partition(". ")[0],
            "description": description,
            "columns": columns,
        }
        for name, description, columns in rows
    }
    for name in marts:
        if name not in there:
            raise ProjectError(f"There is no mart {name}. Published are: {', '.join(there)}.")
    return [mart for name, mart in there.items() if not marts or name in marts]


def tables_of(lake: SqlCatalog, schema: str) -> Mapping[str, Table]:
    """The tables of a schema by name; none where there is no such schema."""
    found = lake.list_tables(schema) if lake.namespace_exists(schema) else []
    return {identifier[-1]: lake.load_table(identifier) for identifier in found}


def views_of(lake: SqlCatalog, schema: str) -> Mapping[str, dict[str, Any]]:
    """The views of a schema by name, as `view_of` reads them. pyiceberg does not know them."""
    query = text(
        "select table_name, metadata_location from iceberg_tables where catalog_name = :catalog "
        "and table_namespace = :schema and iceberg_type = 'VIEW'"
    )
    with lake.engine.connect() as connection:
        rows = connection.execute(query, {"catalog": lake.name, "schema": schema}).all()
    return {str(row[0]): view_of(path_of(str(row[1]))) for row in rows}


def view_of(metadata: Path) -> dict[str, Any]:
    """`sql`, `fields` (name, type, doc) and `properties` that a view has now."""
    content = metadata.read_bytes()
    view = json.loads(gzip.decompress(content) if ".gz." in metadata.name else content)
    (version,) = (
        each for each in view["versions"] if each["version-id"] == view["current-version-id"]
    )
    (schema,) = (each for each in view["schemas"] if each["schema-id"] == version["schema-id"])
    return {
        "sql": version["representations"][0]["sql"],
        "fields": schema["fields"],
        "properties": view.get("properties", {}),
    }


def files_of(table: Table, ref: str) -> list[str]:
    """Paths of the files of a tag, or of the newest version (`main`).

    Raises ReaderError where rows are marked as deleted.
    """
    tasks = list(scan_of(table, ref).plan_files())
    if any(task.delete_files for task in tasks):
        raise ReaderError(f"{'.'.join(table.name())} has delete files: read it with pyiceberg.")
    return [str(path_of(task.file.file_path)) for task in tasks]


def rows_of(table: Table, ref: str, files: Sequence[str]) -> str:
    """A query of DuckDB for the rows of a tag, or of the newest version, with its columns.

    If a path looks like a pattern, DuckDB takes the file with exactly that name first.
    """
    columns = {
        field.name: str(field.field_type) for field in scan_of(table, ref).projection().fields
    }
    if not files:
        nothing = (f'null::{duckdb_type(kind)} "{name}"' for name, kind in columns.items())
        return f"select {', '.join(nothing)} where false"
    # instants become UTC timestamps, whatever the time zone of the machine
    chosen = (
        f'make_timestamp(epoch_us("{name}")) "{name}"' if kind == "timestamptz" else f'"{name}"'
        for name, kind in columns.items()
    )
    listed = ", ".join(map(literal, files))
    return f"select {', '.join(chosen)} from read_parquet([{listed}], hive_partitioning = false)"


def scan_of(table: Table, ref: str) -> DataScan:
    snapshot = table.metadata.refs.get(ref)
    return table.scan(snapshot_id=snapshot.snapshot_id if snapshot else None)


def duckdb_type(kind: str) -> str:
    """DuckDB's name of a type of Iceberg, lists among them."""
    if kind.startswith("list<"):
        return f"{duckdb_type(kind[5:-1])}[]"
    return {"string": "varchar", "long": "bigint", "timestamptz": "timestamp"}.get(kind, kind)


def literal(value: str) -> str:
    """A text as a literal of DuckDB's SQL."""
    return "'" + value.replace("'", "''") + "'"


def path_of(location: str) -> Path:
    """The path of a location, which may begin with `file:`. It is no URI: `%20` stays `%20`."""
    return Path(re.sub(r"^file:(//)?(?=/)", "", location))


def ask(sql: str, max_rows: int = 20) -> None:
    """Print the answer to one query.

    Raises ReaderError where it is none of DuckDB, too.
    """
    try:
        connect().sql(sql).show(max_width=200, max_rows=max_rows)
    except duckdb.Error as error:
        raise ReaderError(str(error)) from error
