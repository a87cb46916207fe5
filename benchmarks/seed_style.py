"""The whole `dbt build` beside churn features made as many notebooks make them, in one sitting.

The features (benchmarks/seed_features.py) are 17 columns per user by plain PySpark: the log read
with an inferred schema and cached, then one query and one join per feature. The build makes every
table, runs every data test and publishes. Both have all processors and the same heap, which is 2g
or CHURN_DRIVER_MEMORY, and read files that have been read once before. Prints wall and processor
seconds and peak memory of both, and the factors. The table is written to benchmarks/results, too.
Exit status 1 when a part failed, never because of a time.

Examples:
  python -m benchmarks.seed_style --raw data/raw
  python -m benchmarks.seed_style --raw data/raw --stop-after-minutes 10
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.dbt_runs import (
    LAST_LINES,
    Raw,
    Usage,
    Work,
    busy_warning,
    bytes_in,
    dbt_environment,
    default_target,
    measured,
    progress_line,
    read_once,
    run_dbt,
    save_results,
    shown_bytes,
    shown_memory,
    temporary_work_folder,
)
from warehouse.commands import program
from warehouse.console import Console


def make_features(raw: Path, folder: Path, minutes: float, on_line: Callable[[str], None]) -> Usage:
    """Make the features in a process of its own, killed after `minutes`; it may also fail."""
    spark_folder = folder / "spark"  # what a killed Spark leaves goes with the work folder
    spark_folder.mkdir()
    return measured(
        [
            *(sys.executable, "-m", "benchmarks.seed_features"),
            *("--raw", str(raw), "--out", str(folder / "features")),
        ],
        dbt_environment(folder) | {"SPARK_LOCAL_DIRS": str(spark_folder)},
        on_line,
        accepted=range(-256, 256),
        stop_after_seconds=minutes * 60,
    )


def factor(features: float, build: float, is_at_least: bool) -> str:
    """How many times as much the features took as the build, in words."""
    return f"{'more than ' if is_at_least else ''}{features / build:.2f}"


def as_markdown(raw_bytes: int, build: Usage, features: Usage) -> str:
    """Both, the factors, and a warning where the machine was busy."""
    wall = f"{features.wall_seconds:.1f} s"
    if features.was_stopped:
        wall = f"stopped after {features.wall_seconds / 60:.0f} minutes"
    elif features.exit_status:
        wall = f"failed after {wall}"
    is_complete = not features.was_stopped and not features.exit_status
    lines = [
        f"{shown_bytes(raw_bytes)} of logs, target {default_target()}, one sitting.",
        "",
        "| what | wall | processor | memory |",
        "|---|---|---|---|",
        f"| dbt build: all tables and data tests | {build.wall_seconds:.1f} s "
        f"| {build.cpu_seconds:.1f} s | {shown_memory(build.peak_bytes)} |",
        f"| a query and a join per feature | {wall} "
        f"| {features.cpu_seconds:.1f} s | {shown_memory(features.peak_bytes)} |",
    ]
    factors = (
        factor(features.wall_seconds, build.wall_seconds, not is_complete),
        factor(features.cpu_seconds, build.cpu_seconds, not is_complete),
        factor(features.peak_bytes, build.peak_bytes, not is_complete),
    )
    lines.append(f"| times dbt build | {' | '.join(factors)} |")
    if is_complete:
        lines += ["", f"Features: {features.output.splitlines()[-1]}."]
    if warning := busy_warning([build, features]):
        lines += ["", warning]
    return "\n".join(lines) + "\n"


def compare(raw: Path, minutes: float, work: Path | None, console: Console) -> Usage:
    """Run both, print and keep the table; returns what the features took."""
    with (
        temporary_work_folder(keep=False, parent=work) as folder,
        progress_line(console) as progress,
    ):
        task = progress.add_task("reading the files once")

        def say(text: str) -> None:
            progress.update(task, description=text)

        read_once(raw)
        say("dbt build")
        run = run_dbt(
            "build",
            [],
            folder,
            raw,
            lambda text: say(f"dbt build, node {text}"),
        )
        run.raise_if_failed("dbt build")
        say("features")
        features = make_features(raw, folder, minutes, lambda line: say(f"features: {line[:80]}"))
    save_results("seed_style", as_markdown(bytes_in(raw), run.usage, features))
    return features


@program("python -m benchmarks.seed_style", __doc__)
def main(
    raw: Raw,
    stop_after_minutes: Annotated[
        float,
        typer.Option(
            min=0.01,
            metavar="MINUTES",
            help="When to stop making the features, and say so.",
        ),
    ] = 30,
    work: Work = None,
) -> int:
    """Command line of the benchmark; returns the exit status."""
    features = compare(raw, stop_after_minutes, work, Console())
    if features.exit_status and not features.was_stopped:
        print("\n".join(features.output.splitlines()[-LAST_LINES:]), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
