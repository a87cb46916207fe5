"""SQL clients read what is published over Thrift and Connect, and can change nothing."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyhive import hive

from server.process import Options, Server, ServerError, answers, find, start, stop
from tests.warehouse import ROOT, Project, active_spark

QUERY = "select sum(events), count(*) from sample_published.fct_user_days"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


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
def expected(sample: Project) -> tuple[int, int]:
    return tuple(active_spark().sql(QUERY).first())


def test_a_jdbc_client_reads_what_is_published(server: Server, expected: tuple[int, int]) -> None:
    with hive.connect(server.host, server.thrift_port) as connection, connection.cursor() as cursor:
        cursor.execute(QUERY)
        assert tuple(cursor.fetchone()) == expected


def test_a_connect_client_reads_the_same(server: Server, expected: tuple[int, int]) -> None:
    """In a process of its own: one process has one kind of Spark."""
    client = (
        "import sys; from pyspark.sql import SparkSession;"
        "spark = SparkSession.builder.remote(sys.argv[1]).getOrCreate();"
        "print(*spark.sql(sys.argv[2]).first())"
    )
    found = subprocess.run(
        [sys.executable, "-c", client, server.remote, QUERY],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert found.returncode == 0, found.stderr
    assert tuple(map(int, found.stdout.split())) == expected


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


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_no_other_machine_comes_in(host: str, tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="has no passwords: leave it out"):
        start(options_in(tmp_path, host=host))
    assert not list(tmp_path.iterdir())


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
