"""Readers see a version only after the whole build passed, can go back, and never miss a mart."""

import os
import re
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from tests.conftest import MakeProject
from tests.make_log import make_log, write_log
from tests.warehouse import (
    NO_TESTS,
    NO_UNIT_TESTS,
    Project,
    Run,
    Seen,
    active_spark,
    column_sum,
    copy_of_project,
)

pytestmark = pytest.mark.slow

CHANGED = "fct_subscription_changes"  # the mart that gets a column more


@dataclass
class Step:
    """A build, what readers saw after it, and the versions of the built tables."""

    run: Run
    published: Seen
    versions: dict[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the build that this step published."""
        return self.run.published_build


@dataclass
class History:
    """A project, a copy of it with a changed mart, and builds of the two, in this order."""

    project: Project
    changed: Project
    steps: dict[str, Step]


def add_a_column(root: Path, project: Project) -> None:
    """Give one mart a column more, in its query and in its yml."""
    node = project.nodes()[CHANGED]
    query = root / node["original_file_path"]
    text, count = re.subn(r"select \* from (\w+)\s*\Z", r"select *, 1 as planted from \1\n",
                          query.read_text())  # fmt: skip
    assert count == 1
    query.write_text(text)
    properties = root / node["patch_path"].split("://")[1]
    described = yaml.safe_load(properties.read_text())
    (model,) = (m for m in described["models"] if m["name"] == CHANGED)
    model["columns"].append({"name": "planted", "data_type": "int", "description": "Planted."})
    properties.write_text(yaml.safe_dump(described, sort_keys=False))


@pytest.fixture(scope="module")
def history(make_project: MakeProject, tmp_path_factory: pytest.TempPathFactory) -> History:
    first_root = copy_of_project(tmp_path_factory.mktemp("first"), small=True)
    project = make_project("publish", root=first_root)
    events = make_log(users=12, days=45, seed=5)
    first, second = write_log(events, project.folder / "logs")
    (project.raw / first.name).write_bytes(first.read_bytes())
    steps: dict[str, Step] = {}

    def step(name: str, of: Project, *command: str) -> None:
        run = of.dbt(*command)
        steps[name] = Step(run, of.published(), of.versions())

    step("tests left out", project, "build", "--select", "+fct_user_days", *NO_TESTS)
    step("run", project, "run", "--select", "fct_user_days")
    step("good", project, "build", *NO_UNIT_TESTS)

    # from here on with more rows, a column more, and at first a test that fails
    root = copy_of_project(tmp_path_factory.mktemp("changed"), small=True)
    changed = Project(project.schema, project.raw, project.folder, root)
    add_a_column(changed.root, project)
    (project.raw / second.name).write_bytes(second.read_bytes())
    failing = changed.root / "tests" / "planted_failure.sql"
    failing.write_text(f"select * from {{{{ ref('{CHANGED}') }}}} where planted = 1\n")
    step("failed", changed, "build", *NO_UNIT_TESTS)
    failing.unlink()
    step("mended", changed, "build", *NO_UNIT_TESTS)
    # with nothing new, a build has to be asked for
    step("partial", changed, "build", "--full-refresh", "--select", "fct_user_days")
    return History(project, changed, steps)


def test_run_publishes_nothing(history: History) -> None:
    step = history.steps["run"]
    assert step.run.ok().lines_with("Published") == []
    assert step.published == {}


def test_a_build_without_its_tests_publishes_nothing_and_says_so(history: History) -> None:
    step = history.steps["tests left out"]
    (line,) = step.run.ok().lines_with("ublished")
    assert re.search(r"this one left out \d+ of its models and tests, .* among them", line)
    assert line.endswith("Nothing is published yet. Publish with: dbt build")
    assert step.published == {}


def test_a_good_build_publishes_every_mart(history: History) -> None:
    step, project = history.steps["good"], history.project
    (line,) = step.run.ok().lines_with("ublished")
    assert f"Published {len(project.marts())} marts in publish_published as build_" in line
    assert sorted(step.published) == project.marts()
    for mart, (columns, rows) in step.published.items():
        if mart in step.versions:  # no view
            built = project.table(mart, step.versions[mart])
            assert built.columns == columns
            assert sorted(map(tuple, built.collect()), key=repr) == rows
    assert len(step.published["fct_user_days"][1]) > 50


def test_events_are_those_of_the_published_user_days(history: History) -> None:
    """After each step, though the tables of a build that failed have more of them."""
    for step in filter(lambda step: step.published, history.steps.values()):
        columns, rows = step.published["fct_events"]
        users = [row[columns.index("user_id")] for row in rows]
        columns, days = step.published["fct_user_days"]
        counted = sum(row[columns.index("events")] for row in days)
        assert len(users) - users.count(None) == counted > 0


def test_a_failing_test_keeps_every_published_row(history: History) -> None:
    before, after = history.steps["good"], history.steps["failed"]
    assert after.run.status == 1
    assert after.published == before.published
    # although the tables are built already, with another schema and other rows
    assert after.versions[CHANGED] != before.versions[CHANGED]
    built = history.project.table(CHANGED, after.versions[CHANGED])
    assert built.columns == [*before.published[CHANGED][0], "planted"]
    assert built.count() > len(before.published[CHANGED][1])


def test_a_failed_build_says_in_one_line_what_failed_and_what_readers_see(
    history: History,
) -> None:
    failed = history.steps["failed"].run
    (line,) = failed.lines_with("ublished")
    assert "Not published: planted_failure failed (user_id=" in line
    assert len(failed.lines_with(r"planted_failure: user_id=\d+, .*, planted=1$")) == 3
    assert f"Readers still see {history.steps['good'].name}." in line


def test_the_mended_build_publishes_the_new_schema(history: History) -> None:
    step, before = history.steps["mended"], history.steps["good"].published
    assert "Published" in step.run.ok().output
    assert step.published[CHANGED][0] == [*before[CHANGED][0], "planted"]
    for mart in ("fct_user_days", "dim_users"):
        assert len(step.published[mart][1]) >= len(before[mart][1]) > 0
    assert step.published["fct_user_days"] != before["fct_user_days"]


def test_a_build_of_a_part_publishes_nothing(history: History) -> None:
    step, before = history.steps["partial"], history.steps["mended"]
    (line,) = step.run.ok().lines_with("ublished")
    assert "Not published: only a whole build publishes" in line
    assert f"Readers still see {before.name}." in line
    assert step.published == before.published
    moved = [
        mart
        for mart in history.project.marts()
        if step.versions.get(mart) != before.versions.get(mart)
    ]
    assert moved == ["fct_user_days"]


def test_the_audit_table_says_what_each_run_did(history: History) -> None:
    """A run that built nothing has no row, nor has a table that was left as it is."""
    project, steps = history.project, history.steps
    rows = project.source("audit.model_builds").orderBy("started_at").collect()
    runs = list(dict.fromkeys((row.invocation_id, row.command, row.build_name) for row in rows))
    good, mended = (steps[name].name for name in ("good", "mended"))
    assert [run[1:] for run in runs] == [
        ("build", None), ("build", good), ("build", None), ("build", mended), ("build", None)
    ]  # fmt: skip
    assert all(row.is_published == (row.build_name is not None) for row in rows)
    (of_partial,) = (row for row in rows if row.invocation_id == runs[-1][0])
    assert (of_partial.model_name, of_partial.change) == ("fct_user_days", "replaced")

    for run, step in ((runs[2], "failed"), (runs[3], "mended")):
        by_name = {row.model_name: row for row in rows if row.invocation_id == run[0]}
        for name, row in by_name.items():
            if row.status == "success":
                assert row.snapshot_id == steps[step].versions[name]
                assert row.total_rows == project.table(name, row.snapshot_id).count()
                assert row.seconds > 0
        assert (CHANGED in by_name) == (step == "failed")
        assert by_name["dim_users"].status == ("skipped" if step == "failed" else "success")
    changes = {
        name: [row.change for row in rows if row.model_name == name]
        for name in ("base_events", CHANGED)
    }
    assert changes == {"base_events": ["replaced", "updated"], CHANGED: ["replaced"] * 2}


def test_a_reader_without_spark_sees_what_is_published_not_what_is_built(
    history: History, warehouse: Path
) -> None:
    pytest.importorskip("duckdb", reason="no duckdb for this Python in requirements.txt")
    from warehouse.published import connect

    project, steps = history.project, history.steps
    good, mended = steps["good"], steps["mended"]
    project.operate("rollback", good.name).ok()
    events = column_sum(good.published, "fct_user_days", "events")
    reader = connect(warehouse, project.schema)
    query = "select sum(events) from publish_published.fct_user_days"
    assert reader.execute(query).fetchone() == (events,)
    seen = reader.sql(f"select * from publish_published.{CHANGED} limit 0")
    assert seen.columns == good.published[CHANGED][0]
    assert project.table("fct_user_days").agg({"events": "sum"}).first()[0] > events
    project.operate("rollback", mended.name).ok()


def test_rollback_and_maintain(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go back by one, to a name, not to a name that is none; clean up; go back again."""
    project, steps = history.project, history.steps
    good, mended = (steps[name] for name in ("good", "mended"))

    status = project.operate("status").ok()
    assert status.lines_with(rf"readers see +{mended.name}")
    assert status.lines_with("at work +no command")
    for mart in {*project.marts()} & {*project.tables()}:
        newest = "built, not published" if mart == "fct_user_days" else "published"
        assert status.lines_with(rf"^ +{mart} +{mended.name} +{newest} *$")
    kept = status.output.partition("Builds kept, newest first")[2]
    assert re.findall(r"build_\w+", kept) == [mended.name, good.name]

    assert f"Readers now see {good.name}" in project.operate("rollback").ok().output
    assert project.published() == good.published  # the schema of then, too
    newer = project.operate("status").ok()
    assert newer.lines_with(rf"^ +{CHANGED} +{good.name} +built, not published *$")

    unknown = project.operate("rollback", "build_of_nobody")
    assert unknown.status != 0
    assert unknown.lines_with(f"No build build_of_nobody. Kept are: {mended.name}")
    assert "Traceback" not in unknown.output
    oldest = project.operate("rollback")
    assert oldest.status != 0
    assert oldest.lines_with(f"No build before {good.name} is kept")
    assert project.published() == good.published

    # Readers were to go forward, and that was killed: dbt finishes it, too.
    publications = f"{project.schema}_audit.publications"
    active_spark().sql(
        f"insert into {publications} select max(number) + 1, '{mended.name}', 'rollback', "
        f"current_timestamp(), max_by(tests_checksum, number) from {publications}"
    )
    finished = project.dbt("seed").ok()
    assert finished.lines_with(f"Finished an interrupted publication: .* now see {mended.name}")
    assert project.published() == mended.published

    # Everything is old enough to go, but for what the tags of the build need which readers see.
    # Two files are enough to be compacted.
    project.operate("rollback", mended.name).ok()
    monkeypatch.setattr("warehouse.maintain.FILES_TO_COMPACT", 2)
    files = [
        path
        for folder in Path(os.environ["CHURN_WAREHOUSE"]).glob(f"{project.schema}_*")
        for path in folder.rglob("*")
        if path.is_file()
    ]
    data_folder = next(p.parent.parent for p in files if p.match(f"{CHANGED}/data/*/*.parquet"))
    stray = data_folder / "left-by-a-killed-build.parquet"
    stray.write_bytes(b"stray")
    five_days_ago = time.time() - 5 * 86_400
    for path in (*files, stray):
        os.utime(path, (five_days_ago, five_days_ago))
    before = tags(project, "base_files")
    maintained = history.changed.operate("maintain", "--keep-hours", "0", "--builds-kept", "1").ok()
    assert not stray.exists()
    assert sum(not path.exists() for path in files) > 10
    assert maintained.lines_with(f"Builds that rollback can no longer reach: {good.name}$")
    assert maintained.lines_with(r"publish_audit\.model_builds: 5 files compacted into 1,")
    assert maintained.lines_with(r"publish_staging\.base_files: 2 files compacted into 1,")
    compacted = tags(project, "base_files")
    assert compacted["main"] != before["main"]
    assert compacted == {
        name: compacted["main"] if snapshot == before["main"] else snapshot
        for name, snapshot in before.items()
        if name != good.name
    }

    assert project.published() == mended.published
    assert project.operate("rollback", good.name).status != 0
    # a publication that was killed before it had made the view of events
    active_spark().sql(f"drop view {project.schema}_published.fct_events")
    # a compaction is no change: all that is built is what was asked for before
    build = history.changed.build().ok()
    assert build.published_build
    built = project.source("audit.model_builds").where(f"build_name = '{build.published_build}'")
    assert not [(row.model_name, row.change) for row in built.collect()]
    assert project.published() == mended.published


def tags(project: Project, name: str) -> dict[str, int]:
    """Snapshots of a table by tag, and of `main`."""
    refs = project.table(name).sparkSession.table(f"{project.relation(name)}.refs").collect()
    return {row.name: row.snapshot_id for row in refs}
