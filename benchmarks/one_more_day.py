"""What one more day costs: a whole build, the last days on top, one by one, and one without news.

The days are cut from the log by its timestamps; the last of them is the last full one, and what
comes after it is left out. All builds run every data test, in one warehouse, in one sitting: each
in a process of its own, or, with --server, all through one server, started for the first. Events
read: rows that Spark's scans of the raw logs and of `base_events` gave, by its event log. Exit
status 1 when a build failed or was not published, never because of a time.

Examples:
  python -m benchmarks.one_more_day --raw data/raw
  python -m benchmarks.one_more_day --raw data/raw --days 5 --server
"""

import gzip
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, nullcontext
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from benchmarks.dbt_runs import (
    BenchmarkError,
    Raw,
    Usage,
    benchmark,
    default_target,
    figures_table,
    log_spark_events,
    running_server,
    spark_events,
    warn_if_busy,
)
from benchmarks.make_duckdb_tables import log_files
from warehouse.commands import program
from warehouse.console import Console

DAY = 86_400_000
TIMESTAMP = re.compile(rb'"ts"\s*:\s*(\d+)')
SCANS = re.compile(r"Scan.*\b(base_events\b|raw_events_|raw_lines_)")


def cut_off_last_days(raw: Path, days: int, earlier: Path, later: Path) -> dict[Path, int]:
    """Copy the log without its last days into `earlier`, each of them into a file in `later`.

    The last day is the last with at least half the median number of lines. Returns the files of
    the days, named by their dates, oldest first, each with its lines. Lines without a timestamp
    stay with the earlier ones. Raises BenchmarkError when there is no earlier day.
    """
    files = log_files(raw)
    days_of_lines = (_day(line) for file in files for line in _lines(file))
    lines_of = Counter(day for day in days_of_lines if day is not None)
    usual = median(lines_of.values())
    last = max(day for day, lines in lines_of.items() if lines >= usual / 2)
    known = sorted(day for day in lines_of if day <= last)
    if len(known) <= days:
        raise BenchmarkError(f"{raw} has {len(known)} days: choose fewer than those with --days.")
    first = known[-days]
    cut = {day: later / f"{_date(day)}.json" for day in known[-days:]}
    earlier.mkdir(parents=True)
    later.mkdir(parents=True)
    with ExitStack() as opened:
        of_day = {day: opened.enter_context(path.open("wb")) for day, path in cut.items()}
        for number, file in enumerate(files):
            with (earlier / f"{number:04}.json").open("wb") as before:
                for line in _lines(file):
                    day = _day(line)
                    if day in of_day:
                        of_day[day].write(line)
                    elif day is None or day < first:
                        before.write(line)
    return {path: lines_of[day] for day, path in cut.items()}


def _lines(file: Path) -> Iterator[bytes]:
    with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as lines:
        yield from lines


def _day(line: bytes) -> int | None:
    found = TIMESTAMP.search(line)
    return int(found[1]) // DAY if found else None


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * DAY / 1000, timezone.utc).date().isoformat()


def events_read(events: Iterable[dict]) -> int:
    """Rows that scans of raw logs and of `base_events` gave, by the event log of one Spark."""
    counters: set[int] = set()
    rows = 0

    def look_at(plan: dict) -> None:
        if SCANS.search(plan["nodeName"] + plan["simpleString"][:200]):
            counters.update(
                metric["accumulatorId"]
                for metric in plan["metrics"]
                if metric["name"] == "number of output rows"
            )
        for child in plan["children"]:
            look_at(child)

    for event in events:
        if plan := event.get("sparkPlanInfo"):
            look_at(plan)
        elif event["Event"] == "SparkListenerTaskEnd":
            rows += sum(
                int(each.get("Update") or 0)
                for each in event["Task Info"]["Accumulables"]
                if each["ID"] in counters
            )
    return rows


@program("python -m benchmarks.one_more_day", __doc__)
def main(
    raw: Raw,
    days: Annotated[int, typer.Option(min=1, help="How many days on top.")] = 3,
    server: Annotated[
        bool, typer.Option("--server", help="Build through one running server.")
    ] = False,
) -> None:
    """Command line of the benchmark."""
    builds: list[tuple[str, Usage, int]] = []
    with benchmark() as bench:
        folder, landing = bench.folder, bench.folder / "raw"
        log_spark_events(folder / "events")
        bench.say("cutting the last days off the log")
        cut = cut_off_last_days(raw, days, landing, folder / "days")
        with running_server(folder, writable=True) if server else nullcontext() as running:

            def build(label: str) -> None:
                run = bench.dbt(label, landing, server=running)
                if not run.is_published:
                    raise BenchmarkError(f"{label}: not published")
                so_far = sum(map(events_read, spark_events(folder / "events")))
                builds.append((label, run.usage, so_far - sum(events for *_, events in builds)))

            build("everything before")
            for day, lines in cut.items():
                day.rename(landing / day.name)
                build(f"{day.stem}, {lines:,} lines")
            build("nothing new")
    how = "one server" if server else f"target {default_target()}, a process each"
    show(builds, how, Console())


def show(builds: list[tuple[str, Usage, int]], how: str, console: Console) -> None:
    """Print what each build took and how many events it read, in shares of the first, too."""
    title = f"dbt build with all data tests, {how}; shares are of the first"
    columns = ("wall", "share", "processor", "memory", "events read", "share")
    table = figures_table(title, "what landed", *columns)
    _, first, first_events = builds[0]
    for label, usage, events in builds:
        table.add_row(
            label,
            f"{usage.wall_seconds:.1f} s",
            f"{usage.wall_seconds / first.wall_seconds:.2f}",
            f"{usage.cpu_seconds:.1f} s",
            usage.memory,
            f"{events:,}",
            f"{events / max(first_events, 1):.3f}",
        )
    console.print(table)
    days = builds[1:-1]
    seconds = median(usage.wall_seconds for _, usage, _ in days)
    share = median(events / max(first_events, 1) for *_, events in days)
    console.print(
        f"A day, median of {len(days)}: {seconds:.1f} s, "
        f"{seconds / first.wall_seconds:.2f} of the first build; "
        f"{share:.3f} of its events read."
    )
    warn_if_busy(console, (usage for _, usage, _ in builds))


if __name__ == "__main__":
    sys.exit(main())
