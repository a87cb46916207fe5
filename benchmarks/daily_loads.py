"""Load a log day by day, as it would arrive: does a day cost the same at the end as at the start?

Each day is one file and one `dbt build` with all data tests in a process of its own; every seventh
day `maintain` tidies up. Prints the time of an early and of a late day (medians of several days),
their ratio, and the files and bytes of the warehouse on the way. Without --raw the log of some 230
users over 62 days is simulated first. Exit status 1 when a build failed or was not published, never
because of a time.

Example:
  python -m benchmarks.daily_loads --days 62
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from rich.progress import Progress
from rich.table import Table

from benchmarks.dbt_runs import (
    BenchmarkError,
    Usage,
    busy_warning,
    dbt_environment,
    default_target,
    measured,
    progress_line,
    raw_logs,
    run_dbt,
    simulate,
    temporary_work_folder,
)
from warehouse.commands import folder_option, program
from warehouse.console import Console

FIRST_DAY = "2018-10-01"
EARLY_DAY = 10
DAYS_OF_A_MEDIAN = 5
DAYS_BETWEEN_MAINTENANCE = 7


@dataclass(frozen=True)
class Size:
    """Files and bytes of all tables; `metadata` is what Iceberg keeps beside the data."""

    data_files: int
    metadata_files: int
    metadata_bytes: int


@dataclass(frozen=True)
class Day:
    """The build of one day, and the warehouse after it."""

    number: int
    usage: Usage
    size: Size


def simulated_days(folder: Path, days: int) -> Path:
    """A log with one file per day."""
    last = date.fromisoformat(FIRST_DAY) + timedelta(days=days - 1)
    simulate(folder, 230, FIRST_DAY, last.isoformat())
    return folder


def size_of(warehouse: Path) -> Size:
    """What lies in a warehouse."""
    files = [path for path in warehouse.rglob("*") if path.is_file() and path.suffix != ".crc"]
    metadata = [path for path in files if path.parent.name == "metadata"]
    return Size(
        data_files=sum(path.suffix == ".parquet" for path in files),
        metadata_files=len(metadata),
        metadata_bytes=sum(path.stat().st_size for path in metadata),
    )


def maintain(folder: Path) -> None:
    """What a scheduler does once a week."""
    tidy = ("-m", "warehouse", "maintain", "--keep-hours", "0", "--builds-kept", "3")
    measured([sys.executable, *tidy], dbt_environment(folder))


def load(files: Sequence[Path], folder: Path, progress: Progress) -> list[Day]:
    """Build after each file has landed."""
    landing = folder / "raw"
    landing.mkdir()
    task = progress.add_task("")
    days = []
    for number, file in enumerate(files, 1):
        (landing / file.name).symlink_to(file)
        progress.update(task, description=f"day {number} of {len(files)}")
        run = run_dbt("build", [], folder, landing)
        if run.failed or not re.search(r"\bPublished ", run.usage.output):
            raise BenchmarkError(f"day {number}: not published; failed: {', '.join(run.failed)}")
        days.append(Day(number, run.usage, size_of(folder / "warehouse")))
        if number % DAYS_BETWEEN_MAINTENANCE == 0:
            progress.update(task, description=f"day {number} of {len(files)}: maintain")
            maintain(folder)
    return days


def around(days: Sequence[Day], number: int) -> list[Day]:
    """The days of a median: those next to one."""
    last = min(number + DAYS_OF_A_MEDIAN // 2, len(days))
    return list(days[max(last - DAYS_OF_A_MEDIAN, 0) : last])


def show(days: Sequence[Day], console: Console) -> None:
    """Print what days cost, and what lies in the warehouse after them."""
    table = Table(title=f"A file and a dbt build with data tests a day, target {default_target()}")
    for name in ("day", "wall", "processor", "data files", "metadata files", "metadata"):
        table.add_column(name, justify="right")
    for number in sorted({1, EARLY_DAY, len(days) // 2, len(days)}):
        if number > len(days):
            continue
        near = around(days, number) if number > 1 else days[:1]
        size = days[number - 1].size
        table.add_row(
            str(number),
            f"{median(day.usage.wall_seconds for day in near):.1f} s",
            f"{median(day.usage.cpu_seconds for day in near):.1f} s",
            f"{size.data_files:,}",
            f"{size.metadata_files:,}",
            f"{size.metadata_bytes / 1e6:.1f} MB",
        )
    console.print(table)
    early, late = around(days, EARLY_DAY), around(days, len(days))
    wall = [median(day.usage.wall_seconds for day in near) for near in (early, late)]
    cpu = [median(day.usage.cpu_seconds for day in near) for near in (early, late)]
    most = max(days, key=lambda day: day.size.metadata_files)
    console.print(
        f"Day {len(days)} against day {EARLY_DAY}: wall {wall[1] / wall[0]:.2f}, "
        f"processor {cpu[1] / max(cpu[0], 0.1):.2f} (medians of {DAYS_OF_A_MEDIAN} days). "
        f"Most metadata files: {most.size.metadata_files:,}, after day {most.number}."
    )
    if warning := busy_warning([day.usage for day in days]):
        console.print(warning, style="yellow")


@program("python -m benchmarks.daily_loads", __doc__)
def main(
    raw: Annotated[
        Path | None, folder_option("Folder of raw logs, one file a day.", "simulated")
    ] = None,
    days: Annotated[int, typer.Option(min=EARLY_DAY + 1, help="Days to load.")] = 62,
) -> None:
    """Command line of the benchmark."""
    console = Console()
    with temporary_work_folder(keep=False) as folder, progress_line(console) as progress:
        files = raw_logs(raw or simulated_days(folder / "log", days))
        loaded = load(files[:days], folder, progress)
    show(loaded, console)


if __name__ == "__main__":
    sys.exit(main())
