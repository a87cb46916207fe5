"""Spark makes the tables of data/sample as they are in tests/golden."""

from pathlib import Path

import pytest

from tests.warehouse import Project

pytest.importorskip("duckdb", reason="no duckdb for this Python in requirements.txt")
import duckdb

from tests.golden_tables import GOLDEN, write_golden


def test_spark_makes_the_golden_tables(sample: Project, tmp_path: Path) -> None:
    with duckdb.connect() as connection:
        for name in sample.tables():
            connection.register(name, sample.table(name).toArrow())
        write_golden(connection, sample.tables(), tmp_path)
    assert_golden(tmp_path)


def assert_golden(folder: Path) -> None:
    """Fail where the files of a folder are not those of tests/golden."""
    found, expected = lines_of(folder), lines_of(GOLDEN)
    different = [*found.symmetric_difference(expected)]
    # the figures of columns before rows
    different.sort(key=lambda line: (line[0] != "columns.csv", line))
    assert not different, "Not as in tests/golden (-):\n" + "\n".join(
        " ".join(["-+"[line in found], *line]) for line in different[:50]
    )


def lines_of(folder: Path) -> set[tuple[str, str]]:
    """Name of the file and text of each line."""
    return {
        (file.name, line)
        for file in folder.glob("*.csv")
        for line in file.read_text(encoding="utf-8").splitlines()
    }
