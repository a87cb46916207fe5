"""Which snapshots and users train, tune and test: pure date arithmetic and two filters.

The label of snapshot D looks at [D, D + horizon). Between two parts lie enough snapshots that the
last label window of the earlier part ends where the first snapshot of the later part begins, so
no outcome counts in two parts and none was in the future of the part that uses it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any

from pyspark.sql import Column
from pyspark.sql import functions as F

from ml.errors import TooLittleData

# Shares of the snapshot days left after the two gaps. Tune and test are capped: with years of
# data a month to tune and two to test are enough, and all the rest trains.
TUNE_SHARE, TEST_SHARE = 0.2, 0.3
MAX_TUNE_DAYS, MAX_TEST_DAYS = 30, 60
MIN_USABLE_DAYS = 6  # after the gaps: 3 to train, 1 to tune, 2 to test

# Windows of 28 days that reach behind the first day of the log are cut there: those snapshots are
# left out of training where that leaves enough.
WARM_UP_DAYS, ENOUGH_DAYS = 28, 90

NEW_USER_BUCKETS = 5  # one user in five is never trained on


@dataclass(frozen=True)
class Split:
    """First and last snapshot date of each part, both inclusive."""

    horizon_days: int
    train_first: date
    train_last: date
    tune_first: date
    tune_last: date
    test_first: date
    test_last: date

    @property
    def fit_parts(self) -> list[tuple[date, date]]:
        """First and last snapshot date of train, gap and tune, all of which the final fit reads."""
        day = timedelta(days=1)
        return [
            (self.train_first, self.train_last),
            (self.train_last + day, self.tune_first - day),
            (self.tune_first, self.tune_last),
        ]

    def to_json(self) -> dict[str, object]:
        """Dates as ISO strings."""
        return {k: v.isoformat() if isinstance(v, date) else v for k, v in asdict(self).items()}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Split:
        """The inverse of `to_json`."""
        values: dict[str, Any] = {
            k: date.fromisoformat(v) if isinstance(v, str) else v for k, v in fields.items()
        }
        return cls(**values)


def min_days(horizon_days: int) -> int:
    """Days of mature snapshots (first to last, inclusive) below which there is no split."""
    return 2 * (horizon_days - 1) + MIN_USABLE_DAYS


def warm_start(first: date, last: date) -> date:
    """First snapshot to use of [first, last]: up to 28 days later, where 90 days remain."""
    days = (last - first).days + 1
    return first + timedelta(days=min(max(days - ENOUGH_DAYS, 0), WARM_UP_DAYS))


def split_dates(first: date, last: date, horizon_days: int) -> Split:
    """Split the mature snapshots [first, last] by time.

    Raises TooLittleData below `min_days(horizon_days)` days.
    """
    days = (last - first).days + 1
    usable = days - 2 * (horizon_days - 1)
    if usable < MIN_USABLE_DAYS:
        raise TooLittleData(
            f"Too little data to train: {days} days of snapshots have a known outcome ({first} to "
            f"{last}), and training, tuning and testing {horizon_days} days ahead needs "
            f"{min_days(horizon_days)}: add later logs and run `dbt build`."
        )
    test_days = min(math.ceil(usable * TEST_SHARE), MAX_TEST_DAYS)
    tune_days = min(math.floor(usable * TUNE_SHARE), MAX_TUNE_DAYS)
    test_first = last - timedelta(days=test_days - 1)
    tune_last = test_first - timedelta(days=horizon_days)
    tune_first = tune_last - timedelta(days=tune_days - 1)
    train_last = tune_first - timedelta(days=horizon_days)
    return Split(horizon_days, first, train_last, tune_first, tune_last, test_first, last)


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
    """True for the fifth of the users that no model ever trains or tunes on.

    A stable hash of user_id: the same user is held out in every run and on every machine.
    """
    return F.pmod(F.xxhash64("user_id"), F.lit(NEW_USER_BUCKETS)) == 0


def in_user_sample(share: float) -> Column:
    """True for about `share` of the users, independent of `is_new_user`."""
    buckets = 10_000
    return F.pmod(F.xxhash64("user_id", F.lit("sample")), F.lit(buckets)) < math.ceil(
        share * buckets
    )
