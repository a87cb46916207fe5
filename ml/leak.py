"""How good a churn model looks that is built the popular way: `python -m ml train --leak`.

Public notebooks make one row per user of all that the user ever did, and split users at random.
Who cancelled has a shorter history then, which tells the label: such a model knows the end. This
shows by how much, on the same data, and which columns carry it. It trains nothing that is used.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from pyspark.sql import SparkSession
from rich import box
from rich.table import Column, Table

from ml import figures, store
from ml.models import ROUNDS, SEED, XGBOOST
from ml.split import in_user_sample
from warehouse.console import Console, steps
from warehouse.session import Target

FOLDS = 5
CARRIERS = 5
# whose sums over all days of a user are that user's history
COUNTS = (
    *("sessions", "events", "songs", "listening_milliseconds", "thumbs_up", "thumbs_down"),
    *("playlist_adds", "friend_adds", "adverts", "errors", "home_visits", "help_visits"),
    *("settings_visits", "logouts", "upgrade_visits", "downgrade_visits"),
)


def whole_histories(spark: SparkSession, target: Target, max_users: int) -> pd.DataFrame:
    """One row per user: sums of COUNTS, days of the history, and `label`, 1.0 for who cancelled."""
    days = store.published(spark, target, "fct_user_days")
    users = days.select("user_id").distinct().count()
    rows: pd.DataFrame = spark.sql(
        f"""
        select
            user_id,
            {", ".join(f"double(sum({name})) as {name}" for name in COUNTS)},
            double(count(*)) as active_days,
            double(datediff(max(activity_date), min(activity_date)))
                as days_from_first_to_last_event,
            double(datediff(max(activity_date), min(registered_at)))
                as days_from_registration_to_last_event,
            if(sum(cancellations) > 0, 1d, 0d) as label
        from {{days}}
        group by user_id
        """,
        days=days.where(in_user_sample(min(1.0, max_users / max(users, 1)))),
    ).toPandas()
    return rows.sort_values("user_id", ignore_index=True)


def cross_validated(rows: pd.DataFrame, names: list[str]) -> np.ndarray:
    """(rows,) probability by xgboost, each of a user whom its fit has not seen."""
    import xgboost

    fold = np.random.default_rng(SEED).integers(0, FOLDS, len(rows))
    found = np.zeros(len(rows))
    for each in range(FOLDS):
        seen, unseen = (rows.loc[mask, names] for mask in (fold != each, fold == each))
        data = xgboost.DMatrix(seen, label=rows.loc[fold != each, "label"], nthread=1)
        booster = xgboost.train(XGBOOST, data, ROUNDS)
        found[fold == each] = booster.predict(xgboost.DMatrix(unseen, nthread=1))
    return found


def show_leak(
    spark: SparkSession, target: Target, honest: float | None, max_users: int, console: Console
) -> None:
    """Print the ROC AUC of whole histories, beside the `honest` one of a backtest."""
    with steps(console)("whole histories of users, split at random"):
        rows = whole_histories(spark, target, max_users)
        names = [name for name in rows.columns if name not in ("user_id", "label")]
        label = rows["label"].to_numpy()
        auc = figures.roc_auc(figures.Ranking(label, cross_validated(rows, names)))
        alone = figures.strongest_single_feature(label, rows[names].to_numpy())
    auc_heading = Column("ROC AUC", justify="right")
    table = Table("what the model is built on", auc_heading, box=box.SIMPLE_HEAD)
    table.add_row("one row per user, of all that the user ever did", f"{auc:.3f}")
    table.add_row(
        "what is known at a snapshot, judged on later days",
        "train first" if honest is None else f"{honest:.3f}",
    )
    console.print(table)
    carriers = sorted(zip(alone, names, strict=True), reverse=True)[:CARRIERS]
    console.print(
        f"Of {len(rows):,} users, {int(label.sum()):,} of whom cancelled. The first figure is "
        "worth nothing: a history that ends with a cancellation is a shorter one. Alone these "
        f"columns tell: {', '.join(f'{name} {value:.2f}' for value, name in carriers)}.",
        soft_wrap=True,
    )
