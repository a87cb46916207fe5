"""Metrics are defined once: what MetricFlow makes of them equals the marts, in both engines."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from dbt_semantic_interfaces.implementations.semantic_manifest import PydanticSemanticManifest
from dbt_semantic_interfaces.validations.semantic_manifest_validator import (
    SemanticManifestValidator,
)

from tests.warehouse import Project, answers_of

pytest.importorskip("duckdb", reason="no duckdb for this Python in requirements.txt")
from warehouse.metrics import metric_sql
from warehouse.published import connect

DAY, WEEK = "metric_time__day", "metric_time__week"
DAILY = "select kpi_date, {} from {{published}}.daily_kpis"
WEEKLY = "select week_start_date, {} from {{published}}.weekly_kpis"
# metric, dimension, and the query of a mart whose answer it equals: key and value
COMPARED = [
    ("active_users", DAY, DAILY.format("active_users")),
    ("active_users", WEEK, WEEKLY.format("active_users")),
    ("churned_users", WEEK, WEEKLY.format("churned_users")),
    ("churn_rate", WEEK, WEEKLY.format("churned_share")),
    ("sessions", DAY, DAILY.format("sessions")),
    ("sessions", WEEK, WEEKLY.format("sessions")),
    ("songs", DAY, DAILY.format("songs")),
    ("songs_per_session", WEEK, WEEKLY.format("songs / sessions")),
    ("listening_hours", WEEK, WEEKLY.format("listening_milliseconds / 3600000")),
    ("listening_hours_per_user", WEEK, WEEKLY.format("listening_hours_per_user")),
    ("paid_share", DAY, DAILY.format("paid_share")),
    (
        "retention",
        "cohort_week__weeks_since",
        "select weeks_since, sum(active_users) / sum(cohort_users)"
        " from {published}.weekly_retention group by weeks_since",
    ),
    (
        "churned_users",
        "user__level",
        "select level, count_if(is_churned) from {published}.dim_users group by level",
    ),
]


@pytest.fixture(scope="module")
def manifest(sample: Project) -> Path:
    """The semantic manifest of the sample's build."""
    return sample.folder / "target" / "semantic_manifest.json"


def test_dbt_semantic_interfaces_finds_nothing_wrong(manifest: Path) -> None:
    parsed = PydanticSemanticManifest.parse_raw(manifest.read_text())
    results = SemanticManifestValidator[PydanticSemanticManifest]().validate_semantic_manifest(
        parsed
    )
    assert [issue.message for issue in (*results.errors, *results.warnings)] == []


def test_every_metric_is_compared_or_part_of_one_that_is(manifest: Path) -> None:
    metrics = {each["name"]: each for each in json.loads(manifest.read_text())["metrics"]}
    compared = {metric for metric, _, _ in COMPARED}
    for name in list(compared):
        parameters = metrics[name]["type_params"]
        parts = [parameters["numerator"], parameters["denominator"], *(parameters["metrics"] or [])]
        compared |= {part["name"] for part in parts if part}
    assert metrics.keys() == compared


@pytest.fixture(scope="module")
def answers(manifest: Path, sample: Project, warehouse: Path) -> dict[str, pd.DataFrame]:
    """Of each metric and dimension: what the mart says, and what both engines make of it."""
    queries, found = {}, {}
    reader = connect(warehouse, sample.schema)
    for metric, by, query in COMPARED:
        name = f"{metric} {by}"
        of_spark, of_duckdb = (
            metric_sql(manifest, engine, [metric], [by], sample.schema)
            for engine in ("spark", "duckdb")
        )
        assert "_marts" not in of_spark + of_duckdb
        queries[f"{name} mart"] = query.format(published=f"{sample.schema}_published")
        queries[f"{name} spark"] = of_spark
        found[f"{name} duckdb"] = reader.sql(of_duckdb).df()
    return answers_of(queries) | found


@pytest.mark.parametrize(("metric", "by"), [each[:2] for each in COMPARED])
def test_metric_equals_the_mart(metric: str, by: str, answers: dict[str, pd.DataFrame]) -> None:
    expected = as_series(answers[f"{metric} {by} mart"])
    assert len(expected) > 1
    for engine in ("spark", "duckdb"):
        found = as_series(answers[f"{metric} {by} {engine}"])
        pd.testing.assert_series_equal(found, expected, check_names=False, check_dtype=False)


def as_series(answer: pd.DataFrame) -> pd.Series:
    """Values by key; a date is a date, whichever type it came as."""
    key, value = answer.columns
    answer = answer.copy()
    if key.startswith("metric_time") or key.endswith("_date"):
        answer[key] = pd.to_datetime(answer[key]).dt.date
    return answer.set_index(key)[value].astype(float).sort_index()
