"""Everything that is read or written outside Spark's memory: tables, model files, the pointer."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ml.features import BY_NAME, CATEGORIES, HORIZON_DAYS, TABLE, TYPES, assert_schema
from ml.reasons import Explained
from warehouse.errors import ProjectError
from warehouse.session import Target

IN_USE = "in_use"  # the file that names the run that `score` and `evaluate` use
EARLIER = "by an earlier version of this project"

# Tables that dbt makes and the ML step writes, and the key of each; `served_model` has one row.
TABLES = {
    "model_runs": ("model_run_id", "model_name", "cohort", "metric"),
    "churn_scores": ("model_run_id", "snapshot_date", "user_id"),
    "served_model": (),
    "score_bins": ("model_run_id", "snapshot_date", "feature", "bin"),
    "score_outcomes": ("model_run_id", "snapshot_date", "risk_decile", "level", "tenure"),
}
TIMES = ("trained_at", "scored_at")  # of a row; a row that is the same but for these is left alone


# --- tables --------------------------------------------------------------------------------------


def published_features(
    spark: SparkSession, target: Target, types: Mapping[str, str] = TYPES
) -> DataFrame:
    """The published `churn_features` with the features `types`, one row per user and snapshot date.

    Raises ProjectError when nothing is published yet, or without one of the features.
    """
    return assert_schema(published(spark, target, TABLE), f"{target.published}.{TABLE}", types)


def published(spark: SparkSession, target: Target, mart: str) -> DataFrame:
    """A mart as readers see it.

    Raises ProjectError when nothing is published yet.
    """
    return _table(spark, f"{target.published}.{mart}", "nothing is published yet")


def current_snapshot_date(spark: SparkSession, target: Target) -> date:
    """The snapshot that is 'today': the day after the last complete day of logs.

    Raises ProjectError when nothing is published yet or the calendar is empty.
    """
    name = f"{target.published}.churn_calendar"
    row = _table(spark, name, "nothing is published yet").select("current_snapshot_date").first()
    if row is None or row[0] is None:
        raise ProjectError(f"{name} holds no date: load logs and run `dbt build`.")
    return row[0]


def replace(
    spark: SparkSession,
    target: Target,
    name: str,
    new: DataFrame,
    run_id: str,
    days: Sequence[date] | None = None,
) -> None:
    """Write the rows of one model run, and of some snapshot dates, in place of those it had before.

    `name` is one of TABLES. One MERGE, so one commit: a killed or repeated run never leaves rows
    twice or half. Rows that are no longer there are marked and deleted in the same statement; rows
    that would only change in TIMES are left alone. `new` is read twice: cache it where it is
    costly. Where a key is there twice, which no MERGE of ours leaves behind, its rows are deleted
    first: MERGE would keep both.
    """
    table, keys = f"{target.ml}.{name}", TABLES[name]
    scope = f"t.model_run_id = '{run_id}'"
    if days is not None:
        listed = ", ".join(f"date '{day}'" for day in days)
        scope += f" and t.snapshot_date in ({listed})"
    there = spark.table(table).columns
    for field in new.schema:
        if field.name not in there:  # a table that an earlier version made
            kind = field.dataType.simpleString()
            spark.sql(f"alter table {table} add column {field.name} {kind}")
    old = spark.table(table).alias("t")
    if not old.where(scope).groupBy(*keys).count().where("count > 1").isEmpty():
        spark.sql(f"delete from {table} as t where {scope}")
    same_key = " and ".join(f"t.{key} = s.{key}" for key in keys)
    others = [column for column in old.columns if column not in (*keys, *TIMES)]
    view = "ml_new_rows"
    old.where("false").unionByName(new, allowMissingColumns=True).createOrReplaceTempView(view)
    try:
        spark.sql(
            f"""
            merge into {table} as t
            using (
                select *, false as is_gone from {view}
                union all
                select t.*, true as is_gone
                from {table} as t
                left anti join {view} as s on {same_key}
                where {scope}
            ) as s
            on {scope} and {same_key}
            when matched and s.is_gone then delete
            when matched and ({" or ".join(f"not (t.{c} <=> s.{c})" for c in others)})
                then update set *
            when not matched then insert *
            """
        )
    finally:
        spark.catalog.dropTempView(view)


def is_trained_here(spark: SparkSession, target: Target, run_id: str) -> bool:
    """Whether the warehouse has the figures of this run, as `train` wrote them."""
    runs = spark.table(f"{target.ml}.model_runs")
    return not runs.where(F.col("model_run_id") == run_id).isEmpty()


def matured_days(spark: SparkSession, target: Target, run_id: str) -> list[date]:
    """Snapshot dates of one model whose outcome was not known when it was counted, and is now."""
    complete = current_snapshot_date(spark, target) - timedelta(days=HORIZON_DAYS)
    rows = spark.table(f"{target.ml}.score_outcomes").where(
        (F.col("model_run_id") == run_id)
        & F.col("cancellations").isNull()
        & (F.col("snapshot_date") <= complete)
    )
    return [row["snapshot_date"] for row in rows.select("snapshot_date").distinct().collect()]


def written_scores(
    spark: SparkSession, target: Target, run_id: str, days: Sequence[date]
) -> DataFrame:
    """The rows of churn_scores of one model and some snapshot dates, as the table has them now."""
    return spark.table(f"{target.ml}.churn_scores").where(
        (F.col("model_run_id") == run_id) & F.col("snapshot_date").isin(*days)
    )


def served_scores(spark: SparkSession, target: Target) -> DataFrame:
    """The rows of churn_scores that readers see."""
    scores = _table(spark, f"{target.ml}.churn_scores", "nothing is built here")
    served = spark.table(f"{target.ml}.served_model")
    return scores.join(served, ["model_run_id", "snapshot_date"], "left_semi")


def serve(spark: SparkSession, target: Target, run_id: str, day: date, served_at: datetime) -> None:
    """Make the scores of one model and snapshot date those that `churn_risk` shows.

    One commit replaces the only row of `served_model`. Where it says so already, it stays.
    """
    table = f"{target.ml}.served_model"
    served = spark.table(table).select("model_run_id", "snapshot_date").collect()
    if [tuple(row) for row in served] != [(run_id, day)]:
        schema = "model_run_id string, snapshot_date date, served_at timestamp"
        row = spark.createDataFrame([(run_id, day, served_at)], schema)
        row.writeTo(table).overwrite(F.lit(True))


def assert_writable(spark: SparkSession, target: Target) -> None:
    """Raise ProjectError, before any work is done, when dbt has not made the tables yet."""
    for table in TABLES:
        _table(spark, f"{target.ml}.{table}", "nothing is built here")


def _table(spark: SparkSession, name: str, otherwise: str) -> DataFrame:
    try:
        return spark.table(name)
    except AnalysisException as error:
        if "TABLE_OR_VIEW_NOT_FOUND" in str(error) or "SCHEMA_NOT_FOUND" in str(error):
            raise ProjectError(
                f"There is no {name} ({otherwise}): run `dbt build` first."
            ) from error
        raise ProjectError(f"{name} cannot be read: {str(error).splitlines()[0]}") from error


# --- files ---------------------------------------------------------------------------------------


def save_run(artifacts: Path, run_id: str, explained: Explained, texts: Mapping[str, str]) -> Path:
    """Write `<artifacts>/<run_id>/` with model.json and the given text files.

    The folder appears under its name only when it is complete.
    """
    artifacts.mkdir(parents=True, exist_ok=True)
    folder, draft = artifacts / run_id, artifacts / f".{run_id}.draft"
    draft.mkdir()
    for name, text in {"model.json": explained.to_json(), **texts}.items():
        (draft / name).write_text(text, encoding="utf-8")
    os.replace(draft, folder)
    return folder


def put_in_use(artifacts: Path, run_id: str) -> None:
    """Make `run_id` the run that `evaluate` and `score` use; atomic."""
    draft = artifacts / f".{IN_USE}.draft"
    draft.write_text(run_id + "\n", encoding="utf-8")
    os.replace(draft, artifacts / IN_USE)


def run_in_use(artifacts: Path) -> str | None:
    """The run that `evaluate` and `score` use, if there is one."""
    pointer = artifacts / IN_USE
    return pointer.read_text(encoding="utf-8").strip() if pointer.is_file() else None


def runs(artifacts: Path) -> list[str]:
    """All runs that are there, the oldest first."""
    return sorted(path.parent.name for path in artifacts.glob("*/run.json"))


def run_folder(artifacts: Path, run_id: str | None = None) -> Path:
    """Folder of a run, by default of the one in use.

    Raises ProjectError when there is none.
    """
    found = runs(artifacts)
    if run_id is None:
        run_id = run_in_use(artifacts)
        what, then = "model is in use", ", and `python -m ml promote <run>` puts one in use."
    if run_id is not None:
        what, then = f"model run {run_id}", "."
    if run_id in found:
        return artifacts / run_id
    mend = f"there are {', '.join(found)}{then}" if found else "run `python -m ml train` first."
    raise ProjectError(f"No {what} in {artifacts}: {mend}")


def read_json(file: Path) -> dict[str, Any]:
    """The contents of a file of a run. Raises ProjectError where it is cut or is no JSON."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ProjectError(
            f"{file} cannot be read ({error}): run `python -m ml train` again, or use another run."
        ) from error


def read_run(folder: Path) -> dict[str, Any]:
    """The contents of `run.json`; `features` has the Spark type of each feature, in their order.

    Features that were added since the training do not matter. Raises ProjectError where one was
    removed, or was read in another way.
    """
    run = read_json(folder / "run.json")
    if "features" not in run or not (folder / "model.json").is_file():
        what = EARLIER
    elif gone := [name for name in run["features"] if name not in BY_NAME]:
        what = f"on {', '.join(gone)}, which churn_features.yml no longer has"
    elif run["categories"] != list(CATEGORIES):
        what = "with other categories of the last event than ml/features.py has"
    else:
        return run
    raise _train_again(folder, what)


def read_model(folder: Path) -> Explained:
    """The model of a run. Raises ProjectError where it has another form than today's."""
    fields = read_json(folder / "model.json")
    try:
        return Explained.from_json(fields)
    except (KeyError, TypeError, ValueError) as error:
        raise _train_again(folder, EARLIER) from error


def _train_again(folder: Path, what: str) -> ProjectError:
    return ProjectError(
        f"The model run {folder.name} was trained {what}: run `python -m ml train` again."
    )
