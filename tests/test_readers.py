"""Readers without Spark: DuckDB on the files that pyiceberg finds answer as Spark does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.warehouse import ROOT, Project, active_spark, environment, working_directory

pytest.importorskip("duckdb", reason="no duckdb for this Python in requirements.txt")
from tools.published import ReaderError, connect

# of analyses/, as they are; one has names of weekdays, which the engines write in two ways
QUESTIONS = sorted(path.stem for path in (ROOT / "analyses").glob("*.sql"))
QUESTIONS.remove("busiest_weekday")


@pytest.fixture(scope="module")
def compiled(sample: Project) -> Path:
    """The questions as `dbt compile` leaves them for a client."""
    sample.dbt("compile", "--select", "path:analyses").ok()
    return sample.folder / "target" / "compiled" / "churn_at_scale" / "analyses"


@pytest.mark.parametrize("name", QUESTIONS)
def test_questions_have_the_answers_that_spark_gives(
    name: str, compiled: Path, sample: Project, warehouse: Path
) -> None:
    sql = (compiled / f"{name}.sql").read_text()
    expected = plain(active_spark().sql(sql).toPandas())
    found = plain(connect(warehouse, sample.schema).sql(sql).df())
    assert len(expected) > 0
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)


def plain(answer: pd.DataFrame) -> pd.DataFrame:
    """Dates as text: one engine has dates, the other timestamps."""
    dates = [name for name in answer if name.endswith("_date")]
    return answer.assign(**{name: pd.to_datetime(answer[name]).dt.date for name in dates})


def test_every_mart_has_the_rows_that_spark_reads(sample: Project, warehouse: Path) -> None:
    reader = connect(warehouse, sample.schema)
    for name in sample.marts():
        view = f"{sample.schema}_published.{name}"
        (rows,) = reader.execute(f"select count(*) from {view}").fetchone()
        assert rows == active_spark().table(view).count(), name
        assert reader.sql(f"select * from {view} limit 0").columns == (
            active_spark().table(view).columns
        )


def test_instants_and_exact_sums(sample: Project, warehouse: Path) -> None:
    sql = f"""
        select
            count(*) as users,
            max(last_event_at) as last_event_at,
            sum(listening_milliseconds) as listening_milliseconds
        from {sample.schema}_published.dim_users
    """
    found = connect(warehouse, sample.schema).execute(sql).fetchone()
    expected = active_spark().sql(sql).first()
    assert (found[0], int(found[2])) == (expected[0], expected[2])
    assert found[1] == expected[1]


def test_the_lines_of_the_readme_for_pyiceberg_alone(
    sample: Project, warehouse: Path, tmp_path: Path
) -> None:
    blocks = (ROOT / "README.md").read_text().split("```python\n")[1:]
    (lines,) = [each.partition("```")[0] for each in blocks if "pyiceberg" in each.splitlines()[0]]
    (tmp_path / "warehouse").symlink_to(warehouse)
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
                [sys.executable, "-m", "tools.published", sql],
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
