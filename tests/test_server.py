"""SQL clients read what is published, over Thrift and Connect, and can change nothing.

Through a writable server, dbt builds the tables that it builds without, one command at a time.
"""

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pyspark
import pytest
from pyhive import hive
from thrift.transport.TSSLSocket import TSSLSocket
from thrift.transport.TTransport import TTransportException
from thrift_sasl import TSaslClientTransport

from server.process import (
    Options,
    Server,
    ServerError,
    answers,
    find,
    free_port,
    start,
    stop,
)
from tests.conftest import MakeProject
from tests.fake_ldap import ldap_server
from tests.warehouse import (
    BIN,
    LOAD_TIMES,
    NO_UNIT_TESTS,
    ROOT,
    SAMPLE,
    Project,
    Run,
    active_spark,
    assert_same_rows,
    user_environment,
)

pytestmark = [pytest.mark.slow, pytest.mark.thorough]

FIRST_FILE, REST = sorted(SAMPLE.iterdir())
README_QUESTIONS = (
    "churn_rate_by_week",
    "plan_changes_in_all",
    "sessions_by_platform",
    "churn_by_level",
    "top_songs_of_the_last_week",
)


def options_in(folder: Path, **options: object) -> Options:
    """A server of its own, on free ports."""
    ports = {"thrift_port": free_port(), "connect_port": free_port()}
    files = {"log_file": folder / "server.log", "state_file": folder / "server.pid"}
    return Options(**ports | files | options)


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> Options:
    return options_in(tmp_path_factory.mktemp("server"))


@pytest.fixture(scope="module")
def server(sample: Project, options: Options) -> Iterator[Server]:
    """On the warehouse of the tests."""
    try:
        yield start(options)
    finally:
        stopped = stop(options.state_file)
        assert stopped is None or not stopped.is_running


@pytest.fixture(scope="module")
def questions(sample: Project) -> dict[str, str]:
    """SQL of the questions that the README answers, by name."""
    questions = sample.questions()
    return {name: questions[name] for name in README_QUESTIONS}


def rows_by_pyhive(server: Server, questions: dict[str, str]) -> dict[str, list[list]]:
    rows = {}
    with hive.connect(server.host, server.thrift_port) as connection, connection.cursor() as cursor:
        for name, question in questions.items():
            cursor.execute(question)
            rows[name] = [list(row) for row in cursor.fetchall()]
    return rows


def rows_by_connect(server: Server, questions: dict[str, str]) -> dict[str, list[list]]:
    """In a process of its own: one process has one kind of Spark."""
    client = (
        "import json, sys; from pyspark.sql import SparkSession;"
        "spark = SparkSession.builder.remote(sys.argv[1]).getOrCreate();"
        "questions = json.loads(sys.argv[2]);"
        "rows = {name: spark.sql(sql).collect() for name, sql in questions.items()};"
        "print(json.dumps(rows, default=str))"
    )
    asked = [sys.executable, "-c", client, server.remote, json.dumps(questions)]
    found = subprocess.run(asked, capture_output=True, text=True, timeout=300)
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


def rows_by_beeline(server: Server, questions: dict[str, str], folder: Path) -> dict[str, list]:
    """As lines of tabs; a line that names the question goes before its answer."""
    script = folder / "questions.sql"
    with script.open("w") as file:
        for name, sql in questions.items():
            file.write(f"select '>{name}';\n{sql};\n")
    found = subprocess.run(
        [
            Path(pyspark.__file__).parent / "bin" / "beeline",
            *("-u", f"jdbc:hive2://{server.host}:{server.thrift_port}/sample_published"),
            *("--silent=true", "--outputformat=tsv2", "--showHeader=false", "-f", script),
        ],
        env=user_environment(),
        capture_output=True,
        timeout=300,
    )
    assert found.returncode == 0, found.stderr.decode()
    rows: dict[str, list] = {}
    for line in found.stdout.decode().split("\n"):
        # beeline writes its prompt (null) over itself, between the lines of a statement too
        line = line.rpartition("\rnull")[2]
        if line.startswith(">"):
            rows[line[1:]] = []
        elif line:
            rows[list(rows)[-1]].append(line.split("\t"))
    return rows


def as_text(rows: dict[str, list]) -> dict[str, list[tuple]]:
    """Each value in one way of writing, whatever the client makes of it."""

    def value(each: object) -> str:
        try:
            return f"{float(str(each)):.12g}"
        except ValueError:
            return "null" if each in (None, "NULL") else str(each)

    return {name: [tuple(map(value, row)) for row in each] for name, each in rows.items()}


def test_every_client_gets_the_same_answers(
    server: Server, questions: dict[str, str], tmp_path: Path
) -> None:
    """The five questions of the README, by PyHive, Spark Connect and beeline."""
    spark = active_spark()
    expected = as_text({name: spark.sql(sql).collect() for name, sql in questions.items()})
    assert all(expected.values())
    assert as_text(rows_by_pyhive(server, questions)) == expected
    assert as_text(rows_by_connect(server, questions)) == expected
    assert as_text(rows_by_beeline(server, questions, tmp_path)) == expected


