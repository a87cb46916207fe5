"""How figures are laid out: cohorts, console tables, metrics.json, the model card, model_runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from rich import box
from rich.table import Table

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
        name: Ranking.of(predictions["label"].to_numpy(), predictions[name].to_numpy())
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
        "figures": {
            model: {
                cohort: {
                    name: {k: _known(getattr(f, k)) for k in ("value", "low", "high")}
                    for name, f in by_name.items()
                }
                for cohort, by_name in by_cohort.items()
            }
            for model, by_cohort in figures.items()
        },
        "calibration": calibration_bins(ranking.sample()),
        "curves": {
            name: [{k: round(v, 6) for k, v in point.items()} for point in curve(ranking)]
            for name, ranking in rankings.items()
        },
        "strengths": list(strengths),
    }


def model_run_rows(run: Mapping, figures: Figures) -> list[tuple]:
    """Rows of the table model_runs; undefined figures are left out."""
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
            figure.value,
            _known(figure.low),
            _known(figure.high),
            model == run["chosen"],
        )
        for model, by_cohort in figures.items()
        for cohort, by_name in by_cohort.items()
        for name, figure in by_name.items()
        if _known(figure.value) is not None
    ]


def said(run: Mapping) -> str:
    """What a run did, in two sentences."""
    backtest, fit = run["backtest"], run["fit"]
    return (
        f"\nThe backtest judged {len(run['models'])} models on {run['backtest_rows']:,} snapshots "
        f"of {backtest[0]['test_first']} to {backtest[-1]['test_last']}, each fitted on snapshots "
        f"at least {run['horizon_days']} days earlier. Chosen is the simplest candidate within one "
        f"standard error of the lowest log loss: {model_name(run['chosen'])}. It was then fitted "
        f"on all {fit['rows']:,} snapshots of {fit['first']} to {fit['last']}."
    )


def print_figures(console: Console, chosen: str, figures: Figures) -> None:
    """Tables of every model on all users, and of the chosen one by segment."""
    models = {
        model_name(model) + (" (chosen)" if model == chosen else ""): by_cohort["all"]
        for model, by_cohort in figures.items()
    }
    base = figures[chosen]["all"]["base_rate"].value
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
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("run", "model", "fitted up to", "ROC AUC", "log loss", ""):
        table.add_column(name, no_wrap=True)
    for name in found:
        run = json.loads((artifacts / name / "run.json").read_text(encoding="utf-8"))
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
    value: float | None = _figures_of_chosen(artifacts / run_id)["roc_auc"]["value"]
    return value


def _figures_of_chosen(folder: Path) -> dict[str, dict[str, float | None]]:
    """Figures on all users, by name, of the model that a run has chosen."""
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    found: dict[str, dict[str, float | None]] = metrics["figures"][metrics["chosen"]]["all"]
    return found


def alarms(run: Mapping, figures: Figures, suspect_auc: float) -> list[str]:
    """What speaks against using the run: a sentence each."""
    name, chosen = model_name(run["chosen"]), figures[run["chosen"]]["all"]
    found = []
    if chosen["roc_auc"].low > suspect_auc:
        found.append(
            f"The ROC AUC of {name} in the backtest is {chosen['roc_auc'].value:.3f}, for "
            f"certain above {suspect_auc}: a leak until shown otherwise."
        )
    loss, base = chosen["log_loss"].value, figures["base_rate"]["all"]["log_loss"].value
    if loss >= base:
        found.append(
            f"{name} is no better than the base rate in the backtest (log loss {loss:.4f} "
            f"and {base:.4f}): more data is needed."
        )
    return found


def model_card(run: Mapping, metrics: Mapping) -> str:
    """MODEL_CARD.md, after the headings of Mitchell et al., Model Cards (FAT* 2019)."""
    chosen, fit, backtest = run["chosen"], run["fit"], run["backtest"]
    horizon, figures = run["horizon_days"], metrics["figures"]
    lines = [
        f"# Churn model {run['model_run_id']}",
        "",
        f"Chosen: **{model_name(chosen)}** (`{chosen}`). Trained {run['trained_at']}.",
        "",
        "## Intended use",
        f"Rank the active users of a day by the chance that they cancel within {horizon} days, so "
        "that a retention team looks at the likeliest first; the probability may be read as one. "
        "Not for decisions that a user must live with (price, access), and not for causes: a "
        "reason says what the model looked at, not what would change the outcome.",
        "",
        "## Data",
        "- Population: users with an event in the 28 days before the snapshot who had not "
        "cancelled before it. One row per user and daily snapshot.",
        f"- Label: `{run['label']}`, a cancellation in the {horizon} days from the snapshot on. "
        "A downgrade is not a churn.",
        f"- Features: {len(run['features'])} columns of `churn_features`, all from events before "
        "the snapshot (churn_features.yml lists them with units).",
        f"- Fit: {fit['rows']:,} rows of {run['snapshots']} snapshot dates from {fit['first']} to "
        f"{fit['last']}, of {run['user_share']:.0%} of the users, to bound the cost. Snapshots of "
        "the first 28 days of the log, whose windows its start cuts, are left out only where 90 "
        "days of others remain.",
        "",
        "## Backtest",
        "Each candidate is fitted anew for each stretch of days, on the snapshots that lie "
        f"{horizon} days before it: no outcome that a fit has seen reaches into the days that it "
        "is judged on. One user in five (a hash of the id) is in no fit: `new_users` below.",
        "",
        "| fitted up to | judged on |",
        "|---|---|",
        *(f"| {o['fit_last']} | {o['test_first']} to {o['test_last']} |" for o in backtest),
        "",
        "## Choice",
        "The simplest candidate whose log loss is within one standard error of the lowest one "
        "(differences row by row, users resampled). It was then fitted on all days and users: the "
        "figures below are the backtest's, and the estimate of what this model is worth.",
        "",
        "| candidate, simplest first | log loss | above the lowest | standard error |",
        "|---|---|---|---|",
        *(
            f"| {model_name(name)} | {loss['log_loss']:.4f} | {loss['above_best']:.4f} "
            f"| {loss['standard_error']:.4f} |"
            for name, loss in run["losses"].items()
        ),
        "",
        "## Figures of the backtest",
        "With 95 % intervals of a bootstrap over users "
        f"({run['settings']['replicates']} replicates). Baselines: "
        f"{', '.join(map(model_name, BASELINES))}.",
    ]
    for cohort in ("all", "new_users"):
        if cohort in figures[chosen]:
            lines += ["", f"### {cohort} ({_size(metrics, cohort)})", ""]
            named = {model_name(m): f[cohort] for m, f in figures.items()}
            lines += _markdown("model", named, bold=model_name(chosen))
    lines += ["", f"### {model_name(chosen)}, at the top of the list", ""]
    lines += ["| share looked at | lift | recall |", "|---|---|---|"]
    lines += [
        f"| {p} % | {figure_text(figures[chosen]['all'][f'lift_at_{p}_percent'])} "
        f"| {figure_text(figures[chosen]['all'][f'recall_at_{p}_percent'])} |"
        for p in (1, 5, 10)
    ]
    segments = {
        f"{c} ({_size(metrics, c)})": f
        for c, f in figures[chosen].items()
        if c not in ("all", "new_users")
    }
    lines += ["", f"### {model_name(chosen)}, by segment", "", *_markdown("segment", segments)]
    lines += [
        "",
        f"### Calibration of {model_name(chosen)}",
        "",
        "The slope is that of a logistic regression of the outcome on the log odds of the "
        "probability (Cox, Biometrika 45, 1958): 1 if right, below 1 where probabilities are too "
        "extreme. The intercept is that of the same with the slope at 1: 0 if right, above 0 where "
        "fewer users were predicted to cancel than did (Van Calster et al., BMC Medicine 17, "
        "2019).",
        "",
        "| tenth by probability | rows | mean probability | churn rate |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {i + 1} | {b['rows']:,.0f} | {b['probability']:.4f} | {b['churn_rate']:.4f} |"
        for i, b in enumerate(metrics["calibration"])
    ]
    lines += [
        "",
        "## Limits",
        "- Snapshots of one user on following days are nearly the same: rows are many, users "
        "are what counts, and the intervals resample users.",
        "- The backtest is of one stretch of time; a change of season, price or product is not in "
        "it. Train again when monitoring shows drift.",
        f"- A ROC AUC above 0.80 would be a leak until shown otherwise; here it is "
        f"{figures[chosen]['all']['roc_auc']['value'] or float('nan'):.3f}.",
        "- The calibration error, the mean gap of the tenths above, is mostly noise in a small "
        "backtest: with few churners even a perfect probability shows one. It has no interval.",
        "",
    ]
    return "\n".join(lines)


def _known(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else float(value)


def _size(metrics: Mapping, cohort: str) -> str:
    size = metrics["cohorts"][cohort]
    return (
        f"{size['rows']:,} rows, {size['users']:,} users, {size['churned_users']:,} of them churn"
    )


def figure_text(
    figure: Interval | Mapping[str, float | None],
    digits: int | None = None,
    has_interval: bool = True,
) -> str:
    """'0.755 (0.726 to 0.786)', '0.137', or a dash where the figure is undefined."""
    value, low, high = (
        (figure.value, figure.low, figure.high)
        if isinstance(figure, Interval)
        else (figure["value"], figure["low"], figure["high"])
    )
    if value is None or _known(value) is None:
        return "-"
    digits = digits if digits is not None else 1 if abs(value) >= 2 else 3
    if not has_interval or _known(low) is None:
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _table(
    title: str, first: str, rows: Mapping[str, Mapping[str, Interval]], without: set[str]
) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column(first)
    shown = [name for name in PRINTED if name not in without]
    for name in shown:
        table.add_column(PRINTED[name][0], justify="right", no_wrap=True)
    for label, figures in rows.items():
        table.add_row(
            label, *(figure_text(figures[n], PRINTED[n][1], n == "roc_auc") for n in shown)
        )
    return table


def _markdown(first: str, rows: Mapping[str, Mapping], bold: str | None = None) -> list[str]:
    shown = ("base_rate", *SHOWN)
    head = " | ".join(n.replace("_percent", " %").replace("_", " ") for n in shown)
    lines = [f"| {first} | {head} |", "|---" * (len(shown) + 1) + "|"]
    for name, figures in rows.items():
        label = f"**{name}**" if name == bold else name
        lines.append(f"| {label} | " + " | ".join(figure_text(figures[n]) for n in shown) + " |")
    return lines


def compared(recorded: Mapping, figures: Figures) -> str:
    """One sentence: whether the figures equal those of metrics.json, to six digits."""
    different = [
        f"{model} {cohort} {name}"
        for model, by_cohort in figures.items()
        for cohort, by_name in by_cohort.items()
        for name, figure in by_name.items()
        if not _is_same(
            recorded["figures"].get(model, {}).get(cohort, {}).get(name, {}).get("value"),
            figure.value,
        )
    ]
    if not different:
        return "All figures equal those recorded at training."
    return (
        f"{len(different)} figures differ from those recorded at training, such as "
        f"{different[0]}: the published features, or the libraries, have changed since."
    )


def _is_same(recorded: float | None, found: float) -> bool:
    if recorded is None or _known(found) is None:
        return recorded is None and _known(found) is None
    return abs(recorded - found) <= 1e-6 * max(1.0, abs(recorded))
