"""What growth costs: a whole `dbt build`, data tests included, of simulated logs of several sizes.

Each log covers the same 61 days; more bytes are more users. Every size gets a warehouse of its own,
in one sitting, on the default target (CHURN_TARGET chooses another). With --steps the largest log
is also trained on, scored and reported; with --skew it is built once more, a tenth of its users
made one. Prints wall and processor seconds, peak memory, bytes on disk per raw byte, and the
exponent b of wall = a * bytes ** b, fitted by least squares of the logarithms to the sizes from
0.5 GB on. The table is written to benchmarks/results, too. Exit status 1 when a part failed, never
because of a time.

Examples:
  python -m benchmarks.growth
  python -m benchmarks.growth --gigabytes 0.5 --gigabytes 12 --steps
  CHURN_TARGET=local python -m benchmarks.growth --gigabytes 2.5 --skew
"""

from __future__ import annotations

import math
import re
import shutil
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, TaskID

from benchmarks.dbt_runs import (
    Usage,
    Work,
    busy_warning,
    bytes_in,
    dbt_environment,
    default_target,
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

SIZES = [0.1, 0.5, 1.0, 2.5]
BYTES_PER_USER = 535_000  # of 61 simulated days
FITTED_FROM = 0.5e9
USERS_OF_A_TENTH = re.compile(rb'("userId": ?)"\d*0"')
STEPS = {
    "train": ("-m", "ml", "train"),
    "score": ("-m", "ml", "score"),
    "report": ("-m", "report"),
}


@dataclass(frozen=True)
class Row:
    """One command: on how many raw bytes, what it took, and the warehouse's bytes after it."""

    what: str
    raw_bytes: int
    usage: Usage
    disk_bytes: int


def give_a_tenth_to_one_user(raw: Path) -> None:
    """Let all users whose number ends in 0 be the user `0`, in place."""
    for file in sorted(path for path in raw.rglob("*.json") if path.is_file()):
        skewed = file.with_suffix(".part")
        with file.open("rb") as lines, skewed.open("wb") as out:
            out.writelines(USERS_OF_A_TENTH.sub(rb'\1"0"', line) for line in lines)
        skewed.replace(file)


def measure_size(
    folder: Path,
    gigabytes: float,
    steps: bool,
    say: Callable[[str], None],
    skew: bool = False,
) -> list[Row]:
    """Build one size in a new warehouse below `folder`, and use it; deletes both."""
    label = f"{gigabytes:g} GB"
    raw, warehouse = folder / "raw", folder / "warehouse"
    say(f"{label}: simulating the log")
    users = max(round(gigabytes * 1e9 / BYTES_PER_USER), 1)
    simulate(raw, users, "2018-10-01", "2018-11-30")
    if skew:
        give_a_tenth_to_one_user(raw)
    size = bytes_in(raw)
    run = run_dbt(
        "build",
        [],
        folder,
        raw,
        lambda text: say(f"{label}: dbt build, node {text}"),
    )
    run.raise_if_failed(label)
    what = "build, a tenth of it one user" if skew else "build"
    rows = [Row(what, size, run.usage, bytes_in(warehouse))]
    for name, command in STEPS.items() if steps else ():
        say(f"{label}: {name}")
        options = ["--artifacts", str(folder / "artifacts")]
        options += ["--out", str(folder / "report.html")] if name == "report" else []
        usage = measured([sys.executable, *command, *options], dbt_environment(folder))
        rows.append(Row(name, size, usage, bytes_in(warehouse)))
    shutil.rmtree(raw)
    shutil.rmtree(warehouse)
    return rows


def exponent(rows: Sequence[Row]) -> float | None:
    """Slope of log(wall seconds) over log(raw bytes) of builds from 0.5 GB on, if there are two."""
    builds = [row for row in rows if row.what == "build" and row.raw_bytes > FITTED_FROM * 0.9]
    if len(builds) < 2:
        return None
    return statistics.linear_regression(
        [math.log(row.raw_bytes) for row in builds],
        [math.log(row.usage.wall_seconds) for row in builds],
    ).slope


def as_markdown(rows: Sequence[Row]) -> str:
    """The table, the exponent, and a warning where the machine was busy."""
    lines = [
        f"Target {default_target()}, all data tests included, one sitting.",
        "",
        "| raw | what | wall | processor | memory | disk per raw byte |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.raw_bytes / 1e9:.2f} GB | {row.what} | {row.usage.wall_seconds:.1f} s "
        f"| {row.usage.cpu_seconds:.1f} s | {shown_memory(row.usage.peak_bytes)} "
        f"| {row.disk_bytes / row.raw_bytes:.3f} |"
        for row in rows
    ]
    fitted = exponent(rows)
    if fitted is not None:
        lines += ["", f"Exponent of the builds from 0.5 GB on: {fitted:.2f}."]
    if warning := busy_warning([row.usage for row in rows]):
        lines += ["", warning]
    return "\n".join(lines) + "\n"


@program("python -m benchmarks.growth", __doc__)
def main(
    gigabytes: Annotated[list[float], typer.Option(help="A size. Repeat for several.")] = SIZES,
    steps: Annotated[
        bool, typer.Option("--steps", help="Train, score and report on the largest, too.")
    ] = False,
    skew: Annotated[
        bool, typer.Option("--skew", help="Build the largest with a skew, too.")
    ] = False,
    work: Work = None,
) -> None:
    """Command line of the benchmark."""
    console = Console()
    rows: list[Row] = []
    try:
        with temporary_work_folder(keep=False, parent=work) as folder:
            largest = max(gigabytes)
            builds = [(size, steps and size == largest, False) for size in gigabytes]
            builds += [(largest, False, True)] if skew else []
            for size, has_steps, is_skewed in builds:
                with progress_line(console) as progress:
                    task = progress.add_task("")

                    def show(text: str, task: TaskID = task, on: Progress = progress) -> None:
                        on.update(task, description=text)

                    rows += measure_size(folder, size, has_steps, show, is_skewed)
    finally:
        if rows:
            save_results("growth", as_markdown(rows))


if __name__ == "__main__":
    sys.exit(main())
