"""The tables of data/sample as they should be, in tests/golden: made by DuckDB.

`columns.csv` has a line per column: how many values, how many distinct ones, their sum, the least,
the greatest, and a checksum of all. The line `*` of a table is about whole rows: its checksum
changes when a value moves to another row. `<table>.csv` has all rows of a small table, and some of
a large one. Columns are in the order of the contract.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.compare_duckdb import NOT_COMPARED_COLUMNS
from tests.warehouse import ROOT

GOLDEN = ROOT / "tests" / "golden"
# of a table with more rows than this, about so many are shown
SMALL, EXAMPLES = 250, 5
FIGURES = "table", "column", "values", "distinct", "sum", "least", "greatest", "checksum"


def write_golden(
    connection: duckdb.DuckDBPyConnection, tables: Iterable[str], folder: Path
) -> None:
    """Write the files of tables or views of the connection."""
    connection.execute("set timezone = 'UTC'")
    figures: list[Sequence[Any]] = []
    for table in sorted(tables):
        types = _types(connection, table)
        # Spark's timestamps have a time zone
        connection.execute(
            "create or replace temp table compared as select "
            + ", ".join(
                f"cast({name} as timestamp) as {name}" if "TIME ZONE" in kind else name
                for name, kind in types.items()
            )
            + f" from {table}"
        )
        figures += _figures(connection, table, types)
        rows = connection.execute("select * from compared order by all").fetchall()
        step = 1 if len(rows) <= SMALL else len(rows) // EXAMPLES
        _write(folder / f"{table}.csv", list(types), rows[::step])
    _write(folder / "columns.csv", FIGURES, figures)


def _types(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    """Types of the columns, without those that no two builds share."""
    described = connection.execute(f"describe {table}").fetchall()
    return {name: kind for name, kind, *_ in described if name not in NOT_COMPARED_COLUMNS}


def _figures(
    connection: duckdb.DuckDBPyConnection, table: str, types: dict[str, str]
) -> Iterator[Sequence[Any]]:
    """The lines of a table in columns.csv. Fractions have no sum: it depends on their order."""
    checksum = "left(md5(string_agg({0}, chr(10) order by {0})), 12)"
    row = f"cast(row({', '.join(types)}) as varchar)"
    aggregates = {"*": f"count(*), count(distinct {row}), null, null, null, {checksum.format(row)}"}
    for name, kind in types.items():
        total = f"sum({name})" if kind in ("BIGINT", "INTEGER") else "null"
        text = f"coalesce(cast({name} as varchar), '')"
        aggregates[name] = (
            f"count({name}), count(distinct {name}), {total}, "
            f"min({name}), max({name}), {checksum.format(text)}"
        )
    for name, columns in aggregates.items():
        (line,) = connection.execute(f"select {columns} from compared").fetchall()
        yield (table, name, *line)


def _write(file: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with file.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
