"""Fit every model, choose one, and report on the test split: `python -m ml train`."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timezone
from pathlib import Path

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ml import evaluate, explain, models, report, store
from ml.errors import LeakAlarm, TooLittleData
from ml.features import CATEGORIES, HORIZON_DAYS, KEYS, LABEL, TYPES, assert_finite, columns, encode
from ml.models import Model
from ml.split import in_user_sample, is_new_user, split_dates, thinned, warm_start
from warehouse.console import Console, Step, steps
from warehouse.session import Target

LEAK_AUC = 0.85  # of one feature alone: stops the run
SUSPECT_AUC = 0.80  # of a model on test: a leak until shown otherwise
MIN_CHURNERS = 10  # users who churn within the training snapshots
SAMPLE_ROWS = 50_000  # looked at for the alarm; about 60 MB


@dataclass(frozen=True)
class Settings:
    """Bounds of one run: memory and time do not grow with the log."""

    max_fit_rows: int = 100_000
    max_test_rows: int = 100_000
    replicates: int = 200


@dataclass(frozen=True)
class Days:
    """Mature snapshots per date: rows of all users, rows of users that may train."""

    rows: Mapping[date, int]
    fit_rows: Mapping[date, int]


def labelled_days(features: DataFrame) -> Days:
    """One pass over the labelled rows; one result row per snapshot date.

    Raises TooLittleData where there is none.
    """
    found = (
        features.where(F.col(LABEL).isNotNull())
        .groupBy("snapshot_date")
        .agg(
            F.count("*").alias("rows"),
            F.count_if(~is_new_user()).alias("fit_rows"),
        )
        .collect()
    )
    if not found:
        raise TooLittleData(
            f"Too little data: no snapshot has a known outcome yet. Outcomes are known "
            f"{HORIZON_DAYS} days after a snapshot: add later logs and run `dbt build`."
        )
    return Days(
        {row["snapshot_date"]: row["rows"] for row in found},
        {row["snapshot_date"]: row["fit_rows"] for row in found},
    )


@dataclass(frozen=True)
class Part:
    """Snapshot dates and share of users that a part of the split reads, about `size` rows."""

    days: tuple[date, ...]
    user_share: float
    size: int

    @classmethod
    def of(
        cls, rows_per_day: Mapping[date, int], parts: Sequence[tuple[date, date]], max_rows: int
    ) -> Part:
        """Thin ranges of dates by date first, then by user, to about `max_rows` rows in all."""
        days = thinned(rows_per_day, parts, max_rows, max_step=HORIZON_DAYS)
        rows = sum(rows_per_day[day] for day in days)
        return cls(tuple(days), min(1.0, max_rows / max(rows, 1)), max(1, min(rows, max_rows)))

    def rows(self, features: DataFrame) -> DataFrame:
        """The labelled rows of this part, encoded."""
        kept = features.where(F.col(LABEL).isNotNull() & F.col("snapshot_date").isin(*self.days))
        if self.user_share < 1:
            kept = kept.where(in_user_sample(self.user_share))
        return encode(kept)

    def to_json(self) -> dict[str, object]:
        """Dates as ISO strings."""
        return asdict(self) | {"days": [d.isoformat() for d in self.days]}

    @classmethod
    def from_json(cls, fields: Mapping) -> Part:
        """The inverse of `to_json`."""
        days = tuple(date.fromisoformat(d) for d in fields["days"])
        return cls(days, fields["user_share"], fields["size"])


def check_classes(rows: DataFrame, part: str, min_churners: int) -> None:
    """Raise TooLittleData unless users churn, and do not churn, in this part ('training')."""
    found = rows.agg(
        F.count_distinct(F.when(F.col("label") == 1, F.col("user_id"))).alias("churners"),
        F.count_if(F.col("label") == 0).alias("stayed"),
    ).collect()[0]
    if found["churners"] < min_churners or not found["stayed"]:
        raise TooLittleData(
            f"Too little data: in the {part} snapshots {found['churners']} users churn "
            f"(at least {min_churners} are needed) and {found['stayed']} rows do not: add more "
            "logs and run `dbt build`."
        )


def check_leaks(sample: pd.DataFrame) -> None:
    """Raise LeakAlarm, naming them, when features alone rank churners above LEAK_AUC.

    `sample` holds encoded training rows: `label` and the numeric columns.
    """
    names = [column for column, _ in columns()]
    aucs = evaluate.strongest_single_feature(
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


def tune_log_loss(model: Model, tune_rows: DataFrame) -> float:
    """Mean log loss on the tune split, what the choice goes by (bounded by max_fit_rows)."""
    found: pd.DataFrame = model.probability(tune_rows).select("label", "probability").toPandas()
    ranking = evaluate.Ranking.of(found["label"].to_numpy(), found["probability"].to_numpy())
    return evaluate.log_loss(ranking.sample())


def test_predictions(test_rows: DataFrame, fitted: Mapping[str, Model]) -> pd.DataFrame:
    """One row per user and snapshot date of the test part, collected (at most max_test_rows):
    user_id, snapshot_date, label, is_paid, tenure_days, is_new_user and one column per model."""
    keys = list(KEYS)
    found: pd.DataFrame = test_rows.select(
        *keys, "label", "is_paid", "tenure_days", is_new_user().alias("is_new")
    ).toPandas()
    found = found.sort_values(keys, ignore_index=True)
    for name, model in fitted.items():
        one: pd.DataFrame = model.probability(test_rows).select(*keys, "probability").toPandas()
        found[name] = one.sort_values(keys, ignore_index=True)["probability"]
    return found


def train(
    spark: SparkSession,
    target: Target,
    artifacts: Path,
    settings: Settings,
    console: Console,
) -> str:
    """Train on the published features; returns the model run id.

    Writes `<artifacts>/<run id>/`, the rows of the run in `model_runs`, and last the pointer to
    the latest run: killed before, the earlier run stays in use. Each training is a run of its own.

    Raises TooLittleData, LeakAlarm, and ProjectError for a feature with NaN or infinity, before
    anything is written.
    """
    step = steps(console)
    store.assert_writable(spark, target)
    features = store.published_features(spark, target)
    with step("read the feature table"):
        days = labelled_days(features)
        first, last = min(days.rows), max(days.rows)
        split = split_dates(warm_start(first, last), last, HORIZON_DAYS)
        fit_part = Part.of(days.fit_rows, split.fit_parts, settings.max_fit_rows)
        test_dates = (split.test_first, split.test_last)
        test_part = Part.of(days.rows, [test_dates], settings.max_test_rows)
        is_tune = F.col("snapshot_date") >= F.lit(split.tune_first)
        may_train = features.where(~is_new_user())
        fit_rows = models.ordered(
            fit_part.rows(may_train).withColumn("is_tune", is_tune), fit_part.size
        ).persist()
        test_rows = models.ordered(test_part.rows(features), test_part.size).persist()
        train_rows = fit_rows.where(F.col("snapshot_date") <= F.lit(split.train_last))
        tune_rows = fit_rows.where("is_tune")
        check_classes(train_rows, "training", MIN_CHURNERS)
        check_classes(tune_rows, "tuning", 1)
        check_classes(test_rows, "test", 1)
        assert_finite(fit_rows.drop("is_tune").unionByName(test_rows))
        sizes = {
            "train": train_rows.count(),
            "tune": tune_rows.count(),
            "fit": fit_rows.count(),
            "test": test_rows.count(),
        }
    with step("look for leaks, one feature at a time"):
        share = fit_part.user_share * min(1.0, SAMPLE_ROWS / sizes["train"])
        check_leaks(train_rows.where(in_user_sample(share)).toPandas())

    tune_losses, rounds, penalty = _try_candidates(train_rows, tune_rows, step)
    chosen = min(models.EXPLAINABLE, key=lambda name: min(tune_losses[name].values()))
    fitted = _fit_all(fit_rows, penalty, rounds, step)

    with step("predict the test split"):
        predictions = test_predictions(test_rows, fitted)
    with step(f"figures with {settings.replicates} bootstrap replicates over users"):
        figures = report.all_figures(predictions, list(fitted), settings.replicates)

    trained_at = datetime.now(timezone.utc).replace(microsecond=0)
    run_id = f"{trained_at:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
    run = {
        "model_run_id": run_id,
        "trained_at": trained_at.isoformat(),
        "label": LABEL,
        "split": split.to_json(),
        "rows": sizes,
        "fit": fit_part.to_json(),
        "test": test_part.to_json(),
        "settings": asdict(settings),
        "models": list(fitted),
        "chosen": chosen,
        "tune_log_loss": tune_losses,
        "penalty": penalty,
        "xgboost_rounds": rounds,
        "features": TYPES,
        "categories": CATEGORIES,
    }
    with step(f"how much each feature moves the predictions of {chosen}"):
        strengths = explain.strengths(models.parts(fitted[chosen], test_rows).centered())
    metrics = report.metrics_json(run, predictions, figures, strengths)
    with step("save models and figures"):
        folder = store.save_run(
            artifacts,
            run_id,
            fitted,
            {
                "run.json": json.dumps(run, indent=2),
                "metrics.json": json.dumps(metrics, indent=2),
                "MODEL_CARD.md": report.model_card(run, metrics),
            },
        )
        store.replace_model_runs(spark, target, report.model_run_rows(run, figures))
        store.point_latest(artifacts, run_id)
    fit_rows.unpersist()
    test_rows.unpersist()
    report.print_figures(console, run, figures)
    report.print_warnings(console, run, figures, SUSPECT_AUC)
    console.print(f"Model card: {folder / 'MODEL_CARD.md'}", soft_wrap=True)
    return run_id


def _try_candidates(
    train_rows: DataFrame, tune_rows: DataFrame, step: Step
) -> tuple[dict[str, dict[str, float]], int, float]:
    losses: dict[str, dict[str, float]] = {}
    with step(f"tune logistic regression, {len(models.PENALTIES)} penalties"):
        linear = models.fit_linear_stages(train_rows)
        vectors = models.vectors(train_rows, linear).persist()
        losses["logistic_regression"] = {
            f"penalty {penalty}": tune_log_loss(
                models.fit_logistic_regression(vectors, linear, penalty), tune_rows
            )
            for penalty in models.PENALTIES
        }
        vectors.unpersist()
        by_penalty = list(losses["logistic_regression"].values())
        penalty = models.PENALTIES[int(np.argmin(by_penalty))]
    with step("tune xgboost"):
        model, rounds = models.fit_xgboost(train_rows.unionByName(tune_rows))
        losses["xgboost"] = {f"{rounds} rounds": tune_log_loss(model, tune_rows)}
    return losses, rounds, penalty


def _fit_all(fit_rows: DataFrame, penalty: float, rounds: int, step: Step) -> dict[str, Model]:
    """Every model on all snapshots up to the end of the tune split; none has seen the test."""
    fitted: dict[str, Model] = {}
    with step("fit the baselines"):
        fitted["base_rate"] = models.fit_base_rate(fit_rows)
        fitted["recency"] = models.fit_recency(fit_rows)
        five = models.fit_linear_stages(fit_rows, models.FIVE_FEATURES)
        fitted["logistic_regression_5_features"] = models.fit_logistic_regression(
            models.vectors(fit_rows, five), five, min(models.PENALTIES)
        )
    with step("fit logistic regression"):
        linear = models.fit_linear_stages(fit_rows)
        vectors = models.vectors(fit_rows, linear).persist()
        fitted["logistic_regression"] = models.fit_logistic_regression(vectors, linear, penalty)
    with step("fit random forest"):
        fitted["random_forest"] = models.fit_random_forest(vectors, linear)
    with step("fit gradient-boosted trees"):
        fitted["gradient_boosted_trees"] = models.fit_gradient_boosted_trees(vectors, linear)
        vectors.unpersist()
    with step("fit xgboost"):
        fitted["xgboost"] = models.fit_xgboost(fit_rows, rounds)[0]
    return fitted
