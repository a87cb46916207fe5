"""The classifiers of the public notebooks on this data, for `train --compare`: judged like the
candidates, on all features and the same days and users, and never chosen.

They are scikit-learn's, which has the algorithms of Spark's MLlib that notebooks use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.models import SEED, Fit, input_matrix

MIN_LEAF_ROWS = 50


@dataclass(frozen=True)
class Classic:
    """A fitted pipeline of scikit-learn on all features."""

    pipeline: Any

    def probability(self, rows: pd.DataFrame) -> NDArray[np.float64]:
        """(rows,) probability to churn."""
        return self.pipeline.predict_proba(input_matrix(None, rows))[:, 1]


def classics() -> dict[str, Fit]:
    """A fit by name. A missing value counts as the median; rows in another order are no other
    model."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC
    from sklearn.tree import DecisionTreeClassifier

    leaf: dict[str, int] = {"min_samples_leaf": MIN_LEAF_ROWS, "random_state": SEED}

    def fit_by(make: Callable[[], Any]) -> Fit:
        def fit(rows: pd.DataFrame) -> Classic:
            rows = rows.sort_values(["user_id", "snapshot_date"])
            pipeline = make_pipeline(
                SimpleImputer(strategy="median", keep_empty_features=True),
                StandardScaler(),
                make(),
            )
            return Classic(pipeline.fit(input_matrix(None, rows), rows["label"].to_numpy()))

        return fit

    return {
        "logistic_regression": fit_by(lambda: LogisticRegression(C=0.01, max_iter=1000)),
        "decision_tree": fit_by(lambda: DecisionTreeClassifier(max_depth=6, **leaf)),
        "random_forest": fit_by(lambda: RandomForestClassifier(100, max_depth=10, **leaf)),
        "gradient_boosted_trees": fit_by(
            lambda: GradientBoostingClassifier(
                n_estimators=50, max_depth=3, subsample=0.5, max_features="sqrt", **leaf
            )
        ),
        # Platt's scaling gives the margin of a support vector machine a probability
        "linear_svm": fit_by(
            lambda: CalibratedClassifierCV(LinearSVC(C=0.001, random_state=SEED), cv=3)
        ),
    }
