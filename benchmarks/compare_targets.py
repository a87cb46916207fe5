"""The same tables by plain Spark and by Comet: is each column of each table equal?

Builds one log on the targets `local` and `comet`, each in a warehouse of its own, with all data
tests. DuckDB then compares the tables: the number of rows, and the hashes of each column and of the
whole row, summed, so that the order of the rows does not matter. When a line was loaded is left
out. With --days, the log lands day by day: a build each, `maintain` once a week and at the end.

Without --raw the log is simulated. Also prints how many writes Comet's own Iceberg writer made, and
why it left others to Spark. Exit status 1 when a table differs, 2 when a part did not run.

Examples:
  python -m benchmarks.compare_targets --gigabytes 12
  python -m benchmarks.compare_targets --days 20
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import duckdb
import typer

from benchmarks.compare_duckdb import spark_queries
from benchmarks.daily_loads import load, maintain
from benchmarks.dbt_runs import Bench, BenchmarkError, benchmark, figures_table, last_day
from benchmarks.growth import DAYS, users_of
from benchmarks.make_duckdb_tables import MEMORY
from warehouse.commands import folder_option, program
from warehouse.console import Console

TARGETS = ("local", "comet")
TIMES_OF_LOADING = {"loaded_at", "file_versions"}
ROWS, WHOLE_ROW = "number of rows", "the whole row"


@dataclass(frozen=True)
class Comparison:
    """One table: its rows on both targets, and the columns whose hashes differ."""

    name: str
    rows: Sequence[int]
    differing: Sequence[str]

    @property
    def is_equal(self) -> bool:
        """Both targets made the same rows."""
        return len(set(self.rows)) == 1 and not self.differing


@program("python -m benchmarks.compare_targets", __doc__)
def main(
    raw: Annotated[Path | None, folder_option("Folder of raw logs.", "a simulated log")] = None,
    gigabytes: Annotated[float, typer.Option(min=0.01, help="Size of a simulated log.")] = 0.5,
    days: Annotated[
        int, typer.Option(min=0, help="Load so many simulated days, one by one. 0: all at once.")
    ] = 0,
) -> int:
    """Command line of the benchmark; returns the exit status."""
    if raw and days:
        raise BenchmarkError("--days needs a simulated log: leave --raw out.")
    console = Console()
    with benchmark(status_of_errors=2) as bench:
        log = raw or simulated(bench, gigabytes, days or DAYS)
        reports = {target: build(bench.at(target), target, log, bool(days)) for target in TARGETS}
        comparisons = compare(bench)
    show(comparisons, console)
    for line in writes(reports["comet"]):
        console.print(line)
    if not all(each.is_equal for each in comparisons):
        console.print("Tables differ.", style="red")
        return 1
    console.print("Every column of every table is equal.")
    return 0


def simulated(bench: Bench, gigabytes: float, days: int) -> Path:
    """A log of so many bytes if it had all 61 days: one file a day."""
    bench.say("simulating the log")
    return bench.simulate(bench.folder / "log", users_of(gigabytes), last_day(days))


def build(bench: Bench, target: str, log: Path, is_daily: bool) -> Counter[str]:
    """Make all tables on one target; returns how often who wrote, and why, as Comet reports it."""
    report = bench.folder / "writes"
    report.mkdir(parents=True)
    os.environ["CHURN_TARGET"] = target
    os.environ["SPARK_SUBMIT_OPTS"] = f"-Dspark.comet.testing.icebergWriteReport.dir={report}"
    if is_daily:
        load(sorted(log.glob("*.json")), bench)
        bench.say(f"{target}: maintain")
        maintain(bench)
    elif not bench.dbt(target, log).is_published:
        raise BenchmarkError(f"{target}: not published")
    return Counter(
        "; ".join([write["writer"], *write["reasons"]])
        for file in report.glob("*.jsonl")
        for write in map(json.loads, file.read_text(encoding="utf-8").splitlines())
    )


def compare(bench: Bench) -> list[Comparison]:
    """Compare all tables of the two warehouses. Raises BenchmarkError where one has more."""
    local, comet = (spark_queries(bench.at(target)) for target in TARGETS)
    if local.keys() != comet.keys():
        raise BenchmarkError(f"tables of one target: {', '.join(local.keys() ^ comet.keys())}")
    comparisons = []
    with duckdb.connect(config={"memory_limit": MEMORY}) as connection:
        connection.execute("set timezone = 'UTC'")
        for name in local:
            bench.say(f"compare {name}")
            sides = [hashes(connection, queries[name]) for queries in (local, comet)]
            comparisons.append(compared(name, *sides))
    return comparisons


def hashes(connection: duckdb.DuckDBPyConnection, query: str) -> dict[str, int]:
    """The number of rows, and the sums of the hashes of each column and of whole rows, by name."""
    found = connection.sql(f"from ({query}) limit 0").columns
    columns = [f'"{name}"' for name in found if name not in TIMES_OF_LOADING]
    sums = [f"sum(hash({each})) as {each}" for each in columns]
    sums.append(f'sum(hash({", ".join(columns)})) as "{WHOLE_ROW}"')
    answer = connection.sql(f'select count(*) as "{ROWS}", {", ".join(sums)} from ({query})')
    (values,) = answer.fetchall()
    return dict(zip(answer.columns, values, strict=True))


def compared(name: str, local: Mapping[str, int], comet: Mapping[str, int]) -> Comparison:
    """What differs between the hashes of one table, columns of one side only, too."""
    differing = [
        each
        for each in {**local, **comet}
        if each != ROWS and local.get(each, ...) != comet.get(each, ...)
    ]
    return Comparison(name, (local[ROWS], comet[ROWS]), differing)


def show(comparisons: Sequence[Comparison], console: Console) -> None:
    """Print the rows of every table on both targets, and what differs."""
    table = figures_table("Column by column", "table", "rows local", "rows comet", "columns differ")
    for each in comparisons:
        table.add_row(each.name, *(f"{rows:,}" for rows in each.rows), str(len(each.differing)))
    console.print(table)
    for each in comparisons:
        if each.differing:
            console.print(f"{each.name}: {', '.join(each.differing)}", style="red")


def writes(report: Mapping[str, int]) -> list[str]:
    """Who wrote how often, and why, in lines for the console."""
    lines = [f"  {count:,} by {who}" for who, count in sorted(report.items())]
    return ["Writes on comet:", *(lines or ["  none reported"])]


if __name__ == "__main__":
    sys.exit(main())
