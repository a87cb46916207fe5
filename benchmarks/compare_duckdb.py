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

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import duckdb
import typer
from rich.table import Table
from rich.text import Text

from benchmarks.dbt_runs import (
    PROJECT_DIR,
    BenchmarkError,
    DbtRun,
    Raw,
    Usage,
    busy_warning,
    dbt_environment,
    default_target,
    measured,
    progress_line,
    read_once,
    run_dbt,
    shown_memory,
    temporary_work_folder,
)
from benchmarks.duckdb_sql import tables_of, tables_sql
from warehouse.commands import program
from warehouse.console import Console

NOT_COMPARED_COLUMNS = {
    "content_hash",
    "song_hash",
    "loaded_at",
    "file_modified_at",
    "source_file_modified_at",
    "raw_line",
}
THREADS = 2
EXAMPLES = 3


@dataclass(frozen=True)
class SparkTable:
    """An Iceberg table: its columns and the data files of its current snapshot."""

    name: str
    columns: list[str]
    files: list[str]


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
class DuckdbRun:
    """Seconds per table, and what the process took."""

    seconds: dict[str, float]
    usage: Usage

    @property
    def total_seconds(self) -> float:
        """From opening the database to the commit of the last table."""
        return self.seconds["total"]


def run_duckdb(
    manifest: Mapping[str, Any], database: Path, raw_folder: Path, memory: str, work_folder: Path
) -> DuckdbRun:
    """Make the tables of dbt's manifest with DuckDB, in a process of its own."""
    database.with_suffix(".sql").write_text(tables_sql(manifest), encoding="utf-8")
    usage = measured(
        [
            *(sys.executable, "-m", "benchmarks.make_duckdb_tables"),
            *("--database", str(database), "--raw", str(raw_folder)),
            *("--threads", str(THREADS), "--memory", memory),
        ],
        dbt_environment(work_folder),
    )
    return DuckdbRun(json.loads(usage.output.splitlines()[-1]), usage)


def spark_tables(manifest: Mapping[str, Any], work_folder: Path) -> list[SparkTable]:
    """The tables that dbt made below `work_folder`, from its manifest and Iceberg's metadata.

    Raises BenchmarkError when a table has delete files, which reading its data files would miss.
    """
    from warehouse.session import spark_session

    relations = {node["name"]: node["relation_name"] for node in tables_of(manifest)}
    os.environ.update(dbt_environment(work_folder))
    spark, _ = spark_session("local", PROJECT_DIR)
    try:
        rows = spark.sql(
            " union all ".join(
                f"select '{name}' as name, file_path, content from {relation}.files"
                for name, relation in relations.items()
            )
        ).collect()
        files: dict[str, list[str]] = {name: [] for name in relations}
        for row in rows:
            if row.content != 0:
                raise BenchmarkError(f"{row.name} has delete files; compare it after a compaction.")
            files[row.name].append(row.file_path.removeprefix("file:"))
        return [
            SparkTable(name, spark.table(relation).columns, files[name])
            for name, relation in sorted(relations.items())
        ]
    finally:
        spark.stop()


def compare_table(connection: duckdb.DuckDBPyConnection, table: SparkTable) -> Comparison:
    """Compare one table row for row, doubles exactly, each row as often on both sides.

    The same as EXCEPT ALL both ways, in one pass: a row counts +1 on one side and -1 on the other.
    """
    duckdb_columns = [
        row[0]
        for row in connection.execute(
            "select column_name from duckdb_columns() where table_name = $1", [table.name]
        ).fetchall()
    ]
    duckdb_rows = _count(connection, f"select count(*) from {table.name}")
    if set(duckdb_columns) != set(table.columns):
        one_side = ", ".join(sorted(set(duckdb_columns) ^ set(table.columns)))
        return Comparison(table.name, 0, duckdb_rows, 0, f"columns on one side only: {one_side}")
    if not table.files:
        return Comparison(table.name, 0, duckdb_rows, duckdb_rows)

    columns = [column for column in table.columns if column not in NOT_COMPARED_COLUMNS]
    connection.execute("set variable spark_files = $1", [table.files])
    types = dict(
        connection.execute(
            "select column_name, column_type from "
            "(describe from read_parquet(getvariable('spark_files')))"
        ).fetchall()
    )
    spark_columns = ", ".join(
        f"cast({column} as timestamp) as {column}" if "TIME ZONE" in types[column] else column
        for column in columns
    )
    both_sides = f"""
        select {", ".join(columns)}, -1 as side from {table.name}
        union all by name
        select {spark_columns}, 1 as side from read_parquet(getvariable('spark_files'))
    """
    # created, so that a second look at rows that differ costs little
    connection.execute(f"""
        create or replace temp table differences as
        select {", ".join(columns)}, sum(side) as surplus
        from ({both_sides})
        group by all
        having sum(side) <> 0
    """)
    spark_rows = _count(connection, "select count(*) from read_parquet(getvariable('spark_files'))")
    differing = _count(connection, "select coalesce(sum(abs(surplus)), 0) from differences")
    remark = _where_they_differ(connection, columns) if differing else ""
    return Comparison(table.name, spark_rows, duckdb_rows, differing, remark)


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


