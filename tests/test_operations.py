"""Operators' commands: what they refuse, and what they do to a warehouse made by hand.

What they do to tables that dbt made is in test_publish, test_incremental, test_replay, test_server.
"""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tests.conftest import MakeProject
from tests.warehouse import ROOT, Project, Run, environment
from warehouse.__main__ import app, main
from warehouse.connection import SparkConnection, connect, text
from warehouse.errors import ProjectError
from warehouse.lock import Holder, lock
from warehouse.origin import _origin, base_snapshot, origin_key
from warehouse.publications import (
    Publication,
    _build_before,
    _tables_to_take_back,
    build_shown,
    builds_kept,
    builds_of,
    current_build,
    named_build,
    publications,
)

COMMANDS = [command.name or command.callback.__name__ for command in app.registered_commands]
ENGINE = ("up", "down")
WITHOUT_SPARK = (*ENGINE, "query", "metrics", "export", "mcp")
FIRST, SECOND, THIRD = (f"build_2026112{day}T101500Z_0a1b2c3{day}" for day in (1, 2, 3))
NOBODY = "0b0b0b0b-0000-4000-8000-000000000000"


# --- without Spark


def run(*arguments: str) -> Run:
    """A command in this process, with what it prints."""
    with pytest.MonkeyPatch.context() as patch:
        written: list[str] = []
        patch.setattr("warehouse.console.Console.print", lambda _, text, **__: written.append(text))
        status = main(arguments)
    return Run(status, "\n".join(map(str, written)))


def test_all_commands_are_there() -> None:
    assert (
        "status up down compare rollback maintain reload rebuild forget unlock "
        "query metrics export mcp".split()
        == COMMANDS
    )


def test_every_command_that_is_named_is_there() -> None:
    places = (ROOT / "Makefile", *ROOT.glob("*.md"), *(ROOT / "models").rglob("*.*"))
    named = {
        name
        for file in places
        for name in re.findall(r"python -m warehouse ([a-z]+)", file.read_text())
    }
    assert named and named <= {*COMMANDS}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Example" in shown and f"python -m warehouse {name}" in shown
    changes = name not in ("status", "compare", *WITHOUT_SPARK)
    assert ("--dry-run" in shown) == changes
    assert ("--target" in shown) == (name == "up" or name not in WITHOUT_SPARK)


