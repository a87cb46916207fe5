"""The tables of data/sample as they should be, in tests/golden. Spark and DuckDB must make them.

    python -m tests.golden_tables        # after a rule changed on purpose; then review the diff

`columns.csv` has a line per column: how many values, how many distinct ones, their sum, the least,
the greatest, and a checksum of all. The line `*` of a table is about whole rows: its checksum
changes when a value moves to another row. `<table>.csv` has all rows of a small table, and some of
a large one.

The first files came from SQL for DuckDB that a person had written for each table, often in another
way than the model. That SQL is gone. The command takes the models' own SQL, translated
(benchmarks/duckdb_sql.py). So it shows what a change did to the tables, and the reviewer of the
diff decides whether that is right.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb

from benchmarks.compare_duckdb import NOT_COMPARED_COLUMNS
from benchmarks.duckdb_sql import compiled_project, tables_of, tables_sql
from benchmarks.make_duckdb_tables import make_tables
from tests.warehouse import ROOT, SAMPLE
from warehouse.commands import program

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
        # DuckDB's sum of whole numbers is a hugeint
        total = f"sum({name})" if kind in ("HUGEINT", "BIGINT", "INTEGER") else "null"
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


def make_golden(folder: Path, project: Path = ROOT) -> None:
    """Write the files of the sample's tables as DuckDB makes them, by the SQL of the models."""
    manifest = compiled_project(project)
    with TemporaryDirectory() as work_folder:
        database = Path(work_folder) / "sample.duckdb"
        database.with_suffix(".sql").write_text(tables_sql(manifest), encoding="utf-8")
        make_tables(database, SAMPLE, threads=2, memory="1GB")
        with duckdb.connect(str(database)) as connection:
            write_golden(connection, [node["name"] for node in tables_of(manifest)], folder)


@program("python -m tests.golden_tables", __doc__, "Example:\n  python -m tests.golden_tables")
def main() -> None:
    """Write the golden tables again."""
    for file in GOLDEN.glob("*.csv"):
        file.unlink()
    make_golden(GOLDEN)
    print(f"Written: {GOLDEN.relative_to(ROOT)}. Review its diff.")


if __name__ == "__main__":
    raise SystemExit(main())
