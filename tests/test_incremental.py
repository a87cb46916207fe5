"""One more day on top of a log: only what it touches is built again, and nothing without news."""

import gzip
import json
from dataclasses import dataclass
from pathlib import Path, PurePath

import pytest

from tests.conftest import MakeProject
from tests.make_log import DAY, START, Event, make_log
from tests.warehouse import (
    LOAD_TIMES,
    NO_TESTS,
    OF_SCORES,
    STAGING,
    Project,
    Seen,
    active_spark,
    assert_same_rows,
)

pytestmark = [pytest.mark.slow, pytest.mark.thorough]

# no model is trained, and no day of the log is out of line
EMPTY = (
    *OF_SCORES,
    *(f"int_{what}_anomalies" for what in ("log", "rejection", "share", "volume")),
)


@dataclass(frozen=True)
class Days:
    """A log whose last days came later, and the same log in one build.

    The earlier days were built without tests, and once more with them: `untested` has the versions
    of the first build, `versions` what the second left, which readers see as `first`. `unsent` are
    the tests of the second that had nothing to look at.
    """

    project: Project
    whole: Project
    later: Path
    first: str
    untested: dict[str, int]
    versions: dict[str, list[tuple]]
    published: Seen
    unsent: set[str]

    def land_later_days(self) -> None:
        if self.later.exists():
            self.later.rename(self.project.raw / self.later.name)

    def assert_complete(self) -> None:
        """All tables are those of one full build."""
        for name in self.project.nodes():
            rows = self.whole.table(name)
            assert name in EMPTY or not rows.isEmpty(), name
            assert_same_rows(self.project.table(name), rows, name, LOAD_TIMES)


