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

from __future__ import annotations

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
from rich.progress import Progress
from rich.table import Table

from benchmarks.dbt_runs import (
    BenchmarkError,
    DbtRun,
    Raw,
    busy_warning,
    default_target,
    log_spark_events,
    progress_line,
    raw_logs,
    run_dbt,
    running_server,
    shown_memory,
    spark_events,
    temporary_work_folder,
)
from server.process import Server
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
    files = raw_logs(raw)
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


def events_read(event_logs: Path) -> int:
    """Rows that scans of raw logs and of `base_events` gave, by the event log of each Spark run."""
    return sum(_events_read(events) for events in spark_events(event_logs))


def _events_read(events: Iterable[dict]) -> int:
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


def build(
    label: str, folder: Path, raw: Path, progress: Progress, server: Server | None = None
) -> tuple[DbtRun, int]:
    """One `dbt build` with all data tests, and the events read up to its end."""
    task = progress.add_task(label)
    run = run_dbt(
        "build",
        [],
        folder,
        raw,
        lambda text: progress.update(task, description=f"{label}: node {text}"),
        server,
    )
    progress.remove_task(task)
    if run.failed or not re.search(r"\bPublished |Nothing new", run.usage.output):
        failed = ", ".join(run.failed) or "nothing"
        raise BenchmarkError(f"{label}: not published; failed: {failed}")
    return run, events_read(folder / "events")


@program("python -m benchmarks.one_more_day", __doc__)
def main(
    raw: Raw,
    days: Annotated[int, typer.Option(min=1, help="How many days on top.")] = 3,
    server: Annotated[
        bool, typer.Option("--server", help="Build through one running server.")
    ] = False,
) -> None:
    """Command line of the benchmark."""
    console = Console()
    with temporary_work_folder(keep=False) as folder, progress_line(console) as progress:
        log_spark_events(folder / "events")
        landing = folder / "raw"
        cutting = progress.add_task("cutting the last days off the log")
        cut = cut_off_last_days(raw, days, landing, folder / "days")
        progress.remove_task(cutting)
        with running_server(folder, writable=True) if server else nullcontext() as running:
            where = (folder, landing, progress, running)
            runs = {"everything before": build("everything before", *where)}
            for day, lines in cut.items():
                day.rename(landing / day.name)
                runs[f"{day.stem}, {lines:,} lines"] = build(day.stem, *where)
            runs["nothing new"] = build("nothing new", *where)
    how = "one server" if server else f"target {default_target()}, a process each"
    show(runs, how, console)


def show(runs: dict[str, tuple[DbtRun, int]], how: str, console: Console) -> None:
    """Print what each build took, the first being the measure of the others, and the median day."""
    table = Table(title=f"dbt build with all data tests, {how}; shares are of the first")
    table.add_column("what landed")
    for name in ("wall", "share", "processor", "memory", "events read", "share"):
        # in a log of 80 columns the first column gives way, never a figure
        table.add_column(name, justify="right", no_wrap=True)
    (first, first_events), *_ = runs.values()
    shares, events_before = [], 0
    for label, (run, events_until) in runs.items():
        usage, events = run.usage, events_until - events_before
        events_before = events_until
        shares.append(events / max(first_events, 1))
        table.add_row(
            label,
            f"{usage.wall_seconds:.1f} s",
            f"{usage.wall_seconds / first.usage.wall_seconds:.2f}",
            f"{usage.cpu_seconds:.1f} s",
            shown_memory(usage.peak_bytes),
            f"{events:,}",
            f"{shares[-1]:.3f}",
        )
    console.print(table)
    days = [run.usage.wall_seconds for run, _ in runs.values()][1:-1]
    console.print(
        f"A day, median of {len(days)}: {median(days):.1f} s, "
        f"{median(days) / first.usage.wall_seconds:.2f} of the first build; "
        f"{median(shares[1:-1]):.3f} of its events read."
    )
    if warning := busy_warning([run.usage for run, _ in runs.values()]):
        console.print(warning, style="yellow")


if __name__ == "__main__":
    sys.exit(main())
