"""Score today's active users with the chosen model: `python -m ml score`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

import pandas as pd
from pyspark import cloudpickle
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from rich.table import Table

import ml
from ml import store
from ml.features import HORIZON_DAYS, KEYS, assert_finite, encode
from ml.reasons import SCORED, Explained
from warehouse.console import Console, steps
from warehouse.errors import ProjectError
from warehouse.session import Target
from warehouse.text import printable

TOP = 10


def scores_of(features: DataFrame, explained: Explained, run_id: str) -> DataFrame:
    """One row per row of `features`: churn_scores but for `scored_at`. In Spark, batch by batch."""
    # workers on other machines do not have this package: send its functions along
    cloudpickle.register_pickle_by_value(ml)
    rows = encode(features).select(*KEYS, *explained.reads)

    def scored(batches: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            yield explained.scored(batch)

    return rows.mapInPandas(scored, schema=SCORED).withColumn("model_run_id", F.lit(run_id))


def checked(scores: DataFrame, otherwise: str) -> int:
    """The number of users.

    Raises ProjectError, which begins with `otherwise`, unless each has one row, with a
    probability and reasons.
    """
    is_whole = F.col("churn_probability").between(0, 1)
    for reason in ("reason_1", "reason_2", "reason_3"):
        is_whole &= F.length(reason) > 0
    row = scores.agg(
        F.count_distinct("user_id").alias("users"),
        F.count("*").alias("rows"),
        F.count_if(F.coalesce(is_whole, F.lit(False))).alias("whole"),
    ).collect()[0]
    if not row["users"] == row["rows"] == row["whole"]:
        raise ProjectError(
            f"{otherwise}: of {row['rows']:,} scores of {row['users']:,} users only "
            f"{row['whole']:,} have a probability from 0 to 1 and reasons. Run "
            "`python -m ml train` again, or score with another run by --run."
        )
    return row["users"]


def score(
    spark: SparkSession,
    target: Target,
    artifacts: Path,
    run_id: str | None,
    console: Console,
) -> int:
    """Write a churn probability and three reasons for every active user of today's snapshot, and
    make them those that `churn_risk` shows: readers see them at once.

    Returns the number of users. Repeating it replaces the same rows. What was written is read back
    and checked before it is shown, so a failure or a kill leaves readers at the scores they saw.

    Raises ProjectError, before anything is written, when there is no model, no row at today's
    snapshot, a feature with NaN or infinity, or a score that is none; and, with readers where they
    were, when the table does not hold the scores.
    """
    step = steps(console)
    folder = store.run_folder(artifacts, run_id)
    run = store.read_run(folder)
    store.assert_writable(spark, target)
    day = store.current_snapshot_date(spark, target)
    features = store.published_features(spark, target, run["features"])
    today = features.where(F.col("snapshot_date") == F.lit(day))
    if today.isEmpty():
        raise ProjectError(
            f"churn_features has no row for today's snapshot {day}: run `dbt build` on logs that "
            "reach it."
        )
    assert_finite(encode(today))
    with step(f"score the users of {day} with {run['chosen']}"):
        explained = store.read_model(folder)
        scored_at = datetime.now(timezone.utc).replace(microsecond=0)
        # computed once; a MERGE takes no source with Python code in its plan
        scores = scores_of(today, explained, run["model_run_id"]).localCheckpoint()
        scores = scores.withColumn("scored_at", F.lit(scored_at))
        # rows that readers see already are replaced by the write
        users = checked(scores, "Nothing was written")
    with step(f"write {users:,} scores to {target.ml}.churn_scores"):
        store.replace_scores(spark, target, scores, run["model_run_id"], day)
        written = store.written_scores(spark, target, run["model_run_id"], day)
        if checked(written, "Not shown to readers") != users:
            raise ProjectError(
                f"Not shown to readers: {target.ml}.churn_scores has not the {users:,} users of "
                f"{day} that were scored. Score again when nothing else writes to it."
            )
        store.serve(spark, target, run["model_run_id"], day, scored_at)
    top = scores.orderBy(F.desc("churn_probability"), "user_id").limit(TOP).collect()
    console.print(likeliest([row.asDict() for row in top], day))
    return users


def likeliest(top: Sequence[Mapping[str, Any]], day: date) -> Table:
    """Rows of churn_scores as a table of the console, which takes ids and reasons for text."""
    table = Table(title=f"Users of {day} likeliest to cancel within {HORIZON_DAYS} days")
    for heading in ("user", "probability", "reasons"):
        table.add_column(heading, justify="right" if heading == "probability" else "left")
    for row in top:
        reasons = dict.fromkeys(printable(row[f"reason_{i}"]) for i in (1, 2, 3))
        table.add_row(
            printable(row["user_id"]),
            f"{row['churn_probability']:.1%}",
            "\n".join(reasons),
        )
    return table
