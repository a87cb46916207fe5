"""Alarms of `model_health` on logs in which what they are for happens, and none in one without."""

from __future__ import annotations

import shutil
from datetime import date, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pyspark.sql import DataFrame

from ml import store
from ml.__main__ import main
from simulator.__main__ import main as simulate
from tests.conftest import MakeProject
from tests.warehouse import OF_SCORES, Project, active_spark, copy_of_project, environment

pytestmark = [pytest.mark.slow, pytest.mark.thorough, pytest.mark.nightly]

FIRST, LAST = date(2018, 10, 1), date(2018, 12, 10)
# the scenario begins, and the model was trained on what was known then
CHANGES = date(2018, 11, 19)
FITTED_TO = CHANGES - timedelta(days=10)
SCENARIOS = ("baseline", "price_rise", "free_tier_ads", "outage")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project without the marts that no score needs."""
    root = copy_of_project(tmp_path_factory.mktemp("monitoring"))
    shutil.rmtree(root / "models" / "marts" / "engagement")
    for rest in ("models/marts/_metrics.yml", "models/exposures.yml"):
        (root / rest).unlink()
    (root / "tests" / "marts_add_up_to_user_days.sql").unlink()
    return root


@pytest.fixture(scope="module")
def projects(
    make_project: MakeProject, root: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Project]:
    """Built, and all days since the fit scored by one model, fitted before anything changed."""
    artifacts = ["--artifacts", str(tmp_path_factory.mktemp("artifacts"))]
    found: dict[str, Project] = {}
    for name in SCENARIOS:
        raw = tmp_path_factory.mktemp(name) / "log"
        options = {"users": 800, "seed": 5, "start": FIRST, "end": LAST, "out": raw, "workers": 2}
        options |= {"scenario": name, "scenario-from": CHANGES}
        assert simulate([f"--{option}={value}" for option, value in options.items()]) == 0
        project = make_project(f"of_{name}", raw=raw, root=root)
        print(project.build().ok().published_build)
        with environment({"CHURN_SCHEMA": project.schema}):
            if not found:
                train_on_what_was_known(artifacts)
            else:
                active_spark().sql(
                    f"insert into {project.schema}_ml.model_runs "
                    "select * from of_baseline_ml.model_runs"
                )
            period = ["--first", str(FITTED_TO + timedelta(days=1))]
            assert main(["score", *artifacts, *period]) == 0
            assert main(["score", *artifacts]) == 0
        found[name] = project
    return found


def train_on_what_was_known(artifacts: list[str]) -> None:
    published_features = store.published_features

    def until_then(*arguments: Any) -> DataFrame:
        return published_features(*arguments).where(f"snapshot_date <= date '{FITTED_TO}'")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "published_features", until_then)
        assert main(["train", *artifacts, "--replicates", "50"]) == 0


def health(project: Project) -> pd.DataFrame:
    """model_health as readers see it, by date; `reason` is '' where there is none."""
    rows = active_spark().table(f"{project.schema}_published.model_health").toPandas()
    rows = rows.sort_values("snapshot_date", ignore_index=True)
    print(rows[["snapshot_date", "distrust_reason", "score_psi"]].to_string())
    days = (LAST - FITTED_TO).days
    assert list(rows["snapshot_date"]) == [FITTED_TO + timedelta(days=i + 1) for i in range(days)]
    assert list(rows["days_since_fit"]) == list(range(1, days + 1))
    return rows.assign(reason=rows["distrust_reason"].fillna("")).set_index("snapshot_date")


def test_nothing_happens_and_nothing_is_said(projects: dict[str, Project]) -> None:
    rows = health(projects["baseline"])
    assert rows["is_trustworthy"].all() and (rows["reason"] == "").all()
    # today's outcome is that of the last date of which it is known
    assert rows["outcome_date"].iloc[-1] == LAST - timedelta(days=10)
    assert rows["outcome_date"].iloc[0] == rows.index[0]


def test_more_cancellations_of_paid_users_are_more_than_expected(
    projects: dict[str, Project],
) -> None:
    rows = health(projects["price_rise"])
    off = rows["reason"].str.contains(r"\d users cancelled within 10 days")
    assert not off.iloc[0] and off.iloc[-1]
    # from the first date whose outcome is of changed days only, nearly, until today
    assert off[rows.index >= CHANGES].all()
    assert (rows["cancellations"] > rows["expected_cancellations"])[off].all()
    assert rows["reason"].str.contains(r"\d paid users cancelled").any()
    assert not rows["reason"].str.contains("free users").any()
    risk = active_spark().table("of_price_rise_published.churn_risk").first()
    assert not risk["is_trustworthy"] and risk["distrust_reason"] == rows["reason"].iloc[-1]


def test_more_adverts_are_a_feature_that_drifts(projects: dict[str, Project]) -> None:
    rows = health(projects["free_tier_ads"])
    before = rows.index <= CHANGES
    assert rows[before]["is_trustworthy"].all()
    assert "most of all adverts_" in rows["reason"].iloc[-1]


def test_errors_are_a_feature_that_drifts(projects: dict[str, Project]) -> None:
    rows = health(projects["outage"])
    before = rows.index <= CHANGES
    assert rows[before]["is_trustworthy"].all()
    days_after = rows[(rows.index > CHANGES + timedelta(days=2))].head(5)
    assert days_after["worst_feature"].str.startswith("errors_").all()
    assert days_after["reason"].str.contains("most of all errors_").all()


def test_duckdb_says_the_same(projects: dict[str, Project], warehouse: Path) -> None:
    if not find_spec("duckdb"):
        pytest.skip("no duckdb for this Python in requirements.txt")
    from warehouse.published import connect

    schema = projects["price_rise"].schema
    reader = connect(warehouse, schema)
    for mart in OF_SCORES:
        view = f"{schema}_published.{mart}"
        found = reader.sql(f"select * from {view}").fetchall()
        expected = active_spark().table(view).collect()
        assert sorted(map(repr, found)) == sorted(repr(tuple(row)) for row in expected), mart
