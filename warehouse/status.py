"""What readers see, which builds are kept, and who is at work: for an operator to read."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from warehouse.connection import Connection, SqlError
from warehouse.console import Console
from warehouse.lock import holder, is_at_work
from warehouse.publications import (
    NO_LIST,
    Publication,
    Versions,
    build_shown,
    builds_kept,
    current_build,
    publications,
    versions_of,
)


def status(connection: Connection, console: Console) -> None:
    """Print it; changes nothing."""
    target = connection.target
    versions = versions_of(connection, connection.tables(target.marts))
    decisions = publications(connection)
    current = current_build(versions, decisions)
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold")
    facts.add_column(overflow="fold")
    facts.add_row("readers see", _decision(current, decisions))
    facts.add_row("at work", _at_work(connection))
    console.print(facts)
    if decisions is None:
        console.print(NO_LIST, style="yellow", soft_wrap=True)
    builds = builds_kept(versions, decisions)
    if not builds:
        return
    console.print(_marts(versions, current, target.published))
    console.print(_builds(builds, current, decisions or []))
    unfinished = [mart for mart, tags in versions.items() if _is_behind(tags, current)]
    if decisions and unfinished:
        console.print(
            f"{len(unfinished)} marts do not show {current} yet: the publication was interrupted, "
            "or is still running. The next `dbt build`, or command that changes the warehouse, "
            "finishes it.",
            style="yellow",
            soft_wrap=True,
        )


def _at_work(connection: Connection) -> str:
    found = holder(connection)
    if found is None:
        return "no command"
    # a server that is read-only does not tell of processes
    with suppress(SqlError):
        if not is_at_work(connection, found):
            return f"no command; the next one takes over the lock of {found}"
    return str(found)


def _decision(current: str, decisions: list[Publication] | None) -> str:
    if not current:
        return "nothing yet. Publish with: dbt build"
    if not decisions:
        return current
    return f"{current}, since {decisions[0].at} UTC by {decisions[0].command}"


def _marts(versions: Versions, current: str, schema: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=f"Marts in {schema}", title_justify="left")
    table.add_column("mart", no_wrap=True)
    table.add_column("build", no_wrap=True)
    table.add_column("newest version")
    for mart, tags in versions.items():
        is_newest = tags.get("published") == tags.get("main")
        table.add_row(
            mart.rpartition(".")[2],
            build_shown(tags, current) if "published" in tags else "not published",
            "published" if is_newest else Text("built, not published", style="yellow"),
        )
    return table


def _builds(builds: list[str], current: str, decisions: list[Publication]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="Builds kept, newest first", title_justify="left")
    for name in ("build", "last published (UTC)", "by"):
        table.add_column(name, no_wrap=True)
    # the last decision for a build is the first in the list
    last = {decision.build: decision for decision in reversed(decisions)}
    for build in builds:
        found = last.get(build)
        table.add_row(
            build,
            found.at if found else "",
            found.command if found else "",
            style="bold" if build == current else None,
        )
    return table


def _is_behind(tags: Mapping[str, Any], current: str) -> bool:
    return current in tags and tags[current] != tags.get("published")
