"""Which snapshots and users models are fitted and judged on: date arithmetic, and reading them.

The label of snapshot D looks at [D, D + horizon). Before the days on which a model is judged lies a
gap: the last label window of its fit ends where they begin, so no outcome was in its future.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from ml import TooLittleData
from ml.features import HORIZON_DAYS, LABEL, assert_finite, encode

# A backtest judges models on stretches of days that follow each other; before each of them, models
# are fitted on all days that lie a horizon earlier.
ORIGINS = 3
TEST_SHARE = 0.4  # of the days, for all stretches together
MAX_TEST_DAYS = 60
MIN_FIT_DAYS = 3

# Windows of 28 days that reach behind the first day of the log are cut there: those snapshots are
# left out of training where that leaves enough.
WARM_UP_DAYS, ENOUGH_DAYS = 28, 90

NEW_USER_BUCKETS = 5  # one user in five is in no fit of a backtest


@dataclass(frozen=True)
class Origin:
    """One step of the backtest: models fitted on snapshots up to `fit_last` are judged on those of
    [test_first, test_last]."""

    fit_last: date
    test_first: date
    test_last: date

    def fitted_on(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Those of collected `rows` that models are fitted on: of four users in five."""
        return rows[(rows["snapshot_date"] <= self.fit_last) & ~rows["is_new"]]


def min_days(horizon_days: int) -> int:
    """Days of mature snapshots (first to last, inclusive) below which there is no backtest."""
    return MIN_FIT_DAYS + horizon_days - 1 + ORIGINS


def warm_start(first: date, last: date) -> date:
    """First snapshot to use of [first, last]: up to 28 days later, where 90 days remain."""
    days = (last - first).days + 1
    return first + timedelta(days=min(max(days - ENOUGH_DAYS, 0), WARM_UP_DAYS))


def origins(first: date, last: date, horizon_days: int) -> list[Origin]:
    """The steps of the backtest on the mature snapshots [first, last], oldest first.

    Raises TooLittleData below `min_days(horizon_days)` days.
    """
    days = (last - first).days + 1
    if days < min_days(horizon_days):
        raise TooLittleData(
            f"Too little data to train: {days} days of snapshots have a known outcome ({first} to "
            f"{last}), and a backtest of predictions {horizon_days} days ahead needs "
            f"{min_days(horizon_days)}: add later logs and run `dbt build`."
        )
    most = min(days - min_days(horizon_days) + ORIGINS, MAX_TEST_DAYS)
    each = max(1, min(most, math.ceil(days * TEST_SHARE)) // ORIGINS)
    starts = [last - timedelta(days=each * step - 1) for step in range(ORIGINS, 0, -1)]
    return [
        Origin(start - timedelta(days=horizon_days), start, start + timedelta(days=each - 1))
        for start in starts
    ]


def ranges(first: date, steps: Sequence[Origin]) -> list[tuple[date, date]]:
    """First and last snapshot date of the days before the backtest, of the gap, and of each stretch
    that is judged: of each, `sampled` keeps some."""
    day, fit_last, test_first = timedelta(days=1), steps[0].fit_last, steps[0].test_first
    before = [(first, fit_last), (fit_last + day, test_first - day)]
    return before + [(origin.test_first, origin.test_last) for origin in steps]


def sampled(
    per_day: Mapping[date, int], parts: Sequence[tuple[date, date]], max_rows: int
) -> tuple[list[date], float]:
    """Snapshot dates to read, in order, and the share of users: about `max_rows` rows in all.

    Dates are every k-th with rows of each part (first, last), counted back from its last. k is the
    smallest step with at most `max_rows` rows in all, but never above one horizon: beyond it labels
    no longer overlap and skipping days only loses data. Each part is counted by itself, so that one
    that is shorter than the step keeps a date.
    """
    days = [
        sorted((day for day, rows in per_day.items() if rows and first <= day <= last))[::-1]
        for first, last in parts
    ]
    kept: list[date] = []
    rows = 0
    for step in range(1, HORIZON_DAYS + 1):
        kept = [day for of_part in days for day in of_part[::step]]
        rows = sum(per_day[day] for day in kept)
        if rows <= max_rows:
            break
    return sorted(kept), min(1.0, max_rows / max(rows, 1))


def in_user_sample(share: float) -> Column:
    """True for about `share` of the users, whether a backtest fits models on them or not."""
    buckets = 10_000
    bucket = F.pmod(F.xxhash64("user_id", F.lit("sample")), F.lit(buckets))
    return bucket < math.ceil(share * buckets)


def rows_per_day(features: DataFrame) -> Mapping[date, int]:
    """Rows with a known outcome by snapshot date: one pass, one result row per date.

    Raises TooLittleData where there is none.
    """
    found = features.where(F.col(LABEL).isNotNull()).groupBy("snapshot_date").count().collect()
    if not found:
        raise TooLittleData(
            f"Too little data: no snapshot has a known outcome yet. Outcomes are known "
            f"{HORIZON_DAYS} days after a snapshot: add later logs and run `dbt build`."
        )
    return {row["snapshot_date"]: row["count"] for row in found}


def collected(features: DataFrame, days: Sequence[date], user_share: float) -> pd.DataFrame:
    """The labelled rows of some snapshots and a share of the users, encoded, by snapshot and user:
    `is_new` tells the fifth of the users whom a backtest fits no model on.

    Raises ProjectError for NaN or infinity.
    """
    kept = features.where(F.col(LABEL).isNotNull() & F.col("snapshot_date").isin(*days))
    if user_share < 1:
        kept = kept.where(in_user_sample(user_share))
    # a stable hash: the same users are held out in every run and on every machine
    is_new = F.pmod(F.xxhash64("user_id"), F.lit(NEW_USER_BUCKETS)) == 0
    encoded = encode(kept).withColumn("is_new", is_new)
    assert_finite(encoded)
    rows: pd.DataFrame = encoded.toPandas()
    return rows.sort_values(["snapshot_date", "user_id"], ignore_index=True)


def check_classes(rows: pd.DataFrame, which: str, min_churners: int) -> None:
    """Raise TooLittleData unless users churn, and do not churn, in these rows ('first')."""
    churners = rows.loc[rows["label"] == 1, "user_id"].nunique()
    stayed = int((rows["label"] == 0).sum())
    if churners < min_churners or not stayed:
        raise TooLittleData(
            f"Too little data: in the {which} snapshots {churners} users churn (at least "
            f"{min_churners} are needed) and {stayed} rows do not: add more logs and run "
            "`dbt build`."
        )
