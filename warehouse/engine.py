"""Start and end the engine: one warm Spark that runs the commands of this checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass

import psutil
from filelock import FileLock

from warehouse.errors import ProjectError
from warehouse.hand_over import FOLDER, STATE_FILE
from warehouse.session import PROJECT_DIR, load_target, make_warehouse_folder

LOG_FILE = PROJECT_DIR / "logs" / "engine.log"
PROCESS = "warehouse.resident"
START_SECONDS = 180
STOP_SECONDS = 10


@dataclass(frozen=True)
class Engine:
    """An engine that runs."""

    pid: int
    target: str

    def stop(self) -> None:
        """End it, and the command that it runs."""
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            family = [*process.children(recursive=True), process]
            process.terminate()
            _, alive = psutil.wait_procs(family, STOP_SECONDS)
            for each in alive:
                each.kill()
            psutil.wait_procs(alive, STOP_SECONDS)
        STATE_FILE.unlink(missing_ok=True)


def find() -> Engine | None:
    """The engine of this checkout, None where none runs."""
    try:
        state = json.loads(STATE_FILE.read_text())
        is_running = PROCESS in psutil.Process(state["pid"]).cmdline()
    except (OSError, ValueError, KeyError, psutil.Error):
        return None
    return Engine(state["pid"], state["target"]) if is_running else None


def start(target: str | None, idle_minutes: float) -> Engine:
    """Start an engine, and wait until it takes commands.

    Raises ProjectError where one runs, for a target whose Spark is not in the process of its
    command, and where it does not start.
    """
    rendered = load_target(target)
    if not rendered.is_embedded:
        raise ProjectError(
            f"Target '{rendered.name}' has a Spark elsewhere, and needs no engine: choose `comet` "
            "or `local` with --target."
        )
    FOLDER.mkdir(exist_ok=True)
    LOG_FILE.parent.mkdir(exist_ok=True)
    with FileLock(STATE_FILE.with_suffix(".lock")):
        if running := find():
            raise ProjectError(f"The engine is up (process {running.pid}): make down ends it.")
        STATE_FILE.unlink(missing_ok=True)
        make_warehouse_folder(rendered.settings)
        environment = {name: value for name, value in os.environ.items() if name != "SPARK_HOME"}
        # It would learn for a cache (tools/setup_environment.py), be slowed, and seldom leave one.
        environment |= {"PYSPARK_PYTHON": sys.executable, "CHURN_LEARN": "off"}
        with LOG_FILE.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", PROCESS, str(idle_minutes * 60), rendered.name],
                cwd=PROJECT_DIR,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the shell that started it does not end it
            )
        assert process.stdin is not None
        with process.stdin as pipe:
            pipe.write(json.dumps(rendered.settings).encode())
        began = time.monotonic()
        while not STATE_FILE.is_file():
            if process.poll() is not None or time.monotonic() - began > START_SECONDS:
                process.kill()
                raise ProjectError(f"The engine did not start: {LOG_FILE}.")
            time.sleep(0.1)
    return Engine(process.pid, rendered.name)
