"""Retention of the users from before the log: share active in each week, a line by first plan."""

import pandas as pd

from report.charts import Chart, lines, share_axis
from report.figure import Figure, columns
from report.words import day, listed, number, percent


def draw(rows: pd.DataFrame, width: int) -> Chart:
    rows = rows.assign(kind=rows["first_level"] + " at first")
    rows["words"] = [
        f"week from {r.week_start_date}, {r.kind}: {r.active_users:,} of {r.cohort_users:,} "
        f"({percent(r.retained_share)})"
        for r in rows.itertuples()
    ]
    rows = rows.sort_values(["kind", "week_start_date"], ascending=[False, True])
    axis = share_axis("Active in the week")
    return lines(rows, width, "week_start_date", "retained_share", axis)


def finding(rows: pd.DataFrame) -> str:
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


FIGURE = Figure(
    place=("time", 70),
    id="long-standing",
    title="Retention of long-standing users",
    queries=("retention_before_log",),
    draw=draw,
    finding=finding,
    table=columns(
        week_start_date=("Week from", day),
        first_level=("Plan at first", str),
        cohort_users=("Users", number),
        active_users=("Active", number),
        retained_share=("Share", percent),
    ),
    note="Registered before the log begins and seen in it; complete weeks.",
    empty="Nobody in the log registered before it began.",
)
