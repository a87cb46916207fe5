"""Retention: of newcomers by week of registration, and of the users from before the log."""

import altair as alt
import pandas as pd

from report.charts import Chart, cells_axis, heat_map, lines, share_axis
from report.figure import Column, Figure, columns
from report.svg import COLOUR, MUCH
from report.words import day, listed, number, percent, several

RETAINED: dict[str, Column] = {
    "cohort_users": ("Users", number),
    "active_users": ("Active", number),
    "retained_share": ("Share", percent),
}


def draw_newcomers(rows: pd.DataFrame, width: int) -> Chart:
    """A heat map: share active so many weeks after they registered."""
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


def newcomers_in_words(rows: pd.DataFrame) -> str:
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


def draw_long_standing(rows: pd.DataFrame, width: int) -> Chart:
    """Share active in each week, a line by first plan."""
    rows = rows.assign(kind=rows["first_level"] + " at first")
    rows["words"] = [
        f"week from {r.week_start_date}, {r.kind}: {r.active_users:,} of {r.cohort_users:,} "
        f"({percent(r.retained_share)})"
        for r in rows.itertuples()
    ]
    rows = rows.sort_values(["kind", "week_start_date"], ascending=[False, True])
    axis = share_axis("Active in the week")
    return lines(rows, width, "week_start_date", "retained_share", axis)


def long_standing_in_words(rows: pd.DataFrame) -> str:
    """Both plans in the last week."""
    week = rows["week_start_date"].max()
    last = rows[rows["week_start_date"] == week].sort_values("retained_share", ascending=False)
    parts = [
        f"{percent(r.retained_share)} of those who were {r.first_level}" for r in last.itertuples()
    ]
    return (
        f"Of the users who registered before the log, {listed(parts)} at first were active in the "
        f"week from {day(week)}."
    )


NEWCOMERS = Figure(
    place=("time", 60),
    id="retention",
    title="Retention of newcomers",
    queries=("retention_cohorts",),
    draw=draw_newcomers,
    finding=newcomers_in_words,
    table=columns(
        cohort_week_start_date=("Registered in the week from", day),
        weeks_since=("Weeks since", number),
        **RETAINED,
    ),
    is_wide=True,
    note="Rows: week of registration, with its users. Complete weeks of the log only.",
    empty="Nobody registered in a complete week of the log, so there is no cohort of newcomers.",
)
LONG_STANDING = Figure(
    place=("time", 70),
    id="long-standing",
    title="Retention of long-standing users",
    queries=("retention_before_log",),
    draw=draw_long_standing,
    finding=long_standing_in_words,
    table=columns(
        week_start_date=("Week from", day), first_level=("Plan at first", str), **RETAINED
    ),
    note="Registered before the log begins and seen in it; complete weeks.",
    empty="Nobody in the log registered before it began.",
)
