"""Keep tables small: compact files, drop the tags of old builds, expire what nobody needs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone

from warehouse.connection import Connection
from warehouse.lock import Say
from warehouse.origin import base_snapshot, origins, say_origin
from warehouse.publications import (
    Tags,
    at_work,
    builds_kept,
    builds_of,
    current_build,
    publications,
    tag_it,
    versions_of,
)
from warehouse.session import project_settings

# a process that is at work on a server has written files that are not yet part of a snapshot
ORPHAN_HOURS_MIN = 24
# small files of a partition that are worth the work
FILES_TO_COMPACT = 5


def maintain(
    connection: Connection,
    keep_hours: float,
    most_builds: int | None,
    dry_run: bool,
    say: Say,
    wait: int | None = None,
) -> None:
    """Tidy all tables up; prints a line per table.

    Tags move on to the compacted version, which has the same rows. Dropped are the tags of all but
    the newest `most_builds` builds (default: builds_kept of dbt_project.yml) and of what readers
    see; expired the snapshots older than `keep_hours` that no tag needs; removed the files that no
    snapshot needs and that are older than that and a day. Snapshots of base_events since the oldest
    that a table was made from stay: they say what changed since.
    """
    if most_builds is None:
        most_builds = project_settings()["vars"]["builds_kept"]
    now = datetime.now(timezone.utc)
    older_than = now - timedelta(hours=keep_hours)
    orphans_older_than = now - timedelta(hours=max(keep_hours, ORPHAN_HOURS_MIN))
    target = connection.target
    with at_work(connection, "maintain", dry_run, say, wait):
        tables = all_tables(connection)
        versions = versions_of(connection, tables)
        marts = {t: tags for t, tags in versions.items() if t.startswith(f"{target.marts}.")}
        decisions = publications(connection)
        in_use = {current_build(marts, decisions), *builds_kept(versions, decisions)[:most_builds]}
        dropped = [build for build in builds_of(versions) if build not in in_use]
        if dry_run:
            before = utc(older_than)
            say(f"Would compact {len(tables)} tables and expire snapshots before {before} UTC.")
        else:
            base_events = f"{target.staging}.base_events"
            made_from = origins(connection, tables)
            needed = _oldest_needed(connection, base_events, made_from.values())
            for table, tags in versions.items():
                oldest = needed if table == base_events and needed else older_than
                expired = min(older_than, oldest)
                origin = made_from.get(table)
                say(_tidy(connection, table, tags, origin, dropped, expired, orphans_older_than))
        if dropped:
            can = "could" if dry_run else "can"
            say(f"Builds that rollback {can} no longer reach: {', '.join(dropped)}")


def all_tables(connection: Connection) -> list[str]:
    """Tables of all schemas but the lock: `<schema>.<table>`."""
    target = connection.target
    return [
        table
        for schema in (target.staging, target.marts, target.ml, target.audit)
        for table in connection.tables(schema)
        if not table.startswith((f"{target.audit}.running", f"{target.audit}.ended_"))
    ]


def utc(at: datetime) -> str:
    """A time as Spark's SQL has it in a literal."""
    return at.strftime("%Y-%m-%d %H:%M:%S.%f")


def _tidy(
    connection: Connection,
    table: str,
    tags: Tags,
    origin: str | None,
    dropped: Sequence[str],
    older_than: datetime,
    orphans_older_than: datetime,
) -> str:
    system = f"call {connection.catalog()}.system"
    for build in dropped:
        if build in tags:
            connection.execute(f"alter table {table} drop tag {build}")
    compacted = connection.rows(
        f"{system}.rewrite_data_files(table => '{table}', "
        f"options => map('min-input-files', '{FILES_TO_COMPACT}'))"
    )[0]
    after = versions_of(connection, [table])[table].get("main")
    if origin and after != tags["main"]:
        say_origin(connection, table, origin)
        after = versions_of(connection, [table])[table]["main"]
    for tag, snapshot in tags.items():
        moves = snapshot == tags["main"] and after != snapshot and tag not in (*dropped, "main")
        if moves and after:
            connection.execute(tag_it(table, tag, after))
    expired = connection.rows(
        f"{system}.expire_snapshots(table => '{table}', "
        f"older_than => timestamp '{utc(older_than)}')"
    )[0]
    orphans = connection.rows(
        f"{system}.remove_orphan_files(table => '{table}', "
        f"older_than => timestamp '{utc(orphans_older_than)}')"
    )
    return (
        f"{table}: {compacted[0]} files compacted into {compacted[1]}, {expired[0]} expired data "
        f"files and {len(orphans)} orphan files removed"
    )


def _oldest_needed(
    connection: Connection, base_events: str, made_from: Iterable[str]
) -> datetime | None:
    """When the oldest snapshot of base_events was committed that a table was made from."""
    named = {base_snapshot(origin) for origin in made_from} - {None}
    if not named:
        return None
    ((seconds,),) = connection.rows(
        f"select unix_micros(min(committed_at)) from {base_events}.snapshots "
        f"where snapshot_id in ({', '.join(map(str, named))})"
    )
    return seconds and datetime.fromtimestamp(seconds / 1e6, timezone.utc)
