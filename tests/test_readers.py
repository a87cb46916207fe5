"""Readers without Spark: DuckDB on the files that pyiceberg finds answer as Spark does."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.warehouse import ROOT, Project, active_spark, environment, working_directory

pytest.importorskip("duckdb", reason="no duckdb for this Python in requirements.txt")
import duckdb
import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from sqlalchemy import URL

from warehouse.published import ReaderError, connect


@pytest.fixture(scope="module")
def reader(sample: Project, warehouse: Path) -> duckdb.DuckDBPyConnection:
    """The published marts of the sample."""
    return connect(warehouse, sample.schema)


def test_every_mart_has_the_rows_that_spark_reads(
    sample: Project, reader: duckdb.DuckDBPyConnection
) -> None:
    views = [f"{sample.schema}_published.{name}" for name in sample.marts()]
    sql = " union all ".join(f"select '{view}', count(*) from {view}" for view in views)
    assert sorted(reader.sql(sql).fetchall()) == sorted(
        map(tuple, active_spark().sql(sql).collect())
    )
    for view in views:
        assert reader.sql(f"select * from {view} limit 0").columns == (
            active_spark().table(view).columns
        )


def test_a_reader_waits_for_a_process_that_commits(sample: Project, warehouse: Path) -> None:
    """Longer than the 5 s that Python's SQLite waits by itself."""
    writer = sqlite3.connect(warehouse / "catalog.db", check_same_thread=False)
    writer.execute("begin exclusive")
    threading.Timer(6, writer.rollback).start()
    assert (
        connect(warehouse, sample.schema)
        .sql(f"select count(*) from {sample.schema}_published.dim_users")
        .fetchall()
    )


def test_what_was_built_has_the_rights_of_the_umask(sample: Project, warehouse: Path) -> None:
    paths = [path for path in warehouse.rglob("*") if "sample_marts" in path.parts]
    assert len(paths) > 50
    assert [path for path in paths if path.stat().st_mode & 0o077] == []


# what has a meaning in a URI, in a pattern of file names, or in SQL; and the folder that one who
# takes it for that would read in its place
@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("a#b", "a"),
        ("a?b", "axb"),
        ("a*b", "a b"),
        ("a[x]b", "axb"),
        ("a%20b", "a b"),
        ("a\\b [1]{a,b}", "a1b 1a"),
        ("a%23 '\"&+;=,:@é世ש\\{}~$b", "a# '\"&+;=,:@é世ש\\{}~$b"),
    ],
)
def test_any_folder_can_hold_the_warehouse(name: str, other: str, tmp_path: Path) -> None:
    for folder, value in ((other, 0), (name, 1)):
        write_table(tmp_path / folder, value)
    found = connect(tmp_path / name, "churn").sql("select * from churn_published.numbers")
    assert found.fetchall() == [(1,)]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted((name, other))
    for file in tmp_path.glob("*/catalog.db"):
        file.unlink()
    with pytest.raises(ReaderError, match="No warehouse"):
        connect(tmp_path / name, "churn")


def write_table(warehouse: Path, value: int) -> None:
    """A warehouse as Spark makes it, with one row that is published; paths are no URIs."""
    warehouse.mkdir()
    uri = URL.create("sqlite", database=str(warehouse / "catalog.db")).render_as_string()
    catalog = SqlCatalog("lake", uri=uri, warehouse=str(warehouse))
    catalog.create_namespace("churn_marts")
    rows = pa.table({"value": pa.array([value], pa.int32())})
    place = str(warehouse / "churn_marts" / "numbers")
    table = catalog.create_table("churn_marts.numbers", rows.schema, location=place)
    table.append(rows)
    table.manage_snapshots().create_tag(table.current_snapshot().snapshot_id, "published").commit()
    catalog.close()


def test_instants_and_exact_sums(sample: Project, reader: duckdb.DuckDBPyConnection) -> None:
    sql = f"""
        select
            count(*) as users,
            max(last_event_at) as last_event_at,
            sum(listening_milliseconds) as listening_milliseconds
        from {sample.schema}_published.dim_users
    """
    found = reader.execute(sql).fetchone()
    expected = active_spark().sql(sql).first()
    assert (found[0], int(found[2])) == (expected[0], expected[2])
    assert found[1] == expected[1]


def test_the_lines_of_the_docs_for_pyiceberg_alone(
    sample: Project, warehouse: Path, tmp_path: Path
) -> None:
    blocks = (ROOT / "docs" / "sql.md").read_text().split("```python\n")[1:]
    (lines,) = [each.partition("```")[0] for each in blocks if "pyiceberg" in each.splitlines()[0]]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "warehouse").symlink_to(warehouse)
    *setup, answer = lines.replace("churn_marts", f"{sample.schema}_marts").splitlines()
    names: dict[str, Any] = {}
    with working_directory(tmp_path):
        exec("\n".join(setup), names)
        found = eval(answer, names).sort_values("week_start_date")
    view = active_spark().table(f"{sample.schema}_published.weekly_kpis")
    expected = view.orderBy("week_start_date").toPandas()
    for name in ("week_start_date", "active_users", "churned_share"):
        assert found[name].to_list() == expected[name].to_list()


def test_the_command_prints_an_answer_and_says_what_is_wrong(
    sample: Project, warehouse: Path, tmp_path: Path
) -> None:
    def run(sql: str, folder: Path) -> subprocess.CompletedProcess:
        with environment({"CHURN_WAREHOUSE": str(folder), "CHURN_SCHEMA": sample.schema}):
            return subprocess.run(
                [sys.executable, "-m", "warehouse", "query", sql],
                cwd=ROOT,
                capture_output=True,
                text=True,
            )

    sql = "select count(*) as calendars from sample_published.churn_calendar"
    done = run(sql, warehouse)
    assert done.returncode == 0, done.stderr
    assert "calendars" in done.stdout
    missing = run(sql, tmp_path)
    assert missing.returncode == 1
    assert "run `dbt build` first" in missing.stderr
    assert "Traceback" not in missing.stderr
    with pytest.raises(ReaderError, match="Nothing is published"):
        connect(warehouse, "nowhere")
