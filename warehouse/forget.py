"""Erase users: their lines, what was made of them, and all earlier versions that still hold them.

The rules of which lines are a user's are the macros of dbt (macros/forget.sql), as a build keeps a
forgotten user out by them, too. Ids are in no SQL: their hashes are.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from warehouse.connection import Connection, is_one_of, text
from warehouse.errors import ProjectError
from warehouse.lock import Say
from warehouse.maintain import ORPHAN_HOURS_MIN, all_tables, utc
from warehouse.origin import carried_origin, landing_folder, origins, say_origin
from warehouse.publications import (
    Tags,
    Versions,
    at_work,
    builds_of,
    current_build,
    publications,
    tag_it,
    versions_of,
)
from warehouse.session import PROJECT_DIR

AGAIN = "Run the same command again to finish: what is done stays done."
FORGOTTEN = "reject_reason = 'forgotten_user'"


@dataclass(frozen=True)
class Users:
    """Line of the file on which each user is, by the hash of the id; and the salt of all hashes."""

    lines: Mapping[str, int]
    salt: str

    @property
    def hashes(self) -> Collection[str]:
        """Of all users."""
        return self.lines.keys()

    def condition(self, column: str) -> str:
        """Condition: the column is one of these users."""
        return is_one_of(_hash_of(column, self.salt), self.hashes)


def read_ids(file: Path) -> dict[str, int]:
    """Ids of a file with one a line, each with the number of its first line; blank lines do not
    count.

    Raises ProjectError where there is none, or the file is no UTF-8.
    """
    try:
        rows = file.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ProjectError(f"{file} cannot be read as UTF-8: {error}") from error
    ids: dict[str, int] = {}
    for number, row in enumerate(rows, 1):
        if row.strip():
            ids.setdefault(row.strip(), number)
    if not ids:
        raise ProjectError(f"{file} names no user: write one id a line, as in dim_users.user_id.")
    return ids


def forget(
    connection: Connection,
    file: Path,
    build: Callable[[], bool],
    dry_run: bool,
    say: Say,
    wait: int | None = None,
) -> None:
    """Erase the users of a file; `build` is `dbt build`, and returns whether readers see it.

    A kill on the way does no harm: run it again. The hashes are written first, so that from then on
    no build loads a line of these users.

    Raises ProjectError, before anything is changed, for an id that no line of the warehouse has;
    later, where the build is not published, so that older versions have to stay.
    """
    ids = read_ids(file)
    with at_work(connection, "forget", dry_run, say, wait):
        known, salt = _known(connection)
        users = Users({_hash(salt, each): number for each, number in ids.items()}, salt)
        lines = _lines(connection, users)
        _check_all_exist(file, users, known | {each for each, _ in lines})
        scores = _scores(connection, users)
        files = {name for _, name in lines}
        what = (
            f"{len(ids)} user(s): {sum(lines.values())} lines of {len(files)} file(s) and "
            f"{scores} score(s)"
        )
        if dry_run:
            tables = len(all_tables(connection))
            say(
                f"Would forget {what}, then build and drop all earlier versions of {tables} tables."
            )
            return
        _write_hashes(connection, users, known)
        if lines:
            _blank_out(connection, users)
        if scores:
            # the scores after it, as they say which counts these users are in
            say(_delete_counts(connection, users))
            _delete(connection, f"{connection.target.ml}.churn_scores", users)
    say(f"Forgot {what}. What was made of them follows: dbt build")
    if not build():
        raise ProjectError(
            "The build was not published, so tables and earlier versions still hold what was made "
            f"of the users' lines. Fix what dbt names above. {AGAIN}"
        )
    with at_work(connection, "forget", dry_run, say, wait):
        say("Dropping all earlier versions of the tables, some seconds for each ...")
        say(_drop_earlier_versions(connection, users))
        for sentence in _left_to_do(connection):
            say(sentence)


def variables_of_build(connection: Connection, given: str | None) -> str:
    """Vars of `dbt build`, as JSON: those that are given, and the warehouse's own landing folder.

    Raises ProjectError where what is given is no mapping in YAML.
    """
    import yaml

    try:
        variables = yaml.safe_load(given or "{}")
    except yaml.YAMLError:
        variables = None
    if not isinstance(variables, dict):
        raise ProjectError(f"--vars {given} is no mapping: write it as '{{name: value}}'.")
    if folder := landing_folder(connection):
        variables.setdefault("raw_path", folder)
    return json.dumps(variables)


def dbt_build(target: str | None, profiles_dir: Path | None, variables: str) -> bool:
    """`dbt build` in this process, as its Spark is on the warehouse; whether readers see it."""
    from dbt.cli.main import dbtRunner

    refused = []

    def listen(event: Any) -> None:
        # dbt itself takes a build that left something out for a success
        if event.info.msg.startswith("Not published:"):
            refused.append(event)

    options = {
        "--target": target,
        "--project-dir": os.environ.get("DBT_PROJECT_DIR") or PROJECT_DIR,
        "--profiles-dir": profiles_dir or os.environ.get("DBT_PROFILES_DIR") or PROJECT_DIR,
        "--vars": variables,
    }
    given = ((name, str(value)) for name, value in options.items() if value)
    plain = [] if sys.stdout.isatty() else ["--no-use-colors"]
    result = dbtRunner(callbacks=[listen]).invoke(
        ["build", *plain, *(part for option in given for part in option)]
    )
    return result.success and not refused


# --- who is forgotten


def _known(connection: Connection) -> tuple[set[str], str]:
    """Hashes of the users who are forgotten already, and the salt; a new one where none is."""
    audit = connection.target.audit
    if f"{audit}.forgotten_users" not in connection.tables(audit):
        raise ProjectError(
            "An earlier version of the project built this warehouse, and could not forget users. "
            "Run `dbt build` first."
        )
    rows = connection.rows(f"select user_hash, salt from {audit}.forgotten_users")
    return {row[0] for row in rows}, rows[0][1] if rows else secrets.token_hex(16)


def _hash(salt: str, user: str) -> str:
    return hashlib.sha256((salt + user).encode()).hexdigest()


def _write_hashes(connection: Connection, users: Users, known: Collection[str]) -> None:
    new = [each for each in users.hashes if each not in known]
    if new:
        rows = (f"({text(each)}, {text(users.salt)}, current_timestamp())" for each in new)
        connection.execute(
            f"insert into {connection.target.audit}.forgotten_users "
            f"(user_hash, salt, forgotten_at) values {', '.join(rows)}"
        )


def _check_all_exist(file: Path, users: Users, found: Collection[str]) -> None:
    unknown = sorted(number for each, number in users.lines.items() if each not in found)
    if unknown:
        raise ProjectError(
            f"{file}: the warehouse has no line of the user on line "
            f"{', '.join(map(str, unknown))}, so nothing was changed. Write ids as in "
            "dim_users.user_id."
        )


# --- their lines


def _macros() -> Any:
    """Macros of dbt that need nothing of dbt."""
    from jinja2 import Environment

    files = ("rows.sql", "forget.sql")
    source = "".join((PROJECT_DIR / "macros" / file).read_text(encoding="utf-8") for file in files)
    return Environment(extensions=["jinja2.ext.do"]).from_string(source).module


def _hash_of(column: str, salt: str) -> str:
    return _macros().user_hash(column, salt)


def _lines(connection: Connection, users: Users) -> dict[tuple[str, str], int]:
    """Number of lines by hash of a user and file."""
    macros, events = _macros(), f"{connection.target.staging}.base_events"
    rows = connection.rows(
        "select user_hash, source_file, count(*) from (select source_file, explode(array_distinct("
        "transform(array_append(coalesce(ids, array()), user_id), "
        f"id -> {macros.user_hash('id', users.salt)}))) as user_hash "
        f"from (select source_file, user_id, {macros.ids_in_text()} as ids from {events} "
        f"where {macros.is_forgotten(list(users.hashes), users.salt)})) "
        f"where {is_one_of('user_hash', users.hashes)} group by user_hash, source_file"
    )
    return {(each, file): lines for each, file, lines in rows}


def _blank_out(connection: Connection, users: Users) -> None:
    """In one commit, which tells the next build the dates to make again."""
    macros, events = _macros(), f"{connection.target.staging}.base_events"
    kept = ("source_file", "source_file_bytes", "source_file_modified_at", "loaded_at")
    columns = connection.columns(f"select * from {events} limit 0")
    blank = ", ".join(f"{c} = null" for c in columns if c not in (*kept, "reject_reason"))
    # the commits before it go, and other tables name this one
    with carried_origin(connection, events, origins(connection, [events]).get(events)):
        connection.execute(
            f"update {events} set {FORGOTTEN}, {blank} "
            f"where {macros.is_forgotten(list(users.hashes), users.salt)}"
        )


def _scores(connection: Connection, users: Users) -> int:
    scores = f"{connection.target.ml}.churn_scores"
    if scores not in connection.tables(connection.target.ml):
        return 0
    return connection.rows(f"select count(*) from {scores} where {users.condition('user_id')}")[0][
        0
    ]


def _delete_counts(connection: Connection, users: Users) -> str:
    """Of all scores of the snapshot dates that these users were scored at, by model."""
    ml = connection.target.ml
    scored = f"from {ml}.churn_scores where {users.condition('user_id')}"
    for table in {f"{ml}.score_bins", f"{ml}.score_outcomes"} & {*connection.tables(ml)}:
        connection.execute(
            f"delete from {table} where (model_run_id, snapshot_date) in "
            f"(select model_run_id, snapshot_date {scored})"
        )
    first, last = connection.rows(f"select min(snapshot_date), max(snapshot_date) {scored}")[0]
    return (
        f"Counts of scores that these users were in are gone, too. After the build, for "
        f"model_health to have them again without these users: python -m ml score, and "
        f"python -m ml score --first {first} --last {last}"
    )


def _delete(connection: Connection, table: str, users: Users) -> None:
    connection.execute(f"delete from {table} where {users.condition('user_id')}")


# --- earlier versions


def _drop_earlier_versions(connection: Connection, users: Users) -> str:
    """Keep of each table what readers see, and that without traces; at once, whatever its age.

    Raises ProjectError where the tables are not what readers see.
    """
    tables = all_tables(connection)
    versions = versions_of(connection, tables)
    marts = {t: tags for t, tags in versions.items() if t.startswith(f"{connection.target.marts}.")}
    current = current_build(marts, publications(connection))
    _check_all_published(connection, versions, current, users)
    origin = origins(connection, tables)
    dropped = 0
    for table, tags in versions.items():
        if current not in tags and builds_of({table: tags}):
            _empty_of(connection, table, users)
        kept = {"main", current} | ({"published"} if table in marts and current in tags else set())
        for tag in tags.keys() - kept:
            connection.execute(f"alter table {table} drop tag {tag}")
        if table != f"{connection.target.staging}.base_events":
            _drop_bounds(connection, table, tags, origin.get(table))
        dropped += _expire(connection, table)
    return (
        f"Dropped all versions of {len(versions)} tables but {current}, and {dropped} file(s) of "
        "theirs. No earlier build can be had back."
    )


def _check_all_published(
    connection: Connection, versions: Versions, current: str, users: Users
) -> None:
    newer = [t for t, tags in versions.items() if current in tags and tags[current] != tags["main"]]
    if not current or newer or _lines(connection, users):
        raise ProjectError(
            "Another command changed the warehouse meanwhile, so earlier versions were left as "
            f"they are. {AGAIN}"
        )


def _empty_of(connection: Connection, table: str, users: Users) -> None:
    """Of a table that left the project, which no build makes again."""
    if "user_id" in connection.columns(f"select * from {table} limit 0"):
        _delete(connection, table, users)


def _drop_bounds(connection: Connection, table: str, tags: Tags, origin: str | None) -> None:
    """Drop entries of files that are gone: they have the least and the greatest user id of each.

    base_events has none of these. An empty commit drops lists of such entries alone, and says what
    the table was made from, which the rewriting does not.
    """
    if "main" not in tags or not _gone_files(connection, table):
        return
    system, key = f"call {connection.catalog()}.system", "commit.manifest.target-size-bytes"
    ((size,),) = connection.rows(f"select sum(length) from {table}.manifests")
    # one list by itself would be left as it is
    connection.execute(f"alter table {table} set tblproperties ('{key}' = '{size // 2 + 1}')")
    connection.execute(f"{system}.rewrite_manifests(table => '{table}', use_caching => false)")
    connection.execute(f"alter table {table} unset tblproperties ('{key}')")
    say_origin(connection, table, origin)
    if _gone_files(connection, table):
        raise ProjectError(f"{table} still lists files that are gone. {AGAIN}")
    after = versions_of(connection, [table])[table]
    for tag in after.keys() - {"main"}:
        connection.execute(tag_it(table, tag, after["main"]))


def _gone_files(connection: Connection, table: str) -> bool:
    return bool(connection.rows(f"select 1 from {table}.entries where status = 2 limit 1"))


def _expire(connection: Connection, table: str) -> int:
    """Returns how many files were removed."""
    system, now = f"call {connection.catalog()}.system", datetime.now(timezone.utc)
    # a clock of another machine may be ahead
    later = utc(now + timedelta(days=1))
    day_ago = utc(now - timedelta(hours=ORPHAN_HOURS_MIN))
    removed = connection.rows(
        f"{system}.expire_snapshots(table => '{table}', older_than => timestamp '{later}', "
        "retain_last => 1)"
    )[0]
    orphans = connection.rows(
        f"{system}.remove_orphan_files(table => '{table}', older_than => timestamp '{day_ago}')"
    )
    return sum(removed) + len(orphans)


def _left_to_do(connection: Connection) -> list[str]:
    """What is not the warehouse's to change."""
    rows = connection.rows(
        f"select distinct source_file from {connection.target.staging}.base_events "
        f"where {FORGOTTEN} order by source_file"
    )
    return [
        "Raw files that had lines of forgotten users when they were loaded: "
        + ", ".join(row[0] for row in rows),
        "These are yours to clean up: these files; reports, exports and logs that were made "
        "before; backups. Files that a killed command left behind stay for a day, until "
        "`python -m warehouse maintain --keep-hours 24`.",
    ]