@pytest.mark.parametrize(
    "arguments",
    [
        ("reload",),
        ("rebuild",),
        ("rebuild", "--first", "2018-10-01"),
        ("rebuild", "--first", "soon", "--last", "2018-10-01"),
        ("rebuild", "--first", "2018-02-30", "--last", "2018-03-01"),
        ("maintain", "--keep-hours", "-1"),
        ("maintain", "--builds-kept", "0"),
        ("rollback", FIRST, SECOND),
        ("forget",),
        ("forget", "91"),
        ("forget", "--user-file", "/no/such/file"),
        ("publish",),
        ("status", "--dry-run"),
    ],
)
def test_wrong_usage_has_a_status_of_its_own(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.endswith(" --help.\n")


def test_an_interrupted_command_has_a_status_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("warehouse.connection.connect", interrupt)
    assert main(["status"]) == 130
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in WITHOUT_SPARK])
def test_a_warehouse_that_is_not_there_is_not_made(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHURN_WAREHOUSE", str(tmp_path / "nowhere"))
    monkeypatch.setenv("CHURN_TARGET", "local")
    (tmp_path / "users.txt").write_text("91\n")
    more = {
        "reload": ["a.json"],
        "rebuild": ["--first", "2018-10-01", "--last", "2018-10-01"],
        "forget": ["--user-file", str(tmp_path / "users.txt")],
    }
    refused = run(name, *more.get(name, []))
    assert refused.status == 1
    assert refused.lines_with("^Nothing is built in schema churn of target local: run `dbt build`")
    assert not (tmp_path / "nowhere").exists()


def test_a_server_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHURN_THRIFT_PORT", "9")
    refused = run("status", "--target", "thrift")
    assert refused.status == 1
    assert refused.lines_with("^No answer from 127.0.0.1:9 .target thrift.: start a server")


def test_a_text_of_sql_is_quoted() -> None:
    assert text("a'b\\c${user.name}") == r"'a\'b\\c\u0024{user.name}'"


def test_the_snapshot_that_an_origin_names() -> None:
    assert base_snapshot("0a1b 123 2018-10-01 2018-10-31 2018-10-30") == 123
    for value in ("0a1b 0 2018-10-01 2018-10-31 2018-10-30", "0a1b", "", "0a1b now"):
        assert base_snapshot(value) is None


def test_an_origin_is_that_of_the_newest_ancestor_but_for_compactions() -> None:
    history = {
        1: (None, "append", "first"),
        2: (1, "replace", None),
        3: (2, "overwrite", None),
        4: (2, "overwrite", "second"),
        5: (9, "replace", None),
    }
    assert [_origin(snapshot, history) for snapshot in (1, 2, 3, 4, 5, None)] == [
        *("first", "first", None, "second", None, None)
    ]


def test_what_readers_see_is_the_decision_else_the_newest_common_build() -> None:
    versions = {
        "marts.a": {FIRST: 1, SECOND: 2, "published": 2, "main": 3},
        "marts.b": {FIRST: 1, SECOND: 1, "published": 1, "main": 1},
        "marts.new": {"main": 1},
    }
    assert builds_of(versions) == [SECOND, FIRST]
    assert current_build(versions, None) == SECOND
    assert current_build({**versions, "marts.c": {FIRST: 1, "published": 1}}, None) == ""
    assert current_build({}, None) == ""
    assert build_shown(versions["marts.b"], FIRST) == FIRST
    assert build_shown(versions["marts.a"], FIRST) == SECOND
    assert "no longer kept" in build_shown({"published": 1, "main": 1}, FIRST)


def test_a_build_that_was_cut_before_its_decision_is_not_kept() -> None:
    versions = {"marts.a": {FIRST: 1, SECOND: 2, THIRD: 3, "published": 2, "main": 3}}
    decisions = [Publication(1, SECOND, "dbt build", "")]
    assert builds_kept(versions, decisions) == [SECOND, FIRST]
    assert builds_kept(versions, None) == [THIRD, SECOND, FIRST]


@pytest.mark.parametrize(
    ("seen", "kept", "before"),
    [
        ([FIRST, SECOND], [SECOND, FIRST], FIRST),
        ([FIRST, SECOND, THIRD, SECOND], [THIRD, SECOND, FIRST], FIRST),
        # who went back from the second does not get it again
        ([FIRST, SECOND, FIRST, THIRD], [THIRD, SECOND, FIRST], FIRST),
        ([FIRST, SECOND, FIRST, SECOND], [SECOND, FIRST], FIRST),
        ([FIRST, SECOND, THIRD], [THIRD, FIRST], FIRST),
        # the list is younger than the first build
        ([SECOND, THIRD, SECOND], [THIRD, SECOND, FIRST], FIRST),
        ([], [THIRD, SECOND, FIRST], SECOND),
    ],
)
def test_the_build_before(seen: list[str], kept: list[str], before: str) -> None:
    commands = ["rollback" if build in seen[:n] else "dbt build" for n, build in enumerate(seen)]
    decisions = [
        Publication(number, build, command, "")
        for number, (build, command) in enumerate(zip(seen, commands, strict=True), 1)
    ]
    assert _build_before(seen[-1] if seen else THIRD, kept, decisions[::-1] or None) == before


def test_where_no_build_is_before() -> None:
    decisions = [Publication(1, SECOND, "dbt build", ""), Publication(2, FIRST, "rollback", "")]
    none_kept = f"No build before {FIRST} is kept. See: python -m warehouse status"
    with pytest.raises(ProjectError, match=re.escape(none_kept)):
        _build_before(FIRST, [SECOND, FIRST], decisions[::-1])
    with pytest.raises(ProjectError, match="Nothing is published yet. Publish with: dbt build"):
        _build_before("", [], None)


def test_a_build_by_its_name_or_its_invocation() -> None:
    builds = [THIRD, SECOND, FIRST]
    assert named_build(THIRD, builds) == THIRD
    assert named_build("0a1b2c32-0000-4000-8000-000000000000", builds) == SECOND
    for asked, kept, sentence in (
        (THIRD, [], "Nothing is published yet. Publish with: dbt build"),
        ("0a1b2c32", builds, f"No build 0a1b2c32. Kept are: {THIRD}, {SECOND}, {FIRST}"),
        (NOBODY, builds, f"No build {NOBODY}. Kept are"),
        ("", builds, "No build . Kept are"),
    ):
        with pytest.raises(ProjectError, match=re.escape(sentence)):
            named_build(asked, kept)


def test_tables_go_back_together_base_events_last_or_not_at_all() -> None:
    versions = {
        "staging.base_events": {FIRST: 1, "main": 2},
        "staging.page_catalogue": {"main": 7},
        "marts.a": {FIRST: 3, "main": 4},
        "marts.b": {FIRST: 5, "main": 5},
        "staging.base_files": {FIRST: 8, "main": 9},
    }
    back = _tables_to_take_back(versions, FIRST)
    assert back == {"staging.base_files": 8, "marts.a": 3, "staging.base_events": 1}
    assert list(back)[-1] == "staging.base_events"
    with pytest.raises(ProjectError, match=f"later has no version of {FIRST}, so nothing"):
        _tables_to_take_back({**versions, "marts.later": {SECOND: 1, "main": 1}}, FIRST)


# --- a warehouse made by hand


@dataclass
class Warehouse:
    """Two marts and two tables of lines, of which each version has the rows 1 to its number."""

    project: Project
    spark: SparkSession

    @property
    def schema(self) -> str:
        return self.project.schema

    def sql(self, *statements: str) -> None:
        for statement in statements:
            self.spark.sql(statement.replace("{s}", self.schema))

    def value(self, query: str) -> object:
        return self.spark.sql(query.replace("{s}", self.schema)).first()[0]

    def build(self, build: str, number: int) -> None:
        """Write the next version of all marts, and put the tag of a build on all tables."""
        for mart in ("dim_users", "fct_user_days"):
            self.sql(
                f"create or replace table {{s}}_marts.{mart} using iceberg "
                f"as select id, 'x' as name_{number} from range({number}) as t (id)"
            )
        for table in self.tables():
            self.sql(f"alter table {table} create or replace tag {build}")

    def tables(self) -> list[str]:
        marts = [f"{self.schema}_marts.{mart}" for mart in ("dim_users", "fct_user_days")]
        return [f"{self.schema}_staging.base_events", f"{self.schema}_staging.base_files", *marts]

    def decide(self, number: int, build: str, command: str = "dbt build") -> None:
        self.sql(
            f"insert into {{s}}_audit.publications values ({number}, '{build}', '{command}', "
            f"timestamp '2026-11-2{number} 10:20:00', 'tests of {build}')"
        )

    def seen(self) -> list[tuple[list[str], int]]:
        """Columns and number of rows of both views."""
        views = [
            self.spark.table(f"{self.schema}_published.{m}") for m in ("dim_users", "fct_user_days")
        ]
        return [(view.columns, view.count()) for view in views]

    def lock(self, until: int, process: int = 1, host: str = "elsewhere/1.2.3.4") -> None:
        """As a command has it that is at work."""
        comment = f"{NOBODY}|rollback|{process}|{host}|2026-11-20 10:15:00|{until}"
        self.sql(
            f"create table {{s}}_audit.running (nothing int) using iceberg comment '{comment}'"
        )

    def is_locked(self) -> bool:
        return self.spark.catalog.tableExists(f"{self.schema}_audit.running")


def columns_of(number: int) -> list[tuple[list[str], int]]:
    return [(["id", f"name_{number}"], number)] * 2


@pytest.fixture
def made(
    make_project: MakeProject, spark: SparkSession, request: pytest.FixtureRequest
) -> Warehouse:
    """Two builds; readers see the second."""
    schema = f"operations_{zlib.crc32(request.node.name.encode())}"
    found = Warehouse(make_project(schema), spark)
    found.sql(
        *(f"create schema if not exists {{s}}_{part}" for part in ("staging", "marts", "audit")),
        "create table {s}_staging.base_events (source_file string, event_date date, line int) "
        "using iceberg partitioned by (event_date)",
        "create table {s}_staging.base_files (source_file string) using iceberg",
        "create table {s}_audit.publications (number bigint, build_name string, command string, "
        "published_at timestamp, tests_checksum string) using iceberg",
        "insert into {s}_staging.base_events values ('a.json', date '2018-10-01', 1), "
        "('a.json', date '2018-10-02', 2), ('b.json', date '2018-10-02', 3)",
        "insert into {s}_staging.base_files values ('a.json'), ('b.json')",
    )
    for number, build in enumerate((FIRST, SECOND), 1):
        found.build(build, number)
        found.decide(number, build)
    # the second was cut before readers saw anything of it: any command finishes it
    found.project.operate("reload", "b.json", "--dry-run").ok()
    return found


def finished(found: Warehouse) -> None:
    """Readers see what is decided, by a command that has nothing else to do."""
    refused = found.project.operate("reload", "nothing.json")
    assert refused.status == 1


def test_builds_are_compared_row_by_row(made: Warehouse) -> None:
    mart = "{s}_marts.fct_user_days"
    made.sql(
        f"create or replace table {mart} using iceberg as select * from values "
        "('a', date '2018-10-01', 1, 1d), ('b', date '2018-10-01', 2, double('nan')), "
        "(null, date '2018-10-02', 3, null), ('gone', date '2018-10-02', 4, 1d), "
        "('gone', date '2018-10-03', 5, 1d) as t (user_id, activity_date, songs, hours)",
        f"alter table {mart} create or replace tag {SECOND}",
        f"create or replace table {mart} using iceberg as select * from values "
        "('a', date '2018-10-01', 1, 2d), ('b', date '2018-10-01', 2, double('nan')), "
        "(null, date '2018-10-02', 30, 1d), ('new', date '2018-10-02', 4, 1d) "
        "as t (user_id, activity_date, songs, hours)",
    )
    found = made.project.operate("compare", "--mart", "fct_user_days").ok()
    assert found.lines_with(f"^{SECOND} -> newest")
    # rows before and after, added, removed, changed
    assert found.lines_with("fct_user_days +5 +4 +1 +2 +2")
    assert found.lines_with("^fct_user_days: columns that differ: hours 2, songs 1$")
    assert found.lines_with("^fct_user_days: added user_id=new, activity_date=2018-10-02$")
    assert found.lines_with("^fct_user_days: removed user_id=gone, activity_date=2018-10-03$")
    assert found.lines_with(
        "^fct_user_days: changed user_id=null, activity_date=2018-10-02: hours null -> 1.0, "
        "songs 3 -> 30$"
    )
    # a key that is there twice, as a test of the build would say
    made.sql(f"insert into {mart} values ('new', date '2018-10-02', 4, 2d)")
    found = made.project.operate("compare", "--mart", "fct_user_days").ok()
    assert found.lines_with("fct_user_days +5 +5 +4 +4 +0")
    # without the columns of the key rows are compared as a whole, and may be there twice
    made.sql("insert into {s}_marts.dim_users values (2, 'x'), (2, 'x'), (9, 'y')")
    found = made.project.operate("compare", SECOND).ok()
    assert found.lines_with("dim_users +2 +5 +3 +0 +0")
    made.build(THIRD, 3)
    made.decide(3, THIRD)
    found = made.project.operate("compare", FIRST, SECOND, "--mart", "dim_users").ok()
    assert found.lines_with("dim_users +1 +2 +1 +0 +0")
    assert found.lines_with("^dim_users: columns that differ: name_1 gone, name_2 new$")
    assert (
        made.project.operate("compare")
        .ok()
        .lines_with("^The same in both: dim_users, fct_user_days.$")
    )
    refused = made.project.operate("compare", "--mart", "dim_user")
    assert refused.status == 1
    assert refused.lines_with("^No table dim_user in .*_marts. There are: dim_users, fct_user")
    assert made.project.operate("compare", f"{FIRST}x").lines_with(f"^No build {FIRST}x. Kept are:")


def test_an_error_of_spark_is_one_sentence(
    made: Warehouse, capfd: pytest.CaptureFixture[str]
) -> None:
    with connect(is_built=False) as spark, pytest.raises(ProjectError, match="^Spark: .*`nope`"):
        spark.rows(f"select nope from {made.schema}_marts.dim_users")
    assert capfd.readouterr().err == ""


def test_wide_tables_are_compared(made: Warehouse) -> None:
    mart = "{s}_marts.fct_user_days"

    def rows(value: str) -> str:
        columns = (f"id * {n} + {value} as number_{n}" for n in range(100))
        of_query = "kind number name changed added removed copies old_copies new_copies old_row"
        return (
            "select string(id % 1000) as user_id, date_add(date '2018-10-01', int(id / 1000)) "
            f"as activity_date, {', '.join(columns)}, "
            f"{', '.join(f'id as {name}' for name in of_query.split())} from range(10000)"
        )

    made.sql(
        f"create or replace table {mart} using iceberg as {rows('0')}",
        f"alter table {mart} create or replace tag {SECOND}",
        f"create or replace table {mart} using iceberg as "
        + rows("int(id >= 9990)").replace("id * 90 ", "id * 90 + int(id % 1000 = 7) "),
    )
    found = made.project.operate("compare", "--mart", "fct_user_days").ok()
    assert found.lines_with("fct_user_days +10,000 +10,000 +0 +0 +20")
    assert found.lines_with("^fct_user_days: columns that differ: number_90 20, number_0 10,")
    assert found.lines_with(
        "^fct_user_days: changed user_id=7, activity_date=2018-10-01: number_90 630 -> 631$"
    )


def test_a_publication_that_was_cut_is_finished_forward(made: Warehouse) -> None:
    project = made.project
    status = project.operate("status").ok()
    assert status.lines_with(f"readers see +{SECOND}, since 2026-11-22 10:20:00 UTC by dbt build")
    assert status.lines_with("2 marts do not show")
    run = project.operate("reload", "nothing.json")
    assert run.lines_with(f"^Finished the dbt build of {SECOND}, which was interrupted")
    assert run.lines_with("^Nothing was loaded from nothing.json, so nothing was changed")
    assert made.seen() == columns_of(2)
    again = project.operate("reload", "nothing.json")
    assert not again.lines_with("Finished")
    assert not project.operate("status").ok().lines_with("do not show")
    assert not made.is_locked()


def kill_rollback(made: Warehouse, monkeypatch: pytest.MonkeyPatch, pattern: str) -> None:
    """Go back by one build, up to the first statement with this pattern."""
    killed = RuntimeError("killed")

    def execute(connection: SparkConnection, sql: str) -> None:
        if re.search(pattern, sql):
            raise killed
        connection.rows(sql)

    with monkeypatch.context() as patch:
        patch.setattr(SparkConnection, "execute", execute)
        with pytest.raises(RuntimeError, match="killed"):
            made.project.operate("rollback")


def test_a_rollback_that_was_cut_is_finished_and_not_undone(
    made: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished(made)
    made.sql(
        "create or replace view {s}_published.dim_users (id comment 'Who.', name_2) "
        "comment 'One row per user.' as select * from {s}_marts.dim_users version as of 'published'"
    )
    kill_rollback(made, monkeypatch, "fct_user_days create or replace tag published")
    assert made.seen() == [*columns_of(1)[:1], *columns_of(2)[1:]]
    run = made.project.operate("reload", "nothing.json")
    assert run.lines_with(f"^Finished the rollback of {FIRST}")
    assert made.seen() == columns_of(1)
    described = made.spark.sql(f"describe extended {made.schema}_published.dim_users").collect()
    comments = {row.col_name: row.comment or row.data_type for row in described}
    assert comments["id"] == "Who." and comments["Comment"] == "One row per user."


def test_a_view_that_was_cut_off_from_its_tag_is_mended(made: Warehouse) -> None:
    """The tag has moved, the view has the columns of before."""
    finished(made)
    made.decide(3, FIRST, "rollback")
    for mart in ("dim_users", "fct_user_days"):
        table = f"{{s}}_marts.{mart}"
        version = made.value(f"select snapshot_id from {table}.refs where name = '{FIRST}'")
        made.sql(f"alter table {table} create or replace tag published as of version {version}")
    finished(made)
    assert made.seen() == columns_of(1)


def test_rollback_writes_its_decision_down(made: Warehouse) -> None:
    project = made.project
    dry = project.operate("rollback", "--dry-run").ok()
    assert dry.lines_with(f"Readers would see {FIRST} in place of {SECOND}")
    assert made.value("select count(*) from {s}_audit.publications") == 2
    assert project.operate("rollback").ok().lines_with(f"^Readers now see {FIRST}.$")
    assert made.seen() == columns_of(1)
    last = made.spark.sql(
        f"select number, build_name, command, tests_checksum from {made.schema}_audit.publications "
        "order by number desc"
    ).first()
    assert tuple(last) == (3, FIRST, "rollback", f"tests of {FIRST}")
    status = project.operate("status").ok()
    assert status.lines_with(f"readers see +{FIRST}, since .* UTC by rollback")
    assert status.lines_with(r"dim_users +\S+ +built, not published")
    # by the id of its invocation, and forward
    project.operate("rollback", f"{SECOND[-8:]}-0000-4000-8000-000000000000").ok()
    assert made.seen() == columns_of(2)
    gone = project.operate("rollback", THIRD)
    assert gone.status == 1
    assert gone.lines_with(f"^No build {THIRD}. Kept are: {SECOND}, {FIRST}$")


def make_view_of_lines(found: Warehouse) -> str:
    """A view of two tables that are no marts, each with a row more in the second build."""
    query = ["select * from"]
    for table in ("lines", "dates"):
        found.sql(
            f"create table {{s}}_staging.{table} using iceberg as select 1 as {table}",
            f"alter table {{s}}_staging.{table} create tag {FIRST}",
            f"insert into {{s}}_staging.{table} values (2)",
            f"alter table {{s}}_staging.{table} create tag {SECOND}",
        )
        query.append(f"{found.schema}_staging.{table} version as of '{SECOND}' as {table},")
    view = f"{found.schema}_published.events"
    found.sql(
        f"create view {view} (line comment 'It''s \"a\" line.', day) comment 'One row per line.' "
        f"tblproperties ('churn.code' = 'abc') as {' '.join(query).removesuffix(',')}"
    )
    return view


def test_a_view_of_tables_shows_one_build_at_any_moment(
    made: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished(made)
    view = make_view_of_lines(made)
    rows = [made.spark.table(view).count()]
    statement = SparkConnection.execute

    def execute(connection: SparkConnection, sql: str) -> None:
        statement(connection, sql)
        rows.append(made.spark.table(view).count())

    with monkeypatch.context() as patch:
        patch.setattr(SparkConnection, "execute", execute)
        made.project.operate("rollback", FIRST).ok()
    assert [count for count, _ in itertools.groupby(rows)] == [4, 1]
    described = made.spark.sql(f"describe extended {view}").collect()
    comments = {row.col_name: row.comment or row.data_type for row in described}
    assert comments["line"] == 'It\'s "a" line.' and comments["Comment"] == "One row per line."
    assert made.spark.sql(f"show tblproperties {view} ('churn.code')").first()[1] == "abc"
    made.project.operate("rollback", SECOND).ok()
    assert made.spark.table(view).count() == 4


def test_a_view_of_tables_that_was_not_reached_is_finished(
    made: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished(made)
    view = make_view_of_lines(made)
    kill_rollback(made, monkeypatch, re.escape(f"view {view}"))
    assert made.spark.table(view).count() == 4
    run = made.project.operate("reload", "nothing.json")
    assert run.lines_with(f"^Finished the rollback of {FIRST}")
    assert made.spark.table(view).count() == 1


def test_a_view_of_tables_that_a_build_has_not_is_no_longer_shown(made: Warehouse) -> None:
    finished(made)
    view = make_view_of_lines(made)
    made.sql(f"alter table {{s}}_staging.dates drop tag {FIRST}")
    run = made.project.operate("rollback", FIRST).ok()
    assert run.lines_with(f"^events was not published by {FIRST}: readers no longer see it")
    assert not made.spark.catalog.tableExists(view)


def test_a_mart_that_only_later_builds_have_is_no_longer_shown(made: Warehouse) -> None:
    finished(made)
    made.sql(
        "create table {s}_marts.later using iceberg as select 1 as one",
        f"alter table {{s}}_marts.later create tag {SECOND}",
        "create table {s}_marts.removed using iceberg as select 1 as one",
        "alter table {s}_marts.removed create tag build_20261101T101500Z_0a1b2c30",
    )
    for mart in ("later", "removed"):
        made.sql(
            f"alter table {{s}}_marts.{mart} create tag published",
            f"create view {{s}}_published.{mart} as select * from {{s}}_marts.{mart} "
            "version as of 'published'",
        )
    run = made.project.operate("rollback", FIRST).ok()
    assert run.lines_with(f"^later was not published by {FIRST}: readers no longer see it")
    views = made.spark.sql(f"show views in {made.schema}_published").collect()
    shown = {row.viewName for row in views if not row.isTemporary}
    assert shown == {"dim_users", "fct_user_days", "removed"}
    made.project.operate("rollback", SECOND).ok()
    assert made.spark.table(f"{made.schema}_published.later").count() == 1


def test_tables_go_back(made: Warehouse) -> None:
    made.sql("insert into {s}_staging.base_events values ('c.json', date '2018-10-03', 4)")
    dry = made.project.operate("rollback", FIRST, "--tables", "--dry-run").ok()
    assert len(dry.lines_with("would go back to version")) == 3
    run = made.project.operate("rollback", FIRST, "--tables").ok()
    assert run.lines_with(f"^Readers now see {FIRST}, and all tables are as it left them.$")
    assert made.value("select count(*) from {s}_staging.base_events") == 3
    assert made.value("select count(*) from {s}_marts.dim_users") == 1


def test_a_warehouse_of_before_the_list_of_publications(made: Warehouse) -> None:
    finished(made)
    made.sql("drop table {s}_audit.publications")
    sentence = "without a list of publications. The next `dbt build` makes it"
    assert made.project.operate("status").ok().lines_with(sentence)
    run = made.project.operate("rollback").ok()
    assert run.lines_with(sentence) and run.lines_with(f"Readers now see {FIRST}")
    assert made.seen() == columns_of(1)


# --- two operators


def test_a_second_command_waits_then_says_who_is_at_work(made: Warehouse) -> None:
    made.lock(until=4102444800)
    before = made.value("select count(*) from {s}_audit.publications")
    refused = made.project.operate("rollback", "--wait", "1")
    assert refused.status == 1
    assert refused.lines_with("^Waiting up to 1 s for rollback")
    assert refused.lines_with(
        "^rollback .process 1 on elsewhere, since 2026-11-20 10:15:00 UTC, its lease lasts until "
        "2100-01-01 00:00:00 UTC. is at work on this warehouse. Nothing was changed. .*"
        f"python -m warehouse unlock {NOBODY}$"
    )
    assert made.value("select count(*) from {s}_audit.publications") == before
    assert made.project.operate("status").ok().lines_with("at work +rollback .process 1")
    # what changes nothing is not held up
    made.project.operate("rollback", "--dry-run").ok()


def test_unlock_takes_the_holders_id_only(made: Warehouse) -> None:
    project = made.project
    assert project.operate("unlock").ok().lines_with("^No command is at work.$")
    assert project.operate("unlock", NOBODY).lines_with("^No command is at work, so")
    made.lock(until=4102444800)
    assert project.operate("unlock").ok().lines_with(f"^At work: rollback .* Its id: {NOBODY}$")
    other = project.operate("unlock", FIRST)
    assert other.status == 1 and other.lines_with(f"python -m warehouse unlock {NOBODY}$")
    project.operate("unlock", NOBODY, "--dry-run").ok()
    assert made.is_locked()
    assert project.operate("unlock", NOBODY).ok().lines_with("no longer holds the lock")
    assert not made.is_locked()


@pytest.mark.parametrize("ended", ["lease", "process"])
def test_a_lock_of_a_command_that_has_ended_is_taken_over(made: Warehouse, ended: str) -> None:
    host = made.value("select java_method('java.net.InetAddress', 'getLocalHost')")
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    if ended == "lease":
        made.lock(until=1)
    else:
        made.lock(until=4102444800, process=gone.pid, host=str(host))
    left = "at work +no command; the next one takes over the lock of rollback"
    assert made.project.operate("status").ok().lines_with(left)
    made.project.operate("rollback", "--wait", "0").ok()
    assert made.spark.sql(f"show tables in {made.schema}_audit").count() == 1


def test_a_process_of_this_machine_that_lives_is_not_taken_over(made: Warehouse) -> None:
    host = made.value("select java_method('java.net.InetAddress', 'getLocalHost')")
    made.lock(until=4102444800, process=os.getpid(), host=str(host))
    assert made.project.operate("rollback", "--wait", "0").status == 1


@pytest.fixture
def short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"vars": {"lease_seconds": 4, "wait_seconds": 0, "builds_kept": 10}}
    monkeypatch.setattr("warehouse.lock.project_settings", lambda: settings)


def with_lock(made: Warehouse, block: Callable[[SparkConnection], None]) -> None:
    with environment({"CHURN_SCHEMA": made.schema}), connect() as connection:
        assert isinstance(connection, SparkConnection)
        with lock(connection, "maintain", print):
            block(connection)


@pytest.mark.usefixtures("short_lease")
def test_a_lease_is_renewed_while_its_holder_works(made: Warehouse) -> None:
    def work(_: SparkConnection) -> None:
        time.sleep(7)
        assert made.project.operate("rollback", "--wait", "0").status == 1

    with_lock(made, work)
    assert not made.is_locked()
    assert not [each for each in threading.enumerate() if each.name == "lease"]


@pytest.mark.usefixtures("short_lease")
def test_a_command_stops_when_another_took_the_warehouse_over(made: Warehouse) -> None:
    def work(connection: SparkConnection) -> None:
        made.sql("drop table {s}_audit.running")
        made.lock(until=4102444800)
        time.sleep(3)
        connection.execute("select 1")

    with pytest.raises(ProjectError, match="Another command took this warehouse over"):
        with_lock(made, work)
    assert made.is_locked()  # the other's


# --- files and dates


def give_origin(made: Warehouse, table: str, origin: str) -> None:
    """As dbt does: in the commit that writes the rows."""
    key = f"`spark.sql.iceberg.snapshot-property.{origin_key(table)}`"
    made.sql(f"set {key} = {origin}")
    relation = f"{{s}}_staging.{table}"
    made.sql(f"insert overwrite {relation} select * from {relation}", f"reset {key}")


def test_files_are_taken_back(made: Warehouse) -> None:
    project = made.project
    unknown = project.operate("reload", "b.json", "none.json")
    assert unknown.status == 1
    assert unknown.lines_with("^Nothing was loaded from none.json, so nothing was changed. Loaded")
    dry = project.operate("reload", "a.json", "--dry-run").ok()
    assert dry.lines_with(r"^Would take back 2 lines of 1 file\(s\).$")
    assert made.value("select count(*) from {s}_staging.base_events") == 3
    reload = project.operate("reload", "a.json").ok()
    assert reload.lines_with(r"^Took back 2 lines of 1 file\(s\). Load them again: dbt build$")
    for table in ("base_events", "base_files"):
        assert (
            made.value(
                f"select array_join(collect_set(source_file), ' ') from {{s}}_staging.{table}"
            )
            == "b.json"
        )


def test_dates_are_written_anew_with_their_own_rows(made: Warehouse) -> None:
    events = f"{made.schema}_staging.base_events"
    rows = made.spark.table(events).collect()
    before = made.value("select snapshot_id from {s}_staging.base_events.refs where name = 'main'")
    days = ("--first", "2018-10-02", "--last", "2018-10-09")
    dry = made.project.operate("rebuild", *days, "--dry-run").ok()
    assert dry.lines_with(r"^Would mark 1 date\(s\) from 2018-10-02 to 2018-10-09.$")
    made.project.operate("rebuild", *days).ok()
    assert sorted(made.spark.table(events).collect()) == sorted(rows)
    changed = made.spark.sql(
        f"select distinct data_file.partition.event_date from {events}.all_entries "
        f"where status <> 0 and snapshot_id in "
        f"(select snapshot_id from {events}.snapshots where parent_id = {before})"
    ).collect()
    assert [str(row[0]) for row in changed] == ["2018-10-02"]
    for first, last, sentence in (
        (
            "2018-11-01",
            "2018-11-02",
            "^No date from 2018-11-01 to 2018-11-02 has a line, so nothing",
        ),
        ("2018-10-02", "2018-10-01", "^--first 2018-10-02 is after --last 2018-10-01"),
    ):
        refused = made.project.operate("rebuild", "--first", first, "--last", last)
        assert refused.status == 1 and refused.lines_with(sentence)


# --- keep tidy


def test_maintain_keeps_what_tables_were_made_from(made: Warehouse) -> None:
    snapshots = "select snapshot_id from {s}_staging.base_events.snapshots order by committed_at"
    for n in range(4):
        made.sql(
            f"insert into {{s}}_staging.base_events values ('e{n}.json', date '2018-10-05', {n})"
        )
    ids = [row[0] for row in made.spark.sql(snapshots.replace("{s}", made.schema)).collect()]
    give_origin(made, "base_files", f"0a1b2c {ids[2]} 2018-10-01 2018-10-31 2018-10-30")
    dry = made.project.operate(
        "maintain", "--keep-hours", "0", "--builds-kept", "1", "--dry-run"
    ).ok()
    assert dry.lines_with("^Would compact 5 tables and expire snapshots before")
    assert dry.lines_with(f"^Builds that rollback could no longer reach: {FIRST}$")
    run = made.project.operate("maintain", "--keep-hours", "0", "--builds-kept", "1").ok()
    assert run.lines_with(f"^Builds that rollback can no longer reach: {FIRST}$")
    assert run.lines_with(f"^{made.schema}_staging.base_events: ")
    left = [row[0] for row in made.spark.sql(snapshots.replace("{s}", made.schema)).collect()]
    # the first has the tag of the build that readers see
    assert set(ids[2:]) <= set(left) and ids[1] not in left
    assert made.seen() == columns_of(2)
    with environment({"CHURN_SCHEMA": made.schema}), connect() as connection:
        assert [each.number for each in publications(connection) or []] == [2, 1]


def test_who_holds_a_lock_is_said_in_words() -> None:
    dbt = Holder(NOBODY, "build", "12", "host/1.2.3.4", "2026-11-20 10:15:00", "")
    assert str(dbt) == "dbt build (process 12 on host, since 2026-11-20 10:15:00 UTC)"
