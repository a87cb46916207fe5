"""The engine's process: one Java with Spark, and Python with the packages loaded, for all commands.

It runs one command at a time, each in a fork of its own: a command loads the project's code anew,
and has a session of its own in the Spark of the engine. `python -m warehouse up` starts it, with
the seconds without a command after which it ends and the name of the target as arguments, and
Spark's settings as JSON on its standard input.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from py4j.protocol import Py4JError

from warehouse.hand_over import STATE_FILE, SWITCH, leave, made_for

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PROJECT_DIR = Path(__file__).resolve().parent.parent
# of what commands load, that which takes long and is not the project's own
PRELOADED = (
    "dbt.cli.main",
    "dbt.adapters.spark.impl",
    "dbt.adapters.spark.session",
    "pandas",
    "pyspark.sql.functions",
    "rich.progress",
    "typer",
)
# what is raised here when Java does not do what it is asked
FAILED = (Py4JError, OSError)
POLL_SECONDS = 0.02
REQUEST_SECONDS = 5
# what a command has to end by itself after a signal: it waits for Spark's answer, if need be
GRACE_SECONDS = 3
# Where Spark's own catalog would keep tables. It has none: all are in the catalog `lake`.
UNUSED = "spark.sql.warehouse.dir"


# of the settings, those that each session may have differently
OF_A_SESSION = ("spark.sql.catalog.", "spark.sql.execution.", "spark.sql.shuffle.")


class Spark:
    """Java with one Spark. A command reaches it through a gate, a port of its own with a password.

    Java lets go of all that a command held when its gate closes.
    """

    def __init__(self, settings: dict[str, str]) -> None:
        self.settings = settings
        self.start()

    def start(self) -> None:
        """Start Java, and Spark in it."""
        from pyspark import SparkConf
        from pyspark.java_gateway import launch_gateway

        conf = SparkConf(loadDefaults=False).setAll(list(self.settings.items()))
        self._gateway = launch_gateway(conf)
        self._java: subprocess.Popen[bytes] = self._gateway.proc
        jvm = self._gateway.jvm
        self._conf = jvm.org.apache.spark.SparkConf()
        for key, value in self.settings.items():
            self._conf.set(key, value)
        # Sessions add no classes of their own, and each would load Spark's anew for its tasks.
        self._conf.set("spark.sql.artifact.isolation.enabled", "false")
        context = jvm.org.apache.spark.SparkContext(self._conf)
        self._sessions = getattr(jvm, "org.apache.spark.sql.classic.SparkSession")
        self._root = self._sessions(context, jvm.java.util.HashMap())
        self._sessions.setDefaultSession(self._root)

    def open(self) -> tuple[int, str]:
        """Open a gate, with a new session behind it; returns its port and its password."""
        try:
            return self._open()
        except FAILED:  # Java may have ended meanwhile
            self._renew()
            return self._open()

    def close(self) -> None:
        """Close the gate, and forget what its command cached; where it cannot, renew Java."""
        try:
            self._forget()
        except FAILED:
            self._renew()

    def _open(self) -> tuple[int, str]:
        self._session = self._root.newSession()
        self._sessions.setDefaultSession(self._session)
        self._gate = self._gateway.jvm.org.apache.spark.api.python.Py4JServer(self._conf)
        self._gate.start()
        return self._gate.getListeningPort(), self._gate.secret()

    def _renew(self) -> None:
        if self._java.poll() is None:
            traceback.print_exc()
        self.stop()
        self.start()

    def _forget(self) -> None:
        self._gate.shutdown()
        self._sessions.setDefaultSession(self._root)
        self._root.sharedState().cacheManager().clearCache()
        self._close_catalog()

    def _close_catalog(self) -> None:
        """Let the session's catalog close its files, which Iceberg would leave open."""
        manager = self._session.sessionState().catalogManager()
        name = self.settings["spark.sql.defaultCatalog"]
        nothing = self._gateway.jvm.scala.Option.empty()
        if manager.listCatalogs(nothing).contains(name):
            catalog = manager.catalog(name).icebergCatalog()
            if catalog.getClass().getSimpleName() == "CachingCatalog":
                field = catalog.getClass().getDeclaredField("catalog")
                field.setAccessible(True)
                catalog = field.get(catalog)
            catalog.close()

    def stop(self) -> None:
        """End Java at once, with whatever it is doing."""
        self._java.kill()
        self._java.wait()


