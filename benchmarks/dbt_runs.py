"""Run a command and measure it: seconds, CPU seconds and peak memory; and dbt's own results."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from tempfile import mkdtemp
from typing import Annotated, Any

import psutil
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from benchmarks.make_duckdb_tables import log_files
from server.process import Options, Server, free_port, start, stop
from warehouse.commands import folder_option
from warehouse.console import Console
from warehouse.errors import ProjectError

PROJECT_DIR = Path(__file__).resolve().parent.parent
RESULTS = PROJECT_DIR / "benchmarks" / "results"
POLL_SECONDS = 0.2
LAST_LINES = 30
PASSED = {"success", "pass", "warn", "no-op"}
Raw = Annotated[Path, folder_option("Folder of raw logs.")]
Work = Annotated[
    Path | None, folder_option("Folder for what it makes, and removes.", "the system's")
]


class BenchmarkError(ProjectError):
    """What went wrong and what to do, in words for the command line."""


@dataclass(frozen=True)
class Usage:
    """What a command took.

    `peak_bytes` is the highest sum of resident set sizes of the process and all its descendants,
    so that shared pages count once per process: an upper bound. `cpu_seconds` is their CPU time,
    and `others_cpu_seconds` what the rest of the machine used meanwhile: wall times of a busy
    machine say little.
    """

    started_at: float
    wall_seconds: float
    cpu_seconds: float
    others_cpu_seconds: float
    peak_bytes: int
    output: str
    exit_status: int


@dataclass(frozen=True)
class Node:
    """One model, seed or test of a dbt run; times are seconds since the epoch."""

    name: str
    resource_type: str
    status: str
    started_at: float
    ended_at: float

    @property
    def seconds(self) -> float:
        """Seconds from the start to the end of the node."""
        return self.ended_at - self.started_at


@dataclass(frozen=True)
class DbtRun:
    """A dbt command: what it took, and its nodes, slowest first."""

    usage: Usage
    nodes: list[Node] = field(default_factory=list)

    def count(self, resource_type: str) -> int:
        """Number of nodes of one type: model, seed or test."""
        return sum(node.resource_type == resource_type for node in self.nodes)

    @property
    def failed(self) -> list[str]:
        """Names of the nodes that failed, or that were skipped for it."""
        return [node.name for node in self.nodes if node.status not in PASSED]

    def raise_if_failed(self, what: str) -> None:
        """Raise BenchmarkError, with the last lines of dbt's output, when a node failed."""
        if self.failed:
            last = "\n".join(self.usage.output.splitlines()[-LAST_LINES:])
            raise BenchmarkError(f"{last}\n\n{what}: failed or skipped: {', '.join(self.failed)}")

    @property
    def node_seconds(self) -> float:
        """Wall seconds from the start of the first node to the end of the last."""
        ended = max((node.ended_at for node in self.nodes if node.ended_at), default=0.0)
        return ended - self._first_start if ended else 0.0

    @property
    def seconds_before_first_node(self) -> float:
        """Wall seconds before the first node: start of Python and the JVM, parsing, hooks."""
        return self._first_start - self.usage.started_at

    @property
    def _first_start(self) -> float:
        # a node that was skipped has no times
        return min(
            (node.started_at for node in self.nodes if node.started_at),
            default=self.usage.started_at,
        )


def measured(
    command: Sequence[str],
    environment: dict[str, str],
    on_line: Callable[[str], None] = lambda line: None,
    accepted: Container[int] = (0,),
    server_pid: int | None = None,
) -> Usage:
    """Run a command in the project's folder and measure its whole process tree.

    With `server_pid`, that of the server which works for it, too. Raises BenchmarkError, with the
    last lines of its output, when its exit status is none of `accepted`.
    """
    started_at = time.time()
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=PROJECT_DIR,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    watch = _ProcessTreeWatch(process.pid, *([server_pid] if server_pid else []))
    lines: list[str] = []
    try:
        for line in process.stdout or ():
            lines.append(line.rstrip())
            on_line(lines[-1])
        process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    finally:
        watch.stop()
    wall_seconds = time.perf_counter() - started
    if process.returncode not in accepted:
        last = "\n".join(lines[-LAST_LINES:])
        shown = " ".join(command[:4])
        raise BenchmarkError(f"{last}\n\nExit status {process.returncode} of: {shown} ...")
    return Usage(
        started_at=started_at,
        wall_seconds=wall_seconds,
        cpu_seconds=watch.cpu_seconds,
        others_cpu_seconds=watch.others_cpu_seconds,
        peak_bytes=watch.peak_bytes,
        output="\n".join(lines),
        exit_status=process.returncode,
    )


