"""All tables, the scores and the report as Dagster assets: docs/orchestration.md.

Steps call the programs of the project's own environment.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DbtCliResource, DbtProject, dbt_assets

PROJECT = Path(__file__).resolve().parents[2]
os.environ["PATH"] = f"{PROJECT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
for name in ("JAVA_HOME", "SPARK_HOME"):  # they would lead Spark elsewhere
    os.environ.pop(name, None)


class ProjectsDbt(DbtCliResource):
    """The project's dbt. Without dbt in Dagster's own environment there is no adapter to load."""

    def _initialize_dbt_core_adapter(self, args: Any) -> None:
        return None


project = DbtProject(PROJECT)


@dbt_assets(manifest=project.manifest_path, project=project, name="dbt_build")
def tables(context: dg.AssetExecutionContext, dbt: ProjectsDbt) -> Iterator[Any]:
    if context.is_subset:
        raise dg.Failure("Only a whole build publishes: select all tables.", allow_retries=False)
    command = ["build", "--exclude-resource-type", "unit_test"]
    yield from dbt.cli(command, context=context, target_path=project.target_path).stream()


def run(*command: str) -> None:
    """Run a module of the project; raises an error if it fails."""
    subprocess.run(["python", "-m", *command], cwd=PROJECT, check=True)


@dg.asset(deps=[tables])
def churn_model() -> None:
    """The model that a training on the published tables leaves in use."""
    run("ml", "train")


# Not dbt's source of scores: a view of the build reads that, so Dagster would cut the build in two.
@dg.asset(deps=[tables, churn_model])
def scores() -> None:
    """Today's users at risk."""
    run("ml", "score")


@dg.asset(deps=[tables, scores])
def report() -> None:
    """One HTML file, target/report.html."""
    run("report")


retries = dg.RetryPolicy(max_retries=2, delay=600)
training_assets = dg.AssetSelection.assets(churn_model)
daily_assets = dg.AssetSelection.all() - training_assets
daily = dg.define_asset_job("churn_daily", daily_assets, op_retry_policy=retries)
training = dg.define_asset_job("churn_training", training_assets, op_retry_policy=retries)

defs = dg.Definitions(
    assets=[tables, churn_model, scores, report],
    jobs=[daily, training],
    schedules=[
        dg.ScheduleDefinition(job=daily, cron_schedule="0 3 * * *"),
        dg.ScheduleDefinition(job=training, cron_schedule="0 12 * * SUN"),
    ],
    resources={"dbt": ProjectsDbt(project_dir=project, dbt_executable="dbt")},
)
