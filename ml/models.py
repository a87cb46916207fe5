"""The candidates: tables of rates, logistic regression and trees, on one table of encoded rows.

They are fitted on the driver, on bounded rows, and applied batch by batch with the same code. Rows
are those of `features.encode` as a pandas table: keys, `label` and every numeric column.
"""

from __future__ import annotations

import json
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pandas as pd

from ml.features import BY_NAME, DRAWS, columns
from ml.mixture import Array, Mixture
from ml.mixture import fit as fit_mixture

SEED = 20
PENALTY = 0.003  # half of it times the squared coefficients of standardised inputs, per row
RECENCY = "hours_since_last_event"
RANGES = 10

# What is made of several features, and speaks in reasons beside these.
LISTENER, SESSION_RATE = "kind_of_listener", "sessions_per_day"

XGBOOST: dict[str, Any] = {
    "objective": "binary:logistic",
    "max_depth": 3,
    "learning_rate": 0.05,
    "subsample": 0.8,
    "colsample_bytree": 0.5,
    "min_child_weight": 10.0,
    "reg_lambda": 5.0,
    "max_bin": 128,
    "tree_method": "hist",
    "seed": SEED,
    "nthread": 1,  # sums in another order are other trees
}
ROUNDS = 150


@dataclass(frozen=True)
class Parts:
    """The log odds of each row as a sum: `bias` (rows,) and `values` (rows, parts). Part i belongs
    to the feature `owners[i]`, and was made of `inputs[:, i]`, nan where a user has no value."""

    owners: tuple[str, ...]
    inputs: Array
    values: Array
    bias: Array

    @property
    def probability(self) -> Array:
        """(rows,) probability to churn."""
        log_odds = self.values.sum(axis=1) + self.bias
        return 1 / (1 + np.exp(-np.clip(log_odds, -500, 500)))


class Model(ABC):
    """A fitted model. model.json keeps its fields, in their order, and `load` reads them.

    One with a `mixture` tells types of users apart.
    """

    mixture: Mixture | None

    @property
    def reads(self) -> tuple[str, ...]:
        """Numeric columns that it looks at."""
        return input_columns(self.mixture)

    @abstractmethod
    def parts(self, rows: pd.DataFrame) -> Parts:
        """What each prediction is made of."""

    def probability(self, rows: pd.DataFrame) -> Array:
        """(rows,) probability to churn."""
        return self.parts(rows).probability


# --- rates ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rates(Model):
    """A churn rate per range of the hours since the last event: `rates[i]` up to `edges[i]`.

    `rates` has one element more than `edges`. Without edges it is the base rate.
    """

    kind: str = field(default="rates", init=False)
    edges: tuple[float, ...]
    rates: tuple[float, ...]

    mixture = None
    reads = (RECENCY,)

    def parts(self, rows: pd.DataFrame) -> Parts:
        hours = rows[[RECENCY]].to_numpy(dtype=float)
        rates = np.clip(self.rates, 1e-6, 1 - 1e-6)
        log_odds = np.log(rates) - np.log1p(-rates)
        values = log_odds[np.searchsorted(self.edges, hours, side="left")]
        return Parts((RECENCY,), hours, values, np.zeros(len(rows)))


def fit_base_rate(rows: pd.DataFrame) -> Rates:
    """The share of churners, for everybody."""
    return Rates((), (float(rows["label"].mean()),))


def fit_recency(rows: pd.DataFrame) -> Rates:
    """The churn rate of each tenth of the rows by hours since the last event."""
    hours, label = rows[RECENCY].to_numpy(dtype=float), rows["label"].to_numpy(dtype=float)
    edges = np.unique(np.quantile(hours, np.arange(1, RANGES) / RANGES))
    found = np.searchsorted(edges, hours, side="left")
    # a range without a churner is no proof that nobody churns there
    churned = np.bincount(found, label, len(edges) + 1) + label.mean()
    rates = churned / (np.bincount(found, minlength=len(edges) + 1) + 1)
    return Rates(tuple(edges.tolist()), tuple(rates.tolist()))


# --- inputs --------------------------------------------------------------------------------------
# What a classifier sees: all features as they are; or, with a mixture, the probabilities of its
# types, how often a user comes, and the plan.