def run_dbt(
    command: str,
    flags: Sequence[str],
    work_folder: Path,
    raw_folder: Path,
    on_progress: Callable[[str], None] = lambda text: None,
    server: Server | None = None,
    variables: Mapping[str, Any] | None = None,
) -> DbtRun:
    """Run `dbt <command>` on the default target, all output below `work_folder`.

    The warehouse is `<work_folder>/warehouse`, empty in a new folder. With a `server` on it, dbt
    works through that, by Spark Connect. `on_progress` gets texts such as "3 of 18". Nodes may
    fail: see `DbtRun.failed`. Raises BenchmarkError when dbt ends before it runs any.
    """
    (work_folder / "warehouse").mkdir(parents=True, exist_ok=True)
    output = work_folder / "target"
    results_file = output / "run_results.json"
    results_file.unlink(missing_ok=True)

    def show(line: str) -> None:
        if match := re.search(r"(\d+ of \d+) START (?!hook)", line):
            on_progress(match.group(1))

    usage = measured(
        [
            *(sys.executable, "-m", "dbt.cli.main", "--no-use-colors"),
            *("--log-path", str(work_folder / "logs"), command, *flags),
            *("--project-dir", str(PROJECT_DIR), "--profiles-dir", str(PROJECT_DIR)),
            *("--target", "connect" if server else default_target()),
            *("--target-path", str(output)),
            *("--vars", json.dumps({"raw_path": str(raw_folder), **(variables or {})})),
        ],
        dbt_environment(work_folder)
        | ({"CHURN_CONNECT_PORT": str(server.connect_port)} if server else {}),
        show,
        accepted=(0, 1),  # 1: nodes failed, or dbt stopped before them
        server_pid=server.pid if server else None,
    )
    run = DbtRun(usage, _nodes(results_file))
    if usage.exit_status != 0 and not run.failed:
        raise BenchmarkError("\n".join(usage.output.splitlines()[-LAST_LINES:]))
    return run


def simulate(folder: Path, users: int, first: str, last: str) -> None:
    """Write a simulated log, one file per day, from the date `first` to `last`."""
    measured(
        [
            *(sys.executable, "-m", "simulator", "--users", str(users), "--seed", "1"),
            *("--start", first, "--end", last, "--out", str(folder)),
        ],
        dbt_environment(folder),
    )


def raw_logs(folder: Path) -> list[Path]:
    """The log files of a landing folder; raises BenchmarkError when there is none."""
    try:
        return log_files(folder)
    except FileNotFoundError as error:
        raise BenchmarkError(str(error)) from error


def read_once(raw_folder: Path) -> None:
    """Read all logs, so that none of those to be compared is the one to wait for the disk.

    Raises BenchmarkError when there is none.
    """
    for file in raw_logs(raw_folder):
        with file.open("rb") as raw:
            while raw.read(1 << 24):
                pass


def bytes_in(folder: Path) -> int:
    """Size of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def log_spark_events(folder: Path) -> None:
    """Let every Spark that is started from here on, by dbt or as a server, log its events there.

    Profiles.yml says nothing of these settings, and stays as it is.
    """
    folder.mkdir()
    os.environ["SPARK_SUBMIT_OPTS"] = (
        "-Dspark.eventLog.enabled=true -Dspark.eventLog.compress=false "
        f"-Dspark.eventLog.dir={folder.as_uri()}"
    )


def spark_events(folder: Path) -> Iterator[Iterator[dict]]:
    """The events of each Spark that logged below a folder, in their order."""
    return (_events(event_log) for event_log in folder.iterdir())


def _events(event_log: Path) -> Iterator[dict]:
    # a long log has several files, events_<number>_<application>
    for file in sorted(event_log.glob("events_*"), key=lambda path: int(path.name.split("_")[1])):
        with file.open(encoding="utf-8") as lines:
            for text in lines:
                if not text.endswith("\n"):
                    break  # a server still writes it
                yield json.loads(text)


def default_target() -> str:
    """Target of dbt where none is named; CHURN_TARGET chooses another."""
    return os.environ.get("CHURN_TARGET", "comet")


def dbt_environment(work_folder: Path) -> dict[str, str]:
    """Environment of dbt: this Python's own programs first, and a warehouse of its own."""
    environment = dict(os.environ)
    programs = Path(sys.executable).parent
    for name in ("SPARK_HOME", "PYTHONHOME", "DBT_TARGET", "DBT_PROFILES_DIR", "CHURN_SCHEMA"):
        environment.pop(name, None)
    if (programs / "java").exists():
        environment.pop("JAVA_HOME", None)
    return environment | {
        "PATH": f"{programs}{os.pathsep}{environment.get('PATH', '')}",
        "PYSPARK_PYTHON": sys.executable,
        "CHURN_ENGINE": "off",
        "CHURN_WAREHOUSE": str(work_folder / "warehouse"),
    }


