"""DuckDB answers the SQL of Spark as Spark does, and both make the tables of tests/golden."""

import csv
import re
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from tests.pages import blocks
from tests.warehouse import ROOT, Project, copy_of_project

pytest.importorskip("duckdb", reason="no duckdb for this Python in requirements.txt")
import duckdb

from benchmarks.duckdb_sql import RAW_SQL, translated
from benchmarks.make_duckdb_tables import statements
from tests.golden_tables import GOLDEN, make_golden, write_golden

DATES = "(values (date '2018-10-01'), (date '2018-10-02'), (date '2018-10-09')) as dates (day)"
FLAGS = "(values (1, cast(null as boolean)), (2, true), (3, null)) as flags (id, flag)"
# what DuckDB or sqlglot has otherwise, with the least answers first
ANSWERS: dict[str, list[Any]] = {
    f"select count_if(flag) over (order by id) from {FLAGS}": [0, 1, 1],
    f"select max_by(flag, id) is null and min_by(flag, id) is null from {FLAGS}": [True],
    f"select row_number() over (order by flag, id) * 10 + id from {FLAGS}": [11, 23, 32],
    f"select id from {FLAGS} left anti join {DATES} on flags.id <> 2": [2],
    f"select count(*) over (order by day range between 7 preceding and current row) from {DATES}": [
        1,
        2,
        2,
    ],
    "select date_add(date '2018-10-31', 1)": [date(2018, 11, 1)],
    "select date_sub(date '2018-11-01', 1)": [date(2018, 10, 31)],
    "select trunc(date '2018-10-07', 'week')": [date(2018, 10, 1)],
    "select datediff(date '2018-11-01', date '2018-10-01') div 7": [4],
    "select explode(sequence(date '2018-10-31', date '2018-11-01'))": [
        *(date(2018, 10, 31), date(2018, 11, 1)),
    ],
    "select unix_seconds(cast('2018-10-01 00:00:00.999' as timestamp))": [1538352000],
    "select try_divide(1, 0) is null and try_divide(1, 2) = 0.5": [True],
    "select xxhash64('a', null) = xxhash64('a') and xxhash64('a', 'b') <> xxhash64('b')": [True],
    "select explode(array_union(array(1, 2), array_compact(array(null, 2, 3))))": [1, 2, 3],
    "select a * 10 + b from (select stack(2, 1, 2, 3, 4) as (a, b))": [12, 34],
}

NEW_COLUMNS = ("week_start_date", "start_hour", "users", "sessions", "songs")


@pytest.mark.parametrize("query", ANSWERS)
def test_duckdb_answers_what_spark_is_asked(query: str) -> None:
    with duckdb.connect() as connection:
        for name, statement in statements(RAW_SQL.read_text(encoding="utf-8")):
            if name in ("array_union", "xxhash64"):
                connection.execute(statement)
        rows = connection.execute(translated(query, {})).fetchall()
    assert sorted(value for (value,) in rows) == ANSWERS[query]


def test_spark_answers_so(spark: SparkSession) -> None:
    found = {query: sorted(row[0] for row in spark.sql(query).collect()) for query in ANSWERS}
    assert found == ANSWERS


def test_spark_makes_the_golden_tables(sample: Project, tmp_path: Path) -> None:
    with duckdb.connect() as connection:
        for name in sample.tables():
            connection.register(name, sample.table(name).toArrow())
        write_golden(connection, sample.tables(), tmp_path)
    assert_golden(tmp_path)


def test_duckdb_makes_the_golden_tables(tmp_path: Path) -> None:
    make_golden(tmp_path)
    assert_golden(tmp_path)


@pytest.mark.thorough
def test_the_examples_of_the_guide_come_with_their_files(tmp_path: Path) -> None:
    """Those of CONTRIBUTING: a mart takes three files, a ratio two, the count of a page six."""
    mart, ratio, count = blocks(ROOT / "CONTRIBUTING.md", "diff")
    root = copy_of_project(tmp_path / "project")
    shutil.copytree(ROOT / "docs", root / "docs")
    assert len(apply(mart, root)) == 3
    assert len(apply(ratio, root)) == 2
    assert len(apply(count, root)) == 6
    (tmp_path / "golden").mkdir()
    make_golden(tmp_path / "golden", root)
    found, expected = (columns_of(folder) for folder in (tmp_path / "golden", GOLDEN))
    assert expected.items() <= found.items()
    assert found.keys() - expected.keys() == {
        ("int_session_parts", "about_visits"),
        ("fct_user_days", "about_visits"),
        ("int_user_running_totals", "about_visits_to_date"),
        ("churn_features", "about_visits_to_date"),
        ("churn_features", "errors_per_session_to_date"),
        *(("weekly_sessions_by_hour", name) for name in NEW_COLUMNS),
    }
    assert int(found["fct_user_days", "about_visits"][2]) > 0
    sessions = found["weekly_sessions_by_hour", "sessions"][2]
    assert sessions == found["weekly_sessions_by_platform_and_state", "sessions"][2]


def apply(diff: str, root: Path) -> list[str]:
    """Add the lines of a diff after those that it shows, and return the names of its files."""
    names = []
    for part in re.split("^ (?=models/|docs/)", diff, flags=re.MULTILINE)[1:]:
        name, *lines = part.splitlines()
        names.append(name)
        if all(line[0] == "+" for line in lines):
            assert not (root / name).exists()
            (root / name).write_text("".join(f"{line[1:]}\n" for line in lines))
            continue
        text = (root / name).read_text()
        kept = "\n".join(["", *(line[1:] for line in lines if line[0] == " "), ""])
        assert text.count(kept) == 1, f"{name}: {kept}"
        (root / name).write_text(text.replace(kept, "\n".join(["", *(x[1:] for x in lines), ""])))
    return names


def columns_of(folder: Path) -> dict[tuple[str, str], list[str]]:
    """The figures of each column, without those of whole rows."""
    with (folder / "columns.csv").open(encoding="utf-8", newline="") as lines:
        return {(row[0], row[1]): row[2:] for row in csv.reader(lines) if row[1] != "*"}


def assert_golden(folder: Path) -> None:
    """Fail where the files of a folder are not those of tests/golden."""
    found, expected = lines_of(folder), lines_of(GOLDEN)
    different = [*found.symmetric_difference(expected)]
    # the figures of columns before rows
    different.sort(key=lambda line: (line[0] != "columns.csv", line))
    assert not different, (
        "Not as in tests/golden (-). If a rule changed on purpose: python -m tests.golden_tables, "
        "then review its diff.\n"
        + "\n".join(" ".join(["-+"[line in found], *line]) for line in different[:50])
    )


def lines_of(folder: Path) -> set[tuple[str, str]]:
    """Name of the file and text of each line."""
    return {
        (file.name, line)
        for file in folder.glob("*.csv")
        for line in file.read_text(encoding="utf-8").splitlines()
    }
