"""The features of the churn model: columns of `churn_features`, as its yml describes them.

Grain of the table: one row per user_id and snapshot_date. A feature counts only events before the
snapshot; the label is null until the horizon after the snapshot has passed. Theme, unit and words
of a feature are its `meta` in models/marts/churn/churn_features.yml; a column without is none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from warehouse.errors import ProjectError
from warehouse.session import PROJECT_DIR

TABLE = "churn_features"
LABEL = "is_churned_next_10_days"
HORIZON_DAYS = 10
KEYS = {"user_id": "string", "snapshot_date": "date"}

THEMES = ("habits", "activity", "recency", "plan", "tenure")

# Values of last_event_category that get a column of their own; every other value is 'other'.
CATEGORIES = (
    *("song", "thumbs_up", "thumbs_down", "advert", "home", "logout", "error"),
    *("downgrade_visit", "upgrade_visit", "other"),
)
CATEGORY_COLUMN = "last_event_category"
ONE_HOT = tuple(f"{CATEGORY_COLUMN}_is_{category}" for category in CATEGORIES)

# Groups of users by the days since they registered, and below how many each of them ends.
TENURES = {"under_30_days": 30.0, "30_to_89_days": 90.0, "90_days_or_more": math.inf}


# --- plain words ---------------------------------------------------------------------------------


def number(value: float) -> str:
    """'0', '0.04', '3.1', '1,204': as many digits as a reader needs."""
    if value == 0:
        return "0"
    if abs(value) >= 10 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 0.1 else f"{value:.2g}"


def duration(hours: float) -> str:
    """'40 minutes', '5 hours', '9 days'."""
    amount, unit = (hours / 24, "day") if hours >= 48 else (hours, "hour")
    if hours < 1:
        amount, unit = hours * 60, "minute"
    amount = round(amount)
    return f"{amount} {unit}{'' if amount == 1 else 's'}"


def _days(days: float) -> str:
    return f"{days:,.0f} day{'' if round(days) == 1 else 's'}"


def _typical(typical: float | None, shown: Callable[[float], str] = number) -> str:
    return "" if typical is None or math.isnan(typical) else f" (typical: {shown(typical)})"


@dataclass(frozen=True)
class Feature:
    """One column of the mart.

    Attributes:
        name: column name.
        spark_type: type as Spark spells it (`bigint`, `double`, `boolean`, `int`, `string`).
        theme: one of THEMES; features of one theme are one reason, and add up.
        unit: of its values.
        words: what is counted or measured.
        meta: all that the yml says of it.
    """

    name: str
    spark_type: str
    theme: str
    unit: str
    words: str
    meta: Mapping[str, Any] = field(repr=False, compare=False)

    def phrase(self, value: Any, typical: float | None) -> str:
        """Plain words for a value and the typical value (both maybe None), by type and unit."""
        if self.spark_type == "boolean":
            return "On the paid plan" if value else "On the free plan"
        if self.spark_type == "string":
            return f"Last action: {(value or 'unknown').replace('_', ' ')}"
        if self.unit == "hours":
            return self._since(value, typical)
        if self.unit == "days":
            if value is None:
                return f"{self.words} at an unknown date"
            when = f"{_days(value)} ago" if value >= 0 else f"{_days(-value)} after the snapshot"
            return f"{self.words} {when}{_typical(typical, _days)}"
        days = re.search(r"_last_(\d+)_days$", self.name)
        period = f"in the last {days[1]} days" if days else "so far"
        if self.unit == "ratio":
            return self._ratio(value, typical, period)
        if hours := {"milliseconds": 1 / 3_600_000, "seconds": 1 / 3600}.get(self.unit):
            start = f"{duration(value * hours)} of" if value else "No"
            of_most = _typical(typical, lambda amount: duration(amount * hours))
            return f"{start} {self.words} {period}{of_most}"
        return f"{number(value) if value else 'No'} {self.words} {period}{_typical(typical)}"

    def _since(self, hours: float | None, typical: float | None) -> str:
        if hours is None:
            return f"Never {'an' if self.words[0] in 'aeiou' else 'a'} {self.words}"
        # A long silence is the news where the act is wanted; how recent it was where it is not.
        if self.meta.get("is_wanted", True) and hours >= 24:
            return f"No {self.words} for {duration(hours)}{_typical(typical, duration)}"
        return f"Last {self.words} {duration(hours)} ago{_typical(typical, duration)}"

    def _ratio(self, value: float | None, typical: float | None, period: str) -> str:
        if "per" in self.meta:
            if value is None:
                return f"{self.meta['null_means'].capitalize()} {period}"
            scale = self.meta.get("scale", 1)
            of_most = _typical(None if typical is None else typical * scale)
            return f"{self.words} {number(value * scale)} {self.meta['per']} {period}{of_most}"
        if value is None:
            return f"No {self.words} in the 3 weeks before the last 7 days"
        start = f"{self.words.capitalize()} of the last 7 days at {value:.0%}"
        return f"{start} of a week in the 3 weeks before{_typical(typical, '{:.0%}'.format)}"


# --- the schema ----------------------------------------------------------------------------------


def _features() -> Iterator[Feature]:
    file = PROJECT_DIR / "models" / "marts" / "churn" / f"{TABLE}.yml"
    (model,) = yaml.safe_load(file.read_text(encoding="utf-8"))["models"]
    for column in model["columns"]:
        meta = column.get("config", {}).get("meta", {})
        if "theme" in meta:
            name, kind, words = column["name"], column["data_type"], meta.get("words", "")
            yield Feature(name, kind, meta["theme"], meta["unit"], words, meta)


FEATURES: tuple[Feature, ...] = tuple(_features())
BY_NAME: dict[str, Feature] = {feature.name: feature for feature in FEATURES}
TYPES: dict[str, str] = {feature.name: feature.spark_type for feature in FEATURES}

# What users do next, as counts to the snapshot: outcomes by the count of all draws. A new page that
# is counted so is part of it.
DRAWS: dict[str, tuple[str, ...]] = {
    f"events_after_song_{plan}_to_date": tuple(
        name
        for name in BY_NAME
        if name.endswith(f"_after_song_{plan}_to_date") and not name.startswith("events_")
    )
    for plan in ("paid", "free")
} | {"adverts_to_date": ("session_ends_after_advert_to_date",)}


# --- reading -------------------------------------------------------------------------------------


def assert_schema(
    features: DataFrame, table: str = TABLE, types: Mapping[str, str] = TYPES
) -> DataFrame:
    """Return `features` reduced to keys, label and the features `types`, in this order.

    Other columns are allowed: a mart may grow before a model does. Raises ProjectError naming every
    missing or wrongly typed column and what to do.
    """
    expected = {**KEYS, LABEL: "boolean", **types}
    there = {column.name: column.dataType.simpleString() for column in features.schema}
    missing = [name for name in expected if name not in there]
    wrong = [
        f"{name} is {there[name]}, not {spark_type}"
        for name, spark_type in expected.items()
        if there.get(name, spark_type) != spark_type
    ]
    errors = [f"missing: {', '.join(missing)}"] if missing else []
    errors += [f"wrong type: {'; '.join(wrong)}"] if wrong else []
    if errors:
        wanted = "churn_features.yml" if types == TYPES else "the model run"
        raise ProjectError(
            f"{table} does not have the features that {wanted} needs ({'; '.join(errors)}). "
            "Run `dbt build` to publish the mart as this version of the project defines it"
            + ("." if types == TYPES else ", or `python -m ml train` for a model of what it has.")
        )
    return features.select(*expected)


# --- numbers for the models ----------------------------------------------------------------------


def columns(names: Sequence[str] = tuple(BY_NAME)) -> list[tuple[str, str]]:
    """(numeric column, feature it belongs to) in model order: the one-hot columns of the category
    all belong to `last_event_category`."""
    return [
        (column, name)
        for name in names
        for column in (ONE_HOT if name == CATEGORY_COLUMN else (name,))
    ]


def encode(features: DataFrame) -> DataFrame:
    """Keys, `label` (1.0, 0.0 or null) and every numeric column as double; a null stays null.

    Grain as the input, and features in its order. A category not in CATEGORIES counts as 'other'.
    """
    category = F.col(CATEGORY_COLUMN)
    category = F.when(category.isin(*CATEGORIES), category).otherwise("other")
    values = dict(zip(ONE_HOT, (category == one for one in CATEGORIES), strict=True))
    return features.select(
        *KEYS,
        F.col(LABEL).cast("double").alias("label"),
        *(
            values.get(column, F.col(column)).cast("double").alias(column)
            for column, _ in columns([name for name in features.columns if name in BY_NAME])
        ),
    )


def assert_finite(encoded: DataFrame) -> None:
    """Raise ProjectError naming the features of encoded rows that hold NaN or infinity."""
    names = [c for c in encoded.columns if c in BY_NAME and BY_NAME[c].spark_type == "double"]
    found = encoded.agg(
        *(F.count_if(F.isnan(c) | (F.abs(c) == math.inf)).alias(c) for c in names)
    ).collect()[0]
    broken = [f"{name} ({found[name]:,} rows)" for name in names if found[name]]
    if broken:
        raise ProjectError(
            f"{TABLE} holds NaN or infinity in {', '.join(broken)}, so no model was fitted or "
            "applied: find in models/marts/churn where they come from, and run `dbt build`."
        )
