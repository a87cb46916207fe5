"""What readers see: which build was decided on, and the tags and views that show it.

A published build has a tag of its name on every table. The last row of the table
`<schema>_audit.publications` is the decision; the tags `published` and the views of marts follow.
A view of tables that are no marts, such as `fct_events`, names the build. What was cut on that way
is finished by whoever starts next.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from warehouse.connection import Connection, SqlError, text
from warehouse.errors import ProjectError
from warehouse.lock import Say, lock
from warehouse.session import PROJECT_DIR

Tags = Mapping[str, int]  # snapshot by the name of a tag, or `main`
Versions = Mapping[str, Tags]  # by table

NOTHING_PUBLISHED = "Nothing is published yet. Publish with: dbt build"
# in the query of a view: a table as a build left it
OF_BUILD = r"(\S+) version as of '\w+'"
NO_LIST = (
    "An earlier version of the project built this warehouse, without a list of publications. The "
    "next `dbt build` makes it."
)


@dataclass(frozen=True)
class Publication:
    """A decision of what readers see; `at` is UTC."""

    number: int
    build: str
    command: str
    at: str


@contextmanager
def at_work(
    connection: Connection, command: str, dry_run: bool, say: Say, wait: int | None = None
) -> Iterator[None]:
    """Hold the lock, on a warehouse in which no publication is half done; nothing for a dry run."""
    if dry_run:
        yield
        return
    with lock(connection, command, say, wait):
        finish_publishing(connection, say)
        yield


# --- what is there


def publications(connection: Connection) -> list[Publication] | None:
    """All decisions, the last first; None where an earlier version of the project kept no list."""
    table = _list(connection)
    if table not in connection.tables(connection.target.audit):
        return None
    return [
        Publication(*row)
        for row in connection.rows(
            "select number, build_name, command, date_format(published_at, 'yyyy-MM-dd HH:mm:ss') "
            f"from {table} order by number desc"
        )
    ]


def versions_of(connection: Connection, tables: Iterable[str]) -> Versions:
    """Tags of each table; one query for all."""
    versions: dict[str, dict[str, int]] = {table: {} for table in tables}
    selects = [f"select '{table}', name, snapshot_id from {table}.refs" for table in versions]
    # by one task: else a task for each table, which takes half as long again
    query = f"select /*+ coalesce(1) */ * from ({' union all '.join(selects)})"
    for table, tag, snapshot in connection.rows(query) if selects else []:
        versions[table][tag] = snapshot
    return versions


def builds_of(versions: Versions) -> list[str]:
    """Builds that have a tag, the newest first."""
    builds = {tag for tags in versions.values() for tag in tags if _is_build(tag)}
    return sorted(builds, reverse=True)


def builds_kept(versions: Versions, decisions: list[Publication] | None) -> list[str]:
    """Builds that can be had back, the newest first.

    Not those that were cut before the decision: their tags may not be on every table.
    """
    decided = {each.build for each in decisions or []}
    return [
        build
        for build in builds_of(versions)
        if not decisions or build in decided or build < decisions[-1].build
    ]


def current_build(versions: Versions, decisions: list[Publication] | None) -> str:
    """The build that readers see, or are to see; '' where nothing is published.

    Without a list, the newest build whose tags are on what is published of every mart.
    """
    if decisions:
        return decisions[0].build
    shown = [tags for tags in versions.values() if "published" in tags]
    for build in builds_of(versions):
        if shown and all(tags.get(build) == tags["published"] for tags in shown):
            return build
    return ""


def build_shown(tags: Tags, current: str) -> str:
    """The build that a mart is shown of: the current one, else the newest with the same version."""
    names = [t for t, snapshot in tags.items() if _is_build(t) and snapshot == tags["published"]]
    return current if current in names else max(names, default="a build that is no longer kept")


# --- show it


def finish_publishing(connection: Connection, say: Say) -> bool:
    """Let tags and views follow the last decision where a kill kept them from it.

    Forward to a build, or back to one; says so. Returns whether there was anything to do.
    """
    decisions = publications(connection)
    if not decisions:
        return False
    build, command = decisions[0].build, decisions[0].command
    if not show_readers(connection, build, say):
        return False
    say(f"Finished the {command} of {build}, which was interrupted: readers see it now.")
    return True


def show_readers(connection: Connection, build: str, say: Say) -> int:
    """Readers see every mart as a build published it; returns how many marts that changed.

    A mart that only later builds have is no longer shown; one that left the project before stays.
    """
    target = connection.target
    versions = versions_of(
        connection, connection.tables(target.staging) + connection.tables(target.marts)
    )
    marts = _marts(connection, versions)
    if build not in builds_of(marts):
        return 0  # a decision whose tags are gone: nothing better to show
    changed = 0
    connection.execute(f"create schema if not exists {target.published}")
    for mart, tags in marts.items():
        if build in tags:
            changed += _show(connection, mart, build, tags)
        elif "published" in tags and any(_is_build(tag) and tag > build for tag in tags):
            _hide(connection, _name(mart), build, say)
            connection.execute(f"alter table {mart} drop tag published")
            changed += 1
    names = {_name(mart) for mart in marts}
    for _, view, is_temporary, *_ in connection.rows(f"show views in {target.published}"):
        if view not in names and not is_temporary:
            changed += _show_view(connection, view, build, versions, say)
    return changed


def _hide(connection: Connection, view: str, build: str, say: Say) -> None:
    say(f"{view} was not published by {build}: readers no longer see it.")
    connection.execute(f"drop view if exists {connection.target.published}.{view}")


def _show(connection: Connection, mart: str, build: str, tags: Tags) -> bool:
    view = f"{connection.target.published}.{_name(mart)}"
    columns = connection.columns(f"select * from {mart} version as of '{build}' limit 0")
    try:
        shown = connection.columns(f"select * from {view} limit 0")
    except SqlError:
        shown = {}  # there is none, or its columns are not those of the version that it shows
    is_right_view = list(shown.items()) == list(columns.items())
    is_right_version = tags.get("published") == tags[build]
    if not is_right_version:
        connection.execute(tag_it(mart, "published", tags[build]))
    if not is_right_view:
        _replace_view(connection, view, columns, f"select * from {mart} version as of 'published'")
    return not (is_right_version and is_right_view)


def _show_view(connection: Connection, name: str, build: str, versions: Versions, say: Say) -> bool:
    """Of a view of tables that are no marts; others show what is published as it is."""
    view = f"{connection.target.published}.{name}"
    ((created,),) = connection.rows(f"show create table {view}")
    query = re.split(r"\nAS\s", created, maxsplit=1)[1]
    if any(build not in versions.get(table, {}) for table in re.findall(OF_BUILD, query)):
        _hide(connection, name, build, say)
        return True
    of_build = re.sub(OF_BUILD, rf"\1 version as of '{build}'", query)
    if of_build == query:
        return False
    columns = [column for column, *_ in connection.rows(f"describe {view}")]
    ((_, code),) = connection.rows(f"show tblproperties {view} ('churn.code')")
    _replace_view(connection, view, columns, of_build, code)
    return True


def _replace_view(
    connection: Connection, view: str, columns: Iterable[str], query: str, code: str | None = None
) -> None:
    descriptions = _descriptions_of_view(connection, view) | _descriptions_of_model(view)
    listed = ", ".join(f"`{name}`{_comment(descriptions.get(name), 255)}" for name in columns)
    properties = f" tblproperties ('churn.code' = '{code}')" if code else ""
    connection.execute(
        f"create or replace view {view} ({listed}){_comment(descriptions.get(''), 4000)}"
        f"{properties} as {query}"
    )


def _descriptions_of_view(connection: Connection, view: str) -> dict[str, str]:
    """Comments by column, and of the view by ''; of one that is broken, too."""
    try:
        rows = connection.rows(f"describe extended {view}")
    except SqlError:
        return {}
    names = [row[0] for row in rows]
    end = next((n for n, name in enumerate(names) if not name or name.startswith("#")), len(names))
    found = {name: comment for name, _, comment in rows[:end] if comment}
    of_view = [value for name, value, _ in rows[end:] if name == "Comment"]
    return found | ({"": of_view[0]} if of_view else {})


def _descriptions_of_model(mart: str) -> dict[str, str]:
    """The same as the manifest of the last dbt command has it, where there is one."""
    folder = Path(os.environ.get("DBT_TARGET_PATH") or "target")
    try:
        manifest = json.loads((PROJECT_DIR / folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    for node in manifest["nodes"].values():
        if node["resource_type"] == "model" and node["alias"] == _name(mart):
            columns = node["columns"].values()
            # an example query is for dbt's docs
            return {"": node["description"].split("```")[0]} | {
                column["name"]: column["description"] for column in columns
            }
    return {}


def _comment(description: str | None, most: int) -> str:
    """Of a view, or of a column, for which Glue takes 255 characters; it takes no line breaks."""
    line = " ".join((description or "").split())
    line = line if len(line) <= most else line[: most - 3] + "..."
    return f" comment {text(line)}" if line else ""


# --- go back


def rollback(
    connection: Connection,
    build: str | None,
    with_tables: bool,
    dry_run: bool,
    say: Say,
    wait: int | None = None,
) -> None:
    """Readers see what a build published; without a name, the one that they saw before.

    `build` is a name, or the id of its invocation. With `with_tables` all tables are set back, too,
    but for those that ml/ writes: the next build loads again what came after.

    Raises ProjectError where the build cannot be had back.
    """
    with at_work(connection, "rollback", dry_run, say, wait):
        target = connection.target
        tables = connection.tables(target.staging) + connection.tables(target.marts)
        versions = versions_of(connection, tables)
        decisions = publications(connection)
        current = current_build(_marts(connection, versions), decisions)
        kept = builds_kept(versions, decisions)
        chosen = (
            _build_before(current, kept, decisions) if build is None else named_build(build, kept)
        )
        back = _tables_to_take_back(versions, chosen) if with_tables else {}
        if dry_run:
            say(f"Readers would see {chosen} in place of {current or 'nothing'}.")
            for table in back:
                say(f"{table} would go back to version {back[table]}.")
            return
        _decide(connection, chosen, decisions, say)
        show_readers(connection, chosen, say)
        if with_tables:
            _take_back(connection, back)
        and_tables = ", and all tables are as it left them" if with_tables else ""
        say(f"Readers now see {chosen}{and_tables}.")


def _build_before(current: str, kept: list[str], decisions: list[Publication] | None) -> str:
    """The kept build that readers saw before the current one, and did not go back from.

    Raises ProjectError where there is none.
    """
    if not kept:
        raise ProjectError(NOTHING_PUBLISHED)
    seen: list[str] = []
    for decision in reversed(decisions or []):
        if decision.command == "rollback":
            seen = [build for build in seen if build < decision.build]
        seen.append(decision.build)
    before = [build for build in reversed(seen[:-1]) if build in kept]
    oldest = seen[0] if seen else current
    before += [build for build in kept if build < oldest]  # from when there was no list
    if not before:
        raise ProjectError(
            f"No build before {current or kept[0]} is kept. See: python -m warehouse status"
        )
    return before[0]


def named_build(asked: str, builds: list[str]) -> str:
    """The build of this name, or of the invocation with this id.

    Raises ProjectError where it is none of `builds`, which can be had back.
    """
    if not builds:
        raise ProjectError(NOTHING_PUBLISHED)
    for build in builds:
        if asked == build or (len(asked) == 36 and build.endswith(f"_{asked[:8]}")):
            return build
    raise ProjectError(f"No build {asked}. Kept are: {', '.join(builds)}")


def _tables_to_take_back(versions: Versions, build: str) -> dict[str, int]:
    """Version of each table that is at another, base_events last.

    What is counted or listed twice is mended by a build, a line is not. Tables that no published
    build has, such as seeds, are left as they are.
    """
    back = {}
    for table in sorted(versions, key=lambda table: _name(table) == "base_events"):
        tags = versions[table]
        if build not in tags and builds_of({table: tags}):
            raise ProjectError(
                f"{_name(table)} has no version of {build}, so nothing was changed. Check out "
                "the code of that build first, or leave out --tables."
            )
        if build in tags and tags[build] != tags["main"]:
            back[table] = tags[build]
    return back


def _decide(
    connection: Connection, build: str, decisions: list[Publication] | None, say: Say
) -> None:
    """Write down that readers are to see a build: from here on a kill is finished, not undone."""
    if decisions is None:
        say(NO_LIST)
    elif not decisions or decisions[0].build != build:
        table = _list(connection)
        connection.execute(
            f"insert into {table} (number, build_name, command, published_at, tests_checksum) "
            f"select coalesce(max(number), 0) + 1, '{build}', 'rollback', current_timestamp(), "
            f"max_by(tests_checksum, number) filter (where build_name = '{build}') from {table}"
        )


def _take_back(connection: Connection, back: Mapping[str, int]) -> None:
    catalog = connection.catalog()
    for table, snapshot in back.items():
        connection.execute(
            f"call {catalog}.system.set_current_snapshot(table => '{table}', "
            f"snapshot_id => {snapshot})"
        )


# --- names


def tag_it(table: str, tag: str, snapshot: int) -> str:
    """The statement that puts a tag on a version of a table."""
    return f"alter table {table} create or replace tag {tag} as of version {snapshot}"


def _marts(connection: Connection, versions: Versions) -> Versions:
    marts = f"{connection.target.marts}."
    return {table: tags for table, tags in versions.items() if table.startswith(marts)}


def _list(connection: Connection) -> str:
    return f"{connection.target.audit}.publications"


def _name(table: str) -> str:
    return table.rpartition(".")[2]


def _is_build(tag: str) -> bool:
    return tag.startswith("build_")
