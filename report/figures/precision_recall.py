"""Precision against recall; a guess has the base rate."""

from report.charts import Chart, share_axis
from report.curves import NOTE, Curves, draw_curves, of_chosen, read_curves, with_interval
from report.figure import Figure
from report.words import percent


def draw(curves: Curves, width: int) -> Chart:
    rows = curves.points()
    base = float(rows["precision"].iloc[-1])
    # the first few rows of a ranking are one hit or none
    rows = rows[rows["share"] >= 0.005]
    words = [
        f"{r.model}: precision {percent(r.precision)} at recall {percent(r.recall)}"
        for r in rows.itertuples()
    ]
    across, up = share_axis("Churners found (recall)"), share_axis("Precision")
    return draw_curves(
        rows.assign(words=words), width, across, up, {"recall": [0, 1], "precision": [base, base]}
    )


def finding(curves: Curves) -> str:
    """Average precision beside the base rate."""
    figure, base = (of_chosen(curves.figures, metric) for metric in ("pr_auc", "base_rate"))
    if figure is None or base is None:
        return "The backtest has one class only."
    return (
        f"Precision over all recalls (PR AUC) is {with_interval(figure)}, where a guess has the "
        f"base rate of {base.value:.3f}."
    )


FIGURE = Figure(
    place=("model", 40),
    id="precision-recall",
    title="Precision and recall",
    queries=("model_figures",),
    read=read_curves,
    draw=draw,
    finding=finding,
    note=NOTE,
    empty="",
)
