"""Load a log day by day, as it would arrive: does a day cost the same at the end as at the start?

Each day is one file and one `dbt build` with all data tests in a process of its own; every seventh
day `maintain` tidies up. Prints the time of an early and of a late day (medians of several days),
their ratio, and the files and bytes of the warehouse on the way. The log, of some 230 users, is
simulated first. Exit status 1 when a build failed or was not published, never because of a time.

Example:
  python -m benchmarks.daily_loads --days 62
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from benchmarks.dbt_runs import (
    Bench,
    BenchmarkError,
    Usage,
    benchmark,
    default_target,
    figures_table,
    last_day,
    warn_if_busy,
)
from warehouse.commands import program
from warehouse.console import Console

EARLY_DAY = 10
DAYS_OF_A_MEDIAN = 5
DAYS_BETWEEN_MAINTENANCE = 7


@dataclass(frozen=True)
class Day:
    """The build of a day, and what all tables have after it: data, and Iceberg's metadata."""

    number: int
    usage: Usage
    data_files: int
    metadata_files: int
    metadata_bytes: int


@program("python -m benchmarks.daily_loads", __doc__)
def main(
    days: Annotated[int, typer.Option(min=EARLY_DAY + 1, help="Days to load.")] = 62,
) -> None:
    """Command line of the benchmark."""
    with benchmark() as bench:
        log = bench.simulate(bench.folder / "log", 230, last_day(days))
        loaded = load(sorted(log.glob("*.json")), bench)
    show(loaded, Console())


def load(files: Sequence[Path], bench: Bench) -> list[Day]:
    """Build after each file has landed; once a week do what a scheduler does."""
    landing = bench.folder / "raw"
    landing.mkdir()
    days = []
    for number, file in enumerate(files, 1):
        (landing / file.name).symlink_to(file)
        run = bench.dbt(f"day {number} of {len(files)}", landing)
        if not run.is_published:
            raise BenchmarkError(f"day {number}: not published")
        days.append(day_of(number, run.usage, bench.folder / "warehouse"))
        if number % DAYS_BETWEEN_MAINTENANCE == 0:
            bench.say(f"day {number} of {len(files)}: maintain")
            maintain(bench)
    return days


def maintain(bench: Bench) -> None:
    """Tidy up at once; three builds are kept."""
    bench.python("-m", "warehouse", "maintain", "--keep-hours", "0", "--builds-kept", "3")


def day_of(number: int, usage: Usage, warehouse: Path) -> Day:
    """A day, with what lies in the warehouse after it."""
    files = [path for path in warehouse.rglob("*") if path.is_file() and path.suffix != ".crc"]
    metadata = [path for path in files if path.parent.name == "metadata"]
    data_files = sum(path.suffix == ".parquet" for path in files)
    metadata_bytes = sum(path.stat().st_size for path in metadata)
    return Day(number, usage, data_files, len(metadata), metadata_bytes)


def around(days: Sequence[Day], number: int) -> tuple[float, float]:
    """Median wall and processor seconds of a day and those next to it; of the first alone."""
    last = min(number + DAYS_OF_A_MEDIAN // 2, len(days))
    near = days[max(last - DAYS_OF_A_MEDIAN, 0) : last] if number > 1 else days[:1]
    wall_seconds = median(day.usage.wall_seconds for day in near)
    return wall_seconds, median(day.usage.cpu_seconds for day in near)


def show(days: Sequence[Day], console: Console) -> None:
    """Print what days cost, and what lies in the warehouse after them."""
    title = f"A file and a dbt build with data tests a day, target {default_target()}"
    columns = ("wall", "processor", "data files", "metadata files", "metadata")
    table = figures_table(title, "day", *columns)
    for number in sorted({1, EARLY_DAY, len(days) // 2, len(days)}):
        day, (wall_seconds, cpu_seconds) = days[number - 1], around(days, number)
        table.add_row(
            str(number),
            f"{wall_seconds:.1f} s",
            f"{cpu_seconds:.1f} s",
            f"{day.data_files:,}",
            f"{day.metadata_files:,}",
            f"{day.metadata_bytes / 1e6:.1f} MB",
        )
    console.print(table)
    early_wall, early_cpu = around(days, EARLY_DAY)
    late_wall, late_cpu = around(days, len(days))
    most = max(days, key=lambda day: day.metadata_files)
    console.print(
        f"Day {len(days)} against day {EARLY_DAY}: wall {late_wall / early_wall:.2f}, "
        f"processor {late_cpu / max(early_cpu, 0.1):.2f} (medians of {DAYS_OF_A_MEDIAN} days). "
        f"Most metadata files: {most.metadata_files:,}, after day {most.number}."
    )
    warn_if_busy(console, (day.usage for day in days))


if __name__ == "__main__":
    sys.exit(main())
