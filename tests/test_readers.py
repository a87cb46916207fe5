"""Readers without Spark: DuckDB on the files that pyiceberg finds answer as Spark does."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.lake import Lake
from tests.warehouse import ROOT, Project, active_spark, environment, working_directory

pytest.importorskip("duckdb", reason="no duckdb for this Python in requirements.txt")
import duckdb

from warehouse.published import Reader, ReaderError, connect, open_reader

# of DuckDB, in Spark
TYPES = {
    "VARCHAR": "string",
    "BIGINT": "bigint",
    "INTEGER": "int",
    "DOUBLE": "double",
    "BOOLEAN": "boolean",
    "DATE": "date",
    "TIMESTAMP": "timestamp",
}


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
        found, expected = reader.sql(f"select * from {view} limit 0"), active_spark().table(view)
        assert found.columns == expected.columns
        assert [TYPES[str(each)] for each in found.types] == [kind for _, kind in expected.dtypes]


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
        lake = Lake(tmp_path / folder)
        lake.write("marts.numbers", {"value": [value]})
        lake.tag("marts.numbers", "published")
        lake.catalog.close()
    found = connect(tmp_path / name, "churn").sql("select * from churn_published.numbers")
    assert found.fetchall() == [(1,)]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted((name, other))
    for file in tmp_path.glob("*/catalog.db"):
        file.unlink()
    with pytest.raises(ReaderError, match="No warehouse"):
        connect(tmp_path / name, "churn")


def test_all_marts_are_of_the_build_that_was_decided_on(tmp_path: Path) -> None:
    def values(reader: Reader) -> list[tuple]:
        marts = ("left", "right", "below", "gone")
        sql = " union all ".join(f"from churn_published.{mart}" for mart in marts)
        return [value for (value,) in reader.connection.execute(sql).fetchall()]

    lake = Lake(tmp_path / "warehouse")
    lake.write("staging.events", {"value": [1]})
    lake.tag("staging.events", "build_1")
    sql = "select value from churn_staging.events version as of 'build_1'"
    lake.view("below", "A mart that is a view.", {"value": ("int", "")}, sql)
    lake.publish("build_1", left={"value": [1]}, right={"value": [1]}, gone={"value": [1]})
    # a publication at work has tagged its build, and has moved one tag `published` of three
    for table in ("marts.left", "marts.right", "staging.events"):
        lake.write(table, {"value": [2]})
        lake.tag(table, "build_2")
    before = open_reader(lake.folder, "churn")
    assert (before.build, values(before)) == ("build_1", [1, 1, 1, 1])
    lake.decide("build_2")
    lake.tag("marts.left", "published")
    after = open_reader(lake.folder, "churn")
    assert (after.build, values(after)) == ("build_2", [2, 2, 2, 1])
    assert f"{after.published_at}" == "2026-11-24 10:02:00"
    assert before.connection.sql("from churn_published.below").types == ["INTEGER"]


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
