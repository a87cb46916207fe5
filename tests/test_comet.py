"""The targets `local`, plain Spark, and `comet` make the same rows; set-up chooses between them."""

import os
import re
from pathlib import Path

import pytest

from tests.conftest import MakeProject
from tests.warehouse import (
    LOAD_TIMES,
    SAMPLE,
    Project,
    active_spark,
    assert_same_rows,
    copy_of_project,
)
from tools import setup_environment
from warehouse.session import load_target

has_comet = setup_environment.COMET_LIBRARY.is_file()
DEFAULT = os.environ.get("CHURN_TARGET", "comet")


def small_pieces(root: Path) -> Path:
    """A copy of the project whose shuffles stay in several partitions, small as the sample is."""
    profiles = copy_of_project(root) / "profiles.yml"
    size = "spark.sql.adaptive.advisoryPartitionSizeInBytes:"
    text, count = re.subn(rf"({size}) \d+m", r"\1 20k", profiles.read_text())
    assert count == 2
    profiles.write_text(text)
    return root


@pytest.mark.thorough
@pytest.mark.parametrize("target", [pytest.param("local", marks=pytest.mark.nightly), "comet"])
@pytest.mark.usefixtures("spark")  # the session of all tests, before the target changes
def test_both_targets_with_settings_of_users_make_the_same_rows(
    target: str,
    sample: Project,
    make_project: MakeProject,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With generated code, plans that change as they run and many partitions; `sample` has none."""
    if target == "comet" and not has_comet:
        pytest.skip("Comet is for Linux on x86-64 and arm64")
    monkeypatch.setenv("CHURN_TARGET", target)
    other = make_project(f"users_{target}", raw=SAMPLE, root=small_pieces(tmp_path / "copy"))
    build = other.build(fresh=True).ok()
    assert build.lines_with("Published 19 marts")
    assert not build.lines_with(r"\bINFO |\bWARN ")  # of Spark
    assert other.tables() == sample.tables()
    for name in other.tables():
        assert_same_rows(other.table(name), sample.table(name), name, LOAD_TIMES)


def test_comet_does_the_work_where_its_library_is(sample: Project) -> None:
    """Plain Spark has no trace of it, and nobody has to choose the target."""
    plan = active_spark().sql(
        f"explain select user_id, count(*) from {sample.relation('fct_user_days')} group by user_id"
    )
    assert load_target().name == DEFAULT
    assert ("Comet" in plan.first()[0]) == (DEFAULT == "comet" and has_comet)


def test_set_up_says_where_plain_spark_does_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another system, a library that does not load: one line says so, and no library stays."""
    library = tmp_path / "comet" / "libcomet.so"
    monkeypatch.setattr(setup_environment, "COMET_LIBRARY", library)
    monkeypatch.setattr(setup_environment.platform, "machine", lambda: "riscv64")
    assert setup_environment.install_comet().startswith("not for this system")

    def unpack(machine: str) -> None:
        library.parent.mkdir()
        library.write_bytes(b"no library")

    monkeypatch.setattr(setup_environment, "unpack_library", unpack)
    monkeypatch.setattr(setup_environment.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(setup_environment.sys, "platform", "linux")
    assert setup_environment.install_comet().startswith("not used, plain Spark is: OSError")
    assert not library.parent.exists()
