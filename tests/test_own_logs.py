"""Logs of another product: two catalogues, one model, and all the rest as it is, down to scores."""

from __future__ import annotations

import csv
import json
from collections import Counter
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

import pytest

from examples.podcasts.make_log import Line, make_log, parse_time, write_log
from ml.__main__ import main
from tests.warehouse import OF_SCORES, ROOT, Project, Run, active_spark, environment

pytestmark = pytest.mark.thorough

PRODUCT = "examples/podcasts/dbt"
GOOD = {"event_time": "2026-03-10T10:00:00.000Z", "screen": "start", "visit": "v", "step": 0}
MEMBER = {"id": "m-00-0", "first_name": "Zaphirel", "joined": "2025-12-01"}
# the reason that each must get; a name is in all that can hold one
BROKEN = {
    '{"event_time": "2026-03-10T10:0': "not_json",
    json.dumps(GOOD) * 2: "not_json",
    json.dumps([GOOD]): "wrong_type",
    json.dumps(GOOD | {"step": "first", "member": MEMBER}): "wrong_type",
    json.dumps(GOOD | {"event_time": "yesterday", "member": MEMBER}): "wrong_type",
    json.dumps(GOOD | {"member": MEMBER | {"id": True}}): "wrong_type",
    json.dumps(GOOD | {"member": MEMBER | {"joined": "long ago"}}): "wrong_type",
    json.dumps(GOOD | {"member": MEMBER | {"joined": "1970-01-18"}}): "registration_out_of_range",
    json.dumps(GOOD | {"event_time": None, "member": MEMBER}): "missing_timestamp",
    json.dumps(GOOD | {"event_time": "1970-01-01T00:00:00Z"}): "timestamp_out_of_range",
    json.dumps(GOOD | {"event_time": "2099-12-31T23:59:59Z"}): "later_than_its_file",
    json.dumps(GOOD | {"screen": " ", "member": MEMBER}): "missing_page",
    json.dumps(GOOD | {"visit": None, "member": MEMBER}): "missing_session",
    json.dumps(GOOD | {"episode": {"minutes": 1441}}): "length_out_of_range",
}
VISITOR = GOOD | {"visit": "nobody", "context": {"plan": "basic"}}


@pytest.fixture(scope="module")
def lines() -> list[Line]:
    """The log of the example, without its dirt."""
    return make_log()


@pytest.fixture(scope="module")
def podcasts(make_project, lines: list[Line]) -> Project:
    """The example's log, loaded in two halves; dirt and a duplicate come with the second."""
    project = make_project("podcasts")
    half = len(lines) // 2
    write_log(lines[:half], project.raw / "march" / "podcasts-1.jsonl.gz")
    build(project).ok()
    write_log([*lines[half:], VISITOR, lines[7]], project.raw / "podcasts-2.jsonl.gz")
    (project.raw / "broken.jsonl").write_text("\n".join(BROKEN) + "\n\n")
    build(project).ok()
    return project


def build(project: Project, *arguments: str) -> Run:
    return project.build(*arguments, product=PRODUCT, accepted_files=["broken.jsonl"])


def test_nothing_but_two_catalogues_and_a_model_is_the_example() -> None:
    assert sorted(path.name for path in (ROOT / PRODUCT).iterdir()) == [
        "base_events.sql",
        "page_catalogue.csv",
        "plan_catalogue.csv",
    ]
    pages = {row["page"] for row in catalogue()}
    assert pages == {line["screen"] for line in make_log()}
    assert not {"NextSong", "Home", "Cancellation Confirmation"} & pages