def compare_tables(
    database: Path, tables: Sequence[SparkTable], memory: str, on_table: Callable[[str], None]
) -> list[Comparison]:
    """Compare every table."""
    with duckdb.connect(
        str(database), config={"memory_limit": memory, "preserve_insertion_order": False}
    ) as connection:
        connection.execute("set timezone = 'UTC'")
        comparisons = []
        for table in tables:
            on_table(table.name)
            comparisons.append(compare_table(connection, table))
        return comparisons


def show_rows(comparisons: Sequence[Comparison], console: Console) -> None:
    """Print the rows of every table on both sides."""
    table = Table(title="Row for row")
    table.add_column("table")
    for header in ("rows Spark", "rows DuckDB", "differing rows"):
        table.add_column(header, justify="right")
    for each in comparisons:
        verdict = Text(f"{each.differing_rows:,}", style="" if each.is_equal else "red")
        table.add_row(each.name, f"{each.spark_rows:,}", f"{each.duckdb_rows:,}", verdict)
    console.print(table)
    for each in comparisons:
        if each.remark:
            console.print(f"{each.name}: {each.remark}", style="red")


def show_times(models: DbtRun, build: DbtRun, made: DuckdbRun, console: Console) -> None:
    """Print the seconds of every table on both sides, the totals, the ratios and the memory."""
    table = Table(title=f"Seconds, {THREADS} threads each, target {default_target()}")
    table.add_column("table")
    table.add_column("Spark", justify="right")
    table.add_column("DuckDB", justify="right")
    in_order = sorted(models.nodes, key=lambda node: node.started_at)
    for node in in_order:
        seconds = made.seconds.get(node.name)
        table.add_row(node.name, f"{node.seconds:.1f}", "" if seconds is None else f"{seconds:.2f}")
    table.add_section()
    table.add_row("all tables", f"{models.node_seconds:.1f}", f"{made.total_seconds:.1f}")
    table.add_row(f"with {build.count('test')} data tests", f"{build.node_seconds:.1f}", "")
    console.print(table)

    figures = Table(title="Spark against DuckDB", show_header=False)
    figures.add_row("tables, times DuckDB", f"{models.node_seconds / made.total_seconds:.2f}")
    figures.add_row("data tests, on top", f"{build.node_seconds / models.node_seconds - 1:.2f}")
    figures.add_row(
        "processor time",
        f"Spark {models.usage.cpu_seconds:.1f} s (start included), "
        f"with data tests {build.usage.cpu_seconds:.1f} s, "
        f"DuckDB {made.usage.cpu_seconds:.1f} s",
    )
    figures.add_row(
        "peak memory, resident",
        f"Spark {shown_memory(models.usage.peak_bytes)}, "
        f"with data tests {shown_memory(build.usage.peak_bytes)}, "
        f"DuckDB {shown_memory(made.usage.peak_bytes)}",
    )
    console.print(figures)
    console.print(
        "Two nodes run side by side on Spark, so its seconds add up to more than their total. "
        "Totals: first node's start to last node's end; opening the database to the last commit."
    )
    if warning := busy_warning([models.usage, build.usage, made.usage]):
        console.print(warning, style="yellow")


def compare(raw_folder: Path, work_folder: Path, memory: str, console: Console) -> bool:
    """Build, compare and print; returns whether every table is equal."""
    with progress_line(console) as progress:
        task = progress.add_task("reading the files once")

        def say(text: str) -> None:
            progress.update(task, description=text)

        read_once(raw_folder)
        # a warehouse for each: dbt would leave out what the build before has made
        models_folder, build_folder = work_folder / "models", work_folder / "build"
        say("Spark: models")
        models = run_dbt(
            "build",
            ["--resource-type", "model", "--resource-type", "seed"],
            models_folder,
            raw_folder,
            lambda text: say(f"Spark: models, {text}"),
        )
        models.raise_if_failed("Spark: models")
        say("Spark: models and data tests")
        build = run_dbt(
            "build",
            [],
            build_folder,
            raw_folder,
            lambda text: say(f"Spark: models and data tests, {text}"),
        )
        say("DuckDB")
        manifest = json.loads((build_folder / "target" / "manifest.json").read_text("utf-8"))
        database = work_folder / "duckdb" / "churn.duckdb"
        database.parent.mkdir()
        made = run_duckdb(manifest, database, raw_folder, memory, work_folder)
        say("Spark: list of data files")
        tables = spark_tables(manifest, build_folder)
        comparisons = compare_tables(database, tables, memory, lambda name: say(f"compare {name}"))
    show_rows(comparisons, console)
    show_times(models, build, made, console)
    if build.failed:
        console.print(f"Data tests failed: {', '.join(build.failed)}", style="red")
    return all(each.is_equal for each in comparisons)


@program("python -m benchmarks.compare_duckdb", __doc__)
def main(
    raw: Raw,
    memory: Annotated[str, typer.Option(help="DuckDB's memory limit.")] = "8GB",
    keep: Annotated[
        bool,
        typer.Option("--keep", help="Keep the warehouse and DuckDB's database, and say where."),
    ] = False,
) -> int:
    """Command line of the benchmark; returns the exit status."""
    console = Console()
    try:
        with temporary_work_folder(keep) as folder:
            is_equal = compare(raw, folder, memory, console)
            if keep:
                console.print(f"Kept: {folder}", soft_wrap=True)
    except BenchmarkError as error:
        error.exit_status = 2
        raise
    if not is_equal:
        console.print("Tables differ.", style="red")
        return 1
    console.print("Every table is equal, row for row.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
