"""Retention of newcomers: share active so many weeks after they registered, as a heat map."""

import altair as alt
import pandas as pd

from report.charts import Chart, cells_axis, heat_map
from report.figure import Figure, columns
from report.svg import COLOUR, MUCH
from report.words import day, number, percent, several


def draw(rows: pd.DataFrame, width: int) -> Chart:
    shares = rows["retained_share"]
    rows = rows.assign(
        cohort=[
            f"{r.cohort_week_start_date} ({number(r.cohort_users)})" for r in rows.itertuples()
        ],
        fill=[
            COLOUR["empty" if pd.isna(share) else MUCH[min(6, int(float(share) * 7))]]
            for share in shares
        ],
        ink=[COLOUR["onmuch" if share >= 3 / 7 else "onlittle"] for share in shares],
        shown=[percent(share, digits=0) for share in shares],
        words=[
            f"Registered in the week from {r.cohort_week_start_date}: {r.active_users:,} of "
            f"{several(r.cohort_users, 'user')} active {several(r.weeks_since, 'week')} later"
            for r in rows.itertuples()
        ],
    )
    across = cells_axis("Weeks since registration", labelAngle=0, orient="top")
    x, y = alt.X("weeks_since:O", axis=across), alt.Y("cohort:O", axis=cells_axis())
    return heat_map(rows, width, x, y, step=26, text=True)


def finding(rows: pd.DataFrame) -> str:
    """All cohorts together, in the last week that several of them have reached."""
    users = rows.groupby("cohort_week_start_date")["cohort_users"].first()
    weeks = min(4, int(rows["weeks_since"].max()))
    reached = rows[rows["weeks_since"] == weeks]
    seen = reached["cohort_users"].sum()
    share = reached["active_users"].sum() / seen if seen else None
    return (
        f"{several(int(users.sum()), 'user')} registered in {several(len(users), 'week')} of the "
        f"log; {percent(share)} of those seen {several(weeks, 'week')} later were active in that "
        "week."
    )


FIGURE = Figure(
    place=("time", 60),
    id="retention",
    title="Retention of newcomers",
    queries=("retention_cohorts",),
    draw=draw,
    finding=finding,
    table=columns(
        cohort_week_start_date=("Registered in the week from", day),
        weeks_since=("Weeks since", number),
        cohort_users=("Users", number),
        active_users=("Active", number),
        retained_share=("Share", percent),
    ),
    is_wide=True,
    note="Rows: week of registration, with its users. Complete weeks of the log only.",
    empty="Nobody registered in a complete week of the log, so there is no cohort of newcomers.",
)