def input_columns(mixture: Mixture | None) -> tuple[str, ...]:
    """Numeric columns that `input_matrix` reads."""
    if mixture is None:
        return tuple(column for column, _ in columns())
    drawn = {name for total, outcomes in DRAWS.items() for name in (total, *outcomes)}
    own = {"is_paid", "sessions_to_date", "days_since_first_event"}
    return tuple(name for name in BY_NAME if name in drawn | own)


def input_owners(mixture: Mixture | None) -> tuple[str, ...]:
    """The feature that each input belongs to."""
    if mixture is None:
        return tuple(owner for _, owner in columns())
    return (*(LISTENER,) * len(mixture.shares), SESSION_RATE, "is_paid")


def input_matrix(mixture: Mixture | None, rows: pd.DataFrame) -> Array:
    """(rows, inputs); nan where a feature has no value."""
    if mixture is None:
        return rows[list(input_columns(None))].to_numpy(dtype=float)
    sessions, days, is_paid = (
        rows[name].to_numpy(dtype=float)
        for name in ("sessions_to_date", "days_since_first_event", "is_paid")
    )
    # drawn to half a session a day where the user is new
    log_rate = np.log((sessions + 2) / (days + 4))
    return np.column_stack([mixture.probabilities(rows), log_rate, is_paid])


# --- classifiers ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Logistic(Model):
    """Ridge-penalised logistic regression on standardised inputs, all (inputs,) but `intercept`."""

    mixture: Mixture | None
    kind: str = field(default="logistic", init=False)
    mean: Array
    deviation: Array
    coefficients: Array
    intercept: float

    def parts(self, rows: pd.DataFrame) -> Parts:
        inputs = input_matrix(self.mixture, rows)
        values = (_filled(inputs, self.mean) - self.mean) / self.deviation * self.coefficients
        bias = np.full(len(rows), self.intercept)
        return Parts(input_owners(self.mixture), inputs, values, bias)


def fit_logistic(rows: pd.DataFrame, mixture: Mixture | None) -> Logistic:
    """Fit on the labels of `rows`; a missing value counts as the mean."""
    from sklearn.linear_model import LogisticRegression

    matrix = input_matrix(mixture, rows)
    with warnings.catch_warnings():  # a column without a value
        warnings.simplefilter("ignore", RuntimeWarning)
        mean = np.nan_to_num(np.nanmean(matrix, axis=0))
    matrix = _filled(matrix, mean)
    deviation = matrix.std(axis=0)
    deviation[deviation < 1e-9] = 1.0
    fitted = LogisticRegression(C=1 / (PENALTY * len(rows)), solver="newton-cholesky", max_iter=100)
    fitted.fit((matrix - mean) / deviation, rows["label"].to_numpy())
    return Logistic(mixture, mean, deviation, fitted.coef_[0], float(fitted.intercept_[0]))


def _filled(matrix: Array, mean: Array) -> Array:
    return np.where(np.isnan(matrix), mean, matrix)


@dataclass(frozen=True)
class Boosted(Model):
    """Gradient-boosted trees of xgboost, as its own JSON."""

    mixture: Mixture | None
    kind: str = field(default="boosted", init=False)
    booster: Mapping[str, Any]

    def parts(self, rows: pd.DataFrame) -> Parts:
        """By TreeSHAP (Lundberg et al., Nature Machine Intelligence 2, 2020)."""
        inputs = input_matrix(self.mixture, rows)
        found = self._predicted(inputs, pred_contribs=True)
        return Parts(input_owners(self.mixture), inputs, found[:, :-1], found[:, -1])

    def probability(self, rows: pd.DataFrame) -> Array:
        """The same without the parts, which cost the most."""
        return self._predicted(input_matrix(self.mixture, rows))

    def _predicted(self, inputs: Array, **options: bool) -> Array:
        import xgboost

        booster = xgboost.Booster({"nthread": 1})
        booster.load_model(bytearray(json.dumps(self.booster), "utf-8"))
        found = booster.predict(xgboost.DMatrix(inputs, nthread=1), **options)
        return np.asarray(found, dtype=float)


def fit_boosted(rows: pd.DataFrame, mixture: Mixture | None) -> Boosted:
    """Fit on the labels of `rows`; a missing value goes the way that loses less."""
    import xgboost

    # rows are drawn by position
    rows = rows.sort_values(["user_id", "snapshot_date"])
    data = xgboost.DMatrix(input_matrix(mixture, rows), label=rows["label"].to_numpy(), nthread=1)
    return Boosted(mixture, json.loads(xgboost.train(XGBOOST, data, ROUNDS).save_raw("json")))


