"""SQL clients read what is published, over Thrift and Connect, and can change nothing.

Through a writable server, dbt builds the tables that it builds without, one command at a time.
"""

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pyspark
import pytest
from pyhive import hive
from TCLIService import ttypes
from thrift.transport.TSSLSocket import TSSLSocket
from thrift.transport.TTransport import TTransportException
from thrift_sasl import TSaslClientTransport

from server.process import (
    LOG_FILE,
    STATE_FILE,
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
from tests.connect_client import ANSWERED, REFUSED
from tests.fake_ldap import ldap_server
from tests.warehouse import (
    BIN,
    LOAD_TIMES,
    NO_UNIT_TESTS,
    ROOT,
    SAMPLE,
    Project,
    Run,
    Seen,
    active_spark,
    assert_same_rows,
    copy_of_project,
    user_environment,
)

pytestmark = [pytest.mark.slow, pytest.mark.thorough]

FIRST_FILE, REST = sorted(SAMPLE.iterdir())
DOCS_QUESTIONS = (
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
def starts(sample: Project, options: Options) -> Iterator[list[Server | BaseException]]:
    """What came of two starts at once, on the warehouse of the tests and on ports of their own."""
    others = replace(options, thrift_port=free_port(), connect_port=free_port())
    try:
        with ThreadPoolExecutor() as pool:
            running = [pool.submit(start, each) for each in (options, others)]
            yield [each.exception() or each.result() for each in running]
    finally:
        stopped = stop(options.state_file)
        assert stopped is None or not stopped.is_running


@pytest.fixture(scope="module")
def server(starts: list[Server | BaseException]) -> Server:
    """The read-only one."""
    return next(each for each in starts if isinstance(each, Server))


@pytest.fixture(scope="module")
def questions(sample: Project) -> dict[str, str]:
    """SQL of the questions that docs/sql.md answers, by name."""
    questions = sample.questions()
    return {name: questions[name] for name in DOCS_QUESTIONS}


def ask_by_pyhive(server: Server, questions: dict[str, str]) -> dict[str, Any]:
    """Rows of each question, or the text of its error."""

    def answer(question: str) -> list[list] | str:
        try:
            cursor.execute(question)
        except hive.Error as error:
            return f"error: {error}"
        return [list(row) for row in cursor.fetchall()] if cursor.description else []

    with hive.connect(server.host, server.thrift_port) as connection, connection.cursor() as cursor:
        return {name: answer(question) for name, question in questions.items()}


def ask_by_connect(server: Server, questions: dict[str, str], folder: Path) -> dict[str, Any]:
    """Rows or errors of the questions, and of what tests/connect_client.py does besides."""
    asked = subprocess.run(
        [sys.executable, "-m", "tests.connect_client", server.remote, folder],
        cwd=ROOT,
        input=json.dumps(questions),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert asked.returncode == 0, asked.stderr
    return json.loads(asked.stdout)


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


# --- what a read-only server answers and refuses

# {folder} has `secret.txt` and, to stand for a table's files, `table/data.parquet`
REFUSED_SQL = {
    "drop table": "drop table sample_marts.dim_users",
    "drop view": "drop view sample_published.dim_users",
    "delete": "delete from sample_marts.dim_users",
    "update": "update sample_marts.dim_users set level = 'paid'",
    "insert": "insert into sample_marts.dim_users select * from sample_marts.dim_users",
    "merge": "merge into sample_marts.dim_users t using sample_marts.dim_users s "
    "on t.user_id = s.user_id when matched then delete",
    "truncate": "truncate table sample_marts.dim_users",
    "create table": "create table sample_marts.more (x int) using iceberg",
    "replace view": "create or replace view sample_published.dim_users as select 1 as x",
    "drop tag": "alter table sample_marts.dim_users drop tag published",
    "create schema": "create schema more",
    "call": "call lake.system.remove_orphan_files(table => 'sample_marts.dim_users', "
    "location => '{folder}/table', older_than => timestamp '2100-01-01 00:00:00')",
    "analyze": "analyze table sample_marts.dim_users compute statistics",
    "write a folder": "insert overwrite directory '{folder}/out' using csv select 1",
    "write over files": "insert overwrite directory '{folder}/table' using parquet select 1",
    "write a local folder": "insert overwrite local directory '{folder}/out' using csv select 1",
    "a table of files": "create table spark_catalog.default.t (line string) using text "
    "location '{folder}'",
    "a table elsewhere": "create table spark_catalog.default.t using parquet as select 1 as x",
    "a view elsewhere": "create view spark_catalog.default.v as select 1 as x",
    "a view for all": "create global temporary view g as select 1 as x",
    "a view of files": "create temporary view v using text options (path '{folder}')",
    "load data": "load data local inpath '{folder}/secret.txt' into table sample_marts.dim_users",
    "read text": "select * from text.`{folder}/secret.txt`",
    "read csv": "select * from csv.`{folder}/secret.txt`",
    "read bytes": "select content from binaryFile.`{folder}/secret.txt`",
    "read in a subquery": "select (select max(value) from text.`{folder}/secret.txt`)",
    "read a schema": "select from_xml('<a/>', 'a int', "
    "map('rowValidationXSDPath', '{folder}/secret.txt'))",
    "read a schema in values": "select * from values (identifier('from_xml')"
    "('<a/>', 'a int', map('rowValidationXSDPath', '{folder}/secret.txt')))",
    "read the schema of a schema": "select from_xml('<a/>', schema_of_xml('<a/>', "
    "map('rowValidationXSDPath', '{folder}/secret.txt')))",
    "java_method": "select java_method('java.lang.System', 'getenv', 'HOME')",
    "reflect": "select user_id from sample_published.dim_users "
    "where reflect('java.lang.System', 'getenv', 'HOME') is null",
    "try_reflect": "select (select try_reflect('java.lang.System', 'getenv', 'HOME'))",
    "java_method in a cte": "with x as (select java_method('java.lang.System', 'getenv') as y) "
    "select count(y) from x",
    "transform": "select transform (1) using 'cat' as (x)",
    "create function": "create temporary function f as 'org.apache.hadoop.hive.ql.udf.UDFYear'",
    "create function using": "create function spark_catalog.default.f as 'F' "
    "using jar '{folder}/secret.txt'",
    "add file": "add file '{folder}/secret.txt'",
    "add jar": "add jar '{folder}/secret.txt'",
    "add archive": "add archive '{folder}/secret.txt'",
    "cache": "cache table sample_published.dim_users",
    "cache a query": "cache lazy table c as select 1 as x",
    "clear cache": "clear cache",
    "refresh a path": "refresh '{folder}'",
    "a catalog": "set spark.sql.catalog.own = org.apache.iceberg.spark.SparkCatalog",
    "a setting": "set spark.sql.runSQLOnFiles = true",
    "execute immediate": "execute immediate \"insert overwrite directory '{folder}/out' "
    'using csv select 1"',
    "script": "begin insert overwrite directory '{folder}/out' using csv select 1; end",
}
ANSWERED_SQL = {
    "a setting": ("set spark.sql.session.timeZone = UTC", "UTC"),
    "a view of the session": ("create temporary view mine as select 1 as x", ""),
    "from that view": ("select x from mine", "1"),
    "drop that view": ("drop view mine", ""),
    "explain": ("explain select * from sample_published.dim_users", "Physical Plan"),
    "a recursion": (
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < 5) "
        "select max(i) from n",
        "5",
    ),
    "a pivot": ("select * from values (1, 'a') as t(x, y) pivot (sum(x) for y in ('a'))", "1"),
    "json": ("select from_json('{\"a\": 7}', 'a int').a", "7"),
    "xml": ("select from_xml('<x><a>7</a></x>', 'a int').a", "7"),
    "a lateral view": ("select x from values 3 as t(y) lateral view explode(array(y)) as x", "3"),
    "metadata": ("select count(*) > 0 from sample_marts.dim_users.snapshots", "true"),
    "a variable of the shell": ("select '${env:HOME}'", "${env:HOME}"),
    "show": ("show create table sample_published.dim_users", "CREATE VIEW"),
    "a comment": ("describe table sample_published.dim_users", "Never null."),
    "tables": ("show tables in sample_published like 'dim*'", "dim_users"),
    "a mart that is a view": ("select count(*) from sample_published.churn_risk", "0"),
    "here": ("use sample_published", ""),
    "tables here": ("show tables", "weekly_kpis"),
}
THRIFT, CONNECT = "thrift", "connect"


class Asked(NamedTuple):
    """What came of all that was sent to the read-only server, by protocol."""

    answers: dict[str, dict[str, Any]]
    files: dict[str, bytes]
    before: Seen


@pytest.fixture(scope="module")
def asked(
    server: Server,
    sample: Project,
    questions: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Asked:
    """One client of each protocol sends everything."""
    before = sample.published()
    folder = tmp_path_factory.mktemp("of_others")
    (folder / "table").mkdir()
    (folder / "secret.txt").write_text("secret")
    (folder / "table" / "data.parquet").write_text("rows")
    sql = {f"refused: {name}": each.format(folder=folder) for name, each in REFUSED_SQL.items()}
    sql |= {f"answered: {name}": each for name, (each, _) in ANSWERED_SQL.items()}
    sql |= questions | {"odd text": ODD_TEXT}
    answers = {
        THRIFT: ask_by_pyhive(server, sql),
        CONNECT: ask_by_connect(server, sql, folder),
    }
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    return Asked(answers, files, before)


def test_every_client_gets_the_same_answers(
    server: Server, asked: Asked, questions: dict[str, str], tmp_path: Path
) -> None:
    """The five questions of docs/sql.md, by PyHive, Spark Connect and beeline."""
    spark = active_spark()
    expected = as_text({name: spark.sql(sql).collect() for name, sql in questions.items()})
    assert all(expected.values())
    for protocol in (THRIFT, CONNECT):
        assert as_text({name: asked.answers[protocol][name] for name in questions}) == expected
    assert as_text(rows_by_beeline(server, questions, tmp_path)) == expected


@pytest.mark.parametrize(
    ("protocol", "name"),
    [
        *((protocol, f"refused: {name}") for protocol in (THRIFT, CONNECT) for name in REFUSED_SQL),
        *((CONNECT, name) for name in REFUSED),
    ],
)
def test_all_but_questions_is_refused_in_one_sentence(
    asked: Asked, protocol: str, name: str
) -> None:
    answer = asked.answers[protocol][name]
    assert "Refused: " in answer and "server started with --writable" in answer


@pytest.mark.parametrize("protocol", [THRIFT, CONNECT])
@pytest.mark.parametrize("name", ANSWERED_SQL)
def test_questions_are_answered(asked: Asked, protocol: str, name: str) -> None:
    answer = asked.answers[protocol][f"answered: {name}"]
    assert isinstance(answer, list), answer
    assert ANSWERED_SQL[name][1] in str(answer).replace("True", "true")


def test_calls_of_connect_are_answered(asked: Asked, sample: Project) -> None:
    answers = {name: asked.answers[CONNECT][name] for name in ANSWERED}
    assert answers == {
        "own rows": 2,
        "many own rows": 200_000,
        "a view of the session": 3,
        "a time zone": "2018-10-01 09:00:00",
        "pandas": True,
        "groups": True,
        "a summary": 5,
        "a cross table": 9,
        "tables": sample.marts(),
    }


def test_nothing_was_changed(asked: Asked, sample: Project) -> None:
    assert asked.files == {"secret.txt": b"secret", "table/data.parquet": b"rows"}
    sample.refresh()
    assert sample.published() == asked.before


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        # a property of the JVM: who is asked for passwords, for one
        ("set:system:hive.server2.authentication.ldap.url", "ldap://elsewhere"),
        ("set:hiveconf:spark.sql.catalog.own", "org.apache.iceberg.spark.SparkCatalog"),
        ("set:hivevar:spark.sql.runSQLOnFiles", "true"),
    ],
)
def test_a_session_begins_without_settings_of_its_own(
    server: Server, setting: str, value: str
) -> None:
    with pytest.raises(hive.Error, match="Refused: the setting"):
        hive.connect(server.host, server.thrift_port, configuration={setting: value})


def test_a_session_begins_with_a_time_zone_of_its_own(server: Server) -> None:
    configuration = {"set:hiveconf:spark.sql.session.timeZone": "Asia/Tokyo"}
    with (
        hive.connect(server.host, server.thrift_port, configuration=configuration) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("select current_timezone()")
        assert cursor.fetchall() == [("Asia/Tokyo",)]


# every kind of character that a log can have in the name of a song
ODD_CHARACTERS = (
    "\0 \x01 \x0b \x1f \x7f \x85 \u2028 \u202e \ufeff \ufffe \uffff e\u0301 \U0001f3b5 \U0010ffff "
    "\t \r \n ' \" ` \\ ]]> &amp; <b> [red]"
)
# half a surrogate has no UTF-8, and is ? in a table
ODD_TEXT = (
    f"select decode(unhex('{ODD_CHARACTERS.encode().hex()}'), 'utf-8') as odd, "
    "from_json('{\"a\": \"x \\\\ud800 y\"}', 'a string').a as half"
)


def test_odd_characters_come_through(server: Server, asked: Asked) -> None:
    by_jdbc = jdbc_rows(
        server, lambda connection: connection.createStatement().executeQuery(ODD_TEXT)
    )
    for rows in (asked.answers[THRIFT]["odd text"], asked.answers[CONNECT]["odd text"], by_jdbc):
        assert [list(row) for row in rows] == [[ODD_CHARACTERS, "x ? y"]]


# --- metadata, as SQL clients show it


def jdbc_rows(server: Server, ask: Callable[[Any], Any]) -> list[list[str]]:
    """Rows of a `java.sql.ResultSet` that `ask` gets of a connection of Hive's own driver."""
    jvm = active_spark()._jvm
    url = f"jdbc:hive2://{server.host}:{server.thrift_port}/sample_published"
    connection = jvm.org.apache.hive.jdbc.HiveDriver().connect(url, jvm.java.util.Properties())
    try:
        found = ask(connection)
        columns = range(1, found.getMetaData().getColumnCount() + 1)
        rows = []
        while found.next():
            rows.append([found.getString(column) for column in columns])
        return rows
    finally:
        connection.close()


def metadata(server: Server, what: str, *arguments: str | None) -> list[list[str]]:
    """Answer of a call of `java.sql.DatabaseMetaData`."""
    return jdbc_rows(server, lambda connection: getattr(connection.getMetaData(), what)(*arguments))


def test_jdbc_clients_see_all_marts_with_columns_and_descriptions(
    server: Server, sample: Project
) -> None:
    assert ["sample_published"] in [row[:1] for row in metadata(server, "getSchemas")]
    tables = metadata(server, "getTables", None, "sample_published", "%", None)
    assert sorted(row[2] for row in tables) == sample.marts()
    columns = metadata(server, "getColumns", None, "sample_published", "%", "%")
    nodes = sample.nodes()
    for mart in sample.marts():
        built = sample.table(mart)
        seen = [(row[3], row[5].lower()) for row in columns if row[2] == mart]
        assert [name for name, _ in seen] == built.columns
        (about,) = (row[4] for row in tables if row[2] == mart)
        assert about == one_line(nodes[mart]["description"].split("```")[0])
        assert {row[3]: row[11] or "" for row in columns if row[2] == mart} == {
            name: one_line(column["description"]) for name, column in nodes[mart]["columns"].items()
        }


def one_line(text: str) -> str:
    return " ".join(text.split())


def test_pyhive_sees_all_marts(server: Server, sample: Project) -> None:
    with hive.connect(server.host, server.thrift_port) as connection:
        client, session = connection.client, connection.sessionHandle
        request = ttypes.TGetTablesReq(session, schemaName="sample_published", tableName="%")
        assert column_of(client, client.GetTables(request), 2) == sample.marts()
        request = ttypes.TGetColumnsReq(
            session, schemaName="sample_published", tableName="dim_users", columnName="%"
        )
        assert column_of(client, client.GetColumns(request), 3) == sample.table("dim_users").columns


def column_of(client: Any, answer: Any, number: int) -> list[str]:
    """A column of text of the rows that a metadata call of Thrift found."""
    assert answer.status.statusCode == 0, answer.status
    request = ttypes.TFetchResultsReq(answer.operationHandle, maxRows=10_000)
    return client.FetchResults(request).results.columns[number].stringVal.values


def test_what_is_published_and_taken_back_shows_soon(server: Server, sample: Project) -> None:
    """As a build of another process does; a mart whose columns change, too."""
    spark = active_spark()
    view = "newly_published.mart"

    def columns() -> list[list[str]]:
        found = metadata(server, "getColumns", None, "newly_published", "%", "%")
        return [[row[2], row[3], row[5], row[11]] for row in found]

    spark.sql("create schema newly_published")
    try:
        for made, expected in (
            (
                f"create view {view} (x comment 'an x') as select 1 as x",
                [["mart", "x", "INT", "an x"]],
            ),
            (f"create or replace view {view} as select 'a' as y", [["mart", "y", "STRING", ""]]),
            (f"drop view {view}", []),
        ):
            spark.sql(made)
            wait_for(columns, expected)
    finally:
        spark.sql(f"drop view if exists {view}")
        spark.sql("drop schema newly_published")


def wait_for(look: Callable[[], Any], expected: Any, seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while (found := look()) != expected:
        assert time.monotonic() < until, found
        time.sleep(0.3)


# --- starting and stopping


def test_it_answers_and_is_found(server: Server, options: Options) -> None:
    assert find(options.state_file) == server
    assert answers(server) == []


def test_sessions_leave_no_file_open(server: Server, sample: Project) -> None:
    one_row = f"select count(*) from lake.{sample.schema}_published.dim_users"
    sessions = 20
    connect = (
        "import sys; from pyspark.sql import SparkSession\n"
        "for _ in range(int(sys.argv[3])):\n"
        "    spark = SparkSession.builder.remote(sys.argv[1]).create()\n"
        "    spark.sql(sys.argv[2]).collect(); spark.stop()"
    )
    script = [sys.executable, "-c", connect, server.remote, one_row, str(sessions)]
    subprocess.run(script, check=True, timeout=300)
    for _ in range(sessions):
        ask_by_pyhive(server, {"one row": one_row})
    files = [Path(file.path).name for file in psutil.Process(server.pid).open_files()]
    assert files.count("catalog.db") <= 8  # connections, whatever the number of sessions


def test_another_process_with_its_id_is_no_server(tmp_path: Path) -> None:
    state = tmp_path / "server.json"
    assert find(state) is None
    server = Server(os.getpid(), "127.0.0.1", 10000, 15002, str(tmp_path), writable=False)
    state.write_text(json.dumps(asdict(server)))
    assert find(state) is None
    assert stop(state) is None
    assert not state.exists()


def test_of_two_starts_at_once_one_is_refused(
    server: Server, starts: list[Server | BaseException]
) -> None:
    (refused,) = (each for each in starts if each is not server)
    assert isinstance(refused, ServerError)
    assert f"already runs (process {server.pid}, port" in str(refused)


def test_make_clean_leaves_a_server_alone(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    files = [tmp_path / file.relative_to(ROOT) for file in (STATE_FILE, LOG_FILE)]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.touch()
    subprocess.run(["make", "clean"], cwd=tmp_path, check=True)
    assert all(file.exists() for file in files)


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
    assert not list(tmp_path.glob("server.[jp]*"))


def test_a_keystore_without_its_password_is_refused(tmp_path: Path) -> None:
    keystore = tmp_path / "server.p12"
    with pytest.raises(ServerError, match="is no file"):
        start(options_in(tmp_path, keystore=keystore))
    keystore.touch()
    with pytest.raises(ServerError, match="into CHURN_KEYSTORE_PASSWORD"):
        start(options_in(tmp_path, keystore=keystore))


@pytest.fixture(scope="module")
def certificate(sample: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 127.0.0.1, as a keystore (.p12, password `open sesame`) and for clients (.pem)."""
    folder = tmp_path_factory.mktemp("keys")
    java_home = active_spark()._jvm.java.lang.System.getProperty("java.home")
    for command in (
        "-genkeypair -keyalg RSA -dname CN=127.0.0.1 -ext san=ip:127.0.0.1",
        f"-exportcert -rfc -file {folder / 'server.pem'}",
    ):
        keystore = ["-keystore", folder / "server.p12", "-storepass", "open sesame", "-alias", "a"]
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
        patch.setenv("CHURN_KEYSTORE_PASSWORD", "open sesame")
        patch.setenv("OTHER_SECRET", "of the shell")
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


def test_no_secret_is_in_an_argument_a_variable_or_a_setting(guarded_server: Server) -> None:
    shown = subprocess.run(
        ["ps", "eww", "-o", "args=", "-p", str(guarded_server.pid)], capture_output=True, text=True
    ).stdout
    assert "thriftserver" in shown and "PYSPARK_PYTHON" in shown
    client = (
        "import sys; from pyspark.sql import SparkSession;"
        "print(SparkSession.builder.remote(sys.argv[1]).getOrCreate().conf.getAll)"
    )
    shown += subprocess.run(
        [sys.executable, "-c", client, guarded_server.remote],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "keystore.path" in shown
    assert "sesame" not in shown and "of the shell" not in shown


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
    assert "No such option: --port" in run.stderr


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
def served(
    writable_server: Server, make_project: MakeProject, tmp_path_factory: pytest.TempPathFactory
) -> Served:
    """The sample through Connect, and at once the first of its files, in a small project, through
    Thrift."""
    small = copy_of_project(tmp_path_factory.mktemp("small"), small=True)
    connect = make_project("by_connect", raw=SAMPLE)
    thrift = make_project("by_thrift", root=small)
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


@pytest.mark.nightly
def test_dbt_through_connect_makes_the_same_rows(sample: Project, served: Served) -> None:
    for name in sample.nodes():
        assert_same_rows(sample.table(name), served.connect.table(name), name, LOAD_TIMES)


@pytest.mark.nightly
def test_a_second_build_through_a_server_stops_with_one_sentence(served: Served) -> None:
    assert served.second.status != 0
    assert "Another dbt build" in served.second.output
    assert "Nothing was changed" in served.second.output


def leave_lock(process: str, until: int) -> None:
    """As a client does that is killed; `until` in seconds since 1970."""
    active_spark().sql(
        f"create table by_thrift_audit.running (nothing int) using iceberg "
        f"comment '{process}|build|1|elsewhere|now|{until}'"
    )


@pytest.mark.nightly
def test_a_killed_client_holds_the_lock_until_it_is_freed_or_its_lease_ran_out(
    sample: Project, served: Served
) -> None:
    """Then the rest of the sample is loaded, and the rows are those of one local build."""
    project = served.thrift
    shutil.copy2(REST, project.raw)
    killed = "0a0a0a0a-0000-0000-0000-000000000000"
    leave_lock(killed, until=4102444800)  # the year 2100
    build = ("build", *NO_UNIT_TESTS, "--target", "thrift")
    refused = project.dbt(*build, fresh=True, wait_seconds=0)
    assert refused.status != 0
    assert killed in refused.output
    other = project.operate("unlock", "nobody", "--target", "thrift", fresh=True)
    assert other.status == 1 and f"python -m warehouse unlock {killed}" in other.output
    project.operate("unlock", killed, "--target", "thrift", fresh=True).ok()
    leave_lock("killed", until=1)
    assert "Published" in project.dbt(*build, fresh=True, wait_seconds=0).ok().output
    for name in project.nodes():
        assert_same_rows(sample.table(name), project.table(name), name, LOAD_TIMES)


@pytest.mark.nightly
@pytest.mark.parametrize("target", ["connect", "thrift"])
def test_operators_work_through_a_server(served: Served, target: str) -> None:
    project = served.connect
    before = project.published()

    def operate(*arguments: str) -> Run:
        return project.operate(*arguments, "--target", target, fresh=True)

    status = operate("status").ok()
    (build,) = {*re.findall(r"build_\w+", status.output)}
    assert status.lines_with(f"readers see +{build}")
    days = ("--first", "2018-10-02", "--last", "2018-10-03")
    assert operate("rebuild", *days).ok().lines_with(r"^Marked 2 date\(s\)")
    assert operate("reload", "nowhere.json").lines_with("^Nothing was loaded from nowhere.json")
    assert operate("rollback").lines_with(f"^No build before {build} is kept")
    assert operate("rollback", build).ok().lines_with(f"^Readers now see {build}.$")
    assert operate("maintain").ok().lines_with(rf"^{project.schema}_staging\.base_events: ")
    assert operate("unlock").ok().lines_with("^No command is at work.$")
    assert project.published() == before
