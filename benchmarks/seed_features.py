"""Churn features as many notebooks make them from a Sparkify log, in plain PySpark.

The log is read with an inferred schema and cached; then each feature is a query of its own over the
whole log, joined to the others on userId. There is no deduplication, no snapshot date and no test,
and features of a user who left see the day of leaving: this is what to measure against, not what to
copy. `benchmarks.seed_style` runs it in a process of its own.

Example:
  python -m benchmarks.seed_features --raw data/raw --out /tmp/features
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from warehouse.commands import folder_option, program

COLUMNS = "artist gender level page registration sessionId song ts userId".split()
DAY = 24 * 60 * 60 * 1000
PAGES = {
    "songs": "NextSong",
    "thumbs_up": "Thumbs Up",
    "thumbs_down": "Thumbs Down",
    "playlist_adds": "Add to Playlist",
    "friends_added": "Add Friend",
    "adverts": "Roll Advert",
    "errors": "Error",
    "help_visits": "Help",
}


def start_spark() -> SparkSession:
    """Spark with its defaults, but for the heap, which is that of the project's targets."""
    return (
        SparkSession.builder.appName("seed_features")
        .master("local[*]")
        .config("spark.driver.memory", os.environ.get("CHURN_DRIVER_MEMORY", "2g"))
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .getOrCreate()
    )


def read_log(spark: SparkSession, raw: Path) -> DataFrame:
    """All lines that name a user, cached.

    Raises ValueError when the log lacks a field that the features need.
    """
    log = (
        spark.read.option("recursiveFileLookup", True)
        .option("pathGlobFilter", "*.{json,jsonl,ndjson,json.gz,jsonl.gz,ndjson.gz}")
        .json(str(raw))
    )
    if missing := [name for name in COLUMNS if name not in log.columns]:
        raise ValueError(f"{raw}: no line has {', '.join(missing)}: is it a Sparkify log?")
    log = log.withColumn("userId", F.col("userId").cast("string"))
    return log.where(F.col("userId").isNotNull() & (F.col("userId") != "")).cache()


def feature_tables(log: DataFrame) -> dict[str, DataFrame]:
    """One frame per feature, by its name: one row per user, with userId and the feature."""
    by_user = log.groupBy("userId")
    plays = log.where(F.col("page") == "NextSong")
    tables = {
        name: log.where(F.col("page") == page).groupBy("userId").agg(F.count("*").alias(name))
        for name, page in PAGES.items()
    }
    for name, column in (("distinct_songs", "song"), ("distinct_artists", "artist")):
        tables[name] = plays.groupBy("userId").agg(F.countDistinct(column).alias(name))
    tables["sessions"] = by_user.agg(F.countDistinct("sessionId").alias("sessions"))
    tables["mean_session_minutes"] = (
        log.groupBy("userId", "sessionId")
        .agg(((F.max("ts") - F.min("ts")) / 60_000).alias("minutes"))
        .groupBy("userId")
        .agg(F.avg("minutes").alias("mean_session_minutes"))
    )
    tables["mean_songs_per_session"] = (
        plays.groupBy("userId", "sessionId")
        .agg(F.count("*").alias("songs"))
        .groupBy("userId")
        .agg(F.avg("songs").alias("mean_songs_per_session"))
    )
    tenure = (F.max("ts") - F.min("registration")) / DAY
    tables["tenure_days"] = by_user.agg(tenure.alias("tenure_days"))
    tables["gender"] = by_user.agg(F.first("gender", ignorenulls=True).alias("gender"))
    tables["last_level"] = by_user.agg(F.max_by("level", "ts").alias("last_level"))
    has_cancelled = F.max((F.col("page") == "Cancellation Confirmation").cast("int"))
    tables["churned"] = by_user.agg(has_cancelled.alias("churned"))
    return tables


def join_all(log: DataFrame, tables: dict[str, DataFrame]) -> DataFrame:
    """One row per user, with all features; a count that a user does not have is 0."""
    features = log.select("userId").distinct()
    for table in tables.values():
        features = features.join(table, on="userId", how="left")
    return features.fillna(0)


@program("python -m benchmarks.seed_features", __doc__)
def main(
    raw: Annotated[Path, folder_option("Folder of raw logs.")],
    out: Annotated[
        Path, typer.Option(resolve_path=True, metavar="DIR", help="Folder of the Parquet files.")
    ],
) -> int:
    """Command line of the module; returns the exit status."""
    spark = start_spark()
    try:
        print("reading the log", flush=True)
        log = read_log(spark, raw)
        print(f"{log.count():,} lines of users cached", flush=True)
        tables = feature_tables(log)
        print(f"joining and writing {len(tables)} features", flush=True)
        join_all(log, tables).write.mode("overwrite").parquet(str(out))
        written = spark.read.parquet(str(out))
        print(f"{written.count():,} users, {len(tables)} features")
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        spark.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
