"""Which snapshots and users models are fitted and judged on: date arithmetic and two filters.

The label of snapshot D looks at [D, D + horizon). Before the days on which a model is judged lies a
gap: the last label window of its fit ends where they begin, so no outcome was in its future.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from pyspark.sql import Column
from pyspark.sql import functions as F

from ml.errors import TooLittleData

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
    that is judged: of each, `thinned` keeps some."""
    day, fit_last, test_first = timedelta(days=1), steps[0].fit_last, steps[0].test_first
    before = [(first, fit_last), (fit_last + day, test_first - day)]
    return before + [(origin.test_first, origin.test_last) for origin in steps]


def thinned(
    rows_per_day: Mapping[date, int],
    parts: Sequence[tuple[date, date]],
    max_rows: int,
    max_step: int,
) -> list[date]:
    """Every k-th snapshot date with rows of each part (first, last), counted back from its last.

    k is the smallest step with at most `max_rows` rows in all, but never above `max_step`: beyond
    one horizon labels no longer overlap and skipping days only loses data. Each part is counted by
    itself, so that one that is shorter than the step keeps a date.
    """
    days = [
        sorted((day for day, rows in rows_per_day.items() if rows and first <= day <= last))[::-1]
        for first, last in parts
    ]
    kept: list[date] = []
    for step in range(1, max_step + 1):
        kept = [day for of_part in days for day in of_part[::step]]
        if sum(rows_per_day[day] for day in kept) <= max_rows:
            break
    return sorted(kept)


def is_new_user() -> Column:
    """True for the fifth of the users that no model of a backtest is fitted on.

    A stable hash of user_id: the same user is held out in every run and on every machine.
    """
    return F.pmod(F.xxhash64("user_id"), F.lit(NEW_USER_BUCKETS)) == 0


def in_user_sample(share: float) -> Column:
    """True for about `share` of the users, independent of `is_new_user`."""
    buckets = 10_000
    return F.pmod(F.xxhash64("user_id", F.lit("sample")), F.lit(buckets)) < math.ceil(
        share * buckets
    )
