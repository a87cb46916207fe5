"""Are the tables and views of two targets the same, row for row?

Each target writes its rows to a folder, by a Spark of its own; the two folders are compared. On a
cluster the same driver then runs steps of the workflow: each start of a driver costs many seconds.

usage: rows.py <folder> [<arguments of job.py>]
"""

import sys
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq

from deploy.emr import job

# when a line was loaded and counted, and when its file was made: of two builds never the same
LEFT_OUT = ("loaded_at", "counted_at", "file_modified_at", "source_file_modified_at")


def write(folder: Path) -> None:
    """Parquet of each table and view of the models, of the target DBT_TARGET.

    A mart is read once, through its published view.
    """
    from warehouse.session import spark_session

    folder.mkdir(parents=True, exist_ok=True)
    spark, target = spark_session()
    tables = target.marts.removesuffix("_marts")
    for kind, schema in (
        ("table", f"{tables}_staging"),
        ("view", f"{target.schema}_staging"),
        ("view", target.published),
    ):
        shown = spark.sql(f"show {kind}s in {schema}").where("not isTemporary")
        for row in shown.collect():
            name = row["tableName" if kind == "table" else "viewName"]
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


def main(folder: str, *arguments: str) -> int:
    """Write, then run the steps; returns the exit status."""
    if any(path.endswith(job.PROJECT) for path in sys.path):
        job.open_project()
    write(Path(folder))
    return job.main(list(arguments)) if arguments else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
