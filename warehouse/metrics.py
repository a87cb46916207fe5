"""Answer a question about metrics: MetricFlow writes the SQL, DuckDB reads the published marts.

    python -m warehouse.metrics churn_rate active_users --by metric_time__week
    python -m warehouse.metrics churn_rate --by user__platform --sql    # Spark SQL, for a client

Without metrics, lists them. What they mean is in models/marts/_metrics.yml. MetricFlow's own
command `mf` does not know dbt-spark; as a library it writes the SQL of Databricks, and so of Spark.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from metricflow.engine.metricflow_engine import MetricFlowEngine, MetricFlowQueryRequest
from metricflow.protocols.sql_client import SqlEngine
from metricflow.sql.render.databricks import DatabricksSqlPlanRenderer
from metricflow.sql.render.duckdb_renderer import DuckDbSqlPlanRenderer
from metricflow_semantics.errors.error_classes import MetricFlowException
from metricflow_semantics.model.dbt_manifest_parser import (
    parse_manifest_from_dbt_generated_manifest,
)
from metricflow_semantics.model.semantic_manifest_lookup import SemanticManifestLookup

from warehouse.published import ROOT, SCHEMA, ReaderError, connect

DIALECTS = {
    "spark": (SqlEngine.DATABRICKS, DatabricksSqlPlanRenderer),
    "duckdb": (SqlEngine.DUCKDB, DuckDbSqlPlanRenderer),
}


def metric_sql(
    manifest: Path, dialect: str, metrics: Sequence[str], by: Sequence[str], schema: str = SCHEMA
) -> str:
    """SQL for metrics, grouped and ordered by dimensions such as `metric_time__week`.

    `manifest` is the semantic_manifest.json of a dbt command. The SQL reads the published views.

    Raises MetricFlowException for a name that is not there.
    """
    text = manifest.read_text().replace(f"{schema}_marts", f"{schema}_published")
    lookup = SemanticManifestLookup(parse_manifest_from_dbt_generated_manifest(text))
    engine, renderer = DIALECTS[dialect]
    client: Any = SimpleNamespace(sql_engine_type=engine, sql_plan_renderer=renderer())
    request = MetricFlowQueryRequest.create(
        metric_names=metrics, group_by_names=by, order_by_names=by
    )
    return MetricFlowEngine(lookup, client).explain(request).sql_statement.sql


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the metrics, an answer, or its SQL."""
    parser = argparse.ArgumentParser(
        prog="python -m warehouse.metrics",
        description=__doc__,
        formatter_class=partial(argparse.RawDescriptionHelpFormatter, width=100),
    )
    parser.add_argument("metrics", nargs="*", help="names of metrics; none: list them")
    parser.add_argument(
        "--by",
        nargs="+",
        default=[],
        help="dimensions: metric_time__day, metric_time__week, user__platform, ...",
    )
    parser.add_argument("--sql", action="store_true", help="print the Spark SQL, do not run it")
    options = parser.parse_args(arguments)
    dbt = [str(Path(sys.executable).parent / "dbt"), "--quiet", "parse"]
    if subprocess.run(dbt, cwd=ROOT).returncode:
        return 1
    manifest = ROOT / "target" / "semantic_manifest.json"
    if not options.metrics:
        for metric in json.loads(manifest.read_text())["metrics"]:
            print(f"{metric['name']:26}{metric['description']}")
        return 0
    dialect = "spark" if options.sql else "duckdb"
    try:
        sql = metric_sql(manifest, dialect, options.metrics, options.by)
        print(sql) if options.sql else connect().sql(sql).show(max_width=200, max_rows=1000)
    except (ReaderError, MetricFlowException) as error:
        parser.exit(1, f"{error}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
