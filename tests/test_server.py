"""SQL clients read what is published, over Thrift and Connect, and can change nothing.

Through a writable server, dbt builds the tables that it builds without, one command at a time.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
from pyhive import hive

from server.process import Options, Server, ServerError, answers, find, start, stop
from tests.conftest import MakeProject
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
    """The sample, built through Connect and through Thrift at once."""
    connect, thrift = (make_project(f"by_{each}", raw=SAMPLE) for each in ("connect", "thrift"))
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


def test_dbt_through_a_server_makes_the_same_rows(sample: Project, served: Served) -> None:
    for project in (served.connect, served.thrift):
        for name in sample.nodes():
            what = f"{name} of {project.schema}"
            assert_same_rows(sample.table(name), project.table(name), what, LOAD_TIMES)


def test_a_second_build_through_a_server_stops_with_one_sentence(served: Served) -> None:
    assert served.second.status != 0
    assert "At work on this warehouse is another dbt build" in served.second.output
    assert "Nothing was changed" in served.second.output
    assert "dbt run-operation free_lock" in served.second.output


def test_a_killed_client_holds_the_lock_until_it_is_freed(served: Served) -> None:
    project = served.thrift
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
    again = project.dbt(*build, fresh=True).ok()
    assert "Nothing new" in again.output


def test_a_lease_that_ran_out_holds_nobody_up(served: Served) -> None:
    active_spark().sql(
        "create table by_thrift_audit.running (nothing int) using iceberg "
        "comment 'killed|build|1|elsewhere|now|1'"
    )
    build = ("build", *NO_UNIT_TESTS, "--target", "thrift")
    served.thrift.dbt(*build, fresh=True, wait_seconds=0).ok()
