"""Command line of the report: `python -m report`."""

from __future__ import annotations

import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any

import typer

from ml import ARTIFACTS
from report.profit import Assumptions
from warehouse.commands import Artifacts, Profiles, Target, console, program
from warehouse.console import Console
from warehouse.errors import ProjectError
from warehouse.hand_over import run

DEFAULT_OUT = Path(__file__).resolve().parent.parent / "target" / "report.html"
ASSUMED = Assumptions()
MOST = 10**9


def _option(what: str, most: float = MOST) -> Any:
    return typer.Option(min=0, max=most, help=f"Profit curve: {what}")


ContactCost = Annotated[float, _option("cost of contacting a user.")]
SavedValue = Annotated[float, _option("worth of a user who stays instead of cancelling.")]
SaveRate = Annotated[float, _option("share of contacted users about to cancel who stay.", 1)]


@program(
    "python -m report",
    epilog="""Examples:
  python -m report                          write target/report.html
  python -m report --out /tmp/churn.html    another file
  python -m report --target emr             Spark settings of another target
  python -m report --saved-value 120 --save-rate 0.3    other assumptions

Needs a `dbt build` that published; a trained model and scores are shown where there are any.

Exit status: 0 written, 1 a problem that the message explains, 2 wrong usage.
""",
)
def main(
    out: Annotated[
        Path, typer.Option(help="File to write.", show_default="target/report.html")
    ] = DEFAULT_OUT,
    target: Target = None,
    profiles_dir: Profiles = None,
    artifacts: Artifacts = ARTIFACTS,
    contact_cost: ContactCost = ASSUMED.contact_cost,
    saved_value: SavedValue = ASSUMED.saved_value,
    save_rate: SaveRate = ASSUMED.save_rate,
) -> None:
    """Write one HTML file that shows what is published: who cancels, what they do, how good the
    model is, and which users are at risk today. It needs no network to be read.
    """
    assumed = Assumptions(contact_cost, saved_value, save_rate)
    write(out, console(), target, profiles_dir, artifacts, assumed)


def write(
    out: Path,
    console: Console,
    target_name: str | None,
    profiles_dir: Path | None,
    artifacts: Path,
    assumed: Assumptions = ASSUMED,
) -> None:
    """Read, draw and write, with a line for each."""
    # imported late, so that --help and usage errors answer at once
    from report.data import read
    from report.page import render
    from warehouse.console import steps
    from warehouse.session import spark_session

    step, began = steps(console), time.monotonic()
    _check_writable(out)
    with step("start Spark"):
        spark, target = spark_session(target_name, profiles_dir)
    data = read(spark, target, artifacts, step)
    with step("draw the charts"):
        page = render(data, assumed, datetime.now(timezone.utc))
    _write_at_once(out, page)
    size, seconds = out.stat().st_size / 1e6, time.monotonic() - began
    console.print(f"{out}: {size:.1f} MB, {data.build}, in {seconds:.0f} s", soft_wrap=True)


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


if __name__ == "__main__":
    sys.exit(run("report", main))