def load(fields: Mapping[str, Any]) -> Model:
    """The model of its fields, in lists."""
    if fields["kind"] == "rates":
        return Rates(tuple(fields["edges"]), tuple(fields["rates"]))
    mixture = Mixture.from_json(fields["mixture"]) if fields["mixture"] else None
    if fields["kind"] == "boosted":
        return Boosted(mixture, fields["booster"])
    arrays = {name: np.array(fields[name]) for name in ("mean", "deviation", "coefficients")}
    return Logistic(mixture, intercept=fields["intercept"], **arrays)


# --- the candidates ------------------------------------------------------------------------------

Candidate = Callable[[pd.DataFrame], Model]
TYPES = (3, 4, 5)


def _of_types(types: int) -> Candidate:
    return lambda rows: fit_logistic(rows, fit_mixture(rows, types))


# What a model has to beat to be worth its keep.
BASELINES: dict[str, Candidate] = {"base_rate": fit_base_rate, "recency": fit_recency}
# From the simplest to the least simple: the first within one standard error of the best is chosen.
CANDIDATES: dict[str, Candidate] = {
    **{f"mixture_of_{types}_types": _of_types(types) for types in TYPES},
    "xgboost_on_4_types": lambda rows: fit_boosted(rows, fit_mixture(rows, 4)),
    "xgboost": lambda rows: fit_boosted(rows, None),
}
TITLES = {f"mixture_of_{types}_types": f"{types} types of users" for types in TYPES} | {
    "xgboost": "XGBoost, all features",
    "xgboost_on_4_types": "XGBoost, 4 types",
    "linear_svm": "linear SVM",
}


def model_name(name: str) -> str:
    """A model of a table of figures as people call it."""
    return TITLES.get(name, name.replace("_", " "))


# --- the classifiers of public notebooks ---------------------------------------------------------


class Predictor(Protocol):
    """What a backtest judges."""

    def probability(self, rows: pd.DataFrame) -> Array:
        """(rows,) probability to churn."""
        ...


Fit = Callable[[pd.DataFrame], Predictor]
MIN_LEAF_ROWS = 50


@dataclass(frozen=True)
class Classic:
    """A fitted pipeline of scikit-learn on all features."""

    pipeline: Any

    def probability(self, rows: pd.DataFrame) -> Array:
        """(rows,) probability to churn."""
        return self.pipeline.predict_proba(input_matrix(None, rows))[:, 1]


def classics() -> dict[str, Fit]:
    """A fit by name, for `train --compare`: judged like the candidates, on all features and the
    same days and users, and never chosen.

    They are scikit-learn's, which has the algorithms of Spark's MLlib that notebooks use. A missing
    value counts as the median; rows in another order are no other model.
    """
    from sklearn.base import clone
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC
    from sklearn.tree import DecisionTreeClassifier

    leaf: dict[str, int] = {"min_samples_leaf": MIN_LEAF_ROWS, "random_state": SEED}
    estimators = {
        "logistic_regression": LogisticRegression(C=0.01, max_iter=1000),
        "decision_tree": DecisionTreeClassifier(max_depth=6, **leaf),
        "random_forest": RandomForestClassifier(100, max_depth=10, **leaf),
        "gradient_boosted_trees": GradientBoostingClassifier(
            n_estimators=50, max_depth=3, subsample=0.5, max_features="sqrt", **leaf
        ),
        # Platt's scaling gives the margin of a support vector machine a probability
        "linear_svm": CalibratedClassifierCV(LinearSVC(C=0.001, random_state=SEED), cv=3),
    }

    def fit_by(estimator: Any) -> Fit:
        def fit(rows: pd.DataFrame) -> Classic:
            rows = rows.sort_values(["user_id", "snapshot_date"])
            imputer = SimpleImputer(strategy="median", keep_empty_features=True)
            pipeline = make_pipeline(imputer, StandardScaler(), clone(estimator))
            return Classic(pipeline.fit(input_matrix(None, rows), rows["label"].to_numpy()))

        return fit

    return {name: fit_by(estimator) for name, estimator in estimators.items()}
