"""The tables of the dbt project on Spark against the same tables made by DuckDB.

Builds both from the same files in one sitting, compares every table row for row, and prints the
time and the memory of both. Exit status 1 when a table differs, 2 when a part did not run; never
because of a time.

DuckDB runs the models' own SQL, translated (benchmarks/duckdb_sql.py). Only the raw files are read
by SQL of its own. Equal rows show that the engines agree, not that the rules are right.

Left out of the comparison are columns that no two runs share: hashes (each engine has its own),
when a line was loaded and counted, times of files, and the text of quarantined lines. Views are no
tables, `churn_risk` among them.

Examples:
  python -m benchmarks.compare_duckdb --raw data/raw
  CHURN_TARGET=local python -m benchmarks.compare_duckdb --raw data/raw
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
from rich.table import Table
from rich.text import Text

from benchmarks.dbt_runs import (
    Bench,
    DbtRun,
    Raw,
    Usage,
    benchmark,
    default_target,
    figures_table,
    warn_if_busy,
)
from benchmarks.duckdb_sql import tables_of, tables_sql
from benchmarks.make_duckdb_tables import MEMORY, THREADS, log_files
from warehouse.commands import program
from warehouse.console import Console
from warehouse.published import catalog, files_of, rows_of

NOT_COMPARED_COLUMNS = {
    *("content_hash", "song_hash", "raw_line"),
    *("loaded_at", "file_modified_at", "source_file_modified_at"),
}
EXAMPLES = 3


@dataclass(frozen=True)
class Comparison:
    """Rows of one table on both sides. `differing_rows` counts rows that only one side has."""

    name: str
    spark_rows: int
    duckdb_rows: int
    differing_rows: int
    remark: str = ""

    @property
    def is_equal(self) -> bool:
        """Both sides hold the same rows, each as often."""
        return self.differing_rows == 0 and not self.remark


@dataclass(frozen=True)
class Sides:
    """Both engines: the models on Spark, those with data tests, and DuckDB's seconds by table."""

    models: DbtRun
    build: DbtRun
    duckdb: Usage
    duckdb_seconds: dict[str, float]


@program("python -m benchmarks.compare_duckdb", __doc__)
def main(raw: Raw) -> int:
    """Command line of the benchmark; returns the exit status."""
    console = Console()
    with benchmark(status_of_errors=2) as bench:
        read_once(raw, bench)
        sides, database = build_both(raw, bench)
        bench.say("Spark: list of data files")
        comparisons = compare_tables(database, spark_queries(bench.at("build")), bench)
    show_rows(comparisons, console)
    show_times(sides, console)
    if sides.build.failed:
        console.print(f"Data tests failed: {', '.join(sides.build.failed)}", style="red")
    if not all(each.is_equal for each in comparisons):
        console.print("Tables differ.", style="red")
        return 1
    console.print("Every table is equal, row for row.")
    return 0


def read_once(raw: Path, bench: Bench) -> None:
    """Read all logs, so that none of those to be compared is the one to wait for the disk."""
    bench.say("reading the files once")
    for file in log_files(raw):
        with file.open("rb") as lines:
            while lines.read(1 << 24):
                pass


def build_both(raw: Path, bench: Bench) -> tuple[Sides, Path]:
    """Make the tables with Spark and with DuckDB, and return DuckDB's database.

    Each of Spark's builds has a warehouse of its own: dbt would leave out what is there already.
    DuckDB has a process of its own.
    """
    only_models = ("--resource-type", "model", "--resource-type", "seed")
    models = bench.at("models").dbt("Spark: models", raw, "build", *only_models)
    build = bench.at("build").dbt("Spark: models and data tests", raw, may_fail=True)
    bench.say("DuckDB")
    database = bench.folder / "churn.duckdb"
    sql = tables_sql(manifest_of(bench.at("build")))
    database.with_suffix(".sql").write_text(sql, encoding="utf-8")
    usage = bench.python("-m", "benchmarks.make_duckdb_tables", str(database), str(raw))
    return Sides(models, build, usage, json.loads(usage.output.splitlines()[-1])), database


def manifest_of(bench: Bench) -> dict[str, Any]:
    """dbt's manifest of its last command."""
    text = (bench.folder / "target" / "manifest.json").read_text(encoding="utf-8")
    manifest: dict[str, Any] = json.loads(text)
    return manifest


def spark_queries(bench: Bench) -> dict[str, str]:
    """DuckDB's query for the rows of each table that dbt made, by Iceberg's metadata.

    Raises ReaderError when a table has delete files, which reading its data files would miss.
    """
    lake = catalog(bench.folder / "warehouse")
    relations = {node["name"]: node["relation_name"] for node in tables_of(manifest_of(bench))}
    tables = {name: lake.load_table(relations[name]) for name in sorted(relations)}
    return {name: rows_of(table, "main", files_of(table, "main")) for name, table in tables.items()}


