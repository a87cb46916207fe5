"""A build without news changes nothing; files in any order come to the same as all at once."""

import gzip
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePath

import pytest

from tests.conftest import MakeProject
from tests.make_log import make_log, write_log
from tests.warehouse import LOAD_TIMES, NO_TESTS, NO_UNIT_TESTS, Project, assert_same_rows

pytestmark = pytest.mark.slow


@dataclass
class Growth:
    """A project whose second file came later, and the versions of its tables before that."""

    project: Project
    first: dict[str, int]
    second: dict[str, int]


def two_files(folder: Path) -> tuple[Path, Path]:
    """A log cut in two, with bad lines in both and some events in both."""
    earlier, later = write_log(make_log(users=12, days=45, seed=4), folder)
    lines = gzip.decompress(earlier.read_bytes()).splitlines(keepends=True)
    for path, more in ((earlier, b"no json\n"), (later, b"".join(lines[-40:]) + b'{"ts": 0}\n')):
        path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + more, mtime=0))
    return earlier, later


@pytest.fixture(scope="module")
def growth(make_project: MakeProject) -> Growth:
    """The later file first, then a build without news, then the earlier file."""
    project = make_project("grown")
    earlier, later = two_files(project.folder / "logs")
    shutil.copy2(later, project.raw)
    project.build(*NO_TESTS).ok()
    first = project.versions()
    project.build(*NO_TESTS).ok()
    second = project.versions()
    shutil.copy2(earlier, project.raw)
    project.build().ok()
    return Growth(project, first, second)


def test_a_build_without_news_changes_no_row(growth: Growth) -> None:
    project = growth.project
    assert growth.first["dim_users"] != growth.second["dim_users"], "nothing was built again"
    for name in project.tables():
        first, second = (project.table(name, at[name]) for at in (growth.first, growth.second))
        assert_same_rows(first, second, name)


def test_files_one_by_one_equal_a_full_build(growth: Growth, make_project: MakeProject) -> None:
    """Also which file an event is counted in that came twice, the other way round."""
    whole = make_project("whole", raw=growth.project.raw)
    whole.build("--full-refresh", *NO_TESTS).ok()
    for name in growth.project.nodes():
        assert whole.table(name).count() > 0 or name in ("churn_risk", "stg_log_anomalies")
        assert_same_rows(growth.project.table(name), whole.table(name), name, LOAD_TIMES)


def test_only_the_new_file_is_loaded(growth: Growth) -> None:
    events = growth.project.table("base_events")
    loads = events.select("source_file", "loaded_at").distinct().collect()
    assert len(loads) == len({row.source_file for row in loads}) == 2
    assert events.select("loaded_at").distinct().count() == 2
    before = growth.project.table("base_events", growth.second["base_events"])
    assert before.count() > 500
    assert before.exceptAll(events).count() == 0


def test_a_task_writes_one_date_after_the_other(growth: Growth) -> None:
    """With a file open per date, the memory of a build would grow with the days of its log."""
    dates: dict[str, list[str]] = {}
    files = growth.project.data_files("churn_features").select("file_path").collect()
    for path in sorted((PurePath(row.file_path) for row in files), key=lambda path: path.name):
        task, _, number = path.stem.rpartition("-")
        dates.setdefault(task, []).append(path.parent.name)
        assert number.isdigit()
    assert max(map(len, dates.values())) > 10
    assert all(written == sorted(written) for written in dates.values())


def test_a_file_that_changed_or_vanished_is_reported_and_reloaded_on_request(
    make_project: MakeProject,
) -> None:
    project = make_project("reload")
    files = two_files(project.folder / "logs")
    for path in files:
        shutil.copy2(path, project.raw)
    tested = (
        *("--select", "+ingested_files", "+stg_events"),
        *(*NO_UNIT_TESTS, "--indirect-selection", "cautious"),
    )
    project.dbt("build", *tested).ok()
    before = project.table("stg_events").count()

    changed, vanished = (project.raw / path.name for path in files)
    lines = gzip.decompress(changed.read_bytes()).splitlines(keepends=True)
    changed.write_bytes(gzip.compress(b"".join(lines[:-200])))
    vanished.unlink()
    build = project.dbt("build", *tested).ok()
    assert build.lines_with("WARN 2 no_loaded_file_has_changed")
    assert statuses(project) == {changed.name: "changed", vanished.name: "vanished"}
    assert project.table("stg_events").count() == before

    unknown = project.run_operation("reload_files", files=["nowhere.json"])
    assert unknown.status != 0
    assert unknown.lines_with("Nothing was loaded from nowhere.json")
    reload = project.run_operation("reload_files", files=[changed.name, vanished.name]).ok()
    assert reload.lines_with(r"Took back \d+ lines of 2 file\(s\)")
    project.dbt("build", *tested).ok()
    assert statuses(project) == {changed.name: "loaded"}
    whole = make_project("reloaded", raw=project.raw)
    whole.dbt("build", *tested).ok()
    for name in ("base_files", "base_events", "stg_events", "ingested_files"):
        assert whole.table(name).count() > 0
        assert_same_rows(project.table(name), whole.table(name), name, LOAD_TIMES)


def statuses(project: Project) -> dict[str, str]:
    """Status of each file in the ledger."""
    rows = project.table("ingested_files").select("source_file", "file_status").collect()
    return {row.source_file: row.file_status for row in rows}