@contextmanager
def running_server(work_folder: Path, writable: bool = False) -> Iterator[Server]:
    """A server of `<work_folder>/warehouse` on free ports, stopped at the end."""
    (work_folder / "warehouse").mkdir(parents=True, exist_ok=True)
    os.environ["CHURN_WAREHOUSE"] = str(work_folder / "warehouse")
    options = Options(
        thrift_port=free_port(),
        connect_port=free_port(),
        writable=writable,
        log_file=work_folder / "server.log",
        state_file=work_folder / "server.pid",
    )
    try:
        yield start(options)
    finally:
        stop(options.state_file)


@contextmanager
def temporary_work_folder(keep: bool, parent: Path | None = None) -> Iterator[Path]:
    """A folder for warehouses, targets and logs, removed at the end unless `keep`."""
    folder = Path(mkdtemp(prefix="churn_benchmark_", dir=parent)).resolve()
    try:
        yield folder
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def progress_line(console: Console) -> Progress:
    """What is being done, and since when; gone at the end."""
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)


def save_results(name: str, markdown: str) -> None:
    """Print the results of the default target, and write them to benchmarks/results."""
    RESULTS.mkdir(exist_ok=True)
    results = RESULTS / f"{name}_{default_target()}.md"
    results.write_text(markdown, encoding="utf-8")
    print(markdown, f"written to {results.relative_to(PROJECT_DIR)}", sep="\n")


def shown_memory(peak_bytes: int) -> str:
    """Peak memory in words."""
    return f"{peak_bytes / 2**30:.2f} GiB"


def shown_bytes(count: float) -> str:
    """Bytes in the unit that leaves one to three digits before the point."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.{0 if unit == 'B' else 1}f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def busy_warning(usages: Sequence[Usage]) -> str:
    """One line when other processes took over a tenth of the machine's processors, else empty."""
    others = sum(usage.others_cpu_seconds for usage in usages)
    offered = sum(usage.wall_seconds for usage in usages) * (os.cpu_count() or 1)
    if others <= offered / 10:
        return ""
    return (
        f"Other processes used {others / offered:.0%} of the processors meanwhile: "
        "compare processor times, or measure again on an idle machine."
    )


def _nodes(results_file: Path) -> list[Node]:
    if not results_file.is_file():
        return []
    results = json.loads(results_file.read_text(encoding="utf-8"))["results"]
    nodes = []
    for result in results:
        resource_type, _, rest = result["unique_id"].partition(".")
        times = result["timing"]
        if resource_type == "operation":
            continue
        nodes.append(
            Node(
                name=rest.split(".")[1],
                resource_type=resource_type,
                status=result["status"],
                started_at=min((_epoch(part["started_at"]) for part in times), default=0.0),
                ended_at=max((_epoch(part["completed_at"]) for part in times), default=0.0),
            )
        )
    return sorted(nodes, key=lambda node: -node.seconds)


def _epoch(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


class _ProcessTreeWatch:
    """Polls the memory and CPU time of processes and their descendants."""

    def __init__(self, *pids: int) -> None:
        self.peak_bytes = 0
        self._roots = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
        self._cpu: dict[psutil.Process, float] = {}
        self._look()
        self._cpu_before, self._machine_before = sum(self._cpu.values()), _machine_cpu_seconds()
        self.cpu_seconds = self.others_cpu_seconds = 0.0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the polling; the CPU time is of processes that lived through a poll."""
        self._stopped.set()
        self._thread.join()
        self.cpu_seconds = sum(self._cpu.values()) - self._cpu_before
        of_all = _machine_cpu_seconds() - self._machine_before
        self.others_cpu_seconds = max(of_all - self.cpu_seconds, 0.0)

    def _watch(self) -> None:
        while not self._stopped.wait(POLL_SECONDS):
            self._look()

    def _look(self) -> None:
        tree = set(self._roots)
        for root in self._roots:
            with suppress(psutil.Error):
                tree.update(root.children(recursive=True))
        memory = {}
        for process in tree:
            with suppress(psutil.Error), process.oneshot():
                times = process.cpu_times()
                self._cpu[process] = times.user + times.system
                memory[process.pid] = process.ppid(), process.memory_info()
        self.peak_bytes = max(self.peak_bytes, _resident_bytes(memory))


def _machine_cpu_seconds() -> float:
    times = psutil.cpu_times()
    return times.user + times.nice + times.system


def _resident_bytes(memory: dict[int, tuple[int, Any]]) -> int:
    # While the JVM starts a program, the new process still runs in the JVM's own memory (vfork),
    # which must not count twice. Such a process has its parent's sizes; a little slack, as the two
    # are not read at the same instant.
    total = 0
    for parent, own in memory.values():
        _, of_parent = memory.get(parent, (0, None))
        is_shared = of_parent and own.vms == of_parent.vms
        total += 0 if is_shared and abs(own.rss - of_parent.rss) < own.rss / 50 else own.rss
    return total
