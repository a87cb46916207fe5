"""Figures of saved models on snapshots with a known outcome: `python -m ml evaluate`."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession

from ml import models, report, store
from ml.errors import TooLittleData
from ml.features import assert_finite
from ml.split import Split
from ml.train import SUSPECT_AUC, Part, check_classes, labelled_days, test_predictions
from warehouse.console import Console, steps
from warehouse.errors import ProjectError
from warehouse.session import Target


def backtest(
    spark: SparkSession,
    target: Target,
    artifacts: Path,
    run_id: str | None,
    period: tuple[date | None, date | None],
    console: Console,
) -> report.Figures:
    """Print the figures of every model of a run; writes nothing.

    Without a period it repeats the test part of the run and says whether the figures are those
    recorded at training. With one it judges the models on any later snapshots.

    Raises ProjectError for a period that the models were fitted on and for a feature with NaN or
    infinity, and TooLittleData where no outcome is known.
    """
    step = steps(console)
    folder = store.run_folder(artifacts, run_id)
    run = store.read_run(folder)
    features = store.published_features(spark, target, run["features"])
    is_test_part = period == (None, None)
    with step("read the snapshots and predict"):
        part = Part.from_json(run["test"]) if is_test_part else _part(run, features, period)
        rows = models.ordered(part.rows(features), part.size).persist()
        check_classes(rows, "test" if is_test_part else "evaluated", 1)
        assert_finite(rows)
        fitted = {name: store.read_model(folder, name) for name in run["models"]}
        predictions = test_predictions(rows, fitted)
        rows.unpersist()
    run["rows"]["test"] = len(predictions)
    run["split"] |= {
        "test_first": min(part.days).isoformat(),
        "test_last": max(part.days).isoformat(),
    }
    replicates = run["settings"]["replicates"]
    with step(f"figures with {replicates} bootstrap replicates over users"):
        figures = report.all_figures(predictions, run["models"], replicates)
    report.print_figures(console, run, figures)
    report.print_warnings(console, run, figures, SUSPECT_AUC)
    if is_test_part:
        recorded = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        console.print(report.compared(recorded, figures))
    return figures


def _part(run: dict, features: DataFrame, period: tuple[date | None, date | None]) -> Part:
    split = Split.from_json(run["split"])
    earliest = split.tune_last + timedelta(days=split.horizon_days)
    for option, day in zip(("--first", "--last"), period, strict=True):
        if day and day < earliest:
            raise ProjectError(
                f"{option} {day} lies within what run {run['model_run_id']} was fitted on: the "
                f"first snapshot it can be evaluated on is {earliest}."
            )
    rows = labelled_days(features).rows
    first, last = period[0] or earliest, period[1] or max(rows)
    part = Part.of(rows, [(first, last)], run["settings"]["max_test_rows"])
    if not part.days:
        raise TooLittleData(
            f"No snapshot from {first} to {last} has a known outcome: those that have are of "
            f"{min(rows)} to {max(rows)}."
        )
    return part
