"""Lift: churn rate of the top of the list over that of all, by the share looked at."""

import altair as alt

from report.charts import Chart, share_axis
from report.curves import NOTE, Curves, draw_curves, of_chosen, read_curves, with_interval
from report.figure import Figure
from report.words import percent


def draw(curves: Curves, width: int) -> Chart:
    rows = curves.points()
    rows = rows[rows["share"] >= 0.005]
    rows = rows.assign(lift=rows["recall"] / rows["share"])
    rows["words"] = [
        f"{r.model}: the first {percent(r.share)} of the list churn {r.lift:.1f} times as often"
        for r in rows.itertuples()
    ]
    across, up = share_axis("Share of the list looked at"), alt.Axis(title="Lift", tickCount=5)
    return draw_curves(rows, width, across, up, {"share": [0, 1], "lift": [1, 1]})


def finding(curves: Curves) -> str:
    """Lift and recall in the top tenth."""
    lift, recall = (
        of_chosen(curves.figures, f"{metric}_at_10_percent") for metric in ("lift", "recall")
    )
    if lift is None or recall is None:
        return "The backtest has one class only."
    return (
        f"The first tenth of the list cancels {with_interval(lift, 1)} times as often as all "
        f"users, and holds {percent(recall.value, 0)} of those who cancel."
    )


FIGURE = Figure(
    place=("model", 50),
    id="lift",
    title="Lift",
    queries=("model_figures",),
    read=read_curves,
    draw=draw,
    finding=finding,
    note=NOTE,
    empty="",
)
