"""The SQL of every model gives the same rows with Spark's ANSI mode on as with it off.

dbt-spark switches ANSI mode off in session mode, a Thrift server or another client has it on.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pyspark.errors import NumberFormatException
from pyspark.sql import SparkSession

from tests.conftest import MakeProject
from tests.make_log import make_log, write_log
from tests.test_bad_input import ACCEPTED, REJECTED
from tests.warehouse import LOAD_TIMES, NO_TESTS, Project, assert_same_rows

pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def odd(make_project: MakeProject) -> Project:
    """A log with all lines of the corpus, and the SQL of a full build."""
    project = make_project("modes")
    write_log(make_log(users=10, days=45, seed=5), project.raw, files=1)
    lines = [text for texts in REJECTED.values() for text in texts.values()]
    lines += [text for text, _ in ACCEPTED.values()]
    (project.raw / "odd.json").write_text("\n".join(lines), encoding="utf-8")
    project.build(*NO_TESTS).ok()
    return project


def test_ansi_mode_changes_no_row(odd: Project, spark: SparkSession) -> None:
    compiled = odd.folder / "target" / "compiled" / "churn_at_scale"
    for name, node in odd.nodes().items():
        if node["resource_type"] == "model":
            built = odd.table(name)
            with ansi_mode(spark):
                rows = spark.sql((compiled / node["original_file_path"]).read_text())
                assert_same_rows(rows, built, name, LOAD_TIMES)


@contextmanager
def ansi_mode(spark: SparkSession) -> Iterator[None]:
    """ANSI mode for a while; looking up a table of a project takes the profile's setting again."""
    spark.conf.set("spark.sql.ansi.enabled", "true")
    with pytest.raises(NumberFormatException):
        spark.sql("select cast('x' as int)").collect()
    try:
        yield
        assert spark.conf.get("spark.sql.ansi.enabled") == "true"
    finally:
        spark.conf.set("spark.sql.ansi.enabled", "false")
