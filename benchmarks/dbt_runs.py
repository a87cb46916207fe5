"""What the benchmarks share: a scratch warehouse, commands that are measured, and tables."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import psutil
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from server.process import Options, Server, free_port, start, stop
from warehouse.commands import folder_option
from warehouse.console import Console
from warehouse.errors import ProjectError

PROJECT_DIR = Path(__file__).resolve().parent.parent
RESULTS = PROJECT_DIR / "benchmarks" / "results"
FIRST_DAY = "2018-10-01"
POLL_SECONDS = 0.2
LAST_LINES = 30
PASSED = {"success", "pass", "warn", "no-op"}
Raw = Annotated[Path, folder_option("Folder of raw logs.")]


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

    @property
    def memory(self) -> str:
        """Peak memory in words."""
        return f"{self.peak_bytes / 2**30:.2f} GiB"


@dataclass(frozen=True)
class Node:
    """A model, seed or test of a dbt run; times are seconds since the epoch, 0 if skipped."""

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
    nodes: list[Node]

    def count(self, resource_type: str) -> int:
        """Number of nodes of one type: model, seed or test."""
        return sum(node.resource_type == resource_type for node in self.nodes)

    @property
    def failed(self) -> list[str]:
        """Names of the nodes that failed, or that were skipped for it."""
        return [node.name for node in self.nodes if node.status not in PASSED]

    @property
    def is_published(self) -> bool:
        """Whether readers see this build, or nothing was new."""
        return bool(re.search(r"\bPublished |Nothing new", self.usage.output))

    @property
    def first_start(self) -> float:
        """When the first node began: after the start of Python and the JVM, parsing and hooks."""
        starts = (node.started_at for node in self.nodes if node.started_at)
        return min(starts, default=self.usage.started_at)

    @property
    def node_seconds(self) -> float:
        """Wall seconds from the start of the first node to the end of the last."""
        return max([self.first_start, *(node.ended_at for node in self.nodes)]) - self.first_start


@dataclass(frozen=True)
class Bench:
    """A benchmark at work: a folder for its warehouse and logs, and `say` to show what it does."""

    folder: Path
    say: Callable[[str], None]

    def at(self, name: str) -> Bench:
        """The same benchmark with another warehouse, below its folder."""
        return replace(self, folder=self.folder / name)

    def python(self, *arguments: str, accepted: Container[int] = (0,)) -> Usage:
        """Run Python on the warehouse of the folder."""
        command = [sys.executable, *arguments]
        return measured(command, dbt_environment(self.folder), accepted=accepted)

    def simulate(self, folder: Path, users: int, last: str, *options: str, seed: int = 1) -> Path:
        """Write a simulated log, one file a day, from 2018-10-01 to the date `last`."""
        period = ("--start", FIRST_DAY, "--end", last, "--seed", str(seed))
        out = ("--users", str(users), "--out", str(folder))
        self.python("-m", "simulator", *period, *out, *options)
        return folder

    def dbt(
        self,
        what: str,
        raw: Path,
        *command: str,
        server: Server | None = None,
        variables: Mapping[str, Any] | None = None,
        may_fail: bool = False,
    ) -> DbtRun:
        """Run a dbt command, `build` if none is named, on the default target.

        The warehouse is `<folder>/warehouse`, empty in a new folder. With a `server` on it, dbt
        works through that, by Spark Connect. Raises BenchmarkError, with the last lines of dbt's
        output, when dbt ends before it runs any node, and when a node fails unless it `may_fail`.
        """
        (self.folder / "warehouse").mkdir(parents=True, exist_ok=True)
        output = self.folder / "target"
        results_file = output / "run_results.json"
        results_file.unlink(missing_ok=True)
        self.say(what)

        def show(line: str) -> None:
            if match := re.search(r"(\d+ of \d+) START (?!hook)", line):
                self.say(f"{what}: node {match[1]}")

        environment = dbt_environment(self.folder)
        if server:
            environment["CHURN_CONNECT_PORT"] = str(server.connect_port)
        usage = measured(
            [
                *(sys.executable, "-m", "dbt.cli.main", "--no-use-colors"),
                *("--log-path", str(self.folder / "logs"), *(command or ("build",))),
                *("--project-dir", str(PROJECT_DIR), "--profiles-dir", str(PROJECT_DIR)),
                *("--target", "connect" if server else default_target()),
                *("--target-path", str(output)),
                *("--vars", json.dumps({"raw_path": str(raw), **(variables or {})})),
            ],
            environment,
            show,
            accepted=(0, 1),  # 1: nodes failed, or dbt stopped before them
            server_pid=server.pid if server else None,
        )
        run = DbtRun(usage, _nodes(results_file))
        if run.failed and not may_fail:
            failed = f"\n\n{what}: failed or skipped: {', '.join(run.failed)}"
            raise BenchmarkError(_last_lines(usage.output) + failed)
        if usage.exit_status != 0 and not run.failed:
            raise BenchmarkError(_last_lines(usage.output))
        return run


@contextmanager
def benchmark(status_of_errors: int = 1) -> Iterator[Bench]:
    """A benchmark in a scratch folder, with a line that says what it does; both gone at the end."""
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with (
        TemporaryDirectory(prefix="churn_benchmark_", ignore_cleanup_errors=True) as folder,
        Progress(*columns, console=Console(), transient=True) as progress,
    ):
        task = progress.add_task("")

        def say(what: str) -> None:
            progress.update(task, description=what)

        try:
            yield Bench(Path(folder).resolve(), say)
        except ProjectError as error:
            error.exit_status = status_of_errors
            raise


def measured(
    command: Sequence[str],
    environment: Mapping[str, str],
    on_line: Callable[[str], None] = lambda line: None,
    accepted: Container[int] = (0,),
    server_pid: int | None = None,
) -> Usage:
    """Run a command in the project's folder and measure its whole process tree.

    With `server_pid`, that of the server which works for it, too. Raises BenchmarkError, with the
    last lines of its output, when its exit status is none of `accepted`.
    """
    started_at, started = time.time(), time.perf_counter()
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
        cpu_seconds, others_cpu_seconds = watch.stop()
    wall_seconds, output = time.perf_counter() - started, "\n".join(lines)
    status = process.returncode
    if status not in accepted:
        shown = " ".join(command[:4])
        raise BenchmarkError(f"{_last_lines(output)}\n\nExit status {status} of: {shown} ...")
    return Usage(
        *(started_at, wall_seconds, cpu_seconds, others_cpu_seconds),
        *(watch.peak_bytes, output, status),
    )


def _last_lines(output: str) -> str:
    return "\n".join(output.splitlines()[-LAST_LINES:])


def last_day(days: int) -> str:
    """The last date of a simulated log of so many days."""
    return (date.fromisoformat(FIRST_DAY) + timedelta(days=days - 1)).isoformat()


def bytes_in(folder: Path) -> int:
    """Size of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def log_spark_events(folder: Path) -> None:
    """Let every Spark that is started from here on, by dbt or as a server, log its events there."""
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


