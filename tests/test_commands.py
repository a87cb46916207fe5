"""Every command can be imported, has a help, and says in a sentence what it cannot work with."""

import importlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import pytest
from dbt.cli.main import dbtRunner
from dbt_common.events.base_types import EventMsg

from deploy.emr import job
from tests.conftest import RunMain
from tests.make_log import make_log, write_log
from tests.warehouse import ROOT, SAMPLE, Run, copy_of_project, run_process, user_environment
from tools import demo
from tools.demo import DemoError, check_folder, named_folder
from warehouse.errors import ProjectError
from warehouse.session import load_target, project_settings, spark_session

PACKAGES = "warehouse ml report server tools simulator benchmarks deploy examples tests".split()
COMMANDS = sorted(
    str(path.relative_to(ROOT).with_suffix("")).replace("/", ".")
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
    if re.search(r'^if __name__ == "__main__":', path.read_text(), re.M)
)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_imported_and_has_a_help(
    name: str, monkeypatch: pytest.MonkeyPatch, run_main: RunMain
) -> None:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != "duckdb":
            raise
        pytest.skip("no duckdb for this Python in requirements.txt")
    monkeypatch.setenv("COLUMNS", "80")
    if not (hasattr(module, "app") or hasattr(module, "program")):
        return  # such as what runs before there are packages
    commands = module.app.registered_commands if hasattr(module, "app") else []
    for words in ([], *([each.callback.__name__] for each in commands)):
        said = run_main(module.main, *words, "--help").ok().output
        path = " ".join(["python -m", name.removesuffix(".__main__"), *words])
        assert said.startswith(f"Usage: {path} ")
        assert f"  {path}" in said.partition("Example")[2]
        assert max(map(len, said.splitlines())) <= 80


def test_a_job_of_emr_has_a_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        job.main(["--help"])
    assert "python -m ml score" in capsys.readouterr().out


def test_every_command_that_is_named_is_there() -> None:
    named = {
        name.removesuffix(".__main__")
        for file in (ROOT / "Makefile", *ROOT.glob("*.md"), *(ROOT / "tools").glob("*.sh"))
        for name in re.findall(r"python3? -m ([\w.]+)", file.read_text())
    }
    assert len(named) >= 15
    known = {name.removesuffix(".__main__") for name in COMMANDS}
    assert sorted(name for name in named - known if not importlib.util.find_spec(name)) == []


# --- dbt, before Spark starts


@pytest.fixture(scope="module")
def dbt(tmp_path_factory: pytest.TempPathFactory) -> RunMain:
    """Run a dbt command that ends before it asks Spark for anything."""
    folder = tmp_path_factory.mktemp("dbt")

    def run(*arguments: str) -> Run:
        said: list[str] = []

        def listen(event: EventMsg) -> None:
            if event.info.level != "debug":
                said.append(event.info.msg)

        folders = ("--target-path", str(folder / "target"), "--log-path", str(folder / "logs"))
        result = dbtRunner(callbacks=[listen]).invoke([*arguments, *folders])
        return Run(0 if result.success else 2, "\n".join([*said, str(result.exception)]))

    return run


@pytest.fixture
def no_spark(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: object) -> None:
        raise AssertionError("Spark was asked for")

    monkeypatch.setattr("dbt.adapters.spark.session.Cursor.execute", start)


