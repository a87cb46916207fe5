"""A client of Spark Connect, in a process of its own: one process has one kind of Spark.

    python -m tests.connect_client <address> <folder>

Reads SQL by name from standard input, as JSON; writes for each name its rows or its error, and what
came of the calls below, which need no SQL.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from grpc import RpcError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.functions import udf

Call = Callable[[SparkSession, Path], Any]


def _read_stream(spark: SparkSession, folder: Path) -> None:
    stream = spark.readStream.schema("line string").text(str(folder))
    stream.writeStream.format("memory").queryName("lines").start()


def _own_code(spark: SparkSession, folder: Path) -> None:
    spark.range(1).select(udf(lambda _: (folder / "out").write_text("x"))("id")).collect()


def _own_code_in_batches(spark: SparkSession, folder: Path) -> None:
    spark.range(1).mapInPandas(lambda batches: batches, "id long").collect()


REFUSED: dict[str, Call] = {
    "read text": lambda spark, folder: spark.read.text(str(folder)).collect(),
    "infer a schema": lambda spark, folder: spark.read.json(str(folder)).schema,
    "read by JDBC": lambda spark, folder: spark.read.jdbc("jdbc:sqlite:/tmp/x.db", "t").collect(),
    "read a stream": _read_stream,
    "write files": lambda spark, folder: spark.range(1).write.parquet(str(folder / "out")),
    "save as a table": lambda spark, folder: spark.range(1).write.saveAsTable("lake.default.x"),
    "write to a table": lambda spark, folder: spark.range(1).writeTo("lake.default.x").create(),
    "a Python function": _own_code,
    "a Python function of batches": _own_code_in_batches,
    "register a function": lambda spark, folder: spark.udf.register("f", lambda: "x"),
    "register a Java function": lambda spark, folder: spark.udf.registerJavaFunction("f", "F"),
    "make a table": lambda spark, folder: spark.catalog.createTable("t", str(folder), "text"),
    "cache a table": lambda spark, folder: spark.catalog.cacheTable("sample_published.dim_users"),
    "cache rows": lambda spark, folder: spark.range(1).cache(),
    "checkpoint": lambda spark, folder: spark.range(1).localCheckpoint(),
    "refresh a path": lambda spark, folder: spark.catalog.refreshByPath(str(folder)),
    "a view for all": lambda spark, folder: spark.range(1).createGlobalTempView("g"),
    "send a file": lambda spark, folder: spark.addArtifacts(str(folder / "secret.txt"), file=True),
    "a catalog": lambda spark, folder: spark.conf.set(
        "spark.sql.catalog.own", "org.apache.iceberg.spark.SparkCatalog"
    ),
    "a setting taken back": lambda spark, folder: spark.conf.unset("spark.sql.runSQLOnFiles"),
}


def _own_rows(spark: SparkSession, folder: Path) -> int:
    return spark.createDataFrame([(1, "a"), (2, "b")], "id int, name string").count()


def _many_rows_of_its_own(spark: SparkSession, folder: Path) -> int:
    import pandas as pd

    # more than goes into one message
    return spark.createDataFrame(pd.DataFrame({"text": ["x" * 1000] * 200_000})).count()


def _view_of_the_session(spark: SparkSession, folder: Path) -> int:
    spark.range(3).createOrReplaceTempView("three")
    return spark.sql("select * from three").count()


def _time_zone(spark: SparkSession, folder: Path) -> str:
    spark.conf.set("spark.sql.session.timeZone", "Asia/Tokyo")
    shown = spark.sql("select cast(timestamp '2018-10-01 00:00:00Z' as string)").first()[0]
    spark.conf.unset("spark.sql.session.timeZone")
    return shown


ANSWERED: dict[str, Call] = {
    "own rows": _own_rows,
    "many own rows": _many_rows_of_its_own,
    "a view of the session": _view_of_the_session,
    "a time zone": _time_zone,
    "pandas": lambda spark, folder: len(spark.table("sample_published.dim_users").toPandas()) > 0,
    "groups": lambda spark, folder: (
        spark.table("sample_published.dim_users").groupBy("level").count().count() > 0
    ),
    "a summary": lambda spark, folder: spark.range(9).describe().count(),
    "a cross table": lambda spark, folder: spark.range(9).crosstab("id", "id").count(),
    "tables": lambda spark, folder: sorted(
        table.name
        for table in spark.catalog.listTables("sample_published")
        if not table.isTemporary
    ),
}


def result(call: Callable[[], Any]) -> Any:
    """What a call returns, or the text of its error after `error: `; of a frame, how many rows."""
    try:
        found = call()
        return found.count() if isinstance(found, DataFrame) else found
    except (PySparkException, RpcError) as error:
        return f"error: {error}"


def main() -> None:
    """Asks, calls, and prints all results as JSON."""
    address, folder = sys.argv[1], Path(sys.argv[2])
    spark = SparkSession.builder.remote(address).getOrCreate()
    results = {
        name: result(lambda sql=sql: spark.sql(sql).collect())
        for name, sql in json.load(sys.stdin).items()
    }
    for calls in (REFUSED, ANSWERED):
        results |= {
            name: result(lambda call=call: call(spark, folder)) for name, call in calls.items()
        }
    print(json.dumps(results, default=str))


if __name__ == "__main__":
    main()