@pytest.mark.parametrize(
    "statement",
    [
        "drop table sample_marts.dim_users",
        "drop view sample_published.dim_users",
        "delete from sample_marts.dim_users",
        "insert into sample_marts.dim_users select * from sample_marts.dim_users",
        "create table sample_marts.more (x int) using iceberg",
        "create or replace view sample_published.dim_users as select 1 as x",
        "alter table sample_marts.dim_users drop tag published",
    ],
)
def test_a_client_changes_nothing(server: Server, sample: Project, statement: str) -> None:
    before = sample.published()
    with (
        hive.connect(server.host, server.thrift_port) as connection,
        connection.cursor() as cursor,
        pytest.raises(hive.Error),
    ):
        cursor.execute(statement)
    sample.refresh()
    assert sample.published() == before


def test_it_answers_and_is_found(server: Server, options: Options) -> None:
    assert find(options.state_file) == server
    assert answers(server) == []


def test_a_second_server_is_refused(server: Server, options: Options) -> None:
    with pytest.raises(ServerError, match=rf"already runs \(process {server.pid}, port"):
        start(options)


@pytest.mark.parametrize("name", ["thrift_port", "connect_port"])
def test_a_taken_port_is_refused(name: str, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        option = name.replace("_", "-")
        with pytest.raises(ServerError, match=f"Port {port} of .* is taken .*--{option}"):
            start(options_in(tmp_path, **{name: port}))


@pytest.mark.parametrize("given", [{}, {"keystore": Path("x.p12")}, {"ldap_url": "ldaps://x"}])
@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_no_other_machine_comes_in_without_tls_and_password(
    host: str, given: dict[str, object], tmp_path: Path
) -> None:
    with pytest.raises(ServerError, match="needs TLS and passwords: name --keystore and"):
        start(options_in(tmp_path, host=host, **given))
    assert not list(tmp_path.iterdir())


def test_a_keystore_without_its_password_is_refused(tmp_path: Path) -> None:
    keystore = tmp_path / "server.p12"
    with pytest.raises(ServerError, match="is no file"):
        start(options_in(tmp_path, keystore=keystore))
    keystore.touch()
    with pytest.raises(ServerError, match="into CHURN_KEYSTORE_PASSWORD"):
        start(options_in(tmp_path, keystore=keystore))


@pytest.fixture(scope="module")
def certificate(sample: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 127.0.0.1, as a keystore (.p12, password `keystore`) and for clients (.pem)."""
    folder = tmp_path_factory.mktemp("keys")
    java_home = active_spark()._jvm.java.lang.System.getProperty("java.home")
    for command in (
        "-genkeypair -keyalg RSA -dname CN=127.0.0.1 -ext san=ip:127.0.0.1",
        f"-exportcert -rfc -file {folder / 'server.pem'}",
    ):
        keystore = ["-keystore", folder / "server.p12", "-storepass", "keystore", "-alias", "a"]
        subprocess.run([f"{java_home}/bin/keytool", *command.split(), *keystore], check=True)
    return folder / "server.pem"


@pytest.fixture(scope="module")
def guarded_server(
    sample: Project, certificate: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """With TLS, and passwords that an LDAP server knows: as beyond loopback, but on it."""
    folder = tmp_path_factory.mktemp("guarded")
    with (
        ldap_server("uid=analyst,ou=people,dc=example", "right") as ldap_url,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("CHURN_KEYSTORE_PASSWORD", "keystore")
        options = options_in(
            folder,
            keystore=certificate.with_suffix(".p12"),
            ldap_url=ldap_url,
            ldap_base="ou=people,dc=example",
        )
        try:
            yield start(options)
        finally:
            stop(options.state_file)


def connection_with_tls(server: Server, certificate: Path, password: str) -> hive.Connection:
    socket_ = TSSLSocket(
        server.host, server.thrift_port, ca_certs=str(certificate), cert_reqs=ssl.CERT_REQUIRED
    )
    socket_.setTimeout(60_000)
    login = {"username": "analyst", "password": password}
    transport = TSaslClientTransport(
        lambda: hive.get_pure_sasl_client(server.host, "PLAIN", **login), "PLAIN", socket_
    )
    return hive.connect(thrift_transport=transport)


def test_who_has_the_password_comes_in_over_tls(guarded_server: Server, certificate: Path) -> None:
    with connection_with_tls(guarded_server, certificate, "right") as connection:
        cursor = connection.cursor()
        cursor.execute("select count(*) from sample_published.dim_users")
        assert cursor.fetchone()[0] > 0


@pytest.mark.parametrize("password", ["wrong", ""])
def test_who_has_not_is_refused(guarded_server: Server, certificate: Path, password: str) -> None:
    with pytest.raises(TTransportException, match=r"(?i)authenticat|validating"):
        connection_with_tls(guarded_server, certificate, password)


def test_a_client_without_tls_is_refused(guarded_server: Server) -> None:
    with socket.create_connection((guarded_server.host, guarded_server.thrift_port), 30) as plain:
        plain.sendall(b"\x01\x00\x00\x00\x05PLAIN\x02\x00\x00\x00\x0e\x00analyst\x00right")
        answer = plain.recv(64)
    assert answer[:1] in (b"", b"\x15")  # closed, or a TLS alert


def test_no_password_is_in_an_argument(guarded_server: Server) -> None:
    arguments = subprocess.run(
        ["ps", "-ww", "-o", "args=", "-p", str(guarded_server.pid)], capture_output=True, text=True
    )
    assert "thriftserver" in arguments.stdout
    assert "keystore.password" not in arguments.stdout


def test_without_tables_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "CHURN_WAREHOUSE", str(tmp_path))
    with pytest.raises(ServerError, match=r"no tables in .* yet: dbt build"):
        start(options_in(tmp_path))


def test_a_wrong_argument_is_named() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "server", "start", "--port", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 2
    assert "unrecognized arguments: --port 1" in run.stderr


# --- dbt through a server


class Served(NamedTuple):
    """Projects built through a server, and what a second build met beside the first."""

    connect: Project
    thrift: Project
    second: Run


@pytest.fixture(scope="module")
def writable_server(sample: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """On the warehouse of the tests, and the one that dbt's targets lead to."""
    options = options_in(tmp_path_factory.mktemp("writable"), writable=True)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CHURN_THRIFT_PORT", str(options.thrift_port))
            patch.setenv("CHURN_CONNECT_PORT", str(options.connect_port))
            yield start(options)
    finally:
        stop(options.state_file)


@pytest.fixture(scope="module")
def served(writable_server: Server, make_project: MakeProject) -> Served:
    """The sample through Connect, and at once the first of its files through Thrift."""
    connect, thrift = make_project("by_connect", raw=SAMPLE), make_project("by_thrift")
    shutil.copy2(FIRST_FILE, thrift.raw)
    build = ("build", *NO_UNIT_TESTS, "--target")
    with (
        subprocess.Popen(
            [BIN / "dbt", *connect.command(*build, "connect")],
            cwd=ROOT,
            env=user_environment(CHURN_SCHEMA=connect.schema),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as first,
        ThreadPoolExecutor() as pool,
    ):
        by_thrift = pool.submit(thrift.dbt, *build, "thrift", fresh=True)
        begun = any("START sql" in line for line in first.stdout)
        second = connect.dbt(*build, "thrift", fresh=True, wait_seconds=1)
        rest = first.stdout.read()
    assert begun and first.returncode == 0, rest
    assert "Published" in rest
    assert "Published" in by_thrift.result().ok().output
    connect.refresh()
    return Served(connect, thrift, second)


def test_dbt_through_connect_makes_the_same_rows(sample: Project, served: Served) -> None:
    for name in sample.nodes():
        assert_same_rows(sample.table(name), served.connect.table(name), name, LOAD_TIMES)


def test_a_second_build_through_a_server_stops_with_one_sentence(served: Served) -> None:
    assert served.second.status != 0
    assert "At work on this warehouse is another dbt build" in served.second.output
    assert "Nothing was changed" in served.second.output
    assert "dbt run-operation free_lock" in served.second.output


def test_a_killed_client_holds_the_lock_until_it_is_freed(sample: Project, served: Served) -> None:
    """Then the rest of the sample is loaded, and the rows are those of one local build."""
    project = served.thrift
    shutil.copy2(REST, project.raw)
    killed = "0a0a0a0a-0000-0000-0000-000000000000"
    far = 4102444800  # the year 2100, in seconds
    active_spark().sql(
        f"create table by_thrift_audit.running (nothing int) using iceberg "
        f"comment '{killed}|build|1|elsewhere|now|{far}'"
    )
    build = ("build", *NO_UNIT_TESTS, "--target", "thrift")
    refused = project.dbt(*build, fresh=True, wait_seconds=0)
    assert refused.status != 0
    assert f"free_lock --args '{{invocation: {killed}}}'" in refused.output
    freed = ("run-operation", "free_lock", "--args", f"{{invocation: {killed}}}")
    project.dbt(*freed, "--target", "thrift", fresh=True).ok()
    assert "Published" in project.dbt(*build, fresh=True).ok().output
    for name in sample.nodes():
        assert_same_rows(sample.table(name), project.table(name), name, LOAD_TIMES)


def test_a_lease_that_ran_out_holds_nobody_up(served: Served) -> None:
    active_spark().sql(
        "create table by_thrift_audit.running (nothing int) using iceberg "
        "comment 'killed|build|1|elsewhere|now|1'"
    )
    build = ("build", *NO_UNIT_TESTS, "--target", "thrift")
    served.thrift.dbt(*build, fresh=True, wait_seconds=0).ok()
