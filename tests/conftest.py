"""One warehouse and one Spark session for all tests; each test module has schemas of its own."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tests.warehouse import ROOT, SAMPLE, Project, active_spark

REFERENCE = ROOT.parent / "shared" / "data"

MakeProject = Callable[..., Project]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not REFERENCE.is_dir():
        for item in items:
            if item.get_closest_marker("reference"):
                item.add_marker(pytest.mark.skip(reason=f"no reference data in {REFERENCE}"))


@pytest.fixture(scope="session")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty warehouse, which the profile and so every command of this process uses."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("warehouse")
        patch.setenv("CHURN_WAREHOUSE", str(folder))
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
def sample(make_project: MakeProject) -> Project:
    """All tables of data/sample, built and tested as a user does; only to be read."""
    project = make_project("sample", raw=SAMPLE)
    project.dbt("build", fresh=True).ok()
    return project