@dataclass
class Command:
    """What a process asks the engine to run: a module, or `dbt`, with its own files 0, 1 and 2."""

    module: str
    arguments: list[str]
    folder: str
    path: str
    variables: dict[str, str]
    files: list[int]

    @classmethod
    def read(cls, client: socket.socket) -> Command:
        """The request of a process; raises OSError or ValueError where it is none."""
        client.settimeout(REQUEST_SECONDS)
        data, files, _, _ = socket.recv_fds(client, 1 << 16, 3)
        try:
            while b"\n" not in data:
                if not (more := client.recv(1 << 16)):
                    raise ValueError("the request is cut off")
                data += more
            return cls(**json.loads(data), files=files)
        except BaseException:
            _close(files)
            raise

    def __str__(self) -> str:
        name = "dbt" if self.module == "dbt" else f"python -m {self.module}"
        return " ".join([name, *self.arguments[1:]])

    def run(self, gate: tuple[int, str], settings: dict[str, str]) -> int:
        """Run it in this process, which becomes as if it had been started for it."""
        for number, file in enumerate(self.files):
            os.dup2(file, number)
        _close(self.files)
        os.environ.clear()
        os.environ.update(self.variables, **{SWITCH: "off"})
        time.tzset()
        os.chdir(self.folder)
        sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)))
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(io.FileIO(1, "w", closefd=False)), line_buffering=os.isatty(1)
        )
        sys.stderr = io.TextIOWrapper(
            io.BufferedWriter(io.FileIO(2, "w", closefd=False)),
            errors="backslashreplace",
            line_buffering=True,
        )
        sys.argv, sys.path[0] = self.arguments, self.path
        for name in [name for name in sys.modules if name.partition(".")[0] == "warehouse"]:
            del sys.modules[name]
        _share(gate, settings)
        json.dump = dump_at_once  # type: ignore[assignment]
        if self.module == "dbt":
            from dbt.cli.main import cli

            return cli()
        runpy.run_module(self.module, run_name="__main__", alter_sys=True)
        return 0


def load() -> None:
    """Import what commands use, and let dbt read the project once.

    By reading one, dbt makes the code that reads and writes all its kinds of nodes. It reads the
    project again for each command. Here it does so without its parser in Rust, whose threads a
    fork does not have: a command would wait for them for ever.
    """
    for name in PRELOADED:
        importlib.import_module(name)
    from dbt.cli.main import dbtRunner

    with tempfile.TemporaryDirectory(prefix="churn-engine-") as folder:
        places = ("--target-path", folder, "--log-path", folder)
        ours = ("--project-dir", str(PROJECT_DIR), "--profiles-dir", str(PROJECT_DIR))
        dbtRunner().invoke(["--quiet", "parse", "--no-static-parser", *places, *ours])


def dump_at_once(value: Any, file: Any, **settings: Any) -> None:
    """json.dump by the encoder in C, which it leaves aside: dbt writes its manifest with it."""
    file.write(json.dumps(value, **settings))


def main() -> int:
    idle_seconds, target, settings = float(sys.argv[1]), sys.argv[2], json.load(sys.stdin)
    load()
    spark = Spark(settings)
    engine = os.getpid()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    folder = tempfile.mkdtemp(prefix="churn-engine-")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{folder}/socket")
    listener.listen()
    part = STATE_FILE.with_suffix(".part")
    state = {"pid": engine, "target": target, "socket": f"{folder}/socket", "made_for": made_for()}
    part.write_text(json.dumps(state))
    part.replace(STATE_FILE)
    try:
        command = serve(listener, spark, idle_seconds)
    finally:
        # a command is a fork of this process, and comes by here, too
        if os.getpid() == engine:
            STATE_FILE.unlink(missing_ok=True)
            shutil.rmtree(folder)
            spark.stop()
    if command:
        try:
            status = command()
        except SystemExit as end:
            status = end.code
        leave(status)
    return 0


def serve(listener: socket.socket, spark: Spark, idle_seconds: float) -> Any:
    """Run one command after the other, until none has come for so long: then returns None.

    In the process of a command, returns what runs it.
    """
    while True:
        listener.settimeout(idle_seconds)
        try:
            client, _ = listener.accept()
        except TimeoutError:
            return None
        with client:
            try:
                command = Command.read(client)
            except (OSError, ValueError):
                continue
            gate = spark.open()
            process = os.fork()
            if process == 0:
                listener.close()
                client.detach()
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                return lambda: command.run(gate, spark.settings)
            _close(command.files)
            _answer(client, process=process)
            status = wait(process, client, listener, command, spark)
            _answer(client, status=status)
        spark.close()


