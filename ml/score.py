"""Score active users with the model in use, and explain a score: `python -m ml score | explain`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

from pyspark import cloudpickle
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from rich.table import Column, Table

import ml
from ml import monitoring, store
from ml.features import HORIZON_DAYS, KEYS, THEMES, assert_finite, encode
from ml.models import model_name
from ml.reasons import SCORED, THEME_COLUMNS, Explained
from warehouse.console import Console, steps
from warehouse.errors import ProjectError
from warehouse.session import Target
from warehouse.text import printable

TOP = 10


def scores_of(features: DataFrame, explained: Explained, run_id: str) -> DataFrame:
    """One row per row of `features`: churn_scores but for `scored_at`. In Spark, batch by batch."""
    # workers on other machines do not have this package: send its functions along
    cloudpickle.register_pickle_by_value(ml)
    rows = encode(features).select(*KEYS, *explained.model.reads)

    scores = rows.mapInPandas(lambda batches: map(explained.scored, batches), SCORED)
    return scores.withColumn("model_run_id", F.lit(run_id))


def checked(scores: DataFrame, otherwise: str) -> int:
    """The number of users and snapshots.

    Raises ProjectError, which begins with `otherwise`, unless each has one row, with a
    probability and reasons.
    """
    is_whole = F.col("churn_probability").between(0, 1)
    for reason in ("reason_1", "reason_2", "reason_3"):
        is_whole &= F.length(reason) > 0
    row = scores.agg(
        F.count_distinct("snapshot_date", "user_id").alias("users"),
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
    period: tuple[date | None, date | None],
    console: Console,
) -> int:
    """Write a churn probability, log odds by theme and three reasons for every active user of
    today's snapshot, and make them those that `churn_risk` shows: readers see them at once.

    With a `period` it scores all its snapshots, and readers see what they saw: their outcomes say
    how good the model is. Returns the number of scores. Repeating it replaces the same rows. What
    was written is read back and checked before it is shown, so a failure or a kill leaves readers
    at the scores they saw.

    Raises ProjectError, before anything is written, when there is no model, no row at a snapshot,
    a feature with NaN or infinity, or a score that is none; and, with readers where they were,
    when the table does not hold the scores.
    """
    step = steps(console)
    folder = store.run_folder(artifacts, run_id)
    run = store.read_run(folder)
    store.assert_writable(spark, target)
    if not store.is_trained_here(spark, target, run["model_run_id"]):
        console.print(
            "This model was trained on another warehouse, which may hold another log. "
            "`python -m ml train` makes one of this warehouse."
        )
    today = store.current_snapshot_date(spark, target)
    features = store.published_features(spark, target, run["features"])
    is_shown = period == (None, None)
    days = _days(features, period, today)
    scored_rows = features.where(F.col("snapshot_date").isin(*days))
    assert_finite(encode(scored_rows))
    which = f"{days[0]}" if len(days) == 1 else f"{len(days)} snapshots to {days[-1]}"
    with step(f"score the users of {which} with {model_name(run['chosen'])}"):
        explained = store.read_model(folder)
        scored_at = datetime.now(timezone.utc).replace(microsecond=0)
        # computed once; a MERGE takes no source with Python code in its plan
        scores = scores_of(scored_rows, explained, run["model_run_id"]).localCheckpoint()
        scores = scores.withColumn("scored_at", F.lit(scored_at))
        # rows that readers see already are replaced by the write
        users = checked(scores, "Nothing was written")
    with step(f"write {users:,} scores to {target.ml}.churn_scores"):
        store.replace(spark, target, "churn_scores", scores, run["model_run_id"], days)
        _write_counts(spark, target, features, run, days)
        written = store.written_scores(spark, target, run["model_run_id"], days)
        if checked(written, "Not shown to readers") != users:
            raise ProjectError(
                f"Not shown to readers: {target.ml}.churn_scores has not the {users:,} users of "
                f"{which} that were scored. Score again when nothing else writes to it."
            )
        if is_shown:
            store.serve(spark, target, run["model_run_id"], today, scored_at)
    if is_shown:
        top = scores.orderBy(F.desc("churn_probability"), "user_id").limit(TOP).collect()
        console.print(likeliest([row.asDict() for row in top], today))
        console.print(f"Readers see them in {target.published}.churn_risk.")
    elif days[0] <= date.fromisoformat(run["fit"]["last"]):
        console.print(
            f"The model was fitted on snapshots up to {run['fit']['last']}: of these it has seen "
            "the outcome, so they flatter it."
        )
    return users


def _write_counts(
    spark: SparkSession, target: Target, features: DataFrame, run: Mapping, days: list[date]
) -> None:
    """What monitoring reads of the scores that were written, and of earlier ones of the model whose
    outcome has become known."""
    run_id = run["model_run_id"]

    def write(table: str, counts: DataFrame, days: list[date]) -> None:
        counts = counts.withColumn("model_run_id", F.lit(run_id)).localCheckpoint()
        store.replace(spark, target, table, counts, run_id, days)

    scores = store.written_scores(spark, target, run_id, days)
    if "bins" in run:  # not of an earlier version
        scored = encode(features.where(F.col("snapshot_date").isin(*days)))
        write("score_bins", monitoring.bin_counts(scored, scores, run["bins"], days), days)
    days = sorted({*days, *store.matured_days(spark, target, run_id)})
    scores = store.written_scores(spark, target, run_id, days)
    write("score_outcomes", monitoring.outcomes(scores, features), days)


def _days(features: DataFrame, period: tuple[date | None, date | None], today: date) -> list[date]:
    """All snapshot dates of a period, in order; without one, today's.

    Raises ProjectError where there is none.
    """
    if period == (None, None):
        if features.where(F.col("snapshot_date") == F.lit(today)).isEmpty():
            raise ProjectError(
                f"churn_features has no row for today's snapshot {today}: run `dbt build` on logs "
                "that reach it."
            )
        return [today]
    first, last = period[0] or date.min, period[1] or today
    found = features.select("snapshot_date").distinct().collect()
    days = sorted(row["snapshot_date"] for row in found)
    chosen = [day for day in days if first <= day <= last]
    if not chosen:
        raise ProjectError(
            f"No snapshot from {first} to {last} in churn_features, which has those of "
            f"{days[0]} to {days[-1]}."
            if days
            else "churn_features is empty: run `dbt build`."
        )
    return chosen


def likeliest(top: Sequence[Mapping[str, Any]], day: date) -> Table:
    """Rows of churn_scores as a table of the console, which takes ids and reasons for text."""
    title = f"Users of {day} likeliest to cancel within {HORIZON_DAYS} days"
    table = Table("user", Column("probability", justify="right"), "reasons", title=title)
    for row in top:
        table.add_row(
            printable(row["user_id"]), f"{row['churn_probability']:.1%}", "\n".join(_reasons(row))
        )
    return table


def _reasons(row: Mapping[str, Any]) -> list[str]:
    """Those of a row of churn_scores, each once, as text of the console."""
    return list(dict.fromkeys(printable(row[f"reason_{i}"]) for i in (1, 2, 3)))


def explain(spark: SparkSession, target: Target, user_id: str, console: Console) -> None:
    """Print what readers see of a user, and what each theme adds to the log odds.

    Raises ProjectError where the user is not among the scores that are shown.
    """
    found = store.served_scores(spark, target).where(F.col("user_id") == user_id).collect()
    if not found:
        raise ProjectError(
            f"User {user_id} is not in {target.published}.churn_risk: no active user of its "
            "snapshot, or nobody is scored yet (python -m ml score)."
        )
    row = found[0].asDict()
    console.print(
        f"User {printable(user_id)} on {row['snapshot_date']}, by model run "
        f"{row['model_run_id']}: {row['churn_probability']:.1%} to cancel within {HORIZON_DAYS} "
        "days. Log odds that each theme adds, against the mean user of the fit:"
    )
    table = Table("theme", Column("adds", justify="right"))
    for theme, column in zip(THEMES, THEME_COLUMNS, strict=True):
        table.add_row(theme, "" if row[column] is None else f"{row[column]:+.2f}")
    console.print(table)
    for reason in _reasons(row):
        console.print(reason, soft_wrap=True)
