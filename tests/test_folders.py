"""Folders whose names mean something in SQL, in a pattern of file names, in a URI or to Spark."""

import re
import subprocess
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.conftest import MakeProject
from tests.make_log import make_log, write_log
from tests.pages import blocks, shell_lines
from tests.warehouse import (
    NO_UNIT_TESTS,
    ROOT,
    STAGING,
    copy_of_project,
    run_process,
    user_environment,
)

pytestmark = [pytest.mark.slow, pytest.mark.spark]

ODD_NAME = "it's {a,b} [2018]*? #1 %20 a\\b é ${x}"
READ_BY_ML = """
from warehouse.session import spark_session
spark, target = spark_session()
print("users:", spark.table(f"{target.published}.dim_users").count())
"""


def test_a_landing_folder_can_have_any_name(make_project: MakeProject, tmp_path: Path) -> None:
    project = make_project("odd_folder", raw=tmp_path / ODD_NAME)
    log = make_log(users=10, days=6, seed=5)
    half = len(log) // 2
    # what the name would stand for, taken for a pattern
    write_log(log, tmp_path / "it's a 2ab #1 %20 ab é ${x}")
    (first,) = write_log(log[:half], project.raw / ODD_NAME, files=1)
    project.build(*STAGING).ok()
    (second,) = write_log(log[half:], project.raw, files=1)
    # the same folder, written in another way
    project.build(*STAGING, raw_path=f"{tmp_path}//{ODD_NAME}/./gone/../").ok()
    rows = project.table("ingested_files").collect()
    ledger = {unquote(row.source_file): row.lines for row in rows}
    assert ledger == {f"{ODD_NAME}/{first.name}": half, second.name: len(log) - half}


@pytest.mark.thorough
@pytest.mark.nightly
def test_the_project_can_be_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = copy_of_project(tmp_path / "o'brien" / ODD_NAME, small=True)
    for name in ("CHURN_WAREHOUSE", "CHURN_SCHEMA", "DBT_PROFILES_DIR"):
        monkeypatch.delenv(name, raising=False)
    for files in (1, 2):  # the second build appends
        write_log(make_log(users=10, days=6, seed=files), root / "data" / "raw" / str(files))
        run_process("dbt", "--no-use-colors", "build", *NO_UNIT_TESTS, cwd=root).ok()
    warehouse = root / "data" / "warehouse"
    assert (warehouse / "catalog.db").is_file()
    found = run_process("python", "-c", READ_BY_ML, DBT_PROFILES_DIR=str(root)).ok()
    (count,) = found.lines_with("users:")
    pytest.importorskip("duckdb", reason="no duckdb for this Python in requirements.txt")
    count_users = "select 'users: ' || count(*) from churn_published.dim_users"
    found = run_process(
        "python", "-m", "warehouse", "query", count_users, CHURN_WAREHOUSE=str(warehouse)
    )
    assert found.ok().lines_with(f"{count} ")


@pytest.mark.thorough
@pytest.mark.nightly
def test_what_contributors_are_told_to_run_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One command after the other: before there is a warehouse, and when a file has landed."""
    root = copy_of_project(tmp_path / "project", small=True)
    for name in ("CHURN_WAREHOUSE", "CHURN_SCHEMA", "DBT_PROFILES_DIR"):
        monkeypatch.delenv(name, raising=False)
    first = blocks(ROOT / "CONTRIBUTING.md", "sh")[1]
    commands = list(shell_lines(first))
    assert len(commands) > 4 and all(re.match(r"dbt \w+ ", f"{line} ") for line in commands)
    log = make_log(users=10, days=6, seed=1)
    for part in (log[: len(log) // 2], log[len(log) // 2 :]):
        write_log(part, root / "data" / "raw" / str(len(part)))
        for line in commands:
            done = subprocess.run(
                line, shell=True, cwd=root, env=user_environment(), capture_output=True, text=True
            )
            assert done.returncode == 0, done.stdout
