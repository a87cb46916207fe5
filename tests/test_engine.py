"""The engine of `make up`: commands that it runs are as those with a Spark of their own."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.make_log import make_log, write_log
from tests.warehouse import ONE_COMPILER, ROOT, Run, copy_of_project, user_environment
from tools import setup_environment
from warehouse.hand_over import SWITCH
from warehouse.resident import Command, difference, serve

# as the program that set-up makes of dbt's own
DBT = (
    "-c",
    "import sys; from warehouse.hand_over import dbt; sys.argv[0] = 'dbt'; sys.exit(dbt())",
)
ENDLESS = "select count(*) as n from range(1000000000000) where id % 7 = 3"

ANSWER = ("show", "--inline", "select 41 + 1 as answer")
WITHOUT_MEMORY = """
import sys

from warehouse.hand_over import run
from warehouse.session import spark_session


def main():
    spark, _ = spark_session()
    spark.conf.set("spark.sql.catalog.lake.cache-enabled", "false")
    spark.sql("show namespaces in lake").collect()
    print(spark.sql("select 41 + 1").first()[0])


if __name__ == "__main__":
    sys.exit(run("without_memory", main))
"""


@dataclass
class Checkout:
    """A copy of the project whose engine is up."""

    root: Path
    warehouse: Path

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Start Python with arguments."""
        settings = {
            "CHURN_WAREHOUSE": str(self.warehouse),
            SWITCH: "on",
            **ONE_COMPILER,
            **variables,
        }
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.root,
            env=user_environment(**settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str, **variables: str) -> Run:
        """Run Python with arguments, to its end."""
        process = self.start(*arguments, **variables)
        output, _ = process.communicate(timeout=900)
        return Run(process.returncode, output)

    def dbt(self, *arguments: str) -> Run:
        """Run dbt without colours."""
        return self.run(*DBT, "--no-use-colors", *arguments)

    def java(self) -> int:
        """The process of the engine's Java."""
        engine = json.loads((self.root / ".engine" / "engine.json").read_text())["pid"]
        (java,) = [each for each in psutil.Process(engine).children() if "java" in each.name()]
        return java.pid


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    folder = tmp_path_factory.mktemp("engine")
    root = copy_of_project(folder / "project", small=True)
    shutil.copytree(ROOT / "warehouse", root / "warehouse")
    write_log(make_log(users=3, days=10, seed=2), root / "data" / "raw", files=1)
    made = Checkout(root, folder / "warehouse")
    up = made.run("-m", "warehouse", "up", "--idle-minutes", "10").ok()
    assert re.search(r"The engine is up \(process \d+, target comet\)", up.output)
    yield made
    assert "has ended" in made.run("-m", "warehouse", "down").ok().output
    assert "No engine is up" in made.run("-m", "warehouse", "down").ok().output


@pytest.mark.spark
def test_a_build_by_the_engine_is_published(checkout: Checkout) -> None:
    build = checkout.dbt("build", "--exclude-resource-type", "unit_test").ok()
    assert "Without the engine" not in build.output
    assert build.published_build in checkout.run("-m", "warehouse", "status").ok().output
    again = checkout.run("-m", "warehouse", "up")
    assert again.status == 1
    assert "The engine is up" in again.output


@pytest.mark.spark
def test_a_session_need_not_remember_tables(checkout: Checkout) -> None:
    """The report's does not: its catalog is of another class, which the engine closes, too."""
    (checkout.root / "without_memory.py").write_text(WITHOUT_MEMORY)
    java = checkout.java()
    for _ in range(2):
        assert checkout.run("-m", "without_memory").ok().output == "42\n"
    assert checkout.java() == java


@pytest.mark.spark
def test_the_folder_of_a_new_warehouse_is_made(checkout: Checkout, tmp_path: Path) -> None:
    """The engine's Spark was started on another one."""
    new = {"CHURN_WAREHOUSE": str(tmp_path / "new" / "warehouse")}
    shown = checkout.run(*DBT, "--no-use-colors", *ANSWER, **new).ok()
    assert shown.lines_with(r"\| +42 \|")


@pytest.mark.spark
def test_the_engine_starts_java_anew_where_it_has_ended(checkout: Checkout) -> None:
    java = psutil.Process(checkout.java())
    java.kill()
    while java.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.1)
    assert checkout.dbt(*ANSWER).ok().lines_with(r"\| +42 \|")
    assert checkout.java() != java.pid


@pytest.mark.spark
def test_a_command_may_read_the_whole_project(checkout: Checkout) -> None:
    """dbt's parser in Rust has threads, which a fork lacks."""
    checkout.dbt("--no-partial-parse", "parse").ok()


@pytest.mark.spark
def test_commands_see_each_edit(checkout: Checkout) -> None:
    for answer in ("first", "second"):
        macro = "{% macro answer() %}'" + answer + "'{% endmacro %}"
        (checkout.root / "macros" / "answer.sql").write_text(macro)
        shown = checkout.dbt("show", "--inline", "select {{ answer() }} as answer").ok()
        assert f"| {answer}" in shown.output

    status = checkout.root / "warehouse" / "status.py"
    before = status.read_text()
    status.write_text(before + "\n\ndef status(*_):\n    print('edited')\n")
    try:
        assert checkout.run("-m", "warehouse", "status").output == "edited\n"
    finally:
        status.write_text(before)


