"""A small warehouse made by hand, without Spark: published marts, their views and builds."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from sqlalchemy import URL

Docs = dict[str, tuple[str, str]]  # type and description by column


class Lake:
    """A warehouse in a new folder, as Spark and dbt leave one; its schema is `churn`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.builds: list[str] = []
        uri = URL.create("sqlite", database=str(folder / "catalog.db")).render_as_string()
        self.catalog = SqlCatalog("lake", uri=uri, warehouse=str(folder))
        for part in ("staging", "marts", "audit"):
            self.catalog.create_namespace(f"churn_{part}")

    def write(self, table: str, rows: dict[str, Any] | pa.Table) -> None:
        """A new version of a table, `<schema part>.<name>`, with these rows."""
        rows = pa.table(rows) if isinstance(rows, dict) else rows
        part, name = table.split(".")
        if self.catalog.table_exists(f"churn_{table}"):
            self.catalog.load_table(f"churn_{table}").overwrite(rows)
        else:
            place = str(self.folder / f"churn_{part}" / name)
            self.catalog.create_table(f"churn_{table}", rows.schema, location=place).append(rows)

    def tag(self, table: str, name: str) -> None:
        """Put a tag on the newest version of a table, in place of an earlier one of that name."""
        found = self.catalog.load_table(f"churn_{table}")
        if name in found.metadata.refs:
            found.manage_snapshots().remove_tag(name).commit()
            found = self.catalog.load_table(f"churn_{table}")
        found.manage_snapshots().create_tag(found.current_snapshot().snapshot_id, name).commit()

    def decide(self, build: str) -> None:
        """Add a row to the publications: readers are to see this build."""
        self.builds.append(build)
        numbers = [*range(1, len(self.builds) + 1)]
        at = [datetime(2026, 11, 24, 10, number, tzinfo=timezone.utc) for number in numbers]
        rows = {"number": numbers, "build_name": self.builds, "published_at": at}
        self.write("audit.publications", rows)

    def publish(self, build: str, **marts: dict[str, Any] | pa.Table) -> None:
        """All that a build does for its readers, in the order of a build."""
        for mart, rows in marts.items():
            self.write(f"marts.{mart}", rows)
            self.tag(f"marts.{mart}", build)
        self.decide(build)
        for mart in marts:
            self.tag(f"marts.{mart}", "published")

    def view(self, mart: str, comment: str, columns: Docs, sql: str = "") -> None:
        """The view of readers: of a mart's published version, or of a query."""
        file = self.folder / f"{mart}.metadata.json"
        sql = sql or f"select * from churn_marts.{mart} version as of 'published'"
        fields = [
            {"id": number, "name": name, "type": kind, "doc": doc}
            for number, (name, (kind, doc)) in enumerate(columns.items())
        ]
        representation = {"type": "sql", "sql": sql, "dialect": "spark"}
        view = {
            "properties": {"comment": comment},
            "schemas": [{"schema-id": 0, "type": "struct", "fields": fields}],
            "current-version-id": 1,
            "versions": [{"version-id": 1, "schema-id": 0, "representations": [representation]}],
        }
        file.write_text(json.dumps(view))
        row = ("lake", "churn_published", mart, str(file), "VIEW")
        with closing(sqlite3.connect(self.folder / "catalog.db")) as tables, tables:
            tables.execute(
                "insert or replace into iceberg_tables (catalog_name, table_namespace, table_name, "
                "metadata_location, iceberg_type) values (?, ?, ?, ?, ?)",
                row,
            )
