"""Command line of the report: `python -m report`."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from report.profit import Assumptions
from warehouse.console import Console
from warehouse.errors import ProjectError

DEFAULT_OUT = Path(__file__).resolve().parent.parent / "target" / "report.html"

EPILOG = """examples:
  python -m report                              write target/report.html
  python -m report --out /tmp/churn.html        another file
  python -m report --target emr                 with the Spark settings of another dbt target
  python -m report --saved-value 120 --save-rate 0.3    other assumptions of the profit curve

Needs a `dbt build` that published; a trained model and scores are shown where there are any.
Exit status: 0 written, 1 a problem that the message explains, 2 wrong usage.
"""


def parser() -> argparse.ArgumentParser:
    """The argument parser, with examples."""
    assumed = Assumptions()
    found = argparse.ArgumentParser(
        prog="python -m report",
        description="Write one HTML file that shows what is published: who cancels, what they do, "
        "how good the model is, and which users are at risk today. It needs no network to be read.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.add_argument(
        "--out", type=Path, default=DEFAULT_OUT, help="file to write (default: target/report.html)"
    )
    found.add_argument("--target", help="target of profiles.yml (default: the profile's)")
    found.add_argument(
        "--profiles-dir", type=Path, help="folder of profiles.yml (default: the project's)"
    )
    found.add_argument(
        "--artifacts",
        type=Path,
        help="folder of the trained models (default: artifacts/ of the project)",
    )
    found.add_argument(
        "--contact-cost",
        type=_amount,
        default=assumed.contact_cost,
        help="profit curve: cost of contacting a user (default: %(default)s)",
    )
    found.add_argument(
        "--saved-value",
        type=_amount,
        default=assumed.saved_value,
        help="profit curve: worth of a user who stays instead of cancelling (default: %(default)s)",
    )
    found.add_argument(
        "--save-rate",
        type=_share,
        default=assumed.save_rate,
        help="profit curve: share of contacted users about to cancel who stay (default: "
        "%(default)s)",
    )
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the report; returns the exit status."""
    options = parser().parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 110)
    try:
        write(options, console)
    except ProjectError as error:
        Console(stderr=True).print(str(error), style="red", soft_wrap=True)
        return error.exit_status
    return 0


def write(options: argparse.Namespace, console: Console) -> None:
    """Read, draw and write, with a line for each."""
    # imported late, so that --help and usage errors answer at once
    from ml import store
    from report.data import read
    from report.page import render
    from warehouse.console import steps
    from warehouse.session import spark_session

    step, began = steps(console), time.monotonic()
    _check_writable(options.out)
    with step("start Spark"):
        spark, target = spark_session(options.target, options.profiles_dir)
    data = read(spark, target, options.artifacts or store.ARTIFACTS, step)
    with step("draw the charts"):
        assumed = Assumptions(options.contact_cost, options.saved_value, options.save_rate)
        page = render(data, assumed, datetime.now(timezone.utc))
    _write_at_once(options.out, page)
    console.print(
        f"{options.out}: {options.out.stat().st_size / 1e6:.1f} MB, {data.build}, in "
        f"{time.monotonic() - began:.0f} s",
        soft_wrap=True,
    )


def _check_writable(path: Path) -> None:
    """Raises ProjectError where `path` cannot be written; leaves no file, even when killed."""
    try:
        if path.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise _not_written(path, error) from error


def _write_at_once(path: Path, page: str) -> None:
    """Let the page take the place of `path`; an error leaves `path` as it was.

    Raises ProjectError where it cannot be written.
    """
    draft = path.with_name(f".{path.name}.draft")
    try:
        # of a folder's name that is no UTF-8, what can be shown
        draft.write_text(page, encoding="utf-8", errors="replace")
        draft.replace(path)
    except OSError as error:
        raise _not_written(path, error) from error
    finally:
        draft.unlink(missing_ok=True)


def _not_written(path: Path, error: OSError) -> ProjectError:
    return ProjectError(f"{path} cannot be written ({error.strerror}): choose --out.")


def _amount(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not an amount of 0 or more")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


if __name__ == "__main__":
    sys.exit(main())
