"""Start the server's JVM in the background, find it again, stop it."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from filelock import FileLock

from server.jar import PACKAGE, compiled_jar
from warehouse.errors import ProjectError
from warehouse.session import PROJECT_DIR, load_target, make_warehouse_folder

# of this checkout; `make clean` leaves it alone, as a server may run
FOLDER = PROJECT_DIR / ".server"
LOG_FILE = FOLDER / "server.log"
STATE_FILE = FOLDER / "server.json"
POOLS = PROJECT_DIR / "server" / "pools.xml"
START_SECONDS = 90
STOP_SECONDS = 20
PROBE_SECONDS = 40
MAIN_CLASS = f"{PACKAGE}.Server"
KEYSTORE_PASSWORD = "CHURN_KEYSTORE_PASSWORD"
# Of the shell's variables the JVM gets these and the locale; a query could ask for any other.
VARIABLES = ("PATH", "HOME", "USER", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "CHURN_JAVA", "JAVA_HOME")
SPARK_VARIABLES = ("SPARK_CONF_DIR", "SPARK_LOCAL_DIRS", "SPARK_SUBMIT_OPTS")


class ServerError(ProjectError):
    """What went wrong and what to do, in one sentence for the command line."""


@dataclass(frozen=True)
class Options:
    """Where a server listens, who may come in, and whether dbt may build through it.

    Thrift has TLS with a keystore, PKCS12 or JKS, whose password is in CHURN_KEYSTORE_PASSWORD; and
    passwords with the address of an LDAP server, which knows its users as `uid=<user>,<base>`.
    Beyond loopback it needs both. Connect has neither in Spark, and listens on loopback only.
    """

    host: str = "127.0.0.1"
    thrift_port: int = 10000
    connect_port: int = 15002
    writable: bool = False
    keystore: Path | None = None
    ldap_url: str = ""
    ldap_base: str = ""
    log_file: Path = LOG_FILE
    state_file: Path = STATE_FILE


@dataclass(frozen=True)
class Server:
    """A server that was started: its process, and its addresses."""

    pid: int
    host: str
    thrift_port: int
    connect_port: int
    warehouse: str
    writable: bool
    has_tls: bool = False
    has_passwords: bool = False

    @property
    def remote(self) -> str:
        """Address for Spark Connect clients on this machine."""
        return f"sc://localhost:{self.connect_port}"

    @property
    def is_running(self) -> bool:
        """Whether the process lives, and is not another one that got its id."""
        with suppress(psutil.Error):
            return MAIN_CLASS in psutil.Process(self.pid).cmdline()
        return False


def free_port() -> int:
    """A port of loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address.

    Raises ServerError where the name does not resolve.
    """
    try:
        addresses = {str(found[4][0]) for found in socket.getaddrinfo(host, None)}
    except OSError as error:
        raise ServerError(f"--host {host} is no address of this machine: {error}.") from error
    return all(ipaddress.ip_address(each.split("%")[0]).is_loopback for each in addresses)


def check(options: Options) -> None:
    """Refuse what would not be safe, or would not start.

    Raises ServerError: a server of the project runs, a port is taken, a keystore cannot be used, or
    clients of other machines could come in without TLS and a password.
    """
    running = find(options.state_file)
    if running:
        raise ServerError(
            f"A server of this project already runs (process {running.pid}, port "
            f"{running.thrift_port}); stop it first: make server-stop."
        )
    if not is_loopback(options.host) and not (options.keystore and options.ldap_url):
        raise ServerError(
            f"--host {options.host} is open to other machines, and so needs TLS and passwords: "
            "name --keystore and --ldap-url; or leave it out, and come in by "
            f"ssh -L {options.thrift_port}:127.0.0.1:{options.thrift_port} <this machine>."
        )
    if options.keystore and not options.keystore.is_file():
        raise ServerError(f"--keystore {options.keystore} is no file.")
    if options.keystore and KEYSTORE_PASSWORD not in os.environ:
        raise ServerError(f"Put the password of {options.keystore} into {KEYSTORE_PASSWORD}.")
    for name, host, port in (
        ("--thrift-port", options.host, options.thrift_port),
        ("--connect-port", "127.0.0.1", options.connect_port),
    ):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise ServerError(
                    f"Port {port} of {host} is taken ({error.strerror}): name another with {name}."
                ) from error


def server_settings(options: Options) -> dict[str, str]:
    """Spark settings of the server: those of the target `local`, and what a server adds.

    Unless it is writable, the catalog is opened without the right to commit, and all but questions
    about the tables is refused (jvm/ReadOnly.scala): what readers see changes by `dbt build` only.
    """
    settings = dict(load_target("local").settings)
    catalog = "spark.sql.catalog.lake"
    del settings[f"{catalog}.type"]  # Iceberg takes this or a class
    settings |= {
        f"{catalog}.catalog-impl": f"{PACKAGE}.SharedCatalog",
        f"{catalog}.clients": "8",  # connections to the catalog's file
        "spark.plugins": "org.apache.spark.sql.connect.SparkConnectPlugin",
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": str(options.connect_port),
        # What a killed client left running ends soon; the default is 5 minutes.
        "spark.connect.execute.manager.detachedTimeout": "20s",
        "spark.connect.execute.manager.maintenanceInterval": "5s",
        "spark.hadoop.hive.server2.transport.mode": "binary",
        "spark.hadoop.hive.server2.thrift.bind.host": options.host,
        "spark.hadoop.hive.server2.thrift.port": str(options.thrift_port),
        "spark.scheduler.allocation.file": str(POOLS),
        # Sessions add no classes of their own. Spark would look for them at every query of every
        # session, and take two thirds of the server's time for it.
        "spark.sql.artifact.isolation.enabled": "false",
        # An answer goes out partition by partition; a large one would fill the server's memory.
        "spark.sql.thriftServer.incrementalCollect": "true",
        # Idle for a minute, a thread ends; till then each holds the session that it began in. Spark
        # would make up to 1,024 of each kind.
        "spark.sql.shuffleExchange.maxThreadThreshold": "64",
        "spark.sql.resultQueryStage.maxThreadThreshold": "64",
        # Sessions of one server would each remember a table as it was.
        f"{catalog}.cache-enabled": "false",
    }
    # Netty, which serves Connect, finds by its stack that a class is being loaded.
    options_name = "spark.driver.extraJavaOptions"
    settings[options_name] = re.sub(r"-XX:MaxJavaStackTraceDepth=\d+", "", settings[options_name])
    # Thrift makes itself a Derby in memory, which would leave its log in the project's folder.
    settings[options_name] += f" -Dderby.stream.error.file={os.devnull}"
    hive = "spark.hadoop.hive.server2"
    if options.keystore:
        settings |= {
            f"{hive}.use.SSL": "true",
            f"{hive}.keystore.path": str(options.keystore.resolve()),
        }
    if options.ldap_url:
        settings[f"{hive}.authentication"] = "LDAP"
        # read from Hive's own settings, which know properties of the JVM and not those of Spark
        ldap = "-Dhive.server2.authentication.ldap"
        settings[options_name] += f" {ldap}.url={options.ldap_url}"
        settings[options_name] += f" {ldap}.baseDN={options.ldap_base}"
    if not options.writable:
        settings[f"{catalog}.uri"] = read_only_uri(settings[f"{catalog}.uri"])
        settings[f"{catalog}.jdbc.init-catalog-tables"] = "false"
        settings["spark.sql.extensions"] += f",{PACKAGE}.ReadOnly"
        settings |= {
            "spark.connect.grpc.interceptor.classes": f"{PACKAGE}.ConnectDoor",
            # a plan that the door can look into
            "spark.connect.session.planCompression.threshold": "-1",
            # no select * from text.`/some/file`, and no '${env:HOME}' in a query
            "spark.sql.runSQLOnFiles": "false",
            "spark.sql.variable.substitute": "false",
        }
    return settings


def read_only_uri(uri: str) -> str:
    """Address of a SQLite catalog that refuses every commit.

    Raises ServerError where the catalog is another one.
    """
    if not uri.startswith("jdbc:sqlite:file:"):
        raise ServerError(f"Read-only, the server knows SQLite catalogs, and this one is {uri}.")
    return f"{uri}?mode=ro"


def start(options: Options) -> Server:
    """Start a server and wait until it answers over both protocols.

    Raises ServerError as `check` does, and when it ends or does not answer in time.
    """
    for file in (options.log_file, options.state_file):
        file.parent.mkdir(parents=True, exist_ok=True)
    # of two that start at once, the second finds what the first has written
    with FileLock(options.state_file.with_suffix(".lock")):
        check(options)
        settings = server_settings(options)
        warehouse = Path(settings["spark.sql.catalog.lake.warehouse"])
        if not options.writable and not (warehouse / "catalog.db").is_file():
            raise ServerError(f"There are no tables in {warehouse} yet: dbt build.")
        environment = _environment()
        make_warehouse_folder(settings)
        jar = compiled_jar(FOLDER, environment)
        # Of the program's own jar, Hive closes the loader with the first session that ends.
        settings["spark.driver.extraClassPath"] = str(jar)
        # a file, not arguments, which every user of the machine can read
        properties = options.state_file.with_suffix(".conf")
        properties.unlink(missing_ok=True)
        properties.touch(mode=0o600)
        lines = (f"{key} {_escaped(value)}\n" for key, value in settings.items())
        properties.write_text("".join(lines))
        process = _process(options, properties, jar, warehouse, environment)
        server = Server(
            pid=process.pid,
            host=options.host,
            thrift_port=options.thrift_port,
            connect_port=options.connect_port,
            warehouse=str(warehouse),
            writable=options.writable,
            has_tls=options.keystore is not None,
            has_passwords=options.ldap_url != "",
        )
        options.state_file.write_text(json.dumps(asdict(server)))
    try:
        _wait_until_it_answers(server, process, options)
    except BaseException:
        stop(options.state_file)
        process.wait()
        raise
    finally:
        properties.unlink(missing_ok=True)
    return server


def _process(
    options: Options,
    properties: Path,
    jar: Path,
    warehouse: Path,
    environment: dict[str, str],
) -> subprocess.Popen[bytes]:
    import pyspark

    submit = Path(pyspark.__file__).parent / "bin" / "spark-submit"
    of_spark = ("--properties-file", properties, "--class", MAIN_CLASS, jar)
    mode = "writable" if options.writable else "read-only"
    with options.log_file.open("ab") as log:
        process = subprocess.Popen(
            [submit, *of_spark, warehouse / "catalog.db", mode],
            cwd=PROJECT_DIR,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in the shell that started it does not end it
        )
    # its first line is the keystore's password, which neither settings nor variables show
    password = os.environ[KEYSTORE_PASSWORD] if options.keystore else ""
    assert process.stdin is not None
    with suppress(BrokenPipeError), process.stdin as pipe:
        pipe.write(f"{password}\n".encode())
    return process


def _environment() -> dict[str, str]:
    """Variables of the server's JVM: this environment's programs first, and nothing secret."""
    programs = Path(sys.executable).parent
    environment = {
        name: value
        for name, value in os.environ.items()
        if name in (*VARIABLES, *SPARK_VARIABLES) or name.startswith(("LANG", "LC_"))
    }
    if (programs / "java").exists():
        environment.pop("JAVA_HOME", None)
    return environment | {
        "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYSPARK_PYTHON": sys.executable,
    }


def find(state_file: Path = STATE_FILE) -> Server | None:
    """The server that was started last, if it still runs."""
    try:
        server = Server(**json.loads(state_file.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return server if server.is_running else None


def stop(state_file: Path = STATE_FILE) -> Server | None:
    """End the server, and say which it was; None where none runs."""
    server = find(state_file)
    if server:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.kill(server.pid, number)
            until = time.monotonic() + STOP_SECONDS
            # the ports of a large process are closed a while after its end
            while time.monotonic() < until and (
                server.is_running or _is_open(server.host, server.thrift_port)
            ):
                _reap(server.pid)
                time.sleep(0.1)
            if not server.is_running:
                break
    state_file.unlink(missing_ok=True)
    return server


def answers(server: Server) -> list[str]:
    """Names of the protocols that do not answer a `select 1`, with the reason; [] when all is well.

    Of a Thrift that has TLS or passwords, a connection is all that is asked for. A Connect session
    lives in a process of its own: one process cannot have both kinds of Spark. The first look also
    makes the namespace where Thrift clients begin, unless a build has.
    """
    silent = []
    statements = ["create namespace if not exists lake.default"] if server.writable else []
    probe = (
        "import sys; from pyspark.sql import SparkSession as S;"
        "s = S.builder.remote(sys.argv[1]).getOrCreate();"
        "[s.sql(each).collect() for each in sys.argv[2:]]; s.stop()"
    )
    try:
        asked = subprocess.run(
            [sys.executable, "-c", probe, server.remote, *statements, "select 1"],
            capture_output=True,
            text=True,
            timeout=PROBE_SECONDS,
        )
        reason = (asked.stderr.splitlines() or ["no reason"])[-1] if asked.returncode else ""
    except subprocess.TimeoutExpired:
        reason = f"{PROBE_SECONDS} s"
    if reason:
        silent.append(f"Spark Connect ({reason})")
    if server.has_tls or server.has_passwords:
        if not _is_open(server.host, server.thrift_port):
            silent.append("Thrift (closed)")
        return silent
    from pyhive import hive
    from thrift.transport.TTransport import TTransportException

    try:
        with hive.connect(server.host, server.thrift_port) as connection:
            connection.cursor().execute("select 1")
    except (TTransportException, hive.Error, OSError) as error:
        silent.append(f"Thrift ({type(error).__name__})")
    return silent


def _wait_until_it_answers(
    server: Server, process: subprocess.Popen[bytes], options: Options
) -> None:
    began = time.monotonic()
    silent = ["both ports (closed)"]
    while time.monotonic() - began < START_SECONDS:
        if process.poll() is not None:
            raise ServerError(
                f"The server ended at once (status {process.returncode}); why: {options.log_file}."
            )
        if _is_open("127.0.0.1", server.connect_port) and _is_open(server.host, server.thrift_port):
            silent = answers(server)
            if not silent:
                return
        time.sleep(0.2)
    raise ServerError(
        f"No answer of {' and '.join(silent)} in {START_SECONDS} s; see {options.log_file}."
    )


def _is_open(host: str, port: int) -> bool:
    with suppress(OSError), socket.create_connection((host, port), 1):
        return True
    return False


def _escaped(value: str) -> str:
    # spark-submit reads a Java properties file
    return value.replace("\\", "\\\\").replace("\n", " ")


def _reap(pid: int) -> None:
    # a child of this process stays a zombie until somebody asks for it
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