@pytest.mark.usefixtures("no_spark")
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("build", "--empty"), "--empty and --sample do not work here"),
        (("run", "--sample", "1 day"), "--empty and --sample do not work here"),
        (("build", "--profiles-dir", "."), "--profiles-dir has to be an absolute path"),
        (("compile",), "SPARK_HOME is /nowhere/spark, .* unset SPARK_HOME"),
        (("build",), "SPARK_HOME is /nowhere/spark, .* unset SPARK_HOME"),
    ],
)
def test_dbt_says_what_it_cannot_work_with_before_spark_starts(
    arguments: tuple[str, ...], sentence: str, dbt: RunMain, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "SPARK_HOME" in sentence:
        monkeypatch.setenv("SPARK_HOME", "/nowhere/spark")
    monkeypatch.chdir(ROOT)
    run = dbt(*arguments)
    assert run.status != 0
    assert run.lines_with(sentence), run.output
    assert not run.lines_with("Traceback|Spark was asked for")


@pytest.fixture(scope="module")
def nearly_empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project without models, which dbt has parsed at once."""
    folder = copy_of_project(tmp_path_factory.mktemp("nearly") / "empty")
    for path in (folder / "models").rglob("*.*"):
        if path.name not in ("_sources.yml", "groups.yml"):
            path.unlink()
    shutil.rmtree(folder / "tests")
    return folder


@pytest.mark.usefixtures("no_spark")
@pytest.mark.parametrize(
    ("landing", "sentence"),
    [
        ("", "The var raw_path is empty: name the folder"),
        (None, "The var raw_path is empty"),
        ("/", "The landing folder / holds the project as well"),
        ("data/../seeds/..//./../", "The landing folder {root.parent}/ holds the project"),
        ("file://{root}/", "The landing folder {root}/ holds the project"),
        ("{root}/ware", "Spark was asked for"),
        ("data", "The landing folder {root}/data/ holds the warehouse"),
        ("/nowhere/else", "The landing folder /nowhere/else/ holds the warehouse"),
    ],
)
def test_a_landing_folder_that_cannot_be_meant_is_refused_before_spark_starts(
    landing: str | None,
    sentence: str,
    dbt: RunMain,
    nearly_empty: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CHURN_WAREHOUSE", raising=False)
    if landing == "/nowhere/else":
        monkeypatch.setenv("CHURN_WAREHOUSE", "/nowhere/else/x/../warehouse")
    monkeypatch.chdir(nearly_empty)
    variables = {"raw_path": landing and landing.format(root=nearly_empty)}
    run = dbt("build", "--target", "local", "--vars", json.dumps(variables))
    assert run.status != 0
    assert run.lines_with(re.escape(sentence.format(root=nearly_empty))), run.output
    assert not run.lines_with("Traceback")


@pytest.mark.parametrize(
    ("given", "folder"),
    [
        ("/tmp/some where", "/tmp/some where"),
        ("some where", f"{ROOT}/some where"),
        ("", f"{ROOT}/data/warehouse"),
        (None, f"{ROOT}/data/warehouse"),
    ],
)
def test_a_relative_warehouse_is_beside_the_profile(
    given: str | None, folder: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("DBT_PROFILES_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    if given is None:
        monkeypatch.delenv("CHURN_WAREHOUSE", raising=False)
    else:
        monkeypatch.setenv("CHURN_WAREHOUSE", given)
    settings = load_target("local").settings
    assert settings["spark.sql.catalog.lake.warehouse"] == folder
    assert settings["spark.sql.catalog.lake.uri"] == f"jdbc:sqlite:file:{quote(folder)}/catalog.db"
    assert settings["spark.sql.warehouse.dir"] == f"{folder}/spark"


def test_a_spark_of_the_shell_is_not_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def start(_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("pyspark.sql.SparkSession.Builder.getOrCreate", start)
    monkeypatch.setenv("SPARK_HOME", "/nowhere/spark")
    monkeypatch.setenv("CHURN_WAREHOUSE", str(tmp_path / "warehouse"))
    with pytest.raises(ProjectError):
        spark_session("local")
    assert "SPARK_HOME" not in os.environ


# --- the folder of make demo


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A folder with a log."""
    write_log(make_log(users=1, days=2, seed=1), tmp_path / "it's logs", files=1)
    return tmp_path / "it's logs"


def test_demo_follows_links_to_folders_as_spark_does(raw: Path, tmp_path: Path) -> None:
    elsewhere = raw.rename(tmp_path / "elsewhere")
    raw.mkdir()
    (raw / "linked").symlink_to(elsewhere)
    assert check_folder(raw).startswith("1 log files")
    # names that Spark passes over, and a link to nothing
    (raw / "linked").rename(raw / "_linked")
    (raw / "gone").symlink_to(tmp_path / "gone")
    with pytest.raises(DemoError, match="holds no file"):
        check_folder(raw)


def test_demo_names_a_link_that_leads_in_a_circle(raw: Path, tmp_path: Path) -> None:
    other = shutil.copytree(raw, tmp_path / "other")
    (raw / "other").symlink_to(other)
    (other / "back").symlink_to(raw)
    with pytest.raises(DemoError, match=rf"{raw}/other/back leads back to {raw.resolve()}"):
        check_folder(raw)


def make_demo(folder: str, *options: str) -> Run:
    as_set_up = ("-o", ".venv/.ready")
    make = shutil.which("make") or "make"
    return run_process(make, *as_set_up, *options, "demo", f"RAW={folder}")


def test_make_demo_takes_any_name(tmp_path: Path) -> None:
    folder = str(tmp_path / 'somebody\'s  "raw" logs')
    run = make_demo(folder)
    assert run.status != 0
    assert run.lines_with(re.escape(f"There is no folder {folder}")), run.output


def test_demo_does_not_take_an_empty_name_for_none() -> None:
    assert '--raw "$RAW"' in make_demo("", "--dry-run").output
    for name in ("", " "):
        with pytest.raises(DemoError, match="The name of the folder is empty"):
            named_folder(name)


def test_demo_refuses_a_folder_that_holds_the_project(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(ROOT.parent)
    for folder in (ROOT / "data", ROOT, ROOT.parent, tmp_path / "link", Path("/")):
        with pytest.raises(DemoError, match="holds the warehouse of this project"):
            check_folder(folder)


def test_demo_refuses_to_build_tables_elsewhere(
    monkeypatch: pytest.MonkeyPatch, run_main: RunMain
) -> None:
    make = partial(run_main, demo.main, "--raw", str(SAMPLE))
    make("--folder", str(ROOT / "data")).failed("has the project's own warehouse")
    for target in ("thrift", "emr", "mine"):
        monkeypatch.setenv("CHURN_TARGET", target)
        make().failed(f"CHURN_TARGET={target} are in no folder of the demo's")


def test_demo_keeps_to_a_folder_of_its_own(
    raw: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run_main: RunMain
) -> None:
    own, others = tmp_path / "demo", tmp_path / "warehouse"
    # put back after the test, as the demo sets them
    for name in ("CHURN_WAREHOUSE", "DBT_TARGET_PATH", "DBT_PROFILES_DIR"):
        monkeypatch.setenv(name, str(others))
    folders = []

    def step(*given: object) -> list:
        folders.extend(one for one in given if isinstance(one, Path))
        settings = load_target("local").settings
        assert settings["spark.sql.catalog.lake.warehouse"] == f"{own}/warehouse"
        return [None, load_target("local")]

    for name in ("build", "train", "score", "write_report", "summary"):
        monkeypatch.setattr(demo, name, step)
    landing = ROOT / "data" / "raw"
    before = landing.is_symlink() and landing.readlink()
    printed = run_main(demo.main, "--raw", str(raw), "--folder", str(own)).ok().output
    assert (landing.is_symlink() and landing.readlink()) == before
    artifacts, page = own / "artifacts", own / "report.html"
    assert folders == [raw, artifacts, artifacts, artifacts, page]
    assert str(others) not in printed
    assert all(map(importlib.util.find_spec, re.findall(r"python -m ([\w.]+)", printed)))


@pytest.mark.parametrize(
    ("status", "said"), [("fail", "grain: Got 2 results"), ("success", "nothing was built")]
)
def test_demo_ends_with_one_sentence_where_the_build_fails(
    status: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run_main: RunMain
) -> None:
    for name in ("CHURN_WAREHOUSE", "DBT_TARGET_PATH"):
        monkeypatch.setenv(name, str(tmp_path))
    given = []

    def invoke(self: object, arguments: list[str]) -> SimpleNamespace:
        given.extend(arguments)
        node = SimpleNamespace(status=status, node=SimpleNamespace(name="grain"))
        node.message = "Got 2 results,\nconfigured to fail if != 0"
        return SimpleNamespace(success=False, exception=None, result=[node])

    monkeypatch.setattr(dbtRunner, "invoke", invoke)
    monkeypatch.setattr("warehouse.session.spark_session", lambda: (None, load_target("local")))
    run = run_main(demo.main, "--raw", str(SAMPLE), "--folder", str(tmp_path / "demo"))
    assert "\n" not in run.failed(said).output.strip()
    # of whatever logs the demo had before, nothing is left
    assert "--full-refresh" in given
    assert json.dumps({"raw_path": str(SAMPLE), **demo.FROM_NOTHING}) in given
    assert demo.FROM_NOTHING.keys() <= project_settings()["vars"].keys()


@pytest.mark.spark
@pytest.mark.thorough
@pytest.mark.nightly
def test_the_demo_and_the_commands_that_it_prints_work(tmp_path: Path) -> None:
    own, others = tmp_path / "somebody's demo", tmp_path / "warehouse"
    command = ("python", "-m", "tools.demo", "--raw", str(SAMPLE), "--folder", str(own))
    run = run_process(*command, CHURN_WAREHOUSE=str(others)).ok()
    assert not others.exists()
    reader = ["-m warehouse"] if importlib.util.find_spec("duckdb") else []
    text = run.output.replace(shlex.quote(f"{own}/warehouse"), "demo").replace(str(own), "demo")
    assert max(map(len, text.replace(str(SAMPLE), "logs").splitlines())) <= 80
    printed = run.output.partition("Next, ")[2].replace("\\\n    ", "").splitlines()
    assert printed[-1] == f"The report: {own}/report.html"
    activate, *commands = (line.strip() for line in printed if line.startswith("  "))
    assert activate == ". .venv/bin/activate"
    assert [re.findall(r"dbt \w+|-m \S+", line)[0] for line in commands] == (
        ["dbt show", *reader, "dbt build"]
    )
    user = user_environment(CHURN_WAREHOUSE=str(others), DBT_TARGET_PATH=str(tmp_path / "target"))
    for line in commands:
        subprocess.run(line, shell=True, check=True, cwd=ROOT, env=user)
    assert (own / "report.html").is_file()
    assert (others / "catalog.db").is_file()
