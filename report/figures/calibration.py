"""Calibration: churn rate against predicted probability, of ten groups of equal size."""

import altair as alt
import pandas as pd

from report.charts import Chart, finished, share_axis
from report.curves import Curves, curve_figure, of_chosen, thin_line, with_interval
from report.figure import columns
from report.svg import COLOUR
from report.words import number, percent, several


def draw(curves: Curves, width: int) -> Chart:
    rows = pd.DataFrame(curves.metrics["calibration"])
    rows["words"] = [
        f"predicted {percent(r.probability)}, churned {percent(r.churn_rate)} of "
        f"{several(int(r.rows), 'row')}"
        for r in rows.itertuples()
    ]
    end = float(max(rows["probability"].max(), rows["churn_rate"].max())) * 1.05 or 1.0
    scale = alt.Scale(domain=[0, end], nice=False)
    base = alt.Chart(rows).encode(
        x=alt.X("probability:Q", axis=share_axis("Predicted"), scale=scale),
        y=alt.Y("churn_rate:Q", axis=share_axis("Churned"), scale=scale),
    )
    dots = base.mark_circle(color=COLOUR["stayed"], size=60, opacity=1)
    line = base.mark_line(color=COLOUR["stayed"], strokeWidth=2)
    as_predicted = thin_line({"probability": [0, end], "churn_rate": [0, end]})
    return finished(as_predicted + line + dots.encode(description="words:N"), width, 240)


def finding(curves: Curves) -> str:
    """The top tenth, and what the recalibration says."""
    slope, top = of_chosen(curves.figures, "calibration_slope"), curves.metrics["calibration"][0]
    first = (
        f"The tenth with the highest probabilities was predicted to cancel at "
        f"{percent(top['probability'])} and did at {percent(top['churn_rate'])}"
    )
    if slope is None:
        return f"{first}."
    if pd.isna(slope.low):
        verdict = ""
    elif slope.low <= 1 <= slope.high:
        verdict = ", no clear difference from 1, which is right"
    else:
        verdict = ": too extreme" if slope.high < 1 else ": not extreme enough"
    return f"{first}; the calibration slope of all is {with_interval(slope, 2)}{verdict}."


of_groups = columns(
    rows=("Rows", number), probability=("Predicted", percent), churn_rate=("Churned", percent)
)

FIGURE = curve_figure(
    place=("model", 60),
    id="calibration",
    title="Calibration",
    draw=draw,
    finding=finding,
    table=lambda curves: of_groups(pd.DataFrame(curves.metrics["calibration"])),
    note="Ten groups of equal size: metrics.json of the run. Thin line: as predicted.",
)
