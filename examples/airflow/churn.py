"""The daily run and the weekly training as Airflow DAGs: docs/orchestration.md.

Tasks call the programs of the project's own environment.
"""

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

PROJECT = Path(__file__).resolve().parents[2]
SETTINGS: dict[str, Any] = {
    "start_date": datetime(2026, 1, 1, tzinfo=timezone.utc),
    "catchup": False,
    "max_active_runs": 1,
    "default_args": {
        "retries": 2,
        "retry_delay": timedelta(minutes=10),
        "execution_timeout": timedelta(hours=3),
    },
}


def task(name: str, command: str, **options: Any) -> BashOperator:
    """A task that runs a command in the project's environment."""
    # JAVA_HOME and SPARK_HOME would lead Spark elsewhere
    environment = "unset JAVA_HOME SPARK_HOME; . .venv/bin/activate"
    return BashOperator(
        task_id=name,
        bash_command=f"{environment} && {command}",
        cwd=str(PROJECT),
        **options,
    )


with DAG("churn_daily", schedule="0 3 * * *", **SETTINGS):
    # one task for all tables, as only a whole build publishes
    build = task("build", "dbt build")
    score = task("score", "python -m ml score")
    report = task("report", "python -m report")
    build >> score >> report

with DAG("churn_training", schedule="0 12 * * SUN", **SETTINGS):
    # status 3: too little data yet
    task("train", "python -m ml train", skip_on_exit_code=3)
