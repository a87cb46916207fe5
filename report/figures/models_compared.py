"""Models compared by ROC AUC, of all users and of those in no fit: dots with their intervals."""

import altair as alt
import pandas as pd

from ml.models import model_name
from report.charts import Chart, intervals
from report.curves import of_chosen, with_interval
from report.figure import Figure, Table, part_of
from report.words import NOTHING, capitalized

METRICS = {
    "base_rate": "Base rate",
    "roc_auc": "ROC AUC",
    "pr_auc": "PR AUC",
    "lift_at_10_percent": "Lift in the top 10%",
    "recall_at_10_percent": "Recall in the top 10%",
    "log_loss": "Log loss",
    "brier": "Brier score",
    "calibration_slope": "Calibration slope",
    "calibration_intercept": "Calibration intercept",
    "calibration_error": "Calibration error",
    "expected_profit": "Expected profit per user (EMPC)",
}


def draw(rows: pd.DataFrame, width: int) -> Chart:
    rows = rows[rows["metric"] == "roc_auc"].sort_values("value", ascending=False)
    rows["name"] = [
        model_name(r.model_name) + (" (chosen)" if r.is_chosen else "") for r in rows.itertuples()
    ]
    rows["words"] = [
        f"{r.name}: {METRICS['roc_auc']} {with_interval(r)}" for r in rows.itertuples()
    ]
    axis = alt.Axis(title="ROC AUC (0.5 is a guess)", tickCount=5, format=".2f")
    scale = alt.Scale(zero=False, padding=8)
    return intervals(rows, width, "name", "value", axis, step=28, scale=scale)


def finding(rows: pd.DataFrame) -> str:
    """The chosen model against a guess, and the best of all."""
    chosen = of_chosen(rows, "roc_auc", cohort=rows["cohort"].iloc[0])
    if chosen is None:
        return "The backtest has one class only, so no model can be ranked."
    figures = rows[rows["metric"] == "roc_auc"]
    best = figures.loc[figures["value"].idxmax()]
    is_better = pd.notna(chosen.low) and chosen.low > 0.5
    verdict = "better than a guess" if is_better else "not clearly better than a guess"
    best_text = (
        "the highest of all"
        if best.model_name == chosen.model_name
        else f"the highest is that of {model_name(best.model_name)}, {best.value:.3f}"
    )
    return capitalized(
        f"{model_name(chosen.model_name)}, which was chosen, has a ROC AUC of "
        f"{with_interval(chosen)}: {verdict}; {best_text}."
    )


def table(rows: pd.DataFrame) -> Table:
    """All figures of all models, best ROC AUC first."""
    cells = {
        (r.model_name, r.metric): f"{r.value:.3f}"
        + ("" if pd.isna(r.low) else f" ({r.low:.3f}–{r.high:.3f})")
        for r in rows.itertuples()
    }
    order = rows[rows["metric"] == "roc_auc"].sort_values("value", ascending=False)["model_name"]
    names = list(dict.fromkeys([*order, *rows["model_name"]]))
    return Table(
        ["Model", *METRICS.values()],
        [[model_name(name), *(cells.get((name, m), NOTHING) for m in METRICS)] for name in names],
    )


ALL_USERS = Figure(
    place=("model", 10),
    id="models",
    title="Models compared, all users",
    queries=("model_figures",),
    read=part_of("model_figures", cohort="all"),
    draw=draw,
    finding=finding,
    table=table,
    note="95% intervals, of resampled users. Numbers of all figures: in the table.",
)
NEW_USERS = Figure(
    place=("model", 20),
    id="models-new",
    title="Models compared, users in no fit",
    queries=("model_figures",),
    read=part_of("model_figures", cohort="new_users"),
    draw=draw,
    finding=finding,
    table=table,
    note="One user in five is in no fit of the backtest.",
    empty="",
)