@pytest.mark.spark
def test_a_command_has_its_own_variables_folder_and_status(
    checkout: Checkout, tmp_path: Path
) -> None:
    other = checkout.run("-m", "warehouse", "status", CHURN_WAREHOUSE=str(tmp_path / "other"))
    assert other.status == 1
    assert "Nothing is built" in other.output
    assert not (tmp_path / "other").exists()
    wrong = checkout.run("-m", "warehouse", "status", "--targt", "x")
    assert wrong.status == 2
    assert "Without the engine" not in other.output + wrong.output


@pytest.mark.spark
def test_a_command_says_why_it_starts_its_own_spark(checkout: Checkout) -> None:
    asked = ("-m", "warehouse", "status", "--help")
    assert "Without the engine" not in checkout.run(*asked).ok().output
    other = checkout.run(*asked, JAVA_TOOL_OPTIONS="-Xmx1g").ok().output
    assert "Without the engine: it was started with other variables for Java or Python" in other
    assert (
        "Without" not in checkout.run(*asked, JAVA_TOOL_OPTIONS="-Xmx1g", CHURN_ENGINE="off").output
    )


@pytest.mark.spark
@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGKILL, marks=pytest.mark.nightly), signal.SIGINT]
)
def test_what_a_killed_command_began_ends_with_it(checkout: Checkout, number: int) -> None:
    java = checkout.java()
    endless = checkout.start(*DBT, "show", "--inline", ENDLESS)
    # another one hears that the engine is at work
    until = time.monotonic() + 60
    while "at work on `dbt show" not in checkout.run("-m", "warehouse", "status", "--help").output:
        assert time.monotonic() < until
    time.sleep(5)  # for dbt to have asked Spark
    endless.send_signal(number)
    endless.wait(60)
    assert endless.returncode
    # the engine goes on, with another Java
    assert checkout.dbt(*ANSWER).ok().lines_with(r"\b42\b")
    assert not psutil.pid_exists(java)
    assert checkout.java() != java


@pytest.mark.spark
@pytest.mark.nightly
def test_commands_leave_nothing_open(checkout: Checkout) -> None:
    def open_files() -> int:
        return psutil.Process(checkout.java()).num_fds()

    for _ in range(3):
        checkout.run("-m", "warehouse", "status")
    before = open_files()
    for _ in range(30):
        checkout.run("-m", "warehouse", "status")
    assert open_files() <= before + 3


@pytest.mark.parametrize("quote", ["'", '"'])
def test_set_up_lets_the_program_dbt_ask_for_the_engine(
    quote: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # as uv and pip write it
    program = tmp_path / "bin" / "dbt"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\nimport re\nimport sys\nfrom dbt.cli.main import cli\n"
        f"if __name__ == {quote}__main__{quote}:\n    sys.exit(cli())\n"
    )
    monkeypatch.setattr(setup_environment, "VENV", tmp_path)
    is_ours = (
        "import runpy, sys; cli = runpy.run_path(sys.argv[1])['cli']; "
        "import warehouse.hand_over; print(cli is warehouse.hand_over.dbt)"
    )

    def shown_by(*arguments: str | Path) -> str:
        process = subprocess.run(
            [sys.executable, *arguments], capture_output=True, text=True, cwd=tmp_path
        )
        return process.stdout

    for _ in range(2):
        setup_environment.let_dbt_use_the_engine()
        assert shown_by("-c", is_ours, program) == "True\n"
        assert "installed: 1." in shown_by(program, "--version")


def test_settings_of_a_session_may_differ() -> None:
    engine = {"spark.driver.memory": "2g", "spark.sql.catalog.lake.warehouse": "/a"}
    assert not difference(engine | {"spark.sql.catalog.lake.warehouse": "/b"}, engine)
    assert not difference(engine | {"spark.sql.warehouse.dir": "/b"}, engine)
    assert difference(engine | {"spark.driver.memory": "3g"}, engine) == "spark.driver.memory"
    assert difference(engine | {"spark.plugins": "x"}, engine) == "spark.plugins"
    assert difference({"spark.driver.memory": "2g"}, engine) == "spark.sql.catalog.lake.warehouse"


class NoSpark:
    """Stands for a Spark that no command asks for."""


def test_it_ends_when_no_command_comes(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(str(tmp_path / "socket"))
            stranger.sendall(b"no request\n")
            assert serve(listener, NoSpark(), 0.1) is None  # type: ignore[arg-type]


def test_files_of_a_request_that_is_cut_off_are_closed() -> None:
    ours, theirs = socket.socketpair()
    before = psutil.Process().num_fds()
    with theirs:
        socket.send_fds(theirs, [b'{"module": "dbt"'], [0, 1, 2])
    with ours, pytest.raises(ValueError, match="cut off"):
        Command.read(ours)
    assert psutil.Process().num_fds() == before - 2


def test_an_engine_that_is_gone_is_passed_over(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "warehouse", tmp_path / "warehouse")
    (tmp_path / ".engine").mkdir()
    state = {"pid": os.getpid(), "target": "comet", "socket": f"{tmp_path}/socket", "made_for": {}}
    (tmp_path / ".engine" / "engine.json").write_text(json.dumps(state))
    code = "import sys; from warehouse.hand_over import run; sys.exit(run('ml', lambda: 7))"
    asked = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True)
    assert (asked.returncode, asked.stdout, asked.stderr) == (7, b"", b"")
