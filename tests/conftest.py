"""One warehouse for all tests, a Spark session per process; each module has schemas of its own."""

import os
import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from pyspark.sql import SparkSession

from tests.warehouse import ROOT, SAMPLE, Project, Run, active_spark
from warehouse.hand_over import SWITCH

# an engine that is up here is not what is tested
os.environ[SWITCH] = "off"

REFERENCE = ROOT.parent / "shared" / "data"

MakeProject = Callable[..., Project]
RunMain = Callable[..., Run]


@pytest.hookimpl(tryfirst=True)  # before -m is looked at
def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    for item in items:
        if {"warehouse", "spark"} & {*item.fixturenames}:
            item.add_marker(pytest.mark.spark)
    # One that builds the sample first, as both processes would wait for it later. Then the longest,
    # so that no process has to wait long for the other at the end.
    builder = next((item.path for item in items if "sample" in item.fixturenames), None)
    items.sort(key=lambda item: (item.path != builder, not item.get_closest_marker("slow")))
    if not REFERENCE.is_dir():
        for item in items:
            if item.get_closest_marker("reference"):
                item.add_marker(pytest.mark.skip(reason=f"no reference data in {REFERENCE}"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, bool, bool]:
    """A test that starts Spark has the mark `spark`, else it would slow `make test-fast`."""

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("This test starts Spark: mark it `spark`, or take a fixture that needs it.")

    with pytest.MonkeyPatch.context() as patch:
        if not item.get_closest_marker("spark"):
            patch.setattr("pyspark.core.context.launch_gateway", refuse)
        return (yield)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder that all processes of this test session have in common."""
    own = tmp_path_factory.getbasetemp()
    return own if worker_id == "master" else own.parent


@pytest.fixture(scope="session")
def warehouse(shared: Path) -> Iterator[Path]:
    """The warehouse, which the profile and so every command of all test processes uses."""
    with pytest.MonkeyPatch.context() as patch:
        folder = shared / "warehouse"
        folder.mkdir(exist_ok=True)
        patch.setenv("CHURN_WAREHOUSE", str(folder))
        # one JVM for some twenty builds
        patch.setenv("CHURN_DRIVER_MEMORY", "3g")
        for name in ("CHURN_SCHEMA", "DBT_PROFILES_DIR", "DBT_PROJECT_DIR", "DBT_TARGET"):
            patch.delenv(name, raising=False)
        patch.setitem(os.environ, "DBT_SEND_ANONYMOUS_USAGE_STATS", "false")
        yield folder


@pytest.fixture(scope="session")
def make_project(warehouse: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeProject:
    """Make a Project with a schema of its own and an empty landing folder (or `raw`).

    The folder is a link, as data/raw is.
    """

    def make(schema: str, raw: Path | None = None, root: Path = ROOT) -> Project:
        folder = tmp_path_factory.mktemp(schema)
        if raw is None:
            raw = folder / "raw"
            (folder / "landing").mkdir()
            raw.symlink_to("landing")
        return Project(schema, raw, folder, root)

    return make


@pytest.fixture
def spark(warehouse: Path) -> SparkSession:
    """The Spark session of the profile, new where another test has stopped it."""
    return active_spark()


@pytest.fixture(scope="session")
def sample(make_project: MakeProject, shared: Path) -> Project:
    """All tables of data/sample, built once with all tests; only to be read."""
    project = make_project("sample", raw=SAMPLE)
    built = shared / "sample"
    with FileLock(shared / "sample.lock"):
        if built.exists():
            shutil.copytree(built, project.folder, dirs_exist_ok=True)
        else:
            project.dbt("build").ok()
            shutil.copytree(project.folder, built)
    return project


@pytest.fixture
def run_main(capsys: pytest.CaptureFixture[str]) -> RunMain:
    """Run a command's `main` in this process: its status, and what it printed.

    Where it failed, that is what it printed on standard error.
    """

    def run(main: Callable[[list[str]], int], *arguments: str) -> Run:
        capsys.readouterr()
        status = main([*arguments])
        printed = capsys.readouterr()
        return Run(status, printed.err if status else printed.out)

    return run
