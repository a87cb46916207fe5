"""How figures are laid out: cohorts, console tables, metrics.json, the model card, model_runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from rich import box
from rich.table import Column, Table

from ml import store
from ml.features import TENURES
from ml.figures import Interval, Ranking, calibration_bins, curve, figures_with_intervals
from ml.models import BASELINES, model_name
from warehouse.console import Console
from warehouse.errors import ProjectError

Figures = dict[str, dict[str, dict[str, Interval]]]  # model -> cohort -> figure

SHOWN: tuple[str, ...] = ("roc_auc", "pr_auc", "lift_at_10_percent", "recall_at_10_percent")
SHOWN += ("log_loss", "calibration_slope", "calibration_intercept", "brier", "calibration_error")
SHOWN += ("expected_profit",)
# The rest is in the model card: a line of a terminal has 80 characters. Heading and digits.
PRINTED = {
    "base_rate": ("base rate", 3),
    "roc_auc": ("ROC AUC (95 % interval)", 3),
    "pr_auc": ("PR AUC", 3),
    "lift_at_10_percent": ("lift 10 %", 1),
    "log_loss": ("log loss", 4),
    "calibration_slope": ("slope", 2),
}


def cohorts(predictions: pd.DataFrame) -> dict[str, np.ndarray]:
    """Which (rows,) of the backtest belong to each cohort; empty ones are left out."""
    tenure = predictions["tenure_days"].to_numpy(dtype=float)
    paid = predictions["is_paid"].to_numpy(dtype=float)
    found = {
        "all": np.ones(len(predictions), dtype=bool),
        "new_users": predictions["is_new"].to_numpy(dtype=bool),
        "paid": paid == 1,
        "free": paid == 0,
    }
    above = -np.inf
    for name, below in TENURES.items():
        found[f"tenure_{name}"] = (tenure >= above) & (tenure < below)
        above = below
    return {name: mask for name, mask in found.items() if mask.any()}


def all_figures(
    predictions: pd.DataFrame, names: Sequence[str], chosen: str, replicates: int
) -> Figures:
    """Figures of every model on all and on new users, and of the chosen on every cohort, with
    intervals over users."""
    label = predictions["label"].to_numpy()
    user = pd.factorize(predictions["user_id"])[0]
    masks = cohorts(predictions)
    return {
        name: {
            cohort: figures_with_intervals(
                label[mask], predictions[name].to_numpy()[mask], user[mask], replicates
            )
            for cohort, mask in masks.items()
            if name == chosen or cohort in ("all", "new_users")
        }
        for name in names
    }


def metrics_json(
    run: Mapping, predictions: pd.DataFrame, figures: Figures, strengths: Sequence[Mapping]
) -> dict:
    """What metrics.json holds: sizes, figures (undefined: null), calibration bins, and curves;
    `strengths` are those of `reasons.Explained`."""
    rankings = {
        name: Ranking(predictions["label"].to_numpy(), predictions[name].to_numpy())
        for name in run["models"]
    }
    ranking = rankings[run["chosen"]]
    return {
        "model_run_id": run["model_run_id"],
        "chosen": run["chosen"],
        "losses": run["losses"],
        "cohorts": {
            cohort: {
                "rows": int(mask.sum()),
                "users": int(predictions.loc[mask, "user_id"].nunique()),
                "churned_rows": int(predictions.loc[mask, "label"].sum()),
                "churned_users": int(
                    predictions.loc[mask & (predictions["label"] == 1), "user_id"].nunique()
                ),
            }
            for cohort, mask in cohorts(predictions).items()
        },
        "figures": figures,
        "calibration": calibration_bins(ranking),
        "curves": {
            name: [{k: round(v, 6) for k, v in point.items()} for point in curve(ranking)]
            for name, ranking in rankings.items()
        },
        "strengths": list(strengths),
    }


MODEL_RUNS = (
    "model_run_id string, model_name string, trained_at timestamp, horizon_days int, "
    "train_first_snapshot_date date, train_last_snapshot_date date, "
    "test_first_snapshot_date date, test_last_snapshot_date date, cohort string, metric string, "
    "value double, low double, high double, is_chosen boolean"
)


def model_run_rows(run: Mapping, figures: Figures) -> list[tuple]:
    """Rows of the table model_runs, as in MODEL_RUNS; undefined figures are left out."""
    fit, backtest = run["fit"], run["backtest"]
    days = (fit["first"], fit["last"], backtest[0]["test_first"], backtest[-1]["test_last"])
    return [
        (
            run["model_run_id"],
            model,
            datetime.fromisoformat(run["trained_at"]),
            run["horizon_days"],
            *(date.fromisoformat(day) for day in days),
            cohort,
            name,
            *(figure[part] for part in ("value", "low", "high")),
            model == run["chosen"],
        )
        for model, by_cohort in figures.items()
        for cohort, by_name in by_cohort.items()
        for name, figure in by_name.items()
        if figure["value"] is not None
    ]


def print_run(console: Console, run: Mapping, figures: Figures) -> None:
    """What a run did, in two sentences, and its figures."""
    backtest, fit = run["backtest"], run["fit"]
    console.print(
        f"\nThe backtest judged {len(run['models'])} models on {run['backtest_rows']:,} snapshots "
        f"of {backtest[0]['test_first']} to {backtest[-1]['test_last']}, each fitted on snapshots "
        f"at least {run['horizon_days']} days earlier. Chosen is the simplest candidate within one "
        f"standard error of the lowest log loss: {model_name(run['chosen'])}. It was then fitted "
        f"on all {fit['rows']:,} snapshots of {fit['first']} to {fit['last']}."
    )
    print_figures(console, run["chosen"], figures)


def print_figures(console: Console, chosen: str, figures: Figures) -> None:
    """Tables of every model on all users, and of the chosen one by segment."""
    models = {
        model_name(model) + (" (chosen)" if model == chosen else ""): by_cohort["all"]
        for model, by_cohort in figures.items()
    }
    base = figures[chosen]["all"]["base_rate"]["value"]
    console.print(_table(f"All users, base rate {base:.3f}", "model", models, {"base_rate"}))
    names = {"new_users": "in no fit of the backtest"}
    segments = {
        names.get(cohort, cohort.replace("_", " ")): of_cohort
        for cohort, of_cohort in figures[chosen].items()
        if cohort != "all"
    }
    without = {"pr_auc", "calibration_slope"}
    console.print(_table(f"{model_name(chosen)}, by segment", "users", segments, without))


def print_runs(console: Console, artifacts: Path) -> None:
    """A table of all runs, the oldest first, with figures of their backtests.

    Raises ProjectError where there is none.
    """
    in_use = store.run_in_use(artifacts)
    if not (found := store.runs(artifacts)):
        raise ProjectError(f"No model run in {artifacts}: run `python -m ml train` first.")
    headings = ("run", "model", "fitted up to", "ROC AUC", "log loss", "")
    table = Table(*(Column(name, no_wrap=True) for name in headings), box=box.SIMPLE_HEAD)
    for name in found:
        run = store.read_json(artifacts / name / "run.json")
        figures = _figures_of_chosen(artifacts / name)
        table.add_row(
            name,
            model_name(run["chosen"]),
            run["fit"]["last"] if "backtest" in run else "earlier version",
            *(f"{figures[figure]['value']:.3f}" for figure in ("roc_auc", "log_loss")),
            "in use" if name == in_use else "",
        )
    console.print(table)


def auc_in_use(artifacts: Path) -> float | None:
    """ROC AUC, in its backtest, of the run in use; None where there is none."""
    run_id = store.run_in_use(artifacts)
    if run_id not in store.runs(artifacts):
        return None
    return _figures_of_chosen(artifacts / run_id)["roc_auc"]["value"]


def _figures_of_chosen(folder: Path) -> dict[str, Interval]:
    """Figures on all users, by name, of the model that a run has chosen."""
    metrics = store.read_json(folder / "metrics.json")
    return metrics["figures"][metrics["chosen"]]["all"]


def alarms(run: Mapping, figures: Figures, suspect_auc: float) -> list[str]:
    """What speaks against using the run: a sentence each."""
    name, chosen = model_name(run["chosen"]), figures[run["chosen"]]["all"]
    found = []
    auc = chosen["roc_auc"]
    if auc["low"] is not None and auc["low"] > suspect_auc:
        found.append(
            f"The ROC AUC of {name} in the backtest is {auc['value']:.3f}, for "
            f"certain above {suspect_auc}: a leak until shown otherwise."
        )
    loss, base = (of["log_loss"]["value"] for of in (chosen, figures["base_rate"]["all"]))
    if loss >= base:
        found.append(
            f"{name} is no better than the base rate in the backtest (log loss {loss:.4f} "
            f"and {base:.4f}): more data is needed."
        )
    return found


def texts(run: Mapping, metrics: Mapping) -> dict[str, str]:
    """The files of a run but for its model: run.json, metrics.json and MODEL_CARD.md."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    figures = metrics["figures"]
    card = environment.get_template("model_card.md.j2").render(
        run=run,
        figures=figures,
        cohorts=metrics["cohorts"],
        calibration=metrics["calibration"],
        shown=("base_rate", *SHOWN),
        baselines=[model_name(name) for name in BASELINES],
        by_model=lambda cohort: {
            model_name(name): found[cohort] for name, found in figures.items()
        },
        model_name=model_name,
        text=figure_text,
    )
    parts = {"run.json": json.dumps(run, indent=2), "metrics.json": json.dumps(metrics, indent=2)}
    return parts | {"MODEL_CARD.md": card}


def figure_text(figure: Interval, digits: int | None = None, has_interval: bool = True) -> str:
    """'0.755 (0.726 to 0.786)', '0.137', or a dash where the figure is undefined."""
    value, low, high = figure["value"], figure["low"], figure["high"]
    if value is None:
        return "-"
    digits = digits if digits is not None else 1 if abs(value) >= 2 else 3
    if not has_interval or low is None:
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _table(
    title: str, first: str, rows: Mapping[str, Mapping[str, Interval]], without: set[str]
) -> Table:
    shown = [name for name in PRINTED if name not in without]
    headings = (Column(PRINTED[name][0], justify="right", no_wrap=True) for name in shown)
    table = Table(first, *headings, title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.title_justify = "left"
    for label, figures in rows.items():
        table.add_row(
            label, *(figure_text(figures[n], PRINTED[n][1], n == "roc_auc") for n in shown)
        )
    return table
