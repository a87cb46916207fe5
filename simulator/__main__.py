"""python -m simulator: write a log of made-up users."""

import argparse
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
from typing import NoReturn

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from simulator.behaviour import scenarios
from simulator.log_files import Progress as Told
from simulator.log_files import write_log
from simulator.settings import FORMATS, LAYOUTS, Settings

MOST_USERS = 50_000_000
MOST_DAYS = 3_660
MOST_DIRT = 0.4

DESCRIPTION = """\
Write an event log of simulated users of a music-streaming service, in the raw Sparkify format: one
JSON object per line, in order of time, one file per day. The same options give the same bytes,
however many processes write them.
"""
EPILOG = """\
examples:
  a small set of about 260,000 events, in a few seconds:
    python -m simulator --users 230 --start 2018-10-01 --end 2018-12-01 --seed 1 --out data/mini
  the size of the full Sparkify set, 12 GB:
    python -m simulator --users 23000 --start 2018-10-01 --end 2018-11-30 --seed 1 --out data/full
  one line in a hundred is a bad line, and manifest.csv lists each:
    python -m simulator --users 230 --start 2018-10-01 --end 2018-12-01 --seed 1 --out data/dirty \\
      --dirt 0.01

files in DIR:
  events-2018-10-01.json, ...               (--layout flat), or
  date=2018-10-01/events.json, ...          (--layout dated)
  truth.csv      one row per account: its hidden type, its rates and its outcome; if churned_at lies
                 before the log, the log has no event of the account
  manifest.csv   with --dirt: one row per injected line, with file, line_number, kind and
                 expected_outcome (staged, duplicate, or rejected:<reason>)

About three in a hundred accounts have no event in two months, so N accounts give 0.97 N users.
"""


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 written, 1 could not be written, 2 wrong arguments, 130 interrupted."""
    parser = _parser()
    options = parser.parse_args(arguments)
    settings = _settings(parser, options)
    console = Console(stderr=True)
    started = time.monotonic()
    signal.signal(signal.SIGTERM, _end)
    try:
        with _progress(console) as told:
            report = write_log(settings, options.out, options.workers, told)
    except OSError as error:
        reason = error.strerror or error
        print(f"simulator: the log was not written to {options.out}: {reason}. Nothing was kept. "
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
        + f", {report.bytes / 1e6:,.1f} MB, in {options.out} after {seconds:.1f} s"
        f" ({report.events / seconds:,.0f} events a second)"
    )
    return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m simulator",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--users", type=int, required=True, metavar="N", help="number of accounts")
    add("--start", type=_date, required=True, metavar="D", help="first day, like 2018-10-01 (UTC)")
    add("--end", type=_date, required=True, metavar="D", help="last day")
    add(
        "--seed",
        type=int,
        required=True,
        metavar="S",
        help="random seed: another seed gives another log",
    )
    add("--out", type=Path, required=True, metavar="DIR", help="a new or an empty folder")
    add("--format", choices=FORMATS, default="json", help="default: json")
    add("--layout", choices=LAYOUTS, default="flat",
        help="all files in DIR, or each in a folder date=<day>; default: flat")  # fmt: skip
    add("--dirt", type=float, default=0.0, metavar="RATE",
        help="share of bad lines to inject, 0 to 0.4; one file is also delivered twice; "
        "default: 0")  # fmt: skip
    add("--scenario", choices=scenarios(), default="baseline",
        help="what changes from a date on: more cancellations of paid accounts (price_rise), "
        "twice the adverts (free_tier_ads), two days of errors (outage); default: baseline, "
        "no change")  # fmt: skip
    add(
        "--scenario-from", type=_date, metavar="D", help="that date; default: the middle of the log"
    )
    add("--workers", type=int, default=os.cpu_count() or 1, metavar="N",
        help="number of processes; default: one per core")  # fmt: skip
    add("--anonymous-user-id", default="", metavar="ID",
        help="userId of anonymous visitors, 1261737 in the full set; default: empty")  # fmt: skip
    return parser


def _settings(parser: argparse.ArgumentParser, options: argparse.Namespace) -> Settings:
    """The options, checked; ends with a sentence about the first that is wrong."""
    o = options
    from_ = o.scenario_from
    checks = [
        (1 <= o.users <= MOST_USERS, f"--users must be 1 to {MOST_USERS:,}, not {o.users:,}"),
        (o.end >= o.start, f"--end {o.end} is before --start {o.start}"),
        ((o.end - o.start).days < MOST_DAYS, f"a log may have {MOST_DAYS} days at most"),
        (o.start.year >= 2000 and o.end.year < 2100, "the days must be of the years 2000 to 2099"),
        (0 <= o.dirt <= MOST_DIRT, f"--dirt must be 0 to {MOST_DIRT}, not {o.dirt}"),
        (o.workers >= 1, f"--workers must be 1 or more, not {o.workers}"),
        (from_ is None or o.start <= from_ <= o.end,
         f"--scenario-from {from_} is not between --start and --end"),
        (not o.out.exists() or o.out.is_dir(), f"--out {o.out} is a file, not a folder"),
        (not o.out.is_dir() or not any(o.out.iterdir()), f"--out {o.out} is not empty"),
    ]  # fmt: skip
    for is_right, message in checks:
        if not is_right:
            parser.error(message)
    return Settings(
        users=o.users, start=o.start, end=o.end, seed=o.seed, format=o.format, layout=o.layout,
        dirt=o.dirt, scenario=o.scenario, scenario_from=from_,
        anonymous_user_id=o.anonymous_user_id,
    )  # fmt: skip


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not a day like 2018-10-01") from None


@contextmanager
def _progress(console: Console) -> Iterator[Told]:
    columns = TextColumn("{task.description:>6}"), BarColumn(), MofNCompleteColumn()
    with Progress(
        *columns,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bars:
        tasks = {step: bars.add_task(step, total=None) for step in ("users", "days")}
        yield lambda step, done, total: bars.update(tasks[step], completed=done, total=total)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    """A polite kill cleans up as Ctrl-C does."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
