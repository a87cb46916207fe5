"""Judge every candidate in a backtest, choose one and fit it on all: `python -m ml train`."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ml import card, choice, figures, monitoring, reasons, store
from ml.classics import classics
from ml.errors import Alarm, LeakAlarm, TooLittleData
from ml.features import (
    CATEGORIES,
    HORIZON_DAYS,
    KEYS,
    LABEL,
    TYPES,
    assert_finite,
    columns,
    encode,
)
from ml.models import BASELINES, CANDIDATES, Fit, model_name
from ml.split import Origin, in_user_sample, is_new_user, origins, ranges, thinned, warm_start
from warehouse.console import Console, steps
from warehouse.errors import ProjectError
from warehouse.session import Target

LEAK_AUC = 0.85  # of one feature alone: stops the run
SUSPECT_AUC = 0.80  # of a model in the backtest: a leak until shown otherwise
MIN_CHURNERS = 10  # users who churn within the snapshots of the first fit
SAMPLE_ROWS = 50_000  # looked at for the alarm


@dataclass(frozen=True)
class Settings:
    """Bounds of one run: memory and time do not grow with the log."""

    max_rows: int = 100_000
    replicates: int = 200
    compare: bool = False  # with the classifiers of public notebooks


def rows_per_day(features: DataFrame) -> Mapping[date, int]:
    """Rows with a known outcome by snapshot date: one pass, one result row per date.

    Raises TooLittleData where there is none.
    """
    found = features.where(F.col(LABEL).isNotNull()).groupBy("snapshot_date").count().collect()
    if not found:
        raise TooLittleData(
            f"Too little data: no snapshot has a known outcome yet. Outcomes are known "
            f"{HORIZON_DAYS} days after a snapshot: add later logs and run `dbt build`."
        )
    return {row["snapshot_date"]: row["count"] for row in found}


@dataclass(frozen=True)
class Snapshots:
    """Snapshot dates and the share of users that are read, about `max_rows` rows."""

    days: tuple[date, ...]
    user_share: float

    @classmethod
    def of(
        cls, per_day: Mapping[date, int], ranges: Sequence[tuple[date, date]], max_rows: int
    ) -> Snapshots:
        """Thin ranges of dates by date first, then by user, to about `max_rows` rows in all."""
        days = thinned(per_day, ranges, max_rows, max_step=HORIZON_DAYS)
        rows = sum(per_day[day] for day in days)
        return cls(tuple(days), min(1.0, max_rows / max(rows, 1)))

    def collected(self, features: DataFrame) -> pd.DataFrame:
        """The labelled rows, encoded, by snapshot and user: `is_new` tells users whom a backtest
        fits no model on.

        Raises ProjectError for NaN or infinity.
        """
        kept = features.where(F.col(LABEL).isNotNull() & F.col("snapshot_date").isin(*self.days))
        if self.user_share < 1:
            kept = kept.where(in_user_sample(self.user_share))
        encoded = encode(kept).withColumn("is_new", is_new_user())
        assert_finite(encoded)
        rows: pd.DataFrame = encoded.toPandas()
        return rows.sort_values(list(KEYS)[::-1], ignore_index=True)


def check_classes(rows: pd.DataFrame, which: str, min_churners: int) -> None:
    """Raise TooLittleData unless users churn, and do not churn, in these rows ('first')."""
    churners = rows.loc[rows["label"] == 1, "user_id"].nunique()
    stayed = int((rows["label"] == 0).sum())
    if churners < min_churners or not stayed:
        raise TooLittleData(
            f"Too little data: in the {which} snapshots {churners} users churn (at least "
            f"{min_churners} are needed) and {stayed} rows do not: add more logs and run "
            "`dbt build`."
        )


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


@dataclass(frozen=True)
class Data:
    """Labelled rows of the dates from `first` to `last`, and the steps of the backtest on them."""

    rows: pd.DataFrame
    steps: Sequence[Origin]
    first: date
    last: date
    snapshots: Snapshots

    @classmethod
    def read(cls, features: DataFrame, max_rows: int) -> Data:
        """About `max_rows` rows. Raises TooLittleData, and ProjectError for NaN or infinity."""
        per_day = rows_per_day(features)
        last = max(per_day)
        first = warm_start(min(per_day), last)
        steps = origins(first, last, HORIZON_DAYS)
        snapshots = Snapshots.of(per_day, ranges(first, steps), max_rows)
        data = cls(snapshots.collected(features), steps, first, last, snapshots)
        check_classes(data.first_fit, "first", MIN_CHURNERS)
        check_classes(data.rows[data.rows["snapshot_date"] >= steps[0].test_first], "last", 1)
        return data

    @property
    def first_fit(self) -> pd.DataFrame:
        """What the first step of the backtest is fitted on."""
        return self.rows[
            (self.rows["snapshot_date"] <= self.steps[0].fit_last) & ~self.rows["is_new"]
        ]

    def to_json(self) -> dict[str, Any]:
        """What run.json says of it."""
        return {
            "fit": {
                "first": self.first.isoformat(),
                "last": self.last.isoformat(),
                "rows": len(self.rows),
            },
            "user_share": self.snapshots.user_share,
            "snapshots": len(self.snapshots.days),
            "backtest": [
                {name: day.isoformat() for name, day in asdict(step).items()} for step in self.steps
            ],
        }


def backtest(
    rows: pd.DataFrame, steps_back: Sequence[Origin], candidates: Mapping[str, Fit]
) -> pd.DataFrame:
    """One row per user and snapshot of the days that models are judged on: keys, `label`,
    `is_paid`, `tenure_days`, `is_new`, and the probability of each candidate, which was fitted
    on earlier days and four users in five."""
    found = []
    for origin in steps_back:
        fitted_on = rows[(rows["snapshot_date"] <= origin.fit_last) & ~rows["is_new"]]
        judged_on = rows[rows["snapshot_date"].between(origin.test_first, origin.test_last)]
        kept = judged_on[[*KEYS, "label", "is_paid", "tenure_days", "is_new"]].copy()
        for name, fit in candidates.items():
            kept[name] = fit(fitted_on).probability(judged_on)
        found.append(kept)
    return pd.concat(found, ignore_index=True)


def train(
    spark: SparkSession,
    target: Target,
    artifacts: Path,
    settings: Settings,
    console: Console,
) -> str:
    """Train on the published features; returns the model run id.

    Writes `<artifacts>/<run id>/`, the figures of the run in `model_runs`, and last, where the run
    is no worse than the one in use and no alarm speaks, the pointer to the run in use: killed
    before, the earlier one stays. Each training is a run of its own.

    Raises TooLittleData, LeakAlarm, and ProjectError for a feature with NaN or infinity, before
    anything is written.
    """
    step = steps(console)
    store.assert_writable(spark, target)
    features = store.published_features(spark, target)
    with step("read the feature table"):
        data = Data.read(features, settings.max_rows)
    with step("look for leaks, one feature at a time"):
        check_leaks(data.first_fit)
    judged: dict[str, Fit] = {**BASELINES, **CANDIDATES}
    if settings.compare:
        judged |= classics()
    with step(f"backtest of {len(judged)} models from {len(data.steps)} dates"):
        predictions = backtest(data.rows, data.steps, judged)
        losses = choice.losses(predictions, list(CANDIDATES), settings.replicates)
        chosen = choice.simplest(losses)
    with step(f"figures with {settings.replicates} bootstrap replicates over users"):
        found = card.all_figures(predictions, [*judged], chosen, settings.replicates)
    with step(f"fit {model_name(chosen)} on all days and users"):
        model = CANDIDATES[chosen](data.rows)
        explained = reasons.Explained.of(model, data.rows)
    run = {
        **_identity(),
        **data.to_json(),
        "backtest_rows": len(predictions),
        "settings": asdict(settings),
        "models": [*judged],
        "chosen": chosen,
        "losses": {name: asdict(loss) for name, loss in losses.items()},
        "features": TYPES,
        "categories": CATEGORIES,
        "bins": monitoring.reference_bins(data.rows, model.probability),
    }
    metrics = card.metrics_json(run, predictions, found, explained.strengths())
    with step("save model and figures"):
        texts = {
            "run.json": json.dumps(run, indent=2),
            "metrics.json": json.dumps(metrics, indent=2),
            "MODEL_CARD.md": card.model_card(run, metrics),
        }
        folder = store.save_run(artifacts, run["model_run_id"], explained, texts)
        store.replace_model_runs(spark, target, card.model_run_rows(run, found))
    console.print(card.said(run))
    card.print_figures(console, chosen, found)
    console.print(f"Model card: {folder / 'MODEL_CARD.md'}", soft_wrap=True)
    against = card.alarms(run, found, SUSPECT_AUC) or _worse(artifacts, run, data.rows, predictions)
    _put_in_use(artifacts, run["model_run_id"], against, console)
    return run["model_run_id"]


def _identity() -> dict[str, Any]:
    """What tells a run from all others, and what its models predict."""
    trained_at = datetime.now(timezone.utc).replace(microsecond=0)
    return {
        "model_run_id": f"{trained_at:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}",
        "trained_at": trained_at.isoformat(),
        "label": LABEL,
        "horizon_days": HORIZON_DAYS,
    }


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
    in_use = store.run_in_use(artifacts)
    if in_use is None or in_use not in store.runs(artifacts):
        return []
    folder = store.run_folder(artifacts, in_use)
    try:
        fitted_to = date.fromisoformat(store.read_run(folder)["fit"]["last"])
        other = store.read_model(folder).model
    except ProjectError:
        return []  # of an earlier version
    unseen = predictions["snapshot_date"] >= fitted_to + timedelta(days=HORIZON_DAYS)
    if not unseen.any():
        return []
    common = predictions[unseen].copy()
    judged = common[list(KEYS)].merge(rows, on=list(KEYS), how="left", validate="1:1")
    common[in_use] = other.probability(judged)
    names = [run["chosen"], in_use]
    losses = choice.losses(common, names, run["settings"]["replicates"])
    if losses[run["chosen"]].is_as_good:
        return []
    return [
        f"On {len(common):,} snapshots that neither had seen, the log loss of the run in use is "
        f"lower, {losses[in_use].log_loss:.4f} against {losses[run['chosen']].log_loss:.4f}."
    ]
