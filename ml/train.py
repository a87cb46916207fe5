"""Judge every candidate in a backtest, choose one and fit it on all: `python -m ml train`."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, SparkSession

from ml import Alarm, LeakAlarm, card, figures, monitoring, split, store
from ml.features import CATEGORIES, HORIZON_DAYS, KEYS, LABEL, TYPES, columns
from ml.models import BASELINES, CANDIDATES, SEED, Fit, classics, model_name
from ml.reasons import Explained
from ml.split import Origin
from warehouse.console import Console, steps
from warehouse.errors import ProjectError
from warehouse.session import Target

LEAK_AUC = 0.85  # of one feature alone: stops the run
SUSPECT_AUC = 0.80  # of a model in the backtest: a leak until shown otherwise
MIN_CHURNERS = 10  # users who churn within the snapshots of the first fit
SAMPLE_ROWS = 50_000  # looked at for the alarm


def check_leaks(rows: pd.DataFrame) -> None:
    """Raise LeakAlarm, naming them, when features alone rank churners above LEAK_AUC."""
    every = max(1, len(rows) // SAMPLE_ROWS)
    sample, names = rows.iloc[::every], [column for column, _ in columns()]
    aucs = figures.strongest_single_feature(
        sample["label"].to_numpy(), sample[names].to_numpy(dtype=float)
    )
    leaks = sorted(
        ((auc, name) for auc, name in zip(aucs, names, strict=True) if auc > LEAK_AUC),
        reverse=True,
    )
    if leaks:
        named = ", ".join(f"{name} (ROC AUC {auc:.3f})" for auc, name in leaks)
        raise LeakAlarm(
            f"Stopped, nothing was fitted: one feature alone tells who churns: {named}; above "
            f"{LEAK_AUC} that is a leak of the label. Check in models/marts/churn that it counts "
            "only events before the snapshot."
        )


def read(features: DataFrame, max_rows: int) -> tuple[pd.DataFrame, list[Origin], dict[str, Any]]:
    """About `max_rows` labelled rows, the steps of the backtest on them, and what run.json says of
    both.

    Raises TooLittleData, and ProjectError for NaN or infinity.
    """
    per_day = split.rows_per_day(features)
    last = max(per_day)
    first = split.warm_start(min(per_day), last)
    steps_back = split.origins(first, last, HORIZON_DAYS)
    days, user_share = split.sampled(per_day, split.ranges(first, steps_back), max_rows)
    rows = split.collected(features, days, user_share)
    split.check_classes(steps_back[0].fitted_on(rows), "first", MIN_CHURNERS)
    split.check_classes(rows[rows["snapshot_date"] >= steps_back[0].test_first], "last", 1)
    about = {
        "label": LABEL,
        "horizon_days": HORIZON_DAYS,
        "fit": {"first": first.isoformat(), "last": last.isoformat(), "rows": len(rows)},
        "user_share": user_share,
        "snapshots": len(days),
        "backtest": [
            {name: day.isoformat() for name, day in asdict(step).items()} for step in steps_back
        ],
    }
    return rows, steps_back, about


def backtest(
    rows: pd.DataFrame, steps_back: Sequence[Origin], candidates: Mapping[str, Fit]
) -> pd.DataFrame:
    """One row per user and snapshot of the days that models are judged on: keys, `label`,
    `is_paid`, `tenure_days`, `is_new`, and the probability of each candidate, which was fitted
    on earlier days and four users in five."""
    found = []
    for origin in steps_back:
        fitted_on = origin.fitted_on(rows)
        judged_on = rows[rows["snapshot_date"].between(origin.test_first, origin.test_last)]
        kept = judged_on[[*KEYS, "label", "is_paid", "tenure_days", "is_new"]].copy()
        for name, fit in candidates.items():
            kept[name] = fit(fitted_on).probability(judged_on)
        found.append(kept)
    return pd.concat(found, ignore_index=True)


@dataclass(frozen=True)
class Loss:
    """Mean log loss of a candidate in the backtest, how much it is above the best one's, and the
    standard error of that difference."""

    log_loss: float
    above_best: float
    standard_error: float

    @property
    def is_as_good(self) -> bool:
        """Within one standard error of the best."""
        return self.above_best <= self.standard_error


def paired_losses(predictions: pd.DataFrame, names: list[str], replicates: int) -> dict[str, Loss]:
    """By candidate. Differences are paired, row by row, and users are resampled with their rows.

    `predictions` has `label`, `user_id` and a column of probabilities per candidate.
    """
    label = predictions["label"].to_numpy(dtype=float)
    by_row = np.column_stack(
        [figures.row_losses(label, predictions[name].to_numpy()) for name in names]
    )
    codes, _ = pd.factorize(predictions["user_id"], sort=True)
    users = int(codes.max()) + 1
    # sums by user are all that a resampling of users needs
    rows = np.bincount(codes, minlength=users).astype(float)
    sums = np.column_stack([np.bincount(codes, each, users) for each in by_row.T])
    mean = by_row.mean(axis=0)
    best = int(np.argmin(mean))
    drawn = figures.user_weights(np.arange(users), replicates, SEED)
    above = (drawn @ (sums - sums[:, [best]])) / (drawn @ rows)[:, None]
    return {
        name: Loss(float(mean[i]), float(mean[i] - mean[best]), float(above[:, i].std()))
        for i, name in enumerate(names)
    }


def simplest(found: Mapping[str, Loss]) -> str:
    """The first that is within one standard error of the best; `found` is in rising complexity.

    The rule of one standard error: Breiman, Friedman, Olshen and Stone, Classification and
    Regression Trees (1984), section 3.4.3.
    """
    return next(name for name, loss in found.items() if loss.is_as_good)


def train(
    spark: SparkSession,
    target: Target,
    artifacts: Path,
    console: Console,
    max_rows: int = 100_000,
    replicates: int = 200,
    compare: bool = False,
) -> str:
    """Train on the published features; returns the model run id.

    Memory and time are bounded by `max_rows` and `replicates`, and do not grow with the log.
    `compare` judges the classifiers of public notebooks, too. Writes `<artifacts>/<run id>/`, the
    figures in `model_runs`, and last the pointer to the run in use, where this one is no worse than
    the one before and no alarm speaks: killed before, the earlier one stays.

    Raises TooLittleData, LeakAlarm, and ProjectError for a feature with NaN or infinity, before
    anything is written.
    """
    step = steps(console)
    store.assert_writable(spark, target)
    features = store.published_features(spark, target)
    with step("read the feature table"):
        rows, steps_back, about_rows = read(features, max_rows)
    with step("look for leaks, one feature at a time"):
        check_leaks(steps_back[0].fitted_on(rows))
    judged: dict[str, Fit] = {**BASELINES, **CANDIDATES, **(classics() if compare else {})}
    with step(f"backtest of {len(judged)} models from {len(steps_back)} dates"):
        predictions = backtest(rows, steps_back, judged)
        losses = paired_losses(predictions, list(CANDIDATES), replicates)
        chosen = simplest(losses)
    with step(f"figures with {replicates} bootstrap replicates over users"):
        found = card.all_figures(predictions, [*judged], chosen, replicates)
    with step(f"fit {model_name(chosen)} on all days and users"):
        explained = Explained.of(CANDIDATES[chosen](rows), rows)
    trained_at = datetime.now(timezone.utc).replace(microsecond=0)
    run = {
        "model_run_id": f"{trained_at:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}",
        "trained_at": trained_at.isoformat(),
        **about_rows,
        "backtest_rows": len(predictions),
        "settings": {"max_rows": max_rows, "replicates": replicates, "compare": compare},
        "models": [*judged],
        "chosen": chosen,
        "losses": {name: asdict(loss) for name, loss in losses.items()},
        "features": TYPES,
        "categories": CATEGORIES,
        "bins": monitoring.reference_bins(rows, explained.model.probability),
    }
    metrics = card.metrics_json(run, predictions, found, explained.strengths())
    run_id = run["model_run_id"]
    with step("save model and figures"):
        folder = store.save_run(artifacts, run_id, explained, card.texts(run, metrics))
        model_runs = spark.createDataFrame(card.model_run_rows(run, found), card.MODEL_RUNS)
        store.replace(spark, target, "model_runs", model_runs, run_id)
    card.print_run(console, run, found)
    console.print(f"Model card: {folder / 'MODEL_CARD.md'}", soft_wrap=True)
    against = card.alarms(run, found, SUSPECT_AUC) or _worse(artifacts, run, rows, predictions)
    _put_in_use(artifacts, run_id, against, console)
    return run_id


def _put_in_use(artifacts: Path, run_id: str, against: Sequence[str], console: Console) -> None:
    """Put a run in use unless sentences speak against it; raise Alarm where none is in use then."""
    if not against:
        store.put_in_use(artifacts, run_id)
        console.print(f"Run {run_id} is in use from now on.")
        return
    kept = store.run_in_use(artifacts)
    sentence = (
        f"Run {run_id} is not put in use: {' '.join(against)} Do it all the same with: "
        f"python -m ml promote {run_id}"
    )
    if kept is None:
        raise Alarm(sentence)
    console.print(f"{sentence}\nStill in use: {kept}.")


def _worse(
    artifacts: Path, run: Mapping, rows: pd.DataFrame, predictions: pd.DataFrame
) -> list[str]:
    """A sentence where the run in use is better by more than a standard error, on days that neither
    it nor the fits of the backtest had seen. Where there are no such days, newer is better."""
    try:
        folder = store.run_folder(artifacts)
        fitted_to = date.fromisoformat(store.read_run(folder)["fit"]["last"])
        other = store.read_model(folder).model
    except ProjectError:
        return []  # there is none, or it is of an earlier version
    unseen = predictions["snapshot_date"] >= fitted_to + timedelta(days=HORIZON_DAYS)
    if not unseen.any():
        return []
    in_use, common = folder.name, predictions[unseen].copy()
    judged = common[list(KEYS)].merge(rows, on=list(KEYS), how="left", validate="1:1")
    common[in_use] = other.probability(judged)
    names = [run["chosen"], in_use]
    losses = paired_losses(common, names, run["settings"]["replicates"])
    if losses[run["chosen"]].is_as_good:
        return []
    return [
        f"On {len(common):,} snapshots that neither had seen, the log loss of the run in use is "
        f"lower, {losses[in_use].log_loss:.4f} against {losses[run['chosen']].log_loss:.4f}."
    ]