def wait(
    process: int, client: socket.socket, listener: socket.socket, command: Command, spark: Spark
) -> int:
    """Wait for a command, and return its exit status. Others hear that the engine is at work.

    The command gets the signals of the process that asked for it, and does not outlive it. Where a
    signal ends it, Java ends with it: what it had begun there would go on without its lock.
    """
    stop_at = float("inf")
    watched = [listener, client]
    while True:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            status = os.waitstatus_to_exitcode(status)
            if status < 0 or stop_at < float("inf"):
                spark.stop()
            return status
        if time.monotonic() > stop_at:
            spark.stop()
        ready, _, _ = select.select(watched, [], [], POLL_SECONDS)
        if client in ready:
            signals = _received(client)
            if {*signals} != {signal.SIGWINCH}:
                stop_at = min(stop_at, time.monotonic() + GRACE_SECONDS)
            if not signals:
                watched.remove(client)
            for number in signals or [signal.SIGKILL]:
                os.kill(process, number)
        if listener in ready:
            other, _ = listener.accept()
            with other, suppress(OSError, ValueError):
                _close(Command.read(other).files)
                _answer(other, busy=str(command))


def _received(client: socket.socket) -> bytes:
    try:
        return client.recv(1024)
    except OSError:
        return b""


def _answer(client: socket.socket, **answer: Any) -> None:
    with suppress(OSError):  # who asked may have gone
        client.sendall(f"{json.dumps(answer)}\n".encode())


def _close(files: list[int]) -> None:
    for file in files:
        os.close(file)


def _share(gate: tuple[int, str], settings: dict[str, str]) -> None:
    """Let this process take the engine's Spark where it asks for one with the same settings.

    Those of a session may differ, such as the place of the warehouse. For other settings, it starts
    a Spark of its own.
    """
    from pyspark.sql import SparkSession

    from warehouse.session import make_warehouse_folder

    of_builder = SparkSession.Builder.getOrCreate
    starting = threading.RLock()
    thread = threading.local()
    shared: list[SparkSession] = []

    def get_or_create(builder: Any) -> SparkSession:
        wanted = {key: str(value) for key, value in builder._options.items()}
        with starting:
            if not shared and SparkSession._instantiatedSession is None:
                differing = difference(wanted, settings)
                if differing:
                    print(f"Without the engine's Spark, as {differing} differs.", file=sys.stderr)
                else:
                    make_warehouse_folder(wanted)
                    shared.append(_session(gate))
            if not shared:
                return of_builder(builder)
        (session,) = shared
        if not hasattr(thread, "is_ready"):
            # Java has a thread for each of Python's, and the session in use is the thread's
            SparkSession._get_j_spark_session_class(session._jvm).setActiveSession(
                session._jsparkSession
            )
            thread.is_ready = True
        for key, value in wanted.items():
            if settings.get(key) != value and key != UNUSED:
                session.conf.set(key, value)
        return session

    SparkSession.Builder.getOrCreate = get_or_create  # type: ignore[assignment]


def difference(wanted: dict[str, str], settings: dict[str, str]) -> str:
    """The first setting that differs and is not one of a session; '' where there is none."""
    return next(
        (
            key
            for key in sorted({*wanted, *settings} - {UNUSED})
            if wanted.get(key) != settings.get(key)
            and not (key in wanted and key.startswith(OF_A_SESSION))
        ),
        "",
    )


def _session(gate: tuple[int, str]) -> SparkSession:
    """The session that the engine has made for this process."""
    from pyspark import SparkConf, SparkContext
    from pyspark.java_gateway import launch_gateway
    from pyspark.sql import SparkSession

    names = ("PYSPARK_GATEWAY_PORT", "PYSPARK_GATEWAY_SECRET")
    os.environ.update(zip(names, map(str, gate), strict=True))
    gateway = launch_gateway()
    for name in names:
        del os.environ[name]
    sessions = SparkSession._get_j_spark_session_class(gateway.jvm)
    session = sessions.getDefaultSession().get()
    java = gateway.jvm.org.apache.spark.api.java.JavaSparkContext(session.sparkContext())
    context = SparkContext(gateway=gateway, jsc=java, conf=SparkConf(_jconf=java.getConf()))
    # the engine's Spark outlives the command
    context.stop = lambda: None  # type: ignore[method-assign]
    return SparkSession(context, session)


if __name__ == "__main__":
    sys.exit(main())