# --- tables


def save_results(name: str, markdown: str) -> None:
    """Print the results of the default target, and write them to benchmarks/results."""
    RESULTS.mkdir(exist_ok=True)
    results = RESULTS / f"{name}_{default_target()}.md"
    results.write_text(markdown, encoding="utf-8")
    print(markdown, f"written to {results.relative_to(PROJECT_DIR)}", sep="\n")


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; short rows are filled up with empty cells."""
    cells = [head, *([*row, *[""] * (len(head) - len(row))] for row in rows)]
    first, *others = (f"| {' | '.join(map(str, line))} |" for line in cells)
    return "\n".join([first, f"|{'---|' * len(head)}", *others])


def figures_table(title: str, first: str, *figures: str) -> Table:
    """A table for the console: a column of names, which gives way on a narrow one, and figures."""
    table = Table(title=title)
    table.add_column(first, overflow="fold")
    for name in figures:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def shown_bytes(count: float) -> str:
    """Bytes in the unit that leaves one to three digits before the point."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.{0 if unit == 'B' else 1}f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def busy_warning(usages: Iterable[Usage]) -> str:
    """One line when other processes took over a tenth of the machine's processors, else empty."""
    usages = list(usages)
    others = sum(usage.others_cpu_seconds for usage in usages)
    offered = sum(usage.wall_seconds for usage in usages) * (os.cpu_count() or 1)
    if others <= offered / 10:
        return ""
    return (
        f"Other processes used {others / offered:.0%} of the processors meanwhile: "
        "compare processor times, or measure again on an idle machine."
    )


def warn_if_busy(console: Console, usages: Iterable[Usage]) -> None:
    """Print that warning, if there is one."""
    if warning := busy_warning(usages):
        console.print(warning, style="yellow")


def _nodes(results_file: Path) -> list[Node]:
    if not results_file.is_file():
        return []
    nodes = []
    for result in json.loads(results_file.read_text(encoding="utf-8"))["results"]:
        resource_type, _, rest = result["unique_id"].partition(".")
        starts, ends = (
            [datetime.fromisoformat(part[key].replace("Z", "+00:00")) for part in result["timing"]]
            for key in ("started_at", "completed_at")
        )
        times = (min(starts).timestamp(), max(ends).timestamp()) if starts else (0.0, 0.0)
        if resource_type != "operation":
            nodes.append(Node(rest.split(".")[1], resource_type, result["status"], *times))
    return sorted(nodes, key=lambda node: -node.seconds)


class _ProcessTreeWatch:
    """Polls the memory and CPU time of processes and their descendants."""

    def __init__(self, *pids: int) -> None:
        self.peak_bytes = 0
        self._roots = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
        self._cpu: dict[psutil.Process, float] = {}
        self._look()
        self._cpu_before, self._machine_before = sum(self._cpu.values()), _machine_cpu_seconds()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> tuple[float, float]:
        """CPU seconds of processes that lived through a poll, and of the rest of the machine."""
        self._stopped.set()
        self._thread.join()
        cpu_seconds = sum(self._cpu.values()) - self._cpu_before
        of_all = _machine_cpu_seconds() - self._machine_before
        return cpu_seconds, max(of_all - cpu_seconds, 0.0)

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
