"""How well the model ranks users: ROC curve, precision against recall, lift."""

import altair as alt

from report.charts import Chart, share_axis
from report.curves import Curves, curve_figure, draw_curves, of_chosen, with_interval
from report.words import percent

NOTE = "The curve: metrics.json of the run; thin line: a guess."
ONE_CLASS = "The backtest has one class only."
FEWEST = 0.005  # share of the list: the first few rows of a ranking are one hit or none


def draw_roc(curves: Curves, width: int) -> Chart:
    rows = curves.points()
    rows["words"] = [
        f"{r.model}: {percent(r.recall)} of the churners found at {percent(r.false_positive_rate)} "
        "false alarms"
        for r in rows.itertuples()
    ]
    across, up = share_axis("False positive rate"), share_axis("Churners found (recall)")
    return draw_curves(rows, width, across, up, {"false_positive_rate": [0, 1], "recall": [0, 1]})


def draw_precision(curves: Curves, width: int) -> Chart:
    rows = curves.points()
    base = float(rows["precision"].iloc[-1])
    rows = rows[rows["share"] >= FEWEST]
    words = [
        f"{r.model}: precision {percent(r.precision)} at recall {percent(r.recall)}"
        for r in rows.itertuples()
    ]
    rows, guess = rows.assign(words=words), {"recall": [0.0, 1.0], "precision": [base, base]}
    across, up = share_axis("Churners found (recall)"), share_axis("Precision")
    return draw_curves(rows, width, across, up, guess)


def draw_lift(curves: Curves, width: int) -> Chart:
    rows = curves.points()
    rows = rows[rows["share"] >= FEWEST]
    rows = rows.assign(lift=rows["recall"] / rows["share"])
    rows["words"] = [
        f"{r.model}: the first {percent(r.share)} of the list churn {r.lift:.1f} times as often"
        for r in rows.itertuples()
    ]
    across, up = share_axis("Share of the list looked at"), alt.Axis(title="Lift", tickCount=5)
    return draw_curves(rows, width, across, up, {"share": [0, 1], "lift": [1, 1]})


def recall_in_words(curves: Curves) -> str:
    """Recall at a tenth of false alarms."""
    points = curves.points_of(curves.chosen)
    # where the first stop is beyond a tenth already, nobody is found within it
    within = [p["recall"] for p in points if p["false_positive_rate"] <= 0.1]
    auc = of_chosen(curves.figures, "roc_auc")
    area = "" if auc is None else f" The area under the curve is {with_interval(auc)}."
    return (
        f"With one false alarm among ten users who stay, {percent(max(within, default=0), 0)} of "
        f"those who cancel are found; a guess finds 10%.{area}"
    )


def precision_in_words(curves: Curves) -> str:
    """Average precision beside the base rate."""
    figure, base = (of_chosen(curves.figures, metric) for metric in ("pr_auc", "base_rate"))
    if figure is None or base is None:
        return ONE_CLASS
    return (
        f"Precision over all recalls (PR AUC) is {with_interval(figure)}, where a guess has the "
        f"base rate of {base.value:.3f}."
    )


def lift_in_words(curves: Curves) -> str:
    """Lift and recall in the top tenth."""
    lift, recall = (
        of_chosen(curves.figures, f"{metric}_at_10_percent") for metric in ("lift", "recall")
    )
    if lift is None or recall is None:
        return ONE_CLASS
    return (
        f"The first tenth of the list cancels {with_interval(lift, 1)} times as often as all "
        f"users, and holds {percent(recall.value, 0)} of those who cancel."
    )


ROC = curve_figure(
    place=("model", 30),
    id="roc",
    title="ROC curve",
    draw=draw_roc,
    finding=recall_in_words,
    note=NOTE,
    empty="The backtest has one class only, so there is no curve to draw.",
)
PRECISION = curve_figure(
    place=("model", 40),
    id="precision-recall",
    title="Precision and recall",
    draw=draw_precision,
    finding=precision_in_words,
    note=NOTE,
)
LIFT = curve_figure(
    place=("model", 50),
    id="lift",
    title="Lift",
    draw=draw_lift,
    finding=lift_in_words,
    note=NOTE,
)
