"""A date that the log lacks keeps a build unpublished, until somebody says that it is known."""

import json
import os
import re
import time
from pathlib import Path

import pytest

from tests.conftest import MakeProject
from tests.make_log import DAY, START, make_log, write_log
from tests.warehouse import Project, copy_of_project


def write_dates(project: Project, days: dict[int, int], file: str = "log.json") -> None:
    """So many lines on these days after the first of October, of one user."""
    lines = [
        json.dumps({
            "ts": (START + day * DAY + 60 * number) * 1000, "userId": "7", "sessionId": day,
            "page": "Home", "auth": "Logged In", "method": "GET", "status": 200, "level": "paid",
            "itemInSession": number, "registration": 1_535_000_000_000, "gender": "F",
        })
        for day, count in days.items()
        for number in range(count)
    ]  # fmt: skip
    (project.raw / file).write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with the core marts only."""
    return copy_of_project(tmp_path_factory.mktemp("copy"), small=True)


def test_a_missing_date_is_an_error_until_it_is_accepted(
    make_project: MakeProject, root: Path
) -> None:
    project = make_project("anomalies", root=root)
    write_dates(project, {**dict.fromkeys(range(7), 1000), 8: 1000, 9: 100})
    message = "2018-10-08: no line, where 1,000 are usual"

    failed = project.build()
    assert failed.status == 1
    assert failed.lines_with(rf"^\S+ +log_anomalies: {message}$")
    (line,) = failed.lines_with("Not published")
    assert f"Not published: log_anomalies failed ({message}). Nothing is published yet" in line

    accepted = project.build(accepted_dates=["2018-10-08"]).ok()
    assert accepted.lines_with(rf"log_anomalies: {message} \(accepted\)")
    assert accepted.lines_with("WARN 1 log_anomalies")
    assert accepted.lines_with(f"Published {len(project.marts())} marts")


def test_a_log_that_nothing_can_be_read_of_is_not_published(
    make_project: MakeProject, root: Path
) -> None:
    """However small it is: a log as one list on one line."""
    project = make_project("no_events", root=root)
    write_dates(project, {0: 3})
    log = project.raw / "log.json"
    log.write_text(f"[{', '.join(log.read_text().splitlines())}]\n")
    failed = project.build()
    assert failed.status == 1
    (line,) = failed.lines_with("Not published")
    message = "no event in the log: 1 of 1 line(s) rejected: 1 wrong_type"
    assert f"Not published: log_anomalies failed ({message})" in line
    assert project.published() == {}


def test_a_log_without_profiles_is_not_published(make_project: MakeProject, root: Path) -> None:
    """Whoever has neither registration nor gender is a visitor, and such a log has no user."""
    project = make_project("no_users", root=root)
    events = make_log(users=5, days=3, seed=8)
    assert all(event["userId"] for event in events)
    profile = ("registration", "gender", "firstName", "lastName")
    for event in events:
        for name in profile:
            del event[name]
    write_log(events, project.raw)
    failed = project.build()
    assert failed.status == 1
    (line,) = failed.lines_with("Not published")
    message = (
        f"no user in the log: each of {len(events)} event(s) lacks a user id, "
        "or registration and gender"
    )
    assert f"Not published: log_anomalies failed ({message})" in line
    assert project.published() == {}


def test_single_events_of_other_times_are_no_log(make_project: MakeProject, root: Path) -> None:
    """Two months early, one is no part of it; one of tomorrow completes nothing."""
    project = make_project("lone_dates", root=root)
    write_dates(project, {-60: 1, **dict.fromkeys(range(8), 20), 8: 1})
    build = project.build().ok()
    log = "the log, which is 2018-10-01 to 2018-10-09 without them"
    message = f"2018-08-02: 1 line(s) far from {log}"
    assert build.lines_with(f"log_anomalies: {re.escape(message)}$")
    assert build.lines_with("WARN 1 log_anomalies")
    assert calendar(project) == ("2018-10-01", "2018-10-07", "2018-10-09")
    (rejected,) = project.table("stg_events_rejected").collect()
    assert (rejected.reject_reason, str(rejected.event_date)) == ("far_from_the_log", "2018-08-02")

    # a machine whose clock is a week behind copies one file; of another, nothing can be read
    write_dates(project, {8: 9}, "late.json")
    os.utime(project.raw / "late.json", (START + 1 * DAY,) * 2)
    (project.raw / "broken.json").write_text("upstream timed out\n")
    failed = project.build()
    assert failed.status == 1
    late = "late.json: 9 of 9 lines rejected (100.0 %): 9 later_than_its_file"
    broken = "broken.json: 1 of 1 lines rejected (100.0 %): 1 not_json"
    for message in (late, broken):
        assert failed.lines_with(f"log_anomalies: {re.escape(message)}$")
    assert failed.lines_with("Not published")

    os.utime(project.raw / "late.json")
    build = project.build(accepted_files=["broken.json"]).ok()
    assert build.lines_with(re.escape(f"{broken} (accepted)"))
    assert calendar(project) == ("2018-10-01", "2018-10-08", "2018-10-09")


def calendar(project: Project) -> tuple[str, str, str]:
    """First, last complete and last date of the log."""
    dates = project.table("log_calendar").where("is_in_log_period").collect()
    days = sorted(str(row.event_date) for row in dates)
    return days[0], max(str(row.event_date) for row in dates if row.is_complete), days[-1]


def test_freshness_looks_at_the_newest_file(make_project: MakeProject) -> None:
    project = make_project("freshness")
    write_dates(project, {0: 1})
    log = project.raw / "log.json"
    for days, status, verdict in ((0, 0, "PASS"), (2, 0, "WARN"), (4, 1, "ERROR STALE")):
        os.utime(log, (time.time() - days * DAY,) * 2)
        run = project.dbt("source", "freshness")
        assert run.status == status
        assert run.lines_with(f"{verdict} freshness of raw.events")
