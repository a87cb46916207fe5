"""Numbers and names as a reader expects them."""

from __future__ import annotations

import re

import pandas as pd

NOTHING = "–"  # where there is no figure
NO_WEEK = "The log has no complete week yet."
_FEATURES = {
    "is_churned_next_10_days": "cancels in 10 days",
    "kind_of_listener": "kind of listener",
    "is_paid": "paid plan",
    "tenure_days": "days since registration",
    "days_since_first_event": "days since first event",
    "last_event_category": "last action",
    "idle_seconds_to_date": "idle time so far",
}


def percent(share: float | None, digits: int = 1) -> str:
    """'4.2%' of .042; a dash for null."""
    return NOTHING if share is None or pd.isna(share) else f"{float(share):.{digits}%}"


def number(value: float | None) -> str:
    """'1,204', '12.3': whole numbers whole, others with one digit; a dash for null."""
    if value is None or pd.isna(value):
        return NOTHING
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def day(value: object) -> str:
    """'2 December 2018'; a dash for no date."""
    return NOTHING if pd.isna(value) else f"{pd.Timestamp(value):%-d %B %Y}"


def hours(value: float | None) -> str:
    """'3.0'; a dash for null."""
    return NOTHING if value is None or pd.isna(value) else f"{float(value):.1f}"


def several(amount: int, noun: str) -> str:
    """'1 user', '1,204 users'."""
    return f"{amount:,} {noun}{'' if amount == 1 else 's'}"


def listed(items: list[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def capitalized(sentence: str) -> str:
    """The first letter large, the others as they are."""
    return sentence[:1].upper() + sentence[1:]


def feature_name(name: str) -> str:
    """A column of churn_features in a few words: 'songs, 28 days', 'hours since last error'."""
    if name in _FEATURES:
        return _FEATURES[name]
    name = re.sub(r"_trend_7_over_21_days$", ": 7 over 21 days", name)
    name = re.sub(r"_last_(\d+)_days$", r", \1 days", name)
    name = re.sub(r"_to_date$", " so far", name)
    name = name.replace("milliseconds", "time")
    return name.replace("_", " ")
