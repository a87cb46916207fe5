"""The targets `local`, plain Spark, and `comet` make the same rows; set-up chooses between them."""

import os
from pathlib import Path

import pytest

from ml.session import load_target
from tests.conftest import MakeProject
from tests.warehouse import LOAD_TIMES, SAMPLE, Project, active_spark, assert_same_rows
from tools import setup_environment

has_comet = setup_environment.DEFAULT_TARGET.is_file()
DEFAULT = os.environ.get("CHURN_TARGET", "local")


@pytest.mark.thorough
@pytest.mark.skipif(not has_comet, reason="Comet is for Linux on x86-64 and arm64")
@pytest.mark.usefixtures("spark")  # the session of all tests, before the target changes
def test_both_targets_make_the_same_rows(
    sample: Project, make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sample` was built by the default target; the other one has to make its rows, and pass."""
    monkeypatch.setenv("CHURN_TARGET", {"comet": "local", "local": "comet"}[DEFAULT])
    other = make_project("other_target", raw=SAMPLE)
    other.build(fresh=True).ok()
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
    status = sample.dbt("run-operation", "publish_status", fresh=True).ok()
    assert not status.lines_with("INFO|WARN")


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
