"""What one more day costs: a whole build, the last full day on top, and a build without news.

The day is cut from the log by its timestamps; dates after it are left out. All builds run every
data test, in one warehouse, in one sitting: each in a process of its own, or, with --server, all
through one server that has just started. Events read: rows that Spark's scans of the raw logs and
of `base_events` gave, by its event log. Exit status 1 when a build failed or was not published,
never because of a time.

examples:
  python -m benchmarks.one_more_day --raw data/raw
  python -m benchmarks.one_more_day --raw data/raw --server
"""

from __future__ import annotations

import argparse
import gzip
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from datetime import datetime, timezone
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.dbt_runs import (
    BenchmarkError,
    DbtRun,
    busy_warning,
    default_target,
    existing_folder,
    log_spark_events,
    progress_line,
    run_dbt,
    running_server,
    shown_memory,
    shown_seconds,
    spark_events,
    temporary_work_folder,
)
from benchmarks.make_duckdb_tables import log_files
from server.process import Server, ServerError

DAY = 86_400_000
TIMESTAMP = re.compile(rb'"ts"\s*:\s*(\d+)')
SCANS = re.compile(r"Scan.*\b(base_events\b|raw_events_|raw_lines_)")


def cut_off_last_day(raw: Path, earlier: Path, day: Path) -> tuple[str, int]:
    """Copy the log without its last full day into `earlier`, the day into the file `day`.

    The last full day is the last with at least half the median number of lines. Returns its date
    and its lines. Lines without a timestamp stay with the earlier ones.
    """
    files = log_files(raw)
    lines_of = Counter(_day(line) for file in files for line in _lines(file))
    lines_of.pop(None, None)
    usual = median(lines_of.values())
    last = max(date for date, lines in lines_of.items() if lines >= usual / 2)
    earlier.mkdir(parents=True)
    with day.open("wb") as of_day:
        for number, file in enumerate(files):
            with (earlier / f"{number:04}.json").open("wb") as out:
                for line in _lines(file):
                    number_of_day = _day(line)
                    if number_of_day == last:
                        of_day.write(line)
                    elif number_of_day is None or number_of_day < last:
                        out.write(line)
    date = datetime.fromtimestamp(last * DAY / 1000, timezone.utc).date()
    return date.isoformat(), lines_of[last]


def _lines(file: Path) -> Iterator[bytes]:
    with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as lines:
        yield from lines


def _day(line: bytes) -> int | None:
    found = TIMESTAMP.search(line)
    return int(found[1]) // DAY if found else None


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
        ["--exclude-resource-type", "unit_test"],
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


def main() -> int:
    """Command line of the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.one_more_day",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--raw", required=True, help="folder of raw logs, of many days")
    parser.add_argument("--server", action="store_true", help="build through one running server")
    given = parser.parse_args()
    console = Console()
    try:
        raw = existing_folder(given.raw)
        with (
            temporary_work_folder(keep=False) as folder,
            progress_line(console) as progress,
        ):
            log_spark_events(folder / "events")
            landing, day = folder / "raw", folder / "day.json"
            cutting = progress.add_task("cutting the last day off the log")
            date, lines = cut_off_last_day(raw, landing, day)
            progress.remove_task(cutting)
            with running_server(folder, writable=True) if given.server else nullcontext() as server:
                where = (folder, landing, progress, server)
                runs = {"everything before": build("everything before", *where)}
                day.rename(landing / day.name)
                runs[f"{date}, {lines:,} lines"] = build("one more day", *where)
                runs["nothing new"] = build("nothing new", *where)
    except (BenchmarkError, ServerError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 1
    how = "one server" if given.server else f"target {default_target()}, a process each"
    show(runs, how, console)
    return 0


def show(runs: dict[str, tuple[DbtRun, int]], how: str, console: Console) -> None:
    """Print what each build took, the first being the measure of the others."""
    table = Table(title=f"dbt build with all data tests, {how}")
    table.add_column("what landed")
    for name in ("wall", "of the first", "processor", "memory", "events read", "of the first"):
        table.add_column(name, justify="right")
    (first, first_events), *_ = runs.values()
    events_before = 0
    for label, (run, events_until) in runs.items():
        usage, events = run.usage, events_until - events_before
        events_before = events_until
        table.add_row(
            label,
            f"{usage.wall_seconds:.1f} s",
            f"{usage.wall_seconds / first.usage.wall_seconds:.2f}",
            shown_seconds(usage.cpu_seconds),
            shown_memory(usage.peak_bytes),
            f"{events:,}",
            f"{events / max(first_events, 1):.3f}",
        )
    console.print(table)
    if warning := busy_warning([run.usage for run, _ in runs.values()]):
        console.print(f"[yellow]{warning}")


if __name__ == "__main__":
    sys.exit(main())
