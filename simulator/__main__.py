"""python -m simulator: write a log of made-up users."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from simulator.behaviour import scenarios
from simulator.commands import program
from simulator.log_files import Progress as Told
from simulator.log_files import write_log
from simulator.settings import Format, Layout, Settings

MOST_USERS = 50_000_000
MOST_DAYS = 3_660
MOST_DIRT = 0.4

EPILOG = """
Examples:
  a small set of about 260,000 events, in a few seconds:
    python -m simulator --users 230 --start 2018-10-01 --end 2018-12-01 \\
      --seed 1 --out data/mini
  the size of the full Sparkify set, 12 GB:
    python -m simulator --users 23000 --start 2018-10-01 --end 2018-11-30 \\
      --seed 1 --out data/full
  one line in a hundred is a bad line, and manifest.csv lists each:
    python -m simulator --users 230 --start 2018-10-01 --end 2018-12-01 \\
      --seed 1 --out data/dirty --dirt 0.01

Files in DIR:
  events-2018-10-01.json, ...          --layout flat
  date=2018-10-01/events.json, ...     --layout dated
  truth.csv      one row per account: its hidden type, its rates and its
                 outcome; if churned_at lies before the log, the log has no
                 event of the account
  manifest.csv   with --dirt: one row per injected line, with file,
                 line_number, kind and expected_outcome (staged, duplicate, or
                 rejected:<reason>)

About three in a hundred accounts have no event in two months, so N accounts give 0.97 N users.
"""


@program("python -m simulator", EPILOG)
def main(
    users: Annotated[int, typer.Option(min=1, max=MOST_USERS, help="Number of accounts.")],
    start: Annotated[date, typer.Option(help="First day, like 2018-10-01 (UTC).")],
    end: Annotated[date, typer.Option(help="Last day.")],
    seed: Annotated[int, typer.Option(help="Another seed gives another log.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="A new or an empty folder.")],
    format: Format = "json",
    layout: Annotated[
        Layout, typer.Option(help="All files in DIR, or each in a folder date=<day>.")
    ] = "flat",
    dirt: Annotated[
        float,
        typer.Option(
            min=0,
            max=MOST_DIRT,
            help="Share of bad lines to inject. One file is also delivered twice.",
        ),
    ] = 0,
    scenario: Annotated[
        str,
        typer.Option(
            help="What changes from a date on: nothing (baseline), more cancellations of paid "
            "accounts (price_rise), twice the adverts (free_tier_ads), two days of errors "
            "(outage)."
        ),
    ] = "baseline",
    scenario_from: Annotated[
        date | None, typer.Option(help="That date.", show_default="the middle of the log")
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Number of processes.", show_default="one per core")
    ] = os.cpu_count() or 1,
    anonymous_user_id: Annotated[
        str, typer.Option(help="userId of anonymous visitors, 1261737 in the full set.")
    ] = "",
) -> int:
    """Write an event log of simulated users of a music-streaming service.

    In the raw Sparkify format: one JSON object per line, in order of time, one file per day. The
    same options give the same bytes, however many processes write them.
    """
    settings = Settings(
        users, start, end, seed, format, layout, dirt, scenario, scenario_from, anonymous_user_id
    )
    _check(settings, out)
    signal.signal(signal.SIGTERM, _end)
    return _write(settings, out, workers)


def _check(given: Settings, out: Path) -> None:
    """Raises BadParameter, with a sentence about the first option that is wrong."""
    start, end, from_ = given.start, given.end, given.scenario_from
    checks = [
        (end >= start, f"--end {end} is before --start {start}"),
        ((end - start).days < MOST_DAYS, f"a log may have {MOST_DAYS} days at most"),
        (start.year >= 2000 and end.year < 2100, "the days must be of the years 2000 to 2099"),
        (given.scenario in scenarios(), f"--scenario must be one of {', '.join(scenarios())}"),
        (from_ is None or start <= from_ <= end,
         f"--scenario-from {from_} is not between --start and --end"),
        (not out.exists() or out.is_dir(), f"--out {out} is a file, not a folder"),
        (not out.is_dir() or not any(out.iterdir()), f"--out {out} is not empty"),
    ]  # fmt: skip
    for is_right, message in checks:
        if not is_right:
            raise typer.BadParameter(message)


def _write(settings: Settings, out: Path, workers: int) -> int:
    """Exit status: 0 written, 1 could not be written, 130 interrupted."""
    started = time.monotonic()
    try:
        with _progress(Console(stderr=True)) as told:
            report = write_log(settings, out, workers, told)
    except OSError as error:
        reason = error.strerror or error
        print(f"simulator: the log was not written to {out}: {reason}. Nothing was kept. "
              "Free some space or choose another folder.", file=sys.stderr)  # fmt: skip
        return 1
    except BrokenProcessPool:
        print("simulator: one of its processes was killed, perhaps for lack of memory. Nothing was "
              "kept. Try fewer --workers.", file=sys.stderr)  # fmt: skip
        return 1
    except KeyboardInterrupt:
        print("simulator: interrupted, nothing was kept.", file=sys.stderr)
        return 130
    seconds = time.monotonic() - started
    print(
        f"{report.events:,} events"
        + (f" and {report.injected_lines:,} injected lines" if settings.dirt else "")
        + f", {report.bytes / 1e6:,.1f} MB, in {out} after {seconds:.1f} s"
        f" ({report.events / seconds:,.0f} events a second)"
    )
    return 0


@contextmanager
def _progress(console: Console) -> Iterator[Told]:
    name, done_of_all = TextColumn("{task.description:>6}"), MofNCompleteColumn()
    columns = name, BarColumn(), done_of_all, TimeRemainingColumn()
    quiet = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=quiet) as bars:
        tasks = {step: bars.add_task(step, total=None) for step in ("users", "days")}
        yield lambda step, done, total: bars.update(tasks[step], completed=done, total=total)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    """A polite kill cleans up as Ctrl-C does."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