@pytest.fixture(scope="module")
def days(make_project: MakeProject) -> Days:
    """As the earlier days left it; bad lines are in both files, and some events came twice."""
    project = make_project("one_more_day")
    events = [
        event
        for event in make_log(users=6, days=100, seed=29)
        if event["userId"] != "3" or not 10 <= (event["ts"] // 1000 - START) // DAY < 91
    ]
    last_day = (START + 98 * DAY) * 1000
    earlier = [event for event in events if event["ts"] < last_day]
    _, later = two_files(earlier, events[len(earlier) :], project.raw)
    whole = make_project("all_days", raw=project.raw)
    whole.build("--full-refresh", *NO_TESTS).ok()
    away = later.rename(project.folder / later.name)
    project.build(*NO_TESTS).ok()
    untested = project.versions()
    first = project.build().ok().published_build
    unsent = {
        sent.stem
        for sent in (project.folder / "target" / "run").rglob("*.sql")
        if "select 0 as failures" in sent.read_text()
    }
    versions, published = every_version(project), project.published()
    return Days(project, whole, away, first, untested, versions, published, unsent)


def test_what_no_test_had_seen_is_tested_and_not_built_again(days: Days) -> None:
    assert days.untested == {name: version_of(days.versions, name) for name in days.untested}


def test_without_news_nothing_is_committed(days: Days) -> None:
    again = days.project.build().ok()
    sentence = f"Nothing new in .*, so nothing was built. Readers still see {days.first}"
    assert again.lines_with(sentence)
    results = json.loads((days.project.folder / "target" / "run_results.json").read_text())
    built = {each["unique_id"]: each["message"] for each in results["results"]}
    models = {name: message for name, message in built.items() if name.startswith("model.")}
    assert models and {*models.values()} == {"unchanged"}
    responses = [each["adapter_response"] for each in results["results"]]
    assert {each.get("rows_affected", 0) for each in responses} == {0}  # dbt-ol reads a number
    assert every_version(days.project) == days.versions
    assert days.project.published() == days.published


def test_one_more_day_loads_its_file_and_reopens_few_snapshots(days: Days) -> None:
    """Also of a user who is back after months."""
    days.land_later_days()
    assert days.project.build().ok().lines_with("Published")
    days.assert_complete()
    compiled = list((days.project.folder / "target" / "compiled").rglob("events_are_conserved.sql"))
    assert compiled and not any("where true" in file.read_text() for file in compiled)
    before, after = (
        {row.file_path for row in files.where("partition.snapshot_date < '2018-12-01'").collect()}
        for files in (
            days.project.data_files("churn_features", version_of(days.versions, "churn_features")),
            days.project.data_files("churn_features"),
        )
    )
    assert before == after
    assert len(after) >= 60
    events = days.project.table("base_events")
    loads = events.select("source_file", "loaded_at").distinct().collect()
    assert len(loads) == len({row.source_file for row in loads}) == 2
    assert len({row.loaded_at for row in loads}) == 2
    earlier = days.project.table("base_events", version_of(days.versions, "base_events"))
    assert earlier.count() > 500
    assert earlier.exceptAll(events).isEmpty()


def test_a_task_writes_one_date_after_the_other(days: Days) -> None:
    """With a file open per date, the memory of a build would grow with the days of its log."""
    dates: dict[str, list[str]] = {}
    files = days.whole.data_files("churn_features").select("file_path").collect()
    for path in sorted((PurePath(row.file_path) for row in files), key=lambda path: path.name):
        task, _, number = path.stem.rpartition("-")
        dates.setdefault(task, []).append(path.parent.name)
        assert number.isdigit()
    assert max(map(len, dates.values())) > 10
    assert all(written == sorted(written) for written in dates.values())


def test_scores_are_tested_as_soon_as_there_are_some(days: Days) -> None:
    sources = ("churn_scores_grain", "model_runs_grain", "score_bins_grain", "score_outcomes_grain")
    views = (f"{name}_grain" for name in OF_SCORES)
    assert days.unsent == {*sources, *views, "served_model_has_one_row"}
    scores = f"{days.project.schema}_ml.churn_scores"
    active_spark().sql(
        f"insert into {scores} (model_run_id, snapshot_date, user_id, churn_probability) "
        "values ('run', date '2018-11-01', '1', 2.0)"
    )
    failed = days.project.build()
    active_spark().sql(f"delete from {scores}")
    assert failed.status != 0
    assert failed.lines_with("Not published: churn_scores_grain failed")


@pytest.mark.nightly
def test_tables_go_back_and_dates_are_rebuilt(days: Days) -> None:
    """To the first build; the next one loads again what came later.

    A mart that somebody changed by hand is made anew; what is made of it follows the dates alone.
    """
    project, audit = days.project, days.project.source("audit.model_builds")
    days.land_later_days()
    back = project.operate("rollback", days.first, "--tables").ok()
    assert back.lines_with(f"Readers now see {days.first}, and all tables are as it left them")
    assert project.versions() == {
        name: version_of(days.versions, name) for name in project.tables()
    }
    assert project.published() == days.published

    spark = audit.sparkSession
    mart = project.relation("fct_user_days")
    spark.sql(f"update {mart} set events = events + 1 where activity_date = '2018-10-05'")
    spark.sql(f"delete from {mart} where activity_date = '2018-10-06'")
    for first, last, sentence in (
        ("2017-01-01", "2017-01-31", "No date from 2017-01-01 to 2017-01-31 has a line"),
        ("2018-10-05", "2018-10-04", "--first 2018-10-05 is after --last 2018-10-04"),
    ):
        refused = project.operate("rebuild", "--first", first, "--last", last)
        assert refused.status != 0
        assert refused.lines_with(sentence)
    rebuild = project.operate("rebuild", "--first", "2018-10-05", "--last", "2018-10-06").ok()
    assert rebuild.lines_with(r"Marked 2 date\(s\)")
    last = project.build().ok().published_build
    days.assert_complete()
    built = project.source("audit.model_builds").where(f"build_name = '{last}'")
    changes = {row.model_name: row.change for row in built.collect()}
    assert (changes["fct_user_days"], changes["churn_features"]) == ("replaced", "updated")


@pytest.mark.nightly
def test_a_file_that_changed_is_loaded_again_and_one_that_vanished_stays(
    make_project: MakeProject,
) -> None:
    project = make_project("reload")
    events = make_log(users=12, days=45, seed=4)
    half = len(events) // 2
    changed, vanished = two_files(events[:half], events[half:], project.raw)
    project.build(*STAGING).ok()
    before = project.table("base_events").groupBy("source_file").count()
    lines_before = {row.source_file: row["count"] for row in before.collect()}

    lines = gzip.decompress(changed.read_bytes()).splitlines(keepends=True)
    changed.write_bytes(gzip.compress(b"".join(lines[:-200])))
    vanished.unlink()
    build = project.build(*STAGING).ok()
    assert build.lines_with(rf"1 file\(s\) have changed and are loaded again: {changed.name}")
    assert ledger(project) == {
        changed.name: ("loaded", 2, lines_before[changed.name] - 200),
        vanished.name: ("vanished", 1, lines_before[vanished.name]),
    }

    unknown = project.operate("reload", "nowhere.json")
    assert unknown.status != 0
    assert unknown.lines_with("Nothing was loaded from nowhere.json")
    reload = project.operate("reload", vanished.name).ok()
    assert reload.lines_with(r"Took back \d+ lines of 1 file\(s\)")
    project.build(*STAGING).ok()
    assert {*ledger(project)} == {changed.name}
    whole = make_project("reloaded", raw=project.raw)
    whole.build(*STAGING).ok()
    for name in ("base_events", "stg_events", "ingested_files"):
        assert whole.table(name).count() > 0
        assert_same_rows(project.table(name), whole.table(name), name, LOAD_TIMES)


def two_files(earlier: list[Event], later: list[Event], folder: Path) -> tuple[Path, Path]:
    """Write a log in two files, with a bad line in both and some events in both."""
    paths = folder / "earlier.json.gz", folder / "later.json.gz"
    bad = "no json", '{"ts": 0}'
    for path, events, line in zip(paths, (earlier, [*later, *earlier[-40:]]), bad, strict=True):
        text = "".join(f"{each}\n" for each in (*map(json.dumps, events), line))
        path.write_bytes(gzip.compress(text.encode(), mtime=0))
    return paths


def ledger(project: Project) -> dict[str, tuple[str, int, int]]:
    """Status, versions and lines of each file in the ledger."""
    rows = project.table("ingested_files").collect()
    return {row.source_file: (row.file_status, row.file_versions, row.lines) for row in rows}


def every_version(project: Project) -> dict[str, list[tuple]]:
    """All snapshots and tags of every table, that of the runs among them."""
    spark = project.table("page_catalogue").sparkSession
    relations = {name: project.relation(name) for name in [*project.tables(), "page_catalogue"]}
    relations["model_builds"] = f"{project.schema}_audit.model_builds"
    return {
        name: [
            *map(tuple, spark.sql(f"select * from {relation}.refs").collect()),
            *map(tuple, spark.sql(f"select * from {relation}.snapshots").collect()),
        ]
        for name, relation in relations.items()
    }


def version_of(versions: dict[str, list[tuple]], table: str) -> int:
    """The snapshot that was current."""
    return next(row[2] for row in versions[table] if row[0] == "main")
