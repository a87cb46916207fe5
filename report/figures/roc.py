"""ROC curve: recall against false positive rate."""

from report.charts import Chart, share_axis
from report.curves import NOTE, Curves, draw_curves, of_chosen, read_curves, with_interval
from report.figure import Figure
from report.words import percent


def draw(curves: Curves, width: int) -> Chart:
    rows = curves.points()
    rows["words"] = [
        f"{r.model}: {percent(r.recall)} of the churners found at {percent(r.false_positive_rate)} "
        "false alarms"
        for r in rows.itertuples()
    ]
    across, up = share_axis("False positive rate"), share_axis("Churners found (recall)")
    return draw_curves(rows, width, across, up, {"false_positive_rate": [0, 1], "recall": [0, 1]})


def finding(curves: Curves) -> str:
    """Recall at a tenth of false alarms."""
    points = curves.metrics["curves"][curves.chosen]
    # where the first stop is beyond a tenth already, nobody is found within it
    within = [p["recall"] for p in points if p["false_positive_rate"] <= 0.1]
    auc = of_chosen(curves.figures, "roc_auc")
    area = "" if auc is None else f" The area under the curve is {with_interval(auc)}."
    return (
        f"With one false alarm among ten users who stay, {percent(max(within, default=0), 0)} of "
        f"those who cancel are found; a guess finds 10%.{area}"
    )


FIGURE = Figure(
    place=("model", 30),
    id="roc",
    title="ROC curve",
    queries=("model_figures",),
    read=read_curves,
    draw=draw,
    finding=finding,
    note=NOTE,
    empty="The backtest has one class only, so there is no curve to draw.",
)
