"""Are the tables and views of two targets the same, row for row?

Each target writes its rows to a folder, by a Spark of its own; the two folders are compared.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq

# when a line was loaded and counted, and when its file was made: of two builds never the same
LEFT_OUT = ("loaded_at", "counted_at", "file_modified_at", "source_file_modified_at")


def write(folder: Path) -> None:
    """Parquet of each table of the models, and of each view, of the target DBT_TARGET."""
    from ml.session import spark_session

    folder.mkdir(parents=True, exist_ok=True)
    spark, target = spark_session()
    tables = target.marts.removesuffix("_marts")
    for kind, schemas in {
        "tables": (f"{tables}_staging", target.marts),
        "views": (f"{target.schema}_staging", target.published),
    }.items():
        for schema in schemas:
            shown = spark.sql(f"show {kind} in {schema}").where("not isTemporary")
            for row in shown.collect():
                name = row["tableName" if kind == "tables" else "viewName"]
                rows = spark.table(f"{schema}.{name}").drop(*LEFT_OUT).toArrow()
                pq.write_table(rows, folder / f"{schema.rpartition('_')[2]}.{name}.parquet")


def differences(left: Path, right: Path) -> list[str]:
    """In a sentence each, what is in one folder only; [] where both have the same rows."""
    found = []
    names = {path.name for folder in (left, right) for path in folder.iterdir()}
    for name in sorted(names):
        if not ((left / name).is_file() and (right / name).is_file()):
            found.append(f"{name} is in one of the two only")
            continue
        ours, theirs = pq.read_table(left / name), pq.read_table(right / name)
        if not ours.schema.equals(theirs.schema):
            found.append(f"{name} has other columns: {ours.schema} and {theirs.schema}")
            continue
        ours, theirs = (Counter(map(repr, rows.to_pylist())) for rows in (ours, theirs))
        for rows, where in ((ours - theirs, left), (theirs - ours, right)):
            if rows:
                found.append(f"{name}: {rows.total()} rows in {where} only, {next(iter(rows))}")
    return found


def count(folder: Path) -> dict[str, int]:
    """Rows by table and view."""
    return {path.stem: pq.read_metadata(path).num_rows for path in sorted(folder.iterdir())}


if __name__ == "__main__":
    write(Path(sys.argv[1]))
