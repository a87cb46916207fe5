"""python -m simulator.calibration: is the simulated log like the real one?

Measures a log by the figures in real_figures.csv and prints both side by side.
"""

import sys
from collections.abc import Iterable, Iterator
from csv import QUOTE_MINIMAL
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.json
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from simulator.commands import program
from simulator.engine import Events, simulate
from simulator.log_files import TRUTH, chunk_accounts, chunk_count
from simulator.population import account_type
from simulator.settings import Settings

TOLERANCE = 0.05
WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
THUMBS = {"Thumbs Up": "thumbs_up", "Thumbs Down": "thumbs_down"}
CHURN = "Cancellation Confirmation"

REAL_FIGURES = Path(__file__).parent / "real_figures.csv"
# the period of the real sets
START, END = date(2018, 10, 1), date(2018, 11, 30)
USERS = 23_000


@dataclass(frozen=True)
class Totals:
    """What the figures are made of; adds up over pieces of a log."""

    pages: pd.Series
    """Events by page."""
    hours: pd.Series
    """Events by hour of the day."""
    paid_events: int
    sessions: pd.DataFrame
    """Index (user, session): events."""
    users: pd.DataFrame
    """Index user: first and last second, thumbs_up, thumbs_down, churned."""
    user_days: pd.MultiIndex
    """Distinct (user, date)."""


