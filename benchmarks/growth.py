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

import math
import re
import shutil
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.dbt_runs import (
    Bench,
    Usage,
    benchmark,
    busy_warning,
    bytes_in,
    default_target,
    last_day,
    markdown_table,
    save_results,
)
from warehouse.commands import program

SIZES = [0.1, 0.5, 1.0, 2.5]
DAYS = 61
BYTES_PER_USER = 535_000  # of so many simulated days
FITTED_FROM = 0.5e9
USERS_OF_A_TENTH = re.compile(rb'("userId": ?)"\d*0"')


@dataclass(frozen=True)
class Row:
    """One command: on how many raw bytes, what it took, and the warehouse's bytes after it."""

    what: str
    raw_bytes: int
    usage: Usage
    disk_bytes: int


@program("python -m benchmarks.growth", __doc__)
def main(
    gigabytes: Annotated[list[float], typer.Option(help="A size. Repeat for several.")] = SIZES,
    steps: Annotated[
        bool, typer.Option("--steps", help="Train, score and report on the largest, too.")
    ] = False,
    skew: Annotated[
        bool, typer.Option("--skew", help="Build the largest with a skew, too.")
    ] = False,
) -> None:
    """Command line of the benchmark."""
    rows: list[Row] = []
    largest = max(gigabytes)
    try:
        with benchmark() as bench:
            for size in gigabytes:
                rows += measure(bench, size, has_steps=steps and size == largest)
            if skew:
                rows += measure(bench, largest, is_skewed=True)
    finally:
        if rows:
            save_results("growth", as_markdown(rows))


def measure(
    bench: Bench, gigabytes: float, has_steps: bool = False, is_skewed: bool = False
) -> Iterator[Row]:
    """Build one size in a new warehouse, and use it; deletes both."""
    label = f"{gigabytes:g} GB"
    raw, warehouse, artifacts = (bench.folder / name for name in ("raw", "warehouse", "artifacts"))
    bench.say(f"{label}: simulating the log")
    bench.simulate(raw, users_of(gigabytes), last_day(DAYS))
    if is_skewed:
        give_a_tenth_to_one_user(raw)
    raw_bytes = bytes_in(raw)
    run = bench.dbt(label, raw)
    what = "build, a tenth of it one user" if is_skewed else "build"
    yield Row(what, raw_bytes, run.usage, bytes_in(warehouse))
    commands = {
        "train": ("ml", "train"),
        "score": ("ml", "score"),
        "report": ("report", "--out", str(bench.folder / "report.html")),
    }
    for name, command in commands.items() if has_steps else ():
        bench.say(f"{label}: {name}")
        usage = bench.python("-m", *command, "--artifacts", str(artifacts))
        yield Row(name, raw_bytes, usage, bytes_in(warehouse))
    shutil.rmtree(raw)
    shutil.rmtree(warehouse)


def users_of(gigabytes: float) -> int:
    """How many simulated users have so much in 61 days."""
    return max(round(gigabytes * 1e9 / BYTES_PER_USER), 1)


def give_a_tenth_to_one_user(raw: Path) -> None:
    """Let all users whose number ends in 0 be the user `0`, in place."""
    for file in sorted(path for path in raw.rglob("*.json") if path.is_file()):
        skewed = file.with_suffix(".part")
        with file.open("rb") as lines, skewed.open("wb") as out:
            out.writelines(USERS_OF_A_TENTH.sub(rb'\1"0"', line) for line in lines)
        skewed.replace(file)


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
    table = markdown_table(
        ("raw", "what", "wall", "processor", "memory", "disk per raw byte"),
        [
            (
                f"{row.raw_bytes / 1e9:.2f} GB",
                row.what,
                f"{row.usage.wall_seconds:.1f} s",
                f"{row.usage.cpu_seconds:.1f} s",
                row.usage.memory,
                f"{row.disk_bytes / row.raw_bytes:.3f}",
            )
            for row in rows
        ],
    )
    parts = [f"Target {default_target()}, all data tests included, one sitting.", table]
    fitted = exponent(rows)
    if fitted is not None:
        parts.append(f"Exponent of the builds from 0.5 GB on: {fitted:.2f}.")
    if warning := busy_warning(row.usage for row in rows):
        parts.append(warning)
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.exit(main())
