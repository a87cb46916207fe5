"""Lifetime, and listening per active day, of users who churned and who stayed: two histograms."""

from functools import partial

import altair as alt
import pandas as pd

from report.charts import CHURNED, SQUARES, STAYED, Chart, finished, share_axis
from report.figure import Column, Figure, columns, part_of
from report.svg import COLOUR
from report.words import number, percent, several

SHARES: dict[str, Column] = {
    "users": ("Users", number),
    "share_of_group": ("Share of the group", percent),
}


def group(is_churned: bool) -> str:
    return CHURNED if is_churned else STAYED


def draw(rows: pd.DataFrame, width: int, title: str) -> Chart:
    """Outlines of two histograms: share of each group in each bin."""
    step = float(rows["bin_size"].iloc[0])
    bins = [step * i for i in range(round(rows["bin_start"].max() / step) + 1)]
    rows = rows.assign(group=rows["is_churned"].map(group), start=rows["bin_start"])
    every = pd.MultiIndex.from_product([rows["group"].unique(), bins], names=["group", "start"])
    rows = rows.set_index(["group", "start"])[["users", "share_of_group"]]
    rows = rows.reindex(every, fill_value=0).reset_index()
    rows["middle"] = rows["start"] + step / 2
    rows["words"] = [
        f"{r.group}, {r.start:,.0f} to {r.start + step:,.0f}: {several(r.users, 'user')} "
        f"({percent(r.share_of_group)})"
        for r in rows.itertuples()
    ]
    # the outline of a step begins at its bin and ends where the next one begins
    last = rows[rows["start"] == bins[-1]].assign(start=bins[-1] + step)
    scale = alt.Scale(domain=[0, bins[-1] + step], nice=False)
    axis = alt.Axis(title=title, grid=False, tickCount=6, format=",~r")
    colours = alt.Scale(domain=[CHURNED, STAYED], range=[COLOUR["churned"], COLOUR["stayed"]])
    outline = alt.Chart(pd.concat([rows, last])).encode(
        x=alt.X("start:Q", axis=axis, scale=scale),
        y=alt.Y("share_of_group:Q", axis=share_axis("Share of the group"), stack=None),
        color=alt.Color("group:N", scale=colours, legend=SQUARES),
    )
    area = outline.mark_area(interpolate="step-after", opacity=0.16, line=False)
    line = outline.mark_line(interpolate="step-after", strokeWidth=2)
    points = alt.Chart(rows).mark_circle(size=60, opacity=0)
    points = points.encode(x="middle:Q", y="share_of_group:Q", description="words:N")
    return finished(area + line + points, width, 220)


def finding(rows: pd.DataFrame, unit: str, what: str) -> str:
    """The medians of both groups."""
    medians = {bool(r.is_churned): float(r.median) for r in rows.itertuples()}
    if len(medians) < 2:
        ((is_churned, value),) = medians.items()
        all_users = f"All users with a known value {group(is_churned)}"
        return f"{all_users}; their median is {number(value)} {unit}."
    return (
        f"The median {what} is {number(round(medians[True], 1))} {unit} of users who churned and "
        f"{number(round(medians[False], 1))} of those who stayed."
    )


LIFETIME = Figure(
    place=("behaviour", 10),
    id="lifetime",
    title="Lifetime",
    queries=("distributions",),
    read=part_of("distributions", kind="lifetime"),
    draw=partial(draw, title="Days from registration to the last event"),
    finding=partial(finding, unit="days", what="time from registration to the last event"),
    table=columns(is_churned=("Group", group), bin_start=("Days from", number), **SHARES),
    note="It stops where a user leaves, or the log ends. The last step holds all above it.",
    empty="No user has a known registration.",
)
LISTENING = Figure(
    place=("behaviour", 20),
    id="listening",
    title="Listening",
    queries=("distributions",),
    read=part_of("distributions", kind="listening"),
    draw=partial(draw, title="Minutes of songs per active day"),
    finding=partial(finding, unit="minutes", what="listening per active day"),
    table=columns(is_churned=("Group", group), bin_start=("Minutes from", number), **SHARES),
    note="Songs count with their whole length. The last step holds all above it.",
)
