"""Make the tables of <database>.sql and print the seconds of each as JSON.

    python -m benchmarks.make_duckdb_tables tables.db data/raw

`benchmarks.duckdb_sql` writes those statements. `benchmarks.compare_duckdb` runs this module in a
process of its own, to measure its memory apart.
"""

import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb

from warehouse.errors import ProjectError

SEEDS = Path(__file__).resolve().parent.parent / "seeds"
LOG_SUFFIXES = (".json", ".jsonl", ".ndjson", ".json.gz", ".jsonl.gz", ".ndjson.gz")
THREADS, MEMORY = 2, "8GB"


def log_files(raw_folder: Path) -> list[Path]:
    """The log files of a landing folder and below, as dbt finds them; ProjectError for none."""
    files = sorted(
        path
        for path in raw_folder.rglob("*")
        if path.is_file()
        and path.name.endswith(LOG_SUFFIXES)
        and not any(part.startswith((".", "_")) for part in path.relative_to(raw_folder).parts)
    )
    if not files:
        raise ProjectError(
            f"No raw logs in {raw_folder}: looked for {', '.join(LOG_SUFFIXES)} in it and below."
        )
    return files


def statements(sql: str) -> Iterator[tuple[str, duckdb.Statement]]:
    """Name of what each statement of a text creates, and the statement."""
    for statement in duckdb.extract_statements(sql):
        match = re.search(r"^create (?:table|view|macro) (\w+)", statement.query, re.MULTILINE)
        if match is None:
            raise ValueError(f"Not a create statement: {statement.query[:80]}")
        yield match.group(1), statement


def make_tables(
    database: Path, raw_folder: Path, threads: int = THREADS, memory: str = MEMORY
) -> dict[str, float]:
    """Make every table in a new database file; seconds by name, and `total` from opening it.

    The statements are in the file beside it, `<database>.sql`.
    """
    sql = database.with_suffix(".sql").read_text(encoding="utf-8")
    started = time.perf_counter()
    seconds: dict[str, float] = {}
    with duckdb.connect(
        str(database),
        config={"threads": threads, "memory_limit": memory, "preserve_insertion_order": False},
    ) as connection:
        connection.execute("set timezone = 'UTC'")
        for name, value in {
            "log_files": [str(path) for path in log_files(raw_folder)],
            "raw_folder": str(raw_folder),
            "seeds": str(SEEDS),
        }.items():
            connection.execute(f"set variable {name} = $1", [value])
        for name, statement in statements(sql):
            table_started = time.perf_counter()
            connection.execute(statement)
            seconds[name] = time.perf_counter() - table_started
        seconds["total"] = time.perf_counter() - started
    return seconds


if __name__ == "__main__":
    print(json.dumps(make_tables(Path(sys.argv[1]), Path(sys.argv[2]))))