def totals(events: pd.DataFrame) -> Totals:
    """Totals of events: user (null: nobody), session, seconds since 1970, page, is_paid."""
    known = events[events["user"].notna()]
    by_user = known.groupby("user", sort=False)
    marks = {name: known["page"] == page for page, name in {**THUMBS, CHURN: "churned"}.items()}
    return Totals(
        pages=events["page"].astype("category").value_counts().rename(index=str),
        hours=(events["seconds"] // 3600 % 24).value_counts(),
        paid_events=int(events["is_paid"].sum()),
        sessions=known.groupby(["user", "session"], sort=False).size().to_frame("events"),
        users=by_user["seconds"].agg(["min", "max"]).assign(
            **{name: known["user"][mark].value_counts() for name, mark in marks.items()}
        ).fillna(0),
        user_days=pd.MultiIndex.from_arrays(
            [known["user"], known["seconds"] // 86_400]).drop_duplicates(),
    )  # fmt: skip


def add_up(pieces: Iterable[Totals]) -> Totals:
    """Totals of a log from those of its pieces, which may cut through sessions and users."""
    all_ = list(pieces)
    how = {"min": "min", "max": "max", "thumbs_up": "sum", "thumbs_down": "sum", "churned": "max"}
    return Totals(
        pages=pd.concat([p.pages for p in all_]).groupby(level=0).sum(),
        hours=pd.concat([p.hours for p in all_]).groupby(level=0).sum(),
        paid_events=sum(p.paid_events for p in all_),
        sessions=pd.concat([p.sessions for p in all_]).groupby(level=[0, 1]).sum(),
        users=pd.concat([p.users for p in all_]).groupby(level=0).agg(how),
        user_days=all_[0].user_days.append([p.user_days for p in all_[1:]]).drop_duplicates(),
    )


def figures(log: Totals, type_of_user: pd.Series | None = None) -> pd.Series:
    """The figures of real_figures.csv, by name; those by account type where types are given."""
    users = log.users
    churned = users["churned"] > 0
    events = log.sessions["events"].groupby(level=0).sum().reindex(users.index)
    sessions = log.sessions.groupby(level=0).size()
    days = (users["max"] - users["min"]) / 86_400
    result = {f"page_percent {page}": 100 * share
              for page, share in (log.pages / log.pages.sum()).items()}  # fmt: skip
    result |= {
        "events_per_session": log.sessions["events"].mean(),
        **_distribution("sessions_per_user", sessions),
        "events_per_user churned": events[churned].mean(),
        "events_per_user stayed": events[~churned].mean(),
        "churned_percent": 100 * churned.mean(),
        "churn_per_10_days_percent": _churn_rate(churned, days),
        "paid_events_percent": 100 * log.paid_events / log.pages.sum(),
        "anonymous_events_percent": 100 * (1 - events.sum() / log.pages.sum()),
        "hour_peak_to_trough": log.hours.max() / log.hours.min(),
        **_distribution("days_first_to_last_event", days),
    }
    for name, group in (("churned", users[churned]), ("stayed", users[~churned])):
        result[f"thumbs_up_to_down {name}"] = group["thumbs_up"].sum() / group["thumbs_down"].sum()
    active = pd.Series(1, index=log.user_days).groupby(level=1).sum()
    weekday = (active.index + 3) % 7  # 1970 began on a Thursday
    for number, mean in (active.groupby(weekday).mean() / active.mean()).items():
        result[f"active_users_to_mean {WEEKDAYS[number]}"] = mean
    if type_of_user is not None:
        for name, is_churned in churned.groupby(type_of_user.reindex(users.index)):
            result[f"churn_per_10_days_percent {name}"] = _churn_rate(is_churned, days)
    return pd.Series(result)


def _distribution(name: str, values: pd.Series) -> dict[str, float]:
    parts = {"quartile": 0.25, "median": 0.5, "upper quartile": 0.75}
    quantiles = {f"{name} {label}": values.quantile(share) for label, share in parts.items()}
    return {f"{name} mean": values.mean()} | quantiles


def _churn_rate(churned: pd.Series, days: pd.Series) -> float:
    """Cancellations per ten days from a user's first to last event, in percent."""
    return 1000 * churned.sum() / days[churned.index].sum()


# --- logs to measure


def simulated(settings: Settings) -> Iterator[pd.DataFrame]:
    """The events of a simulated log, by chunks of users, without writing it."""
    states = settings.behaviour.states
    pages = pd.Categorical([state.page for state in states])
    is_anonymous = np.array([state.is_anonymous for state in states])
    is_paid = np.array([state.level == "paid" for state in states])
    for chunk in range(chunk_count(settings)):
        events: Events = simulate(settings, chunk_accounts(settings, chunk))[0]
        state = events["state"]
        yield pd.DataFrame(
            {
                "user": pd.Series(events["account"]).mask(is_anonymous[state]),
                "session": events["session"],
                "seconds": events["seconds"].astype(np.int64) + settings.start_seconds,
                "page": pages[state],
                "is_paid": is_paid[state],
            }
        )


def raw(folder: Path) -> Iterator[pd.DataFrame]:
    """The events of a log in the raw format, file by file; raises ValueError at a bad line."""
    schema = pa.schema({"ts": pa.int64(), "userId": pa.string(), "sessionId": pa.int64(),
                        "page": pa.string(), "level": pa.string()})  # fmt: skip
    for table in read_raw(folder, schema):
        events = table.to_pandas()
        yield pd.DataFrame(
            {
                "user": events["userId"].mask(events["userId"] == ""),
                "session": events["sessionId"],
                "seconds": events["ts"] // 1000,
                "page": events["page"],
                "is_paid": events["level"] == "paid",
            }
        )


def read_raw(folder: Path, schema: pa.Schema) -> Iterator[pa.Table]:
    """Some fields of a log in the raw format, file by file; raises ValueError at a bad line."""
    files = sorted(folder.rglob("*.json*"))
    if not files:
        raise ValueError(f"no *.json or *.json.gz in {folder}")
    options = pyarrow.json.ParseOptions(schema, unexpected_field_behavior="ignore")
    try:
        for path in files:
            with pa.input_stream(str(path)) as stream:
                yield pyarrow.json.read_json(stream, parse_options=options)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: {error}") from error


def measure_simulated(settings: Settings) -> pd.Series:
    """Figures of a simulated log."""
    console, chunks = Console(stderr=True), chunk_count(settings)
    pieces = track(simulated(settings), "simulate", chunks, console=console, transient=True)
    number = np.arange(settings.users)
    types = np.array(settings.behaviour.types)[account_type(settings, number)[0]]
    return figures(add_up(map(totals, pieces)), pd.Series(types, index=number))


def measure_raw(folder: Path) -> pd.Series:
    """Figures of a log in the raw format, those by account type where a truth.csv has the types."""
    types = None
    if (folder / TRUTH).exists():
        truth = pd.read_csv(folder / TRUTH, dtype={"userId": str}).set_index("userId")
        types = truth.get("type")
    return figures(add_up(map(totals, raw(folder))), types)


# --- comparison


def compare(measured: pd.Series, real: pd.DataFrame) -> pd.DataFrame:
    """One row per real figure: real, measured, deviation in percent, remark.

    The remark is "ok" within TOLERANCE, else the reason in real_figures.csv, or "NOT EXPLAINED".
    """
    result = real.assign(measured=measured.reindex(real.index))
    result["deviation_percent"] = 100 * (result["measured"] / result["real"] - 1)
    is_near = result["deviation_percent"].abs() <= 100 * TOLERANCE
    reason = result["reason_if_apart"].fillna("NOT EXPLAINED")
    result["remark"] = np.where(is_near, "ok", reason)
    result.loc[result["measured"].isna(), "remark"] = "not measured"
    return result[["real", "measured", "deviation_percent", "remark"]]


def real_figures() -> pd.DataFrame:
    """real_figures.csv, by name of the figure."""
    return pd.read_csv(REAL_FIGURES).set_index("figure")


@program(
    "python -m simulator.calibration", "Example:\n  python -m simulator.calibration --users 5000"
)
def main(
    users: Annotated[int, typer.Option(help="23,000 are 26 M events.")] = USERS,
    seed: int = 1,
    raw: Annotated[
        Path | None, typer.Option(help="Measure this folder of a raw log instead.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the table to this file, too.")] = None,
) -> int:
    """Compare a simulated log with the figures of the real sets.

    Exit status: 0 each is near the real one or explained, 1 one is not, 2 there is no log.
    """
    try:
        settings = Settings(users, START, END, seed)
        measured = measure_raw(raw) if raw else measure_simulated(settings)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    table = compare(measured, real_figures())
    if csv:
        table.to_csv(csv, quoting=QUOTE_MINIMAL)
    _print(table)
    return int((table["remark"] == "NOT EXPLAINED").any())


def _print(table: pd.DataFrame) -> None:
    shown = Table("figure", "real", "measured", "deviation", "remark")
    for name, row in table.iterrows():
        shown.add_row(
            str(name), f"{row['real']:.4g}", f"{row['measured']:.4g}",
            f"{row['deviation_percent']:+.1f} %", row["remark"],
        )  # fmt: skip
    Console(width=None if sys.stdout.isatty() else 140).print(shown)


if __name__ == "__main__":
    sys.exit(main())
