"""Answer a question about metrics: MetricFlow writes the SQL, DuckDB reads the published marts.

    python -m warehouse metrics churn_rate active_users --by metric_time__week
    python -m warehouse metrics churn_rate --by user__platform --sql    # Spark SQL, for a client

Without metrics, lists them. What they mean is in models/marts/_metrics.yml. MetricFlow's own
command `mf` does not know dbt-spark; as a library it writes the SQL of Databricks, and so of Spark.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
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

from warehouse.published import ROOT, SCHEMA, ReaderError, ask

DIALECTS = {
    "spark": (SqlEngine.DATABRICKS, DatabricksSqlPlanRenderer),
    "duckdb": (SqlEngine.DUCKDB, DuckDbSqlPlanRenderer),
}


def metric_sql(
    manifest: Path, dialect: str, metrics: Sequence[str], by: Sequence[str], schema: str = SCHEMA
) -> str:
    """SQL for metrics, grouped and ordered by dimensions such as `metric_time__week`.

    `manifest` is the semantic_manifest.json of a dbt command. The SQL reads the published views.

    Raises ReaderError for a name that is not there.
    """
    request = MetricFlowQueryRequest.create(
        metric_names=metrics, group_by_names=by, order_by_names=by
    )
    try:
        return engine_of(manifest, dialect, schema).explain(request).sql_statement.sql
    except MetricFlowException as error:
        raise ReaderError(str(error)) from error


def described_metrics(manifest: Path) -> list[dict[str, Any]]:
    """Name and description of each metric, and the dimensions to ask it by."""
    return [
        {
            "name": metric.name,
            "description": metric.description,
            "dimensions": sorted(each.dunder_name for each in metric.dimensions),
        }
        for metric in engine_of(manifest, "duckdb", SCHEMA).list_metrics()
    ]


def engine_of(manifest: Path, dialect: str, schema: str) -> MetricFlowEngine:
    text = manifest.read_text().replace(f"{schema}_marts", f"{schema}_published")
    lookup = SemanticManifestLookup(parse_manifest_from_dbt_generated_manifest(text))
    engine, renderer = DIALECTS[dialect]
    client: Any = SimpleNamespace(sql_engine_type=engine, sql_plan_renderer=renderer())
    return MetricFlowEngine(lookup, client)


def semantic_manifest() -> Path:
    """The semantic manifest of the project as it is now. dbt's messages go to standard error.

    Raises ReaderError where dbt cannot parse the project.
    """
    # a DBT_TARGET_PATH of the shell would lead dbt elsewhere
    target = ROOT / "target"
    dbt = [str(Path(sys.executable).parent / "dbt"), "--quiet", "parse"]
    done = subprocess.run(
        [*dbt, "--target-path", str(target)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=sys.__stderr__,
    )
    if done.returncode:
        raise ReaderError("dbt cannot parse the project: fix what it says above.")
    return target / "semantic_manifest.json"


def answer(metrics: Sequence[str], by: Sequence[str], only_sql: bool) -> None:
    """Print the answer, or its Spark SQL; of no metrics, all of them.

    Raises ReaderError where dbt cannot parse the project, for a name that is not there and where
    nothing is published.
    """
    manifest = semantic_manifest()
    if not metrics:
        for metric in described_metrics(manifest):
            print(f"{metric['name']:26}{metric['description']}")
        return
    sql = metric_sql(manifest, "spark" if only_sql else "duckdb", metrics, by)
    print(sql) if only_sql else ask(sql, max_rows=1000)