def compare_tables(database: Path, queries: Mapping[str, str], bench: Bench) -> list[Comparison]:
    """Compare every table with the rows of its query."""
    settings: dict[str, Any] = {"memory_limit": MEMORY, "preserve_insertion_order": False}
    comparisons = []
    with duckdb.connect(str(database), config=settings) as connection:
        connection.execute("set timezone = 'UTC'")
        for name, query in queries.items():
            bench.say(f"compare {name}")
            comparisons.append(compare_table(connection, name, query))
    return comparisons


def compare_table(connection: duckdb.DuckDBPyConnection, name: str, query: str) -> Comparison:
    """Compare one table row for row, doubles exactly, each row as often on both sides.

    The same as EXCEPT ALL both ways, in one pass: a row counts +1 on one side and -1 on the other.
    """
    connection.execute(f"create or replace temp view spark_rows as {query}")
    of_spark, of_duckdb = (
        connection.sql(f"from {each} limit 0").columns for each in ("spark_rows", name)
    )
    spark_rows = _count(connection, "select count(*) from spark_rows")
    duckdb_rows = _count(connection, f"select count(*) from {name}")
    if one_side := set(of_spark) ^ set(of_duckdb):
        remark = f"columns on one side only: {', '.join(sorted(one_side))}"
        return Comparison(name, spark_rows, duckdb_rows, 0, remark)
    columns = [column for column in of_spark if column not in NOT_COMPARED_COLUMNS]
    # created, so that a second look at rows that differ costs little
    connection.execute(f"""
        create or replace temp table differences as
        select {", ".join(columns)}, sum(side) as surplus
        from (
            select *, 1 as side from spark_rows
            union all by name
            select *, -1 as side from {name}
        )
        group by {", ".join(columns)}
        having sum(side) <> 0
    """)
    differing = _count(connection, "select coalesce(sum(abs(surplus)), 0) from differences")
    remark = _where_they_differ(connection, columns) if differing else ""
    return Comparison(name, spark_rows, duckdb_rows, differing, remark)


def _count(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0


def _where_they_differ(connection: duckdb.DuckDBPyConnection, columns: Sequence[str]) -> str:
    differing = [
        column
        for column in columns
        if _count(
            connection,
            f"select count(*) from (select {column} from differences "
            f"group by {column} having sum(surplus) <> 0)",
        )
    ]
    shown = differing or list(columns)
    names = list(dict.fromkeys([*columns[:2], *shown]))
    lines = [f"columns whose values differ: {', '.join(shown)}"]
    for side, sign in (("Spark", ">"), ("DuckDB", "<")):
        rows = connection.execute(
            f"select {', '.join(names)} from differences where surplus {sign} 0 "
            f"order by all limit {EXAMPLES}"
        ).fetchall()
        lines += [
            f"  {side}: " + ", ".join(f"{n}={v!s}" for n, v in zip(names, row, strict=True))
            for row in rows
        ]
    return "\n".join(lines)


def show_rows(comparisons: Sequence[Comparison], console: Console) -> None:
    """Print the rows of every table on both sides."""
    table = figures_table("Row for row", "table", "rows Spark", "rows DuckDB", "differing rows")
    for each in comparisons:
        verdict = Text(f"{each.differing_rows:,}", style="" if each.is_equal else "red")
        table.add_row(each.name, f"{each.spark_rows:,}", f"{each.duckdb_rows:,}", verdict)
    console.print(table)
    for each in comparisons:
        if each.remark:
            console.print(f"{each.name}: {each.remark}", style="red")


def show_times(sides: Sides, console: Console) -> None:
    """Print the seconds of every table on both sides, the totals, the ratios and the memory."""
    models, build, made = sides.models, sides.build, sides.duckdb
    total = sides.duckdb_seconds["total"]
    title = f"Seconds, {THREADS} threads each, target {default_target()}"
    table = figures_table(title, "table", "Spark", "DuckDB")
    for node in sorted(models.nodes, key=lambda node: node.started_at):
        seconds = sides.duckdb_seconds.get(node.name)
        table.add_row(node.name, f"{node.seconds:.1f}", "" if seconds is None else f"{seconds:.2f}")
    table.add_section()
    table.add_row("all tables", f"{models.node_seconds:.1f}", f"{total:.1f}")
    table.add_row(f"with {build.count('test')} data tests", f"{build.node_seconds:.1f}", "")
    console.print(table)

    figures = Table(title="Spark against DuckDB", show_header=False)
    figures.add_row("tables, times DuckDB", f"{models.node_seconds / total:.2f}")
    figures.add_row("data tests, on top", f"{build.node_seconds / models.node_seconds - 1:.2f}")
    figures.add_row(
        "processor time",
        f"Spark {models.usage.cpu_seconds:.1f} s (start included), "
        f"with data tests {build.usage.cpu_seconds:.1f} s, DuckDB {made.cpu_seconds:.1f} s",
    )
    figures.add_row(
        "peak memory, resident",
        f"Spark {models.usage.memory}, with data tests {build.usage.memory}, DuckDB {made.memory}",
    )
    console.print(figures)
    console.print(
        "Two nodes run side by side on Spark, so its seconds add up to more than their total. "
        "Totals: first node's start to last node's end; opening the database to the last commit."
    )
    warn_if_busy(console, [models.usage, build.usage, made])


if __name__ == "__main__":
    sys.exit(main())
