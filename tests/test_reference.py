"""The marts against figures that another engine computed from the same raw lines."""

import gzip
import shutil
from pathlib import Path

import pandas as pd
import pytest
from pyspark.sql.functions import expr

from tests.conftest import REFERENCE, MakeProject
from tests.warehouse import STAGING, Project

pytestmark = [pytest.mark.reference, pytest.mark.spark]

MINI = REFERENCE / "eventsim_sparkify_mini"


@pytest.fixture(scope="module")
def mini(make_project: MakeProject) -> Project:
    project = make_project("mini", raw=MINI)
    project.build().ok()
    return project


@pytest.fixture(scope="module")
def other_logs(make_project: MakeProject) -> Project:
    """The data-engineering variant (float registration, milliseconds) and lines of the real set."""
    project = make_project("other")
    shutil.copytree(REFERENCE / "eventsim_log_2018_11", project.raw / "2018" / "11")
    shutil.copy(REFERENCE / "sparkify_mini_first_100_events.jsonl", project.raw)
    project.build(*STAGING).ok()
    return project


def raw_lines(folder: Path) -> dict[str, int]:
    """Lines that are not blank, by file within the folder."""
    counts = {}
    for path in folder.rglob("*.json*"):
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            counts[str(path.relative_to(folder))] = sum(1 for line in file if line.strip())
    return counts


def ledger_of(project: Project) -> pd.DataFrame:
    return project.table("ingested_files").toPandas().set_index("source_file")


def test_mini_totals(mini: Project) -> None:
    ledger = ledger_of(mini)
    assert ledger["lines"].sum() == 263_096
    assert ledger["rejected_lines"].sum() == ledger["duplicate_lines"].sum() == 0
    users = mini.table("dim_users")
    assert users.count() == 222
    assert users.where("is_churned").count() == 52
    assert mini.table("fct_sessions").count() == 2_923


def test_mini_days(mini: Project) -> None:
    """Site totals of each UTC date, users or not."""
    expected = pd.read_csv(REFERENCE / "expected" / "mini_days.csv").set_index("event_date")
    found = (
        mini.table("stg_events")
        .selectExpr("*", "cast(event_date as string) as day")
        .groupBy("day")
        .agg(
            *map(
                expr,
                (
                    "count(*) as events",
                    "count(user_id) as events_with_user",
                    "count(distinct user_id) as active_users",
                    "count_if(page_category = 'song') as songs",
                    "count_if(page_category = 'thumbs_up') as thumbs_up",
                    "count_if(page_category = 'thumbs_down') as thumbs_down",
                    "count_if(page_category = 'advert') as adverts",
                    "count_if(page_category = 'cancellation') as cancellations",
                    "sum(song_milliseconds) / 1000 as song_seconds",
                ),
            )
        )
        .toPandas()
        .set_index("day")
        .sort_index()
    )
    seconds = expected.pop("song_seconds")
    # each song is rounded to a millisecond
    assert (found.pop("song_seconds") - seconds).abs().max() < 0.0005 * expected["songs"].max()
    pd.testing.assert_frame_equal(found, expected, check_names=False)


def test_mini_user_days(mini: Project) -> None:
    """The user-days add up to the same dates."""
    expected = pd.read_csv(REFERENCE / "expected" / "mini_days.csv").set_index("event_date")
    found = (
        mini.table("fct_user_days")
        .groupBy(expr("cast(activity_date as string)").alias("day"))
        .agg(
            *map(
                expr,
                (
                    "sum(events) as events_with_user",
                    "count(*) as active_users",
                    "sum(songs) as songs",
                    "sum(thumbs_up) as thumbs_up",
                    "sum(thumbs_down) as thumbs_down",
                    "sum(adverts) as adverts",
                    "sum(cancellations) as cancellations",
                ),
            )
        )
        .toPandas()
        .set_index("day")
        .sort_index()
    )
    pd.testing.assert_frame_equal(found, expected[found.columns], check_names=False)


def test_mini_users(mini: Project) -> None:
    expected = pd.read_csv(
        REFERENCE / "expected" / "mini_users.csv",
        dtype={"user_id": str},
        parse_dates=["first_event_at", "last_event_at", "churned_at"],
    ).rename(columns={"last_level": "level"})
    expected = expected.set_index("user_id").sort_index()
    found = mini.table("dim_users").toPandas().set_index("user_id").sort_index()
    pd.testing.assert_frame_equal(found[expected.columns], expected, check_dtype=False)


@pytest.mark.parametrize("name", ["mini", "other_logs"])
def test_every_line_is_accounted_for(name: str, request: pytest.FixtureRequest) -> None:
    project: Project = request.getfixturevalue(name)
    ledger = ledger_of(project)
    assert dict(ledger["lines"]) == raw_lines(project.raw)
    parts = ledger["staged_events"] + ledger["rejected_lines"] + ledger["duplicate_lines"]
    assert (parts == ledger["lines"]).all()
    assert project.table("stg_events").count() == ledger["staged_events"].sum()


def test_other_logs_load_whole(other_logs: Project) -> None:
    """A float registration and timestamps with milliseconds are no reason to reject a line."""
    ledger = ledger_of(other_logs)
    assert ledger["rejected_lines"].sum() == 0
    assert ledger["lines"].sum() == 8_056 + 100
    events = other_logs.table("stg_events")
    assert events.where("date_format(event_at, 'SSS') <> '000'").count() > 1_000
    assert events.where("user_id is not null and registered_at is null").count() == 0
