"""Delete the future, rebuild, and no feature may change: features know only what came before."""

import gzip
import json
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone

import pytest
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from tests.conftest import MakeProject
from tests.warehouse import NO_TESTS, SAMPLE, Project, assert_same_rows

LABELS = ("is_churned_next_10_days", "is_downgraded_next_10_days")


def features_at(features: DataFrame, snapshot: date) -> DataFrame:
    return features.where(F.col("snapshot_date") == F.lit(snapshot))


def assert_future_plays_no_part(
    features: Callable[[Project], DataFrame], whole: Project, past: Project, snapshot: date
) -> None:
    """The comparison of this test: the same users and values at the snapshot, with and without
    the events from it on; labels apart, which are the future."""
    left, right = (features_at(features(project), snapshot) for project in (whole, past))
    assert left.count() > 20
    assert_same_rows(left, right, f"churn_features at {snapshot}", LABELS)


@pytest.fixture(scope="module")
def snapshot(sample: Project) -> date:
    """The one with most cancellations ahead of those with a session under way at its midnight.

    28 days lie before it, for the widest window, and ten complete ones after it, for its label.
    """
    crossing = sample.table("int_session_parts").groupBy("user_id", "session_id").agg(
        F.max("activity_date").alias("snapshot_date"), F.min("activity_date").alias("first_date")
    ).where("first_date < snapshot_date")  # fmt: skip
    cancelled = sample.table("churn_features").where("is_churned_next_10_days")
    cancelled = cancelled.where("snapshot_date between date '2018-10-29' and date '2018-11-18'")
    found = cancelled.join(crossing.select("snapshot_date").distinct(), "snapshot_date")
    counts = found.groupBy("snapshot_date").count()
    first = counts.orderBy(F.desc("count"), "snapshot_date").first()
    assert first["count"] > 1
    return first["snapshot_date"]


@pytest.fixture(scope="module")
def past(make_project: MakeProject, snapshot: date) -> Project:
    """The tables of the log less every event at or after the snapshot's midnight."""
    project = make_project("past")
    start = datetime.combine(snapshot, datetime.min.time(), timezone.utc).timestamp() * 1000
    removed = 0
    for path in SAMPLE.glob("*.json.gz"):
        with gzip.open(path, "rt") as log, gzip.open(project.raw / path.name, "wt") as cut:
            for line in log:
                if json.loads(line)["ts"] < start:
                    cut.write(line)
                else:
                    removed += 1
    assert removed > 1_000
    project.build("--select", "+churn_features", *NO_TESTS).ok()
    return project


def test_features_do_not_change_when_the_future_is_deleted(
    snapshot: date, sample: Project, past: Project
) -> None:
    assert_future_plays_no_part(
        lambda project: project.table("churn_features"), sample, past, snapshot
    )


def whole_history(project: Project) -> DataFrame:
    """The classic leak: days from the first event to the last one there is."""
    days = project.table("fct_user_days").groupBy("user_id")
    span = days.agg(F.datediff(F.max("activity_date"), F.min("activity_date")).alias("active_span"))
    return project.table("churn_features").join(span, "user_id")


def a_day_ahead(project: Project) -> DataFrame:
    """A window that is off by one row."""
    later = F.lead("songs_to_date").over(Window.partitionBy("user_id").orderBy("snapshot_date"))
    return project.table("churn_features").withColumn("songs_to_date", later)


def unbounded_frame(project: Project) -> DataFrame:
    """The model's own query with a frame that reaches to the end of the log."""
    compiled = project.folder / "target" / "compiled"
    totals, features = (
        next(compiled.rglob(f"{name}.sql")).read_text()
        for name in ("int_user_running_totals", "churn_features")
    )
    frame = "rows between unbounded preceding and current row"
    assert frame in totals
    spark = project.table("churn_features").sparkSession
    spark.sql(
        totals.replace(frame, "rows between unbounded preceding and unbounded following")
    ).createOrReplaceTempView("leaking_totals")
    assert project.relation("int_user_running_totals") in features
    leaking = spark.sql(
        features.replace(project.relation("int_user_running_totals"), "leaking_totals")
    )
    # evaluated before the next project puts another view in this one's place
    rows = leaking.collect()
    spark.catalog.dropTempView("leaking_totals")
    return spark.createDataFrame(rows, leaking.schema)


@pytest.mark.parametrize("leak", [whole_history, a_day_ahead, unbounded_frame])
def test_a_planted_leak_is_found(
    leak: Callable[[Project], DataFrame], snapshot: date, sample: Project, past: Project
) -> None:
    with pytest.raises(AssertionError, match="churn_features at .* differs"):
        assert_future_plays_no_part(leak, sample, past, snapshot)


def test_labels_look_at_ten_days_from_the_snapshot_on(sample: Project) -> None:
    """Each label again, from the raw lines by plain Python."""
    cancelled = {}
    for path in SAMPLE.glob("*.json.gz"):
        with gzip.open(path, "rt") as log:
            for event in map(json.loads, log):
                if event["page"] == "Cancellation Confirmation":
                    at = datetime.fromtimestamp(event["ts"] / 1000, timezone.utc)
                    cancelled[event["userId"]] = at.date()
    rows = sample.table("churn_features").where(f"{LABELS[0]} is not null").select(
        "user_id", "snapshot_date", LABELS[0]
    ).collect()  # fmt: skip
    assert sum(row[2] for row in rows) > 20
    for user, snapshot, is_churned in rows:
        day = cancelled.get(user, date.max)
        assert day >= snapshot
        assert is_churned == (day < snapshot + timedelta(days=10)), (user, snapshot)
