"""Churn rate, listening and paid plan by week: a line each."""

from collections.abc import Callable
from functools import partial
from typing import Any

import altair as alt
import pandas as pd

from report.charts import Chart, finished, share_axis, time_axis
from report.figure import Figure, columns
from report.svg import COLOUR
from report.words import NO_WEEK, day, hours, number, percent, several


def draw(
    rows: pd.DataFrame,
    width: int,
    value: str,
    axis: alt.Axis,
    words: Callable[[Any], str],
    has_band: bool = False,
) -> Chart:
    """A line of the column `value`, and a band from `low` to `high` below it."""
    rows = rows.assign(
        words=[f"week from {r.week_start_date}: {words(r)}" for r in rows.itertuples()]
    )
    base = alt.Chart(rows).encode(
        x=alt.X("week_start_date:T", timeUnit="utcyearmonthdate", axis=time_axis("Week from"))
    )
    band = base.mark_area(color=COLOUR["much1"], opacity=0.8).encode(y="low:Q", y2="high:Q")
    line = base.encode(y=alt.Y(f"{value}:Q", axis=axis, scale=alt.Scale(zero=True)))
    layers = [
        line.mark_line(strokeWidth=2, color=COLOUR["stayed"]),
        line.mark_circle(size=50, opacity=1, color=COLOUR["stayed"]).encode(description="words:N"),
    ]
    return finished(alt.layer(*([band] if has_band else []), *layers), width, 200)


def last_rate(rows: pd.DataFrame) -> str:
    """The last week's churn rate, and the range of all weeks."""
    rows = rows.sort_values("week_start_date", ignore_index=True)
    last, shares = rows.iloc[-1], rows["churned_share"].astype(float)
    text = f"In the week from {day(last.week_start_date)}, "
    text += (
        f"{last.churned_users:,} of {several(last.active_users, 'user')} cancelled "
        f"({percent(last.churned_share)})"
        if last.active_users
        else "nobody was active"
    )
    if shares.count() < 2:
        return text + "."
    return (
        f"{text}; in {shares.count()} weeks it was {percent(shares.min())} to "
        f"{percent(shares.max())}."
    )


def change(rows: pd.DataFrame, value: str, form: str, what: str) -> str:
    """From the first week to the last."""
    values = rows.sort_values("week_start_date")[value].dropna().astype(float)
    if values.empty:
        return f"{what} is not known: nobody was active in a complete week."
    first, last = form.format(values.iloc[0]), form.format(values.iloc[-1])
    if len(values) == 1:
        return f"{what} was {last} in the one complete week with users."
    way = "up" if values.iloc[-1] > values.iloc[0] else "down"
    way = "unchanged at" if first == last else f"{way} from {first} to"
    return f"{what} went {way} {last} in {several(len(values), 'week')}."


CHURN = Figure(
    place=("time", 20),
    id="weekly-churn",
    title="Churn rate by week",
    queries=("weekly_figures",),
    draw=partial(
        draw,
        value="churned_share",
        axis=share_axis("Churn rate of the week"),
        words=lambda r: (
            f"{r.churned_users:,} of {several(r.active_users, 'user')} ({percent(r.churned_share)})"
        ),
        has_band=True,
    ),
    finding=last_rate,
    table=columns(
        week_start_date=("Week from", day),
        active_users=("Users", number),
        churned_users=("Churned", number),
        churned_share=("Churn rate", percent),
        low=("95% from", percent),
        high=("to", percent),
    ),
    note="Complete weeks. Band: 95% interval (Wilson).",
    empty=NO_WEEK,
)
LISTENING = Figure(
    place=("time", 30),
    id="weekly-listening",
    title="Listening by week",
    queries=("weekly_figures",),
    draw=partial(
        draw,
        value="listening_hours_per_user",
        axis=alt.Axis(title="Hours of songs a user", tickCount=5),
        words=lambda r: f"{hours(r.listening_hours_per_user)} hours a user",
    ),
    finding=partial(
        change,
        value="listening_hours_per_user",
        form="{:.1f} hours",
        what="Listening per user and week",
    ),
    table=columns(
        week_start_date=("Week from", day), listening_hours_per_user=("Hours a user", hours)
    ),
    note="Complete weeks, active users.",
    empty=NO_WEEK,
)
PAID = Figure(
    place=("time", 40),
    id="weekly-paid",
    title="Paid plan by week",
    queries=("weekly_figures",),
    draw=partial(
        draw,
        value="paid_share",
        axis=share_axis("Users on the paid plan"),
        words=lambda r: f"{percent(r.paid_share)} paid",
    ),
    finding=partial(
        change,
        value="paid_share",
        form="{:.1%}",
        what="The share of the week's users on the paid plan",
    ),
    table=columns(week_start_date=("Week from", day), paid_share=("Paid", percent)),
    note="The plan at the end of the week, of its active users.",
    empty=NO_WEEK,
)
