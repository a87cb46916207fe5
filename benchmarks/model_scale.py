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

import os
import sys
from typing import Annotated

import typer

from benchmarks.dbt_runs import Usage, benchmark, markdown_table, save_results, warn_if_busy
from warehouse.commands import program
from warehouse.console import Console
from warehouse.session import spark_session

LAST_DAY = "2018-12-01"
ACCOUNTS = 500
ALARM = 4  # exit status of `ml train`


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


@program("python -m benchmarks.model_scale", __doc__)
def main(
    users: Annotated[int, typer.Option(min=1000, help="Users to score.")] = 1_000_000,
    rows: Annotated[int, typer.Option(min=1000, help="Rows to train on.")] = 100_000,
) -> None:
    """Command line of the benchmark."""
    usages: dict[str, Usage] = {}
    with benchmark() as bench:
        bench.say("make a log")
        bench.dbt("build", bench.simulate(bench.folder / "log", ACCOUNTS, LAST_DAY))
        artifacts = ("--artifacts", str(bench.folder / "artifacts"))

        def add(name: str, *command: str) -> None:
            bench.say(name)
            usages[name] = bench.python("-m", *command, accepted=(0, ALARM))

        def copy(copies: int) -> int:
            count = f"from benchmarks.model_scale import multiply; print(multiply({copies}))"
            return int(bench.python("-c", count).output.splitlines()[-1])

        add("start only", "warehouse", "status")
        one = copy(1)
        copy(-(-rows // one))
        add(f"train on {rows:,} rows", "ml", "train", "--max-rows", str(rows), *artifacts)
        for wanted in (users // 10, users):
            scored = copy(-(-wanted // one))
            add(f"score {scored:,} users", "ml", "score", *artifacts)
    table = markdown_table(
        ("step", "wall", "processor", "peak memory"),
        [
            (name, f"{usage.wall_seconds:.0f} s", f"{usage.cpu_seconds:.0f} s", usage.memory)
            for name, usage in usages.items()
        ],
    )
    cores = f"{os.cpu_count()} cores."
    save_results("model_scale", f"# Training and scoring at size\n\n{cores}\n\n{table}\n")
    warn_if_busy(Console(), usages.values())


if __name__ == "__main__":
    sys.exit(main())
