"""Two versions of the marts side by side: what a build changes for readers, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml
from rich import box
from rich.table import Table

from warehouse.connection import Connection
from warehouse.console import Console
from warehouse.errors import ProjectError
from warehouse.publications import (
    NOTHING_PUBLISHED,
    builds_kept,
    current_build,
    named_build,
    publications,
    versions_of,
)
from warehouse.session import PROJECT_DIR

NEWEST = "newest"
EXAMPLES = 3  # of each kind, per mart
COLUMNS = 10  # that changed most, per mart


@dataclass(frozen=True)
class Difference:
    """What differs in one mart; `changed` counts rows of the same key, of one with a key.

    `columns` are those that both versions have, with the rows in which they changed; `lone_columns`
    those that one of them has. `examples` are sentences.
    """

    mart: str
    old_rows: int
    new_rows: int
    added: int
    removed: int
    changed: int = 0
    columns: dict[str, int] = field(default_factory=dict)
    lone_columns: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()

    @property
    def is_none(self) -> bool:
        """Whether readers would see no difference."""
        return not (self.added or self.removed or self.changed or self.lone_columns)


def compare(
    connection: Connection,
    old: str | None,
    new: str | None,
    marts: Sequence[str],
    console: Console,
) -> list[Difference]:
    """Print what differs between two builds; changes nothing.

    `old` and `new` are names of builds, or ids of their invocations; by default what readers see,
    and the tables as they are now. Only marts whose version differs are read.

    Raises ProjectError for a build that is not kept, and a mart that is not there.
    """
    schema = connection.target.marts
    versions = versions_of(connection, connection.tables(schema))
    if unknown := [mart for mart in marts if f"{schema}.{mart}" not in versions]:
        raise ProjectError(
            f"No table {', '.join(unknown)} in {schema}. There are: "
            + ", ".join(table.rpartition(".")[2] for table in versions)
        )
    decisions = publications(connection)
    kept = builds_kept(versions, decisions)
    before = named_build(old, kept) if old else current_build(versions, decisions)
    if not before:
        raise ProjectError(NOTHING_PUBLISHED)
    after = named_build(new, kept) if new else NEWEST
    keys = keys_of_models()
    found, same = [], []
    for table, tags in versions.items():
        mart = table.rpartition(".")[2]
        if marts and mart not in marts:
            continue
        had, has = tags.get(before), tags.get("main" if after == NEWEST else after)
        if had is None or has is None:
            console.print(f"{mart} is only in {after if had is None else before}.")
        elif had == has:
            same.append(mart)
        else:
            found.append(difference(connection, table, had, has, keys.get(mart, ())))
    same += [each.mart for each in found if each.is_none]
    found = [each for each in found if not each.is_none]
    console.print(f"{before} -> {after}", soft_wrap=True)
    if found:
        console.print(_table(found))
        for each in found:
            if columns := _columns(each):
                console.print(f"{each.mart}: {columns}", soft_wrap=True)
            for example in each.examples:
                console.print(f"{each.mart}: {example}", soft_wrap=True)
    console.print(f"The same in both: {', '.join(sorted(same)) or 'none'}.", soft_wrap=True)
    return found


def keys_of_models() -> dict[str, tuple[str, ...]]:
    """Columns of the grain by model, as the tests of the project have them."""
    keys: dict[str, tuple[str, ...]] = {}
    for file in sorted((PROJECT_DIR / "models" / "marts").rglob("*.yml")):
        for model in yaml.safe_load(file.read_text(encoding="utf-8")).get("models") or []:
            for test in model.get("data_tests") or []:
                if isinstance(test, dict) and "grain" in test:
                    keys[model["name"]] = tuple(test["grain"]["arguments"]["columns"])
    return keys


def difference(
    connection: Connection, table: str, old: int, new: int, key: Sequence[str]
) -> Difference:
    """Of two snapshots of a table, in one pass over both and one for the examples.

    Without a key, and where one of the two has not its columns or has it twice, rows are compared
    as a whole.
    """
    versions = [f"{table} version as of {snapshot}" for snapshot in (old, new)]
    had, has = (connection.columns(f"select * from {version} limit 0") for version in versions)
    both = [name for name in had if had[name] == has.get(name)]
    lone = tuple(f"{n} gone" for n in had if n not in both) + tuple(
        f"{n} new" for n in has if n not in both
    )
    has_key = key and set(key) <= set(both)
    for version in versions if has_key else []:
        query = f"select 1 from {version} group by {', '.join(key)} having count(*) > 1 limit 1"
        has_key = has_key and not connection.rows(query)
    names = list(key) if has_key else both
    values = [name for name in both if name not in names]
    rows = _rows(versions, names, values, is_counted=not has_key)
    # each row once for itself, as column '', and once for each of its columns that changed
    counts = {
        column: numbers
        for column, *numbers in connection.rows(
            "select name, sum(old_copies), sum(new_copies), sum(added), sum(removed), count(*), "
            f"count_if(size(changed) > 0) from ({rows}) "
            "lateral view explode(concat(array(''), changed)) as name group by name"
        )
    }
    old_rows, new_rows, added, removed, _, changed = map(int, counts.pop("", [0] * 6))
    columns = {name: int(numbers[4]) for name, numbers in counts.items()}
    columns = dict(sorted(columns.items(), key=lambda each: (-each[1], values.index(each[0]))))
    is_same = not (added or removed or changed)
    examples = [] if is_same else _examples(connection, rows, names, list(columns))
    return Difference(
        table.rpartition(".")[2],
        *(old_rows, new_rows, added, removed, changed),
        columns,
        lone,
        tuple(examples),
    )


def _rows(versions: Sequence[str], key: list[str], values: list[str], is_counted: bool) -> str:
    """One row per key: `added` and `removed` rows, and names of the columns that `changed`.

    Columns of the table are there as `key <name>`, `old <name>` and `new <name>`, so that none has
    another's name. Each comparison stands once in the query, and no column in a struct: of tables
    with 40 columns Spark would make no plan.
    """
    keys = ", ".join(f"{name} as `key {name}`" for name in key)
    sides = []
    for age, version in zip(("old", "new"), versions, strict=True):
        others = "".join(f", {name} as `{age} {name}`" for name in values)
        sides.append(
            f"(select {keys}, count(*) as copies from {version} group by {', '.join(key)})"
            if is_counted
            else f"(select {keys}, 1L as copies{others} from {version})"
        )
    same_key = " and ".join(f"o.`key {name}` <=> n.`key {name}`" for name in key)
    of_key = "".join(
        f", if(n.copies is null, o.`key {name}`, n.`key {name}`) as `key {name}`" for name in key
    )
    both = "".join(f", `{age} {name}`" for name in values for age in ("old", "new"))
    changes = ", ".join(f"if(`old {c}` <=> `new {c}`, null, '{c}')" for c in values)
    none = "cast(array() as array<string>)"
    changed = f"if(o.copies = n.copies, array_compact(array({changes})), {none})"
    return (
        "select coalesce(o.copies, 0) as old_copies, coalesce(n.copies, 0) as new_copies, "
        "greatest(coalesce(n.copies, 0) - coalesce(o.copies, 0), 0) as added, "
        "greatest(coalesce(o.copies, 0) - coalesce(n.copies, 0), 0) as removed, "
        f"{changed if values else none} as changed{of_key}{both} "
        f"from {sides[0]} as o full outer join {sides[1]} as n on {same_key}"
    )


def _examples(connection: Connection, rows: str, key: list[str], columns: list[str]) -> list[str]:
    kind = (
        "case when added > 0 then 'added' when removed > 0 then 'removed' "
        "when size(changed) > 0 then 'changed' end"
    )

    def as_text(value: str) -> str:
        return f"coalesce(string(`{value}`), 'null')"

    values = "".join(f", {as_text(f'{age} {c}')}" for c in columns for age in ("old", "new"))
    texts, order = (as_text(f"key {name}") for name in key), (f"`key {name}`" for name in key)
    found = connection.rows(
        f"select kind, array({', '.join(texts)}){values} from ("
        f"select *, row_number() over (partition by kind order by {', '.join(order)}) as number "
        f"from (select {kind} as kind, * from ({rows})) where kind is not null) "
        f"where number <= {EXAMPLES} order by kind, number"
    )
    return [_example(row, key, columns) for row in found]


def _example(row: Sequence[Any], key: list[str], columns: list[str]) -> str:
    kind, of_key, *values = row
    where = ", ".join(f"{name}={value}" for name, value in zip(key, of_key, strict=True))
    pairs = zip(columns, values[::2], values[1::2], strict=True)
    changes = [f"{name} {was} -> {now}" for name, was, now in pairs if was != now]
    more = f", and {len(changes) - 3} more" if len(changes) > 3 else ""
    return f"{kind} {where}" + (f": {', '.join(changes[:3])}{more}" if kind == "changed" else "")


def _columns(found: Difference) -> str:
    columns = [*found.lone_columns, *(f"{name} {n:,}" for name, n in found.columns.items())]
    more = f", {len(columns) - COLUMNS} more" if len(columns) > COLUMNS else ""
    return f"columns that differ: {', '.join(columns[:COLUMNS])}{more}" if columns else ""


def _table(found: Sequence[Difference]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("mart", overflow="fold")
    for name in ("rows before", "rows after", "added", "removed", "changed"):
        table.add_column(name, justify="right")
    for each in found:
        counts = (each.old_rows, each.new_rows, each.added, each.removed, each.changed)
        table.add_row(each.mart, *(f"{count:,}" for count in counts))
    return table
