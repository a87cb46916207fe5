"""Active users of each date and of the 28 days up to it: two lines."""

import pandas as pd

from report.charts import Chart, counts_axis, lines
from report.figure import Figure
from report.words import day, percent, several

KINDS = {"active_users": "active on the day", "active_users_last_28_days": "active in 28 days"}


def draw(rows: pd.DataFrame, width: int) -> Chart:
    long = rows.melt("kpi_date", list(KINDS), "kind", "users")
    long["kind"] = long["kind"].map(KINDS)
    long["words"] = [
        f"{r.kpi_date}: {several(r.users, 'user')} {r.kind}" for r in long.itertuples()
    ]
    return lines(long, width, "kpi_date", "users", counts_axis("Users"))


def finding(rows: pd.DataFrame) -> str:
    """The last date, and its four weeks against those before."""
    rows = rows.sort_values("kpi_date", ignore_index=True)
    last = rows.iloc[-1]
    text = f"On {day(last.kpi_date)}, {several(last.active_users, 'user')} were active, "
    text += (
        f"{percent(last.active_share_of_last_28_days)} of the "
        f"{last.active_users_last_28_days:,} of four weeks"
        if last.active_users_last_28_days
        else "and nobody in the four weeks to it"
    )
    if len(rows) <= 28:
        return text + "."
    change = last.active_users_last_28_days - rows["active_users_last_28_days"].iloc[-29]
    way = f"{abs(change):,} {'more' if change > 0 else 'fewer'} than" if change else "as many as"
    return f"{text}; these are {way} four weeks earlier."


FIGURE = Figure(
    place=("time", 10),
    id="daily",
    title="Active users",
    queries=("daily_activity",),
    draw=draw,
    finding=finding,
    is_wide=True,
    note="Complete dates, UTC. The first 27 dates of a log have fewer than 28 to count.",
    empty="The log has no complete date yet.",
)
