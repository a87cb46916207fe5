"""Judge a saved model on snapshots after its fit: `python -m ml evaluate`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path

from pyspark.sql import SparkSession

from ml import ARTIFACTS, TooLittleData, card, store
from ml.models import fit_base_rate, model_name
from ml.split import check_classes, collected, rows_per_day, sampled
from warehouse.console import Console, steps
from warehouse.errors import ProjectError
from warehouse.session import Target


def evaluate(
    spark: SparkSession,
    target: Target,
    artifacts: Path,
    run_id: str | None,
    period: tuple[date | None, date | None],
    console: Console,
) -> None:
    """Print figures of the model of a run on snapshots that its fit has not seen.

    By default on all of them whose outcome is known by now. Beside it is the base rate of these
    days themselves, which no model can know.

    Raises ProjectError for a period that the model was fitted on and for a feature with NaN or
    infinity, and TooLittleData where no outcome is known.
    """
    step = steps(console)
    folder = store.run_folder(artifacts, run_id)
    run = store.read_run(folder)
    features = store.published_features(spark, target, run["features"])
    with step("read the snapshots and predict"):
        days, user_share = _sampled(run, rows_per_day(features), period)
        rows = collected(features, days, user_share)
        check_classes(rows, "evaluated", 1)
        rows["base_rate"] = fit_base_rate(rows).probability(rows)
        rows[run["chosen"]] = store.read_model(folder).model.probability(rows)
    replicates = run["settings"]["replicates"]
    with step(f"figures with {replicates} bootstrap replicates over users"):
        figures = card.all_figures(rows, ["base_rate", run["chosen"]], run["chosen"], replicates)
    console.print(
        f"Run {run['model_run_id']}, {model_name(run['chosen'])}, fitted on snapshots up to "
        f"{run['fit']['last']}, on those of {days[0]} to {days[-1]} ({len(rows):,} rows)."
    )
    card.print_figures(console, run["chosen"], figures)


def _sampled(
    run: dict, per_day: Mapping[date, int], period: tuple[date | None, date | None]
) -> tuple[list[date], float]:
    earliest = date.fromisoformat(run["fit"]["last"]) + timedelta(days=run["horizon_days"])
    for option, day in zip(("--first", "--last"), period, strict=True):
        if day and day < earliest:
            raise ProjectError(
                f"{option} {day} lies within what run {run['model_run_id']} was fitted on: the "
                f"first snapshot it can be evaluated on is {earliest}."
            )
    first, last = period[0] or earliest, period[1] or max(per_day)
    days, user_share = sampled(per_day, [(first, last)], run["settings"]["max_rows"])
    if not days:
        raise TooLittleData(
            f"No snapshot from {first} on has a known outcome yet: those that have are of "
            f"{min(per_day)} to {max(per_day)}. Until then the figures of the backtest stand: "
            f"{ARTIFACTS.name}/{run['model_run_id']}/MODEL_CARD.md"
        )
    return days, user_share
