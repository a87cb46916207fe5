"""From a look at the other plan to the change: bars of user-weeks with a visit, and with both."""

import altair as alt
import pandas as pd

from report.charts import Chart, bars, counts_axis
from report.figure import Figure, columns
from report.svg import COLOUR
from report.words import NO_WEEK, capitalized, listed, number, percent

STEPS = {"visiting_user_weeks": "looked", "converted_user_weeks": "changed"}


def draw(rows: pd.DataFrame, width: int) -> Chart:
    long = rows.melt("direction", list(STEPS), "step", "user_weeks")
    long["step"] = long["direction"].str.capitalize() + ": " + long["step"].map(STEPS)
    long["changed"] = long["step"].str.endswith("changed")
    long["shown"] = [f"{n:,}" for n in long["user_weeks"]]
    long["words"] = [f"{r.step}: {r.user_weeks:,} user-weeks" for r in long.itertuples()]
    order = [f"{d.capitalize()}: {s}" for d in rows["direction"] for s in STEPS.values()]
    colour = alt.condition(
        "datum.changed", alt.value(COLOUR["churned"]), alt.value(COLOUR["stayed"])
    )
    axis = counts_axis("Users, each once a week")
    return bars(long, width, "step", "user_weeks", axis, sort=order, colour=colour)


def finding(rows: pd.DataFrame) -> str:
    parts = [
        f"{percent(r.converted_share)} of those who looked at the "
        f"{'paid' if r.direction == 'upgrade' else 'free'} plan changed to it"
        for r in rows.itertuples()
        if pd.notna(r.converted_share)
    ]
    if not parts:
        return "Nobody looked at the other plan."
    return capitalized(f"in the same week, {listed(parts)}.")


FIGURE = Figure(
    place=("time", 50),
    id="funnel",
    title="From a look at the other plan to the change",
    queries=("plan_changes_after_a_look",),
    draw=draw,
    finding=finding,
    table=columns(
        direction=("Direction", str),
        weeks=("Weeks", number),
        visiting_user_weeks=("Looked", number),
        converted_user_weeks=("Changed", number),
        converted_share=("Share", percent),
    ),
    note="Complete weeks; a user counts once a week.",
    empty=NO_WEEK,
)
