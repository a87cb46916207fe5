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

has_comet = setup_environment.DEFAULT_TARGET.is_file()
DEFAULT = os.environ.get("CHURN_TARGET", "local")


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
    assert build.lines_with("Published 18 marts")
    assert not build.lines_with(r"\bINFO |\bWARN ")  # of Spark
    assert other.tables() == sample.tables()
    for name in other.tables():
        assert_same_rows(other.table(name), sample.table(name), name, LOAD_TIMES)


def test_the_default_target_is_the_one_of_set_up(sample: Project) -> None:
    """Comet, where it is the target, does the work; plain Spark has no trace of it."""
    plan = active_spark().sql(
        f"explain select user_id, count(*) from {sample.relation('fct_user_days')} group by user_id"
    )
    assert load_target().name == DEFAULT
    assert ("Comet" in plan.first()[0]) == (DEFAULT == "comet")


def test_without_comet_the_target_is_plain_spark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another system, jars that cannot be had, a library that does not load: one line says so."""
    default = tmp_path / "churn_target.pth"
    default.write_text("of an earlier set-up")
    monkeypatch.setattr(setup_environment, "DEFAULT_TARGET", default)
    monkeypatch.setattr(setup_environment.platform, "machine", lambda: "riscv64")
    assert setup_environment.install_comet() == "not for this system, the default target is local"
    assert not default.exists()

    monkeypatch.setattr(setup_environment.platform, "machine", lambda: "x86_64")

    def no_network(*_: object) -> str:
        raise setup_environment.SetupError("the jars could not be fetched (see above).")

    monkeypatch.setattr(setup_environment, "install_jars", no_network)
    monkeypatch.setattr(setup_environment.sys, "platform", "linux")
    assert setup_environment.install_comet().startswith("none, the default target is local: the ja")

    library = tmp_path / "libcomet.so"
    library.write_bytes(b"no library")
    monkeypatch.setattr(setup_environment, "COMET_LIBRARY", library)
    monkeypatch.setattr(setup_environment, "install_jars", lambda *_: "2")
    monkeypatch.setattr(setup_environment, "unpack_library", lambda machine: None)
    assert "local: OSError" in setup_environment.install_comet()
    assert not default.exists()
