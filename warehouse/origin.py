"""What a table was made from, as the commit that wrote its rows says it.

The value is `<checksum of the code> <snapshot of base_events> <first date of the log> <last date>
<last complete date>`, `-` where there is none. That of base_events ends in the landing folder. dbt
writes it (macros/origins.sql).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import unquote

from warehouse.connection import Connection

LOADED = (".base_events", ".base_files")


def origin_key(table: str) -> str:
    """Key in the summary of a table's snapshots; `table` may have its schema."""
    return f"churn.made_from.{table.rpartition('.')[2]}"


def origins(connection: Connection, tables: Iterable[str]) -> dict[str, str]:
    """The origin of each table that has one."""
    selects = [
        f"select '{table}' as name, snapshot_id, parent_id, operation, "
        f"try_element_at(summary, '{origin_key(table)}') as origin, "
        f"(select max(snapshot_id) from {table}.refs where name = 'main') as main "
        f"from {table}.snapshots"
        for table in tables
    ]
    if not selects:
        return {}
    history: dict[str, dict[int, tuple[int | None, str, str | None]]] = {}
    main: dict[str, int | None] = {}
    for name, snapshot, parent, operation, origin, current in connection.rows(
        " union all ".join(selects)
    ):
        history.setdefault(name, {})[snapshot] = (parent, operation, origin)
        main[name] = current
    found = (
        (table, _origin(main[table], history[table], table.endswith(LOADED))) for table in history
    )
    return {table: origin for table, origin in found if origin}


def _origin(
    snapshot: int | None,
    history: Mapping[int, tuple[int | None, str, str | None]],
    is_loaded: bool = False,
) -> str | None:
    """Of the newest ancestor that is no compaction; None where that one does not say.

    Of a table that is loaded from files the newest one that says counts: lines may be taken back.
    """
    while snapshot is not None and snapshot in history:
        parent, operation, origin = history[snapshot]
        if origin or not (is_loaded or operation == "replace"):
            return origin
        snapshot = parent
    return None


def landing_folder(connection: Connection) -> str | None:
    """The folder that the lines of the warehouse were loaded from; None where it does not say."""
    table = f"{connection.target.staging}.base_events"
    is_there = table in connection.tables(connection.target.staging)
    words = origins(connection, [table] if is_there else []).get(table, "").split()
    return unquote(words[5]) if len(words) > 5 else None


def base_snapshot(origin: str) -> int | None:
    """The snapshot of base_events that an origin names; None where it names none."""
    words = origin.split()
    if len(words) < 2 or not words[1].isdecimal():
        return None
    return int(words[1]) or None


@contextmanager
def carried_origin(connection: Connection, table: str, origin: str | None) -> Iterator[None]:
    """What the block commits to a table says what the table is made from."""
    if origin is None:
        yield
        return
    key = f"`spark.sql.iceberg.snapshot-property.{origin_key(table)}`"
    connection.execute(f"set {key} = {origin}")
    try:
        yield
    finally:
        connection.execute(f"reset {key}")


def say_origin(connection: Connection, table: str, origin: str | None) -> None:
    """Commit what a table is made from, and no row.

    A compaction says nothing of it, and the commit that did goes when snapshots are expired.
    """
    with carried_origin(connection, table, origin):
        connection.execute(f"insert into {table} select * from {table} where false")
