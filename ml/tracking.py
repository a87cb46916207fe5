"""What MLflow keeps of a training: `python -m ml train --mlflow`.

A training becomes a run of the experiment `churn`, and a version of the registered model `churn`.
MLFLOW_TRACKING_URI says where MLflow is, by default a SQLite file beside the runs. Nothing else in
the project needs the package.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

from ml import store
from ml.models import Model
from warehouse.errors import ProjectError

NAME = "churn"
DATABASE = "mlflow.db"
MODEL_CODE = Path(__file__).with_name("mlflow_model.py")


def assert_installed() -> None:
    """Raise ProjectError, before any work is done, where MLflow is not installed.

    Looks for it without an import, which would come before the settings of `_mlflow`.
    """
    if importlib.util.find_spec("mlflow") is None:
        raise ProjectError("--mlflow needs MLflow: `make setup` installs it.")


def log_run(artifacts: Path, run_id: str) -> str:
    """Give a run of `train` to MLflow; returns the number of the model's version.

    Kept are its settings as parameters, the figures of all candidates on all rows as metrics
    (`roc_auc.xgboost`; those of the chosen one without its name), its files, and the model with the
    columns that it reads.
    """
    mlflow = _mlflow(artifacts)
    folder = store.run_folder(artifacts, run_id)
    run, metrics = store.read_json(folder / "run.json"), store.read_json(folder / "metrics.json")
    with mlflow.start_run(run_name=run_id), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is no example of the input
        mlflow.set_tags({"model_run_id": run_id, "label": run["label"]})
        fit = {"first_snapshot_date": run["fit"]["first"], "last_snapshot_date": run["fit"]["last"]}
        kept = {name: run[name] for name in ("chosen", "horizon_days", "user_share")}
        mlflow.log_params({**kept, **fit, "rows": run["fit"]["rows"], **run["settings"]})
        mlflow.log_metrics(
            {
                figure if model == metrics["chosen"] else f"{figure}.{model}": value["value"]
                for model, cohorts in metrics["figures"].items()
                for figure, value in cohorts["all"].items()
                if value["value"] is not None
            }
        )
        mlflow.log_artifacts(str(folder))
        version = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(MODEL_CODE),
            artifacts={"model": str(folder / "model.json")},
            signature=_signature(store.read_model(folder).model),
            registered_model_name=NAME,
            pip_requirements=[],  # the project's own environment
        ).registered_model_version
    return str(version)


def _mlflow(artifacts: Path) -> ModuleType:
    """MLflow with the experiment in use, without its news and without telling its makers of it."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow
    from mlflow.utils.logging_utils import disable_logging

    disable_logging()
    logging.getLogger("alembic").setLevel(logging.WARNING)
    location = None
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        mlflow.set_tracking_uri(f"sqlite:///{(artifacts / DATABASE).resolve()}")
        location = (artifacts / "mlruns").resolve().as_uri()
    if mlflow.get_experiment_by_name(NAME) is None:
        mlflow.create_experiment(NAME, location)
    mlflow.set_experiment(NAME)
    return mlflow


def _signature(model: Model) -> Any:
    """Columns that a model reads, and what it gives, as MLflow describes them."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    read = Schema([ColSpec(DataType.double, name) for name in sorted({*model.reads})])
    return ModelSignature(read, Schema([ColSpec(DataType.double, "probability")]))
