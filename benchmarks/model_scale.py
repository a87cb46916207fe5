"""What training and scoring cost at size: processor seconds of 100,000 rows, a million users.

A simulated log is built, and its published feature rows are multiplied: each user becomes many with
the same rows and other ids. `train` reads --rows of them; what starting costs is measured by a
command that only looks at what is published. `score` is run for a tenth of --users and for all of
them: its memory should not grow with them. Exit status 1 when a step failed, never because of a
time.

Examples:
  python -m benchmarks.model_scale
  python -m benchmarks.model_scale --users 200000 --rows 50000
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.dbt_runs import (
    BenchmarkError,
    Usage,
    busy_warning,
    dbt_environment,
    measured,
    progress_line,
    run_dbt,
    save_results,
    shown_memory,
    simulate,
    temporary_work_folder,
)
from warehouse.commands import program
from warehouse.console import Console
from warehouse.session import spark_session

FIRST_DAY, LAST_DAY = "2018-10-01", "2018-12-01"
ACCOUNTS = 500


def multiply(copies: int) -> int:
    """Let the published view have each row `copies` times; returns the users of its last date."""
    spark, target = spark_session()
    view = f"{target.published}.churn_features"
    table = f"{target.marts}.churn_features version as of 'published'"
    columns = spark.table(view).columns
    many = [
        "concat(user_id, '-', copy) as user_id" if name == "user_id" else name for name in columns
    ]
    spark.sql(
        f"create or replace view {view} as select {', '.join(many)} from {table} "
        f"cross join (select id as copy from range({copies}))"
    )
    of_last_date = f"snapshot_date = (select max(snapshot_date) from {table})"
    return spark.table(view).where(of_last_date).count()


def step(folder: Path, *command: str) -> Usage:
    """Run Python with arguments on the warehouse of a folder."""
    return measured([sys.executable, *command], dbt_environment(folder), accepted=(0, 4))


def as_markdown(usages: dict[str, Usage]) -> str:
    """A row per step."""
    lines = ["| step | wall | processor | peak memory |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {usage.wall_seconds:.0f} s | {usage.cpu_seconds:.0f} s | "
        f"{shown_memory(usage.peak_bytes)} |"
        for name, usage in usages.items()
    ]
    return "\n".join(lines)


@program("python -m benchmarks.model_scale", __doc__)
def main(
    users: Annotated[int, typer.Option(min=1000, help="Users to score.")] = 1_000_000,
    rows: Annotated[int, typer.Option(min=1000, help="Rows to train on.")] = 100_000,
) -> None:
    """Command line of the benchmark."""
    console = Console()
    usages: dict[str, Usage] = {}
    with temporary_work_folder(keep=False) as folder, progress_line(console) as progress:
        task = progress.add_task("make and build a log")
        simulate(folder / "log", ACCOUNTS, FIRST_DAY, LAST_DAY)
        if failed := run_dbt("build", [], folder, folder / "log").failed:
            raise BenchmarkError(f"{', '.join(failed)} failed")
        artifacts = ("--artifacts", str(folder / "artifacts"))

        def add(name: str, *command: str) -> None:
            progress.update(task, description=name)
            usages[name] = step(folder, *command)

        def copy(copies: int) -> int:
            count = f"from benchmarks.model_scale import multiply; print(multiply({copies}))"
            return int(step(folder, "-c", count).output.splitlines()[-1])

        add("start only", "-m", "warehouse", "status")
        one = copy(1)
        copy(-(-rows // one))
        add(f"train on {rows:,} rows", "-m", "ml", "train", "--max-rows", str(rows), *artifacts)
        for wanted in (users // 10, users):
            scored = copy(-(-wanted // one))
            add(f"score {scored:,} users", "-m", "ml", "score", *artifacts)
    table = as_markdown(usages)
    save_results(
        "model_scale", f"# Training and scoring at size\n\n{os.cpu_count()} cores.\n\n{table}\n"
    )
    if warning := busy_warning(list(usages.values())):
        console.print(warning, style="yellow")


if __name__ == "__main__":
    sys.exit(main())
