"""Each table knows what it was made from: whatever operators do, a build makes the right tables."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import MakeProject
from tests.make_log import Event, make_log
from tests.warehouse import NO_TESTS, Project, Run, assert_like_one_build, copy_of_project

pytestmark = [pytest.mark.slow, pytest.mark.thorough]

MONTHS = """
{{ config(meta={'updated_by': 'months'}, partition_by=['month_start_date']) }}

select
    trunc(activity_date, 'month') as month_start_date,
    sum(events) as events
from {{ ref('fct_user_days') }}
where {{ in_changed('activity_date') }}
group by 1
"""
MONTHS_YML = """
version: 2
models:
  - name: fct_months
    description: One row per month.
    columns:
      - {name: month_start_date, data_type: date, description: First date of the month.}
      - {name: events, data_type: bigint, description: Events of users.}
"""
NO_BAD_USER = "select user_id from {{ ref('fct_user_days') }} where user_id = 'bad'\n"


@dataclass
class Place:
    """A copy of the project to change at will, its log and what was published last."""

    project: Project
    make_project: MakeProject
    wholes: list[Project] = field(default_factory=list)

    @property
    def models(self) -> Path:
        return self.project.root / "models" / "marts" / "core"

    def build(self, *arguments: str, **variables: object) -> Run:
        run = self.project.build(*arguments, **variables)
        print(run.output)  # shown where the test fails
        return run

    def write(self, name: str, events: list[Event]) -> None:
        (self.project.raw / name).write_text("".join(json.dumps(e) + "\n" for e in events))

    def published(self, run: Run) -> str:
        """Name of the build that a command published; its tables are those of one build."""
        whole = self.make_project(
            f"{self.project.schema}_{len(self.wholes)}",
            raw=self.project.raw,
            root=self.project.root,
        )
        self.wholes.append(whole)
        whole.build(*NO_TESTS).ok()
        assert_like_one_build(self.project, whole)
        return run.ok().published_build

    def refused(self, *arguments: str, **variables: object) -> str:
        """What a command that does nothing says."""
        before = self.project.versions()
        run = self.build(*arguments, **variables)
        assert run.status != 0
        assert self.project.versions() == before
        return run.output

    def changed(self, file: Path, old: str, new: str) -> None:
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return make_log(users=8, days=40, seed=3)


@pytest.fixture(scope="module")
def place(
    make_project: MakeProject, tmp_path_factory: pytest.TempPathFactory, events: list[Event]
) -> Iterator[Place]:
    """The tests use it one after the other; each leaves it with a published build."""
    root = copy_of_project(tmp_path_factory.mktemp("made_from"), small=True)
    (root / "tests" / "no_bad_user.sql").write_text(NO_BAD_USER)
    (root / "models" / "marts" / "core" / "fct_months.sql").write_text(MONTHS)
    (root / "models" / "marts" / "core" / "fct_months.yml").write_text(MONTHS_YML)
    place = Place(make_project("made_from", root=root), make_project)
    place.write("a.json", events[: len(events) // 3])
    place.write("b.json", events[len(events) // 3 : -200])
    assert place.build().ok().published_build
    return place


def test_nothing_new_commits_nothing(place: Place) -> None:
    before = place.project.versions()
    run = place.build().ok()
    assert run.lines_with("Nothing new in .*, so nothing was built. Readers still see build_")
    assert place.project.versions() == before


def test_what_a_failed_build_made_of_a_bad_file_goes_with_it(
    place: Place, events: list[Event]
) -> None:
    bad = [{**event, "userId": "bad"} for event in events[:400]]
    place.write("c.json", bad)
    run = place.build()
    assert run.status != 0
    assert run.lines_with(r"Not published: no_bad_user failed \(user_id=bad\)")
    # the same build again does not get it past the tests
    assert place.build().lines_with("Not published: no_bad_user failed")
    place.write("c.json", events[-200:-100])
    run = place.build()
    assert run.lines_with(r"1 file\(s\) have changed and are loaded again: c\.json")
    assert run.ok().published_build
    ledger = place.project.table("ingested_files").where("source_file = 'c.json'").first()
    assert (ledger.file_status, ledger.file_versions) == ("loaded", 2)


def test_a_file_that_grows_is_loaded_by_the_build_that_sees_it(
    place: Place, events: list[Event]
) -> None:
    place.write("c.json", events[-200:])
    assert place.build().ok().published_build
    assert place.project.table("base_events").where("source_file = 'c.json'").count() == 200


def test_a_build_of_a_part_publishes_nothing(place: Place) -> None:
    model = place.models / "fct_user_days.sql"
    place.changed(model, "sum(songs) as songs", "sum(songs) + 0 as songs")
    run = place.build("--select", "fct_user_days").ok()
    assert run.lines_with("Not published: only a whole build publishes, .* Publish with: dbt build")
    run = place.build("--exclude", "log_anomalies").ok()
    assert run.lines_with("this one left out 1 of its models and tests, log_anomalies among them")
    before = place.project.versions()
    run = place.build()
    # what it did not build was built by those before it
    assert place.project.versions() == before
    assert run.ok().published_build


def test_a_retry_publishes_nothing_and_says_so(place: Place) -> None:
    test = place.project.root / "tests" / "planted.sql"
    test.write_text("select user_id from {{ ref('fct_user_days') }}\n")
    assert place.build().status != 0
    test.write_text("select user_id from {{ ref('fct_user_days') }} where false\n")
    retried = place.project.dbt("retry").ok()
    assert retried.lines_with("Not published: only a whole build publishes")
    before = place.project.versions()
    assert place.build().ok().published_build
    assert place.project.versions() == before


@pytest.mark.parametrize("option", ["--empty", "--sample=1 day"])
def test_a_build_of_no_or_few_rows_is_refused(place: Place, option: str) -> None:
    assert "--empty and --sample do not work here" in place.refused(option)


def test_changed_code_makes_again_what_is_made_of_it(place: Place) -> None:
    before = place.project.versions()
    place.changed(
        place.models / "fct_subscription_changes.sql", "min(session_id)", "min(session_id) + 0"
    )
    assert place.build().ok().published_build
    changed = {
        name for name, version in place.project.versions().items() if before[name] != version
    }
    assert changed == {"fct_subscription_changes", "dim_users"}


def test_columns_without_a_contract_are_those_of_the_query(
    place: Place, events: list[Event]
) -> None:
    """Of a private model: another order or one more makes it again, and days are added to that."""
    model = place.project.root / "models" / "intermediate" / "int_session_parts.sql"
    place.changed(
        model,
        "count_if(is_paid) as paid_events,\n        count_if(page_category = 'song') as songs,",
        "count_if(page_category = 'song') as songs,\n        count_if(is_paid) as paid_events,\n"
        "        count_if(page_category = 'about') as about_visits,",
    )
    assert place.build().ok().published_build
    columns = place.project.table("int_session_parts").columns
    assert columns[8:11] == ["songs", "paid_events", "about_visits"]
    place.write("d.json", [{**event, "sessionId": 99} for event in events[-50:]])
    place.published(place.build())
    assert place.project.table("int_session_parts").columns == columns


def test_a_view_is_made_again_when_the_code_of_what_it_reads_has_changed(
    place: Place, events: list[Event]
) -> None:
    """Also where an earlier build made that table; other rows leave the view as it is."""
    table = place.project.root / "models" / "intermediate" / "int_session_parts.sql"
    view = table.with_name("int_all_parts.sql")
    view.write_text(
        "{{ config(materialized='view') }}\nselect * from {{ ref('int_session_parts') }}\n"
    )
    place.build("--select", "int_all_parts").ok()
    place.changed(table, "        count_if(page_category = 'about') as about_visits,\n", "")
    place.build("--select", "+int_session_parts").ok()
    assert place.build("--select", "int_all_parts").ok().lines_with("int_all_parts .*OK in")
    columns = place.project.table("int_session_parts").columns
    assert "about_visits" not in columns
    assert place.project.table("int_all_parts").columns == columns
    place.write("e.json", [{**event, "sessionId": 98} for event in events[-50:]])
    run = place.build("--select", "+int_all_parts").ok()
    assert run.lines_with("int_all_parts .*unchanged in")
    view.unlink()
    assert place.build().ok().published_build


def test_a_comment_a_description_or_a_test_more_makes_nothing_again(place: Place) -> None:
    before = place.project.versions()
    rows = place.project.root / "macros" / "rows.sql"
    place.changed(rows, "{% macro mask_names(line) -%}", "{% macro mask_names(line) -%}{#- why -#}")
    place.changed(
        place.models / "fct_user_days.yml", "One row per user", "There is one row per user"
    )
    (place.project.root / "tests" / "one_more.sql").write_text(
        "-- depends_on: {{ ref('dim_users') }}\nselect 1 where false\n"
    )
    run = place.build().ok()
    assert place.project.versions() == before
    assert run.published_build


def test_a_rule_for_lines_holds_for_all_files_that_are_there(place: Place) -> None:
    """Lines of files that are gone stay as the old code made them, and the build says how many."""
    path = place.project.raw / "a.json"
    away = place.project.folder / "a.json"
    shutil.move(path, away)
    model = place.project.root / "models" / "staging" / "base_events.sql"
    place.changed(
        model,
        "when sessionid is null",
        "when page = 'Home' then 'missing_page'\n            when sessionid is null",
    )
    run = place.build().ok()
    lines = len(away.read_text().splitlines())
    assert run.lines_with(
        rf"base_events is rebuilt with new code\. {lines} line\(s\) of 1 file\(s\) .*a\.json\) stay"
    )
    homes = place.project.table("base_events").where("page = 'Home'")
    reasons = {(row.source_file, row.reject_reason) for row in homes.collect()}
    assert reasons == {("a.json", None), ("b.json", "missing_page"), ("c.json", "missing_page")}
    shutil.move(away, path)
    # it is there again, as it was: its lines are not loaded again, as nothing is new
    assert place.build().ok().lines_with("Published|Nothing new")
    place.changed(model, "'Home' then 'missing_page'", "'Home' then 'missing_session'")
    place.published(place.build())


def test_a_full_refresh_refuses_to_lose_lines(place: Place) -> None:
    away = shutil.move(place.project.raw / "b.json", place.project.folder / "b.json")
    output = place.refused("--full-refresh")
    shutil.move(away, place.project.raw / "b.json")
    assert "--full-refresh would lose" in output
    assert "1 file(s) that are no longer in" in output


@pytest.mark.nightly
def test_a_full_refresh_loses_lines_where_it_is_told_to(place: Place) -> None:
    away = shutil.move(place.project.raw / "b.json", place.project.folder / "b.json")
    place.published(place.build("--full-refresh", drop_lines_of_vanished_files=True))
    shutil.move(away, place.project.raw / "b.json")
    assert place.build().ok().published_build


def test_another_folder_is_refused(place: Place, tmp_path: Path) -> None:
    shutil.copytree(place.project.raw, tmp_path / "logs")
    other = {"raw_path": str(tmp_path / "logs")}
    output = " ".join(place.refused(**other).split())
    assert (
        f"This warehouse was loaded from {place.project.raw}, not from {other['raw_path']}"
        in output
    )


@pytest.mark.nightly
def test_a_folder_that_moved_is_loaded_from_there(place: Place, tmp_path: Path) -> None:
    shutil.copytree(place.project.raw, tmp_path / "logs")
    other = {"raw_path": str(tmp_path / "logs")}
    before = place.project.versions()
    place.build(landing_folder_moved=True, **other).ok()
    moved = place.project.versions()
    assert {name for name in before if before[name] != moved[name]} == {"base_events", "base_files"}
    assert "was loaded from" in place.refused()
    place.build(landing_folder_moved=True).ok()
    place.build().ok()


def test_a_mart_that_is_gone_is_taken_from_readers(place: Place) -> None:
    for kind in ("sql", "yml"):
        (place.models / f"fct_months.{kind}").unlink()
    assert "fct_months" in place.project.published()
    run = place.build().ok()
    assert run.lines_with(r"made_from_published\.fct_months is no longer a mart")
    assert "fct_months" not in place.project.published()
