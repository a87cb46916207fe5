"""What monitoring needs of a scoring, as small counts: models/marts/churn makes figures of them.

A population stability index compares the users of a snapshot with those of the last week of the
fit: how many are in each bin is all that it needs. An outcome compares the cancellations that the
scores expect with those that came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark import cloudpickle
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

import ml
from ml.features import BY_NAME, CATEGORIES, CATEGORY_COLUMN, KEYS, LABEL, ONE_HOT, TENURES

SCORE = "churn_probability"
BIN = ["snapshot_date", "feature", "bin"]
TENTHS = np.arange(1, 10) / 10

# By feature, and for the score: `edges`, the highest value of each bin but the last, and `users` in
# each bin on a day of the reference, in the mean; the first are those without a value.
Bins = Mapping[str, Mapping[str, Any]]


def reference_bins(
    rows: pd.DataFrame, probability: Callable[[pd.DataFrame], NDArray[np.float64]]
) -> Bins:
    """Bins with a tenth of the users in each, of the last week of the encoded `rows` of a fit.

    A week, as users come on some weekdays more than on others. Where many have the same value there
    are fewer bins. Each category is one.
    """
    last = rows[rows["snapshot_date"] > rows["snapshot_date"].max() - timedelta(days=7)]
    last = last.assign(**{SCORE: probability(last)})
    days = last["snapshot_date"].nunique()
    found = {}
    for name in (*BY_NAME, SCORE):
        values = _values(last, name)
        known = values[~np.isnan(values)]
        edges = np.arange(len(CATEGORIES) - 1.0)
        if name != CATEGORY_COLUMN:
            tenths = np.quantile(known, TENTHS, method="inverted_cdf") if known.size else known
            edges = np.unique(tenths[tenths < known.max(initial=-np.inf)])
        users = _users(values, edges.tolist())
        found[name] = {"edges": edges.tolist(), "users": (users / days).tolist()}
    return found


def bin_counts(
    encoded: DataFrame, scores: DataFrame, bins: Bins, days: Sequence[date]
) -> DataFrame:
    """One row per snapshot date, feature or score, and bin: the users of that date, and those of
    the reference."""
    of_features = {name: one for name, one in bins.items() if name != SCORE}
    every = [
        (day, name, bin_, label, users)
        for day in days
        for name, one in bins.items()
        for bin_, (label, users) in enumerate(zip(_labels(name, one), one["users"], strict=True))
    ]
    reference = encoded.sparkSession.createDataFrame(
        every,
        "snapshot_date date, feature string, bin int, bin_label string, reference_users double",
    )
    counted = _counted(encoded, of_features).union(_counted(scores, {SCORE: bins[SCORE]}))
    users = counted.groupBy(*BIN).agg(F.sum("users").alias("users"))
    return reference.join(users, BIN, "left").fillna(0, ["users"])


def _counted(rows: DataFrame, bins: Bins) -> DataFrame:
    """Users by snapshot date, feature and bin, of each batch of rows by itself."""
    # workers on other machines do not have this package: send its functions along
    cloudpickle.register_pickle_by_value(ml)

    def counted(batches: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            for day, of_day in batch.groupby("snapshot_date"):
                users = {
                    (day, name, bin_): in_bin
                    for name, one in bins.items()
                    for bin_, in_bin in enumerate(_users(_values(of_day, name), one["edges"]))
                }
                yield pd.Series(users).rename_axis(BIN).reset_index(name="users")

    return rows.mapInPandas(counted, "snapshot_date date, feature string, bin int, users bigint")


def outcomes(scores: DataFrame, features: DataFrame) -> DataFrame:
    """One row per snapshot date, decile, plan and group of tenure: users, cancellations that their
    scores expect, and those that came; null until the label is known."""
    tenures = [
        f"when tenure_days < double('{below}') then '{name}'" for name, below in TENURES.items()
    ]
    return scores.sparkSession.sql(
        f"""
        select
            snapshot_date,
            risk_decile,
            if(is_paid, 'paid', 'free') as level,
            case {" ".join(tenures)} else 'unknown' end as tenure,
            count(*) as users,
            -- exact, whatever the order of the rows
            double(sum(cast(churn_probability as decimal(18, 9)))) as expected_cancellations,
            case when count({LABEL}) > 0 then count_if({LABEL}) end as cancellations
        from (
            select
                *,
                ntile(10) over (
                    partition by snapshot_date order by churn_probability desc, user_id
                ) as risk_decile
            from {{scores}}
        )
        inner join {{features}} using (snapshot_date, user_id)
        group by all
        """,
        scores=scores.select(*KEYS, SCORE),
        features=features.select(*KEYS, LABEL, "is_paid", "tenure_days"),
    )


def _values(rows: pd.DataFrame, name: str) -> NDArray[np.float64]:
    """(rows,) values of a feature; nan where there is none; of the category, its place."""
    if name == CATEGORY_COLUMN:
        return rows[list(ONE_HOT)].to_numpy().argmax(axis=1).astype(float)
    return rows[name].to_numpy(dtype=float)


def _users(values: NDArray[np.float64], edges: Sequence[float]) -> NDArray[np.int64]:
    """How many values are missing, and how many are in each bin."""
    bins = np.where(np.isnan(values), 0, 1 + np.searchsorted(edges, values))
    return np.bincount(bins, minlength=len(edges) + 2)


def _labels(name: str, one: Mapping[str, Any]) -> list[str]:
    """Words for the bins of a feature."""
    if name == CATEGORY_COLUMN:
        return ["missing", *CATEGORIES]
    edges = [f"{edge:.6g}" for edge in one["edges"]]
    between = [f"over {low} to {high}" for low, high in pairwise(edges)]
    first_and_last = [f"to {edges[0]}", *between, f"over {edges[-1]}"] if edges else ["any"]
    return ["missing", *first_and_last]