def catalogue() -> list[dict[str, str]]:
    with (ROOT / PRODUCT / "page_catalogue.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_catalogue_is_loaded_as_it_is_apostrophes_too(podcasts: Project) -> None:
    expected = catalogue()
    assert any("'" in row["description"] for row in expected)
    found = [row.asDict() for row in podcasts.table("page_catalogue").collect()]
    assert sorted(found, key=lambda row: row["page"]) == sorted(
        expected, key=lambda row: row["page"]
    )


def test_every_line_is_an_event_or_quarantined_or_a_duplicate(
    podcasts: Project, lines: list[Line]
) -> None:
    half = len(lines) // 2
    ledger = {row.source_file: row for row in podcasts.table("ingested_files").collect()}
    assert {
        name: (row.lines, row.staged_events, row.rejected_lines, row.duplicate_lines)
        for name, row in ledger.items()
    } == {
        "march/podcasts-1.jsonl.gz": (half, half, 0, 0),
        "podcasts-2.jsonl.gz": (len(lines) - half + 2, len(lines) - half + 1, 0, 1),
        "broken.jsonl": (len(BROKEN), 0, len(BROKEN), 0),
    }


def test_broken_lines_have_their_reasons_and_no_names(podcasts: Project) -> None:
    rejected = podcasts.table("stg_events_rejected").collect()
    assert Counter(row.reject_reason for row in rejected) == Counter(BROKEN.values())
    text = "".join(row.raw_line for row in rejected)
    assert "Zaphirel" not in text
    assert text.count("***") == sum("Zaphirel" in line for line in BROKEN)


def test_user_days_are_those_counted_in_python(podcasts: Project, lines: list[Line]) -> None:
    expected: dict[tuple[str, str], Counter] = {}
    for line in lines:
        counts = expected.setdefault((line["member"]["id"], line["event_time"][:10]), Counter())
        counts["events"] += 1
        # a change of plan counts for the plan that it leads to
        changed = {"premium_bought": True, "basic_chosen": False}
        counts["paid_events"] += changed.get(line["screen"], line["context"]["plan"] == "premium")
        counts["songs"] += line["screen"] == "episode_play"
        counts["adverts"] += line["screen"] == "sponsor_spot"
        counts["cancellations"] += line["screen"] == "account_closed"
        if "episode" in line:
            counts["listening_milliseconds"] += int(line["episode"]["minutes"] * 60_000 + 0.5)
    rows = podcasts.table("fct_user_days").collect()
    assert len(rows) == len(expected)
    for row in rows:
        counts = expected[row.user_id, str(row.activity_date)]
        assert {name: row[name] for name in counts} == dict(counts)


def test_sessions_are_visits_and_start_where_they_start(
    podcasts: Project, lines: list[Line]
) -> None:
    starts: dict[str, str] = {}
    for line in lines:
        starts.setdefault(line["visit"], line["event_time"])
    found = Counter(str(row.session_date) for row in podcasts.table("fct_sessions").collect())
    assert found == Counter(text[:10] for text in starts.values())


def test_users_are_those_of_the_app(podcasts: Project, lines: list[Line]) -> None:
    users = {row.user_id: row for row in podcasts.table("dim_users").collect()}
    last = {line["member"]["id"]: line for line in lines}
    assert users.keys() == last.keys()
    for name, line in last.items():
        user = users[name]
        assert user.is_churned == (line["screen"] == "account_closed")
        assert str(user.registered_at.date()) == line["member"]["joined"]
        assert user.location == line["context"]["city"]
        assert user.platform in ("iPhone", "Android", "Windows")


def test_features_and_labels_are_there_and_all_marts_published(
    podcasts: Project, lines: list[Line]
) -> None:
    published = podcasts.published()
    assert sorted(published) == podcasts.marts()
    features = podcasts.table("churn_features")
    first = parse_time(lines[0]["event_time"]).date() + timedelta(days=1)
    assert features.selectExpr("min(snapshot_date)").first()[0] == first
    labelled = features.where("is_churned_next_10_days").select("user_id").distinct().count()
    assert labelled > 20


def test_a_build_without_new_lines_builds_nothing(podcasts: Project) -> None:
    before = podcasts.versions()
    assert build(podcasts).ok().lines_with("Nothing new in")
    assert podcasts.versions() == before


def test_the_view_of_users_at_risk_is_published_again_where_it_is_not_as_it_should_be(
    podcasts: Project,
) -> None:
    """After a publish that was killed before its end, and of a table of an earlier version."""
    spark = active_spark()
    table, view = (f"{podcasts.schema}_{part}.churn_risk" for part in ("marts", "published"))
    columns = spark.table(view).columns
    spark.sql(f"drop view {view}")
    assert build(podcasts).ok().published_build
    assert spark.table(view).columns == columns

    spark.sql(f"drop view {table}")
    spark.sql(f"create table {table} using iceberg as select 1 as planted")
    spark.sql(f"alter table {table} create tag published")
    spark.sql(f"drop view {view}")
    spark.sql(f"create view {view} as select * from {table} version as of 'published'")
    assert build(podcasts).ok().published_build
    assert spark.table(view).columns == columns
    assert build(podcasts).ok().lines_with("Nothing new in")


def test_training_and_scoring_end_with_users_at_risk(
    podcasts: Project, warehouse: Path, tmp_path: Path
) -> None:
    with environment({"CHURN_SCHEMA": podcasts.schema}):
        artifacts = ("--artifacts", str(tmp_path))
        assert main(["train", *artifacts, "--max-rows", "2500", "--replicates", "20"]) == 0
        assert main(["score", *artifacts]) == 0
    view = f"{podcasts.schema}_published.churn_risk"
    risk = active_spark().table(view)
    calendar = podcasts.table("churn_calendar").first()
    today = podcasts.table("churn_features").where(
        f"snapshot_date = date '{calendar.current_snapshot_date}'"
    )
    assert risk.count() == today.count() > 30
    assert (
        risk.where("churn_probability between 0 and 1 and reason_1 <> ''").count() == risk.count()
    )
    (health,) = active_spark().table(f"{podcasts.schema}_published.model_health").collect()
    assert health["snapshot_date"] == calendar.current_snapshot_date
    assert health["users"] == risk.count() and health["score_psi"] is not None
    assert {row["distrust_reason"] for row in risk.collect()} == {health["distrust_reason"]}
    if find_spec("duckdb"):  # it is not there for each Python
        from warehouse.published import connect

        reader = connect(warehouse, podcasts.schema)
        for mart in OF_SCORES:
            view = f"{podcasts.schema}_published.{mart}"
            rows = [tuple(row) for row in active_spark().table(view).collect()]
            found = reader.sql(f"select * from {view}").fetchall()
            # of today's scores, the first ones, no outcome is known
            assert bool(rows) == (mart != "churn_score_recent_outcomes"), mart
            assert sorted(map(repr, found)) == sorted(map(repr, rows)), mart
