"""The model of a run, for MLflow, which runs this file when somebody loads it.

`predict` takes the columns of `ml.features.encode` that the model reads, one row per user and
snapshot date, and returns a probability for each. It needs this project's environment and folder.
"""

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from ml import store
from ml.reasons import Explained


class Churn(PythonModel):
    """A model of `train`."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read its file."""
        fields = store.read_json(Path(context.artifacts["model"]))
        self.model = Explained.from_json(fields).model

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.Series:
        """Probability to churn of each row."""
        return pd.Series(self.model.probability(model_input), model_input.index, name="probability")


set_model(Churn())
