"""Let the engine of `make up` run this process's command. Imports nothing slow."""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

FOLDER = Path(__file__).resolve().parent.parent / ".engine"
STATE_FILE = FOLDER / "engine.json"
# CHURN_ENGINE=off leaves the engine alone
SWITCH = "CHURN_ENGINE"
# Variables that Java or Python reads as it starts. The project itself sets or ignores the others.
READ_AT_START = (
    *("SPARK_", "PYSPARK_", "JAVA_", "JDK_", "_JAVA_"),
    *("LD_", "PYTHON", "COMET_", "CHURN_JAVA", "TMPDIR"),
)
NOT_READ = ("SPARK_HOME", "JAVA_HOME", "PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON")
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGWINCH)


def dbt() -> int:
    """dbt's own command line, by the engine where it is up; the program .venv/bin/dbt calls it."""

    def without() -> int:
        from dbt.cli.main import cli

        try:
            return cli()
        except SystemExit as end:
            leave(end.code)

    return run("dbt", without)


def run(module: str, main: Callable[[], int]) -> int:
    """Run the command of this process, a module or `dbt`: by the engine, else by `main`."""
    status = _by_the_engine(module)
    return main() if status is None else status


def leave(status: Any) -> NoReturn:
    """End this process as `sys.exit` does, but without taking apart all that it has loaded.

    That takes a second for a dbt project.
    """
    if status is None or isinstance(status, int):
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        with suppress(OSError, ValueError):  # of a reader that has gone Python tells by itself
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(status or 0)
    sys.exit(status)


def made_for() -> dict[str, Any]:
    """What an engine and a command must have in common, under the words for a difference."""
    packages = Path(sysconfig.get_path("purelib"))
    mask = os.umask(0)
    os.umask(mask)
    return {
        "other Python packages": [
            sys.executable,
            *sorted(path.name for path in packages.glob("*.dist-info")),
            *sorted(path.name for path in packages.glob("pyspark/jars/*.jar")),
        ],
        "another umask": mask,
        "other variables for Java or Python": {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith(READ_AT_START) and name not in NOT_READ
        },
    }


def _by_the_engine(module: str) -> int | None:
    """Exit status of the command, None where the engine did not run it."""
    if os.environ.get(SWITCH) == "off":
        return None
    try:
        state = json.loads(STATE_FILE.read_text())
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(state["socket"])
    except (OSError, ValueError, KeyError):
        return None
    with connection, connection.makefile("r", encoding="utf-8") as answers:
        wanted = made_for()
        differing = [what for what, value in wanted.items() if state["made_for"].get(what) != value]
        if differing:
            _say(f"it was started with {differing[0]} (to renew it: make down, make up)")
            return None
        request = {
            "module": module,
            "arguments": sys.argv,
            "folder": str(Path.cwd()),
            "path": sys.path[0],
            "variables": dict(os.environ),
        }
        data = f"{json.dumps(request)}\n".encode()
        try:
            # the terminal or the files of this process become those of the command
            sent = socket.send_fds(connection, [data], [0, 1, 2])
            connection.sendall(data[sent:])
        except OSError:  # one of them is closed, or the engine has just ended
            return None
        answer = _answer(answers)
        if "busy" in answer:
            _say(f"it is at work on `{answer['busy']}`")
            return None
        if "process" in answer:
            with _signals_to(connection):
                answer = _answer(answers)
    if "status" not in answer:
        print("The engine ended; why: logs/engine.log. Run the command again.", file=sys.stderr)
        return 1
    return answer["status"] if answer["status"] >= 0 else 128 - answer["status"]


def _answer(answers: Any) -> dict[str, Any]:
    line = answers.readline()
    return json.loads(line) if line else {}


@contextmanager
def _signals_to(connection: socket.socket) -> Iterator[None]:
    def forward(number: int, _: Any) -> None:
        with suppress(OSError):
            connection.send(bytes([number]))

    before = {number: signal.signal(number, forward) for number in FORWARDED}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(why: str) -> None:
    print(f"Without the engine: {why}.", file=sys.stderr)
