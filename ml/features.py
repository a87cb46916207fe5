"""The features of the churn model: columns of `churn_features`, as its yml describes them.

Grain of the table: one row per user_id and snapshot_date. A feature counts only events before the
snapshot; the label is null until the horizon after the snapshot has passed. Theme, unit and words
of a feature are its `meta` in models/marts/churn/churn_features.yml; a column without is none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, StructType

from warehouse.errors import ProjectError
from warehouse.session import PROJECT_DIR

TABLE = "churn_features"
LABEL = "is_churned_next_10_days"
HORIZON_DAYS = 10
KEYS = {"user_id": "string", "snapshot_date": "date"}
LABELS = {LABEL: "boolean"}

THEMES = ("habits", "activity", "recency", "plan", "tenure")

# Values of last_event_category that get a column of their own; every other value is 'other'.
CATEGORIES = (
    "song",
    "thumbs_up",
    "thumbs_down",
    "advert",
    "home",
    "logout",
    "error",
    "downgrade_visit",
    "upgrade_visit",
    "other",
)
CATEGORY_COLUMN = "last_event_category"

# Groups of users by the days since they registered, and below how many each of them ends.
TENURES = {"under_30_days": 30.0, "30_to_89_days": 90.0, "90_days_or_more": math.inf}

Phrase = Callable[[Any, "float | None"], str]


@dataclass(frozen=True)
class Feature:
    """One column of the mart.

    Attributes:
        name: column name.
        spark_type: type as Spark spells it (`bigint`, `double`, `boolean`, `int`, `string`).
        theme: one of THEMES; features of one theme are one reason, and add up.
        words: what is counted or measured.
        phrase: plain words for a value and the typical value (both maybe None).
    """

    name: str
    spark_type: str
    theme: str
    words: str
    phrase: Phrase = field(repr=False, compare=False)


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


def _phrase(name: str, spark_type: str, meta: Mapping[str, Any]) -> Phrase:
    """What makes words of a value, by type, name and unit of a feature."""
    words, unit = meta.get("words", ""), meta["unit"]
    days = re.search(r"_last_(\d+)_days$", name)
    period = f"in the last {days[1]} days" if days else "so far"

    def plan(value: float | None, typical: float | None) -> str:
        return "On the paid plan" if value else "On the free plan"

    def last_action(value: str | None, typical: float | None) -> str:
        return f"Last action: {(value or 'unknown').replace('_', ' ')}"

    def since(value: float | None, typical: float | None) -> str:
        # A long silence is the news where the act is wanted; how recent it was where it is not.
        if value is None:
            return f"Never a {words}" if words[0] not in "aeiou" else f"Never an {words}"
        if meta.get("is_wanted", True) and value >= 24:
            return f"No {words} for {duration(value)}{_typical(typical, duration)}"
        return f"Last {words} {duration(value)} ago{_typical(typical, duration)}"

    def trend(value: float | None, typical: float | None) -> str:
        if value is None:
            return f"No {words} in the 3 weeks before the last 7 days"
        start = f"{words.capitalize()} of the last 7 days at {value:.0%}"
        return f"{start} of a week in the 3 weeks before{_typical(typical, '{:.0%}'.format)}"

    def aged(value: float | None, typical: float | None) -> str:
        if value is None:
            return f"{words} at an unknown date"
        when = f"{_days(value)} ago" if value >= 0 else f"{_days(-value)} after the snapshot"
        return f"{words} {when}{_typical(typical, _days)}"

    def rated(value: float | None, typical: float | None) -> str:
        if value is None:
            return f"{meta['null_means'].capitalize()} {period}"
        scale = meta.get("scale", 1)
        of_most = _typical(None if typical is None else typical * scale)
        return f"{words} {number(value * scale)} {meta['per']} {period}{of_most}"

    def timed(value: float | None, typical: float | None) -> str:
        hours = {"milliseconds": 1 / 3_600_000, "seconds": 1 / 3600}[unit]

        def shown(amount: float) -> str:
            return duration(amount * hours)

        start = "No" if not value else f"{shown(value)} of"
        return f"{start} {words} {period}{_typical(typical, shown)}"

    def counted(value: float | None, typical: float | None) -> str:
        return f"{number(value) if value else 'No'} {words} {period}{_typical(typical)}"

    if spark_type == "boolean":
        return plan
    if spark_type == "string":
        return last_action
    by_unit = {"hours": since, "days": aged, "milliseconds": timed, "seconds": timed}
    if unit == "ratio":
        return rated if "per" in meta else trend
    return by_unit.get(unit, counted)


# --- the schema ----------------------------------------------------------------------------------


def _features() -> tuple[Feature, ...]:
    file = PROJECT_DIR / "models" / "marts" / "churn" / f"{TABLE}.yml"
    (model,) = yaml.safe_load(file.read_text(encoding="utf-8"))["models"]
    found = []
    for column in model["columns"]:
        meta = column.get("config", {}).get("meta", {})
        if "theme" in meta:
            name, kind = column["name"], column["data_type"]
            words = meta.get("words", "")
            found.append(Feature(name, kind, meta["theme"], words, _phrase(name, kind, meta)))
    return tuple(found)


FEATURES: tuple[Feature, ...] = _features()
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


def schema_errors(schema: StructType, types: Mapping[str, str] = TYPES) -> list[str]:
    """Sentences about every column that is missing or of another type; empty when all fit.

    `types` has the features that are wanted. Other columns are allowed: a mart may grow before a
    model does.
    """
    expected = {**KEYS, **LABELS, **types}
    found: dict[str, DataType] = {field.name: field.dataType for field in schema.fields}
    missing = [name for name in expected if name not in found]
    wrong = [
        f"{name} is {found[name].simpleString()}, not {spark_type}"
        for name, spark_type in expected.items()
        if name in found and found[name].simpleString() != spark_type
    ]
    errors = []
    if missing:
        errors.append(f"missing: {', '.join(missing)}")
    if wrong:
        errors.append(f"wrong type: {'; '.join(wrong)}")
    return errors


def assert_schema(
    features: DataFrame, table: str = TABLE, types: Mapping[str, str] = TYPES
) -> DataFrame:
    """Return `features` reduced to keys, label and the features `types`, in this order.

    Raises ProjectError naming every missing or wrongly typed column and what to do.
    """
    errors = schema_errors(features.schema, types)
    if errors:
        wanted = "churn_features.yml" if types == TYPES else "the model run"
        raise ProjectError(
            f"{table} does not have the features that {wanted} needs ({'; '.join(errors)}). "
            "Run `dbt build` to publish the mart as this version of the project defines it"
            + ("." if types == TYPES else ", or `python -m ml train` for a model of what it has.")
        )
    return features.select(*KEYS, *LABELS, *types)


# --- numbers for the models ----------------------------------------------------------------------


def columns(names: Sequence[str] = tuple(BY_NAME)) -> list[tuple[str, str]]:
    """(numeric column, feature it belongs to) in model order: the one-hot columns of the category
    all belong to `last_event_category`."""
    pairs = []
    for name in names:
        if name == CATEGORY_COLUMN:
            pairs += [(f"{name}_is_{category}", name) for category in CATEGORIES]
        else:
            pairs.append((name, name))
    return pairs


def encode(features: DataFrame) -> DataFrame:
    """Keys, `label` (1.0, 0.0 or null) and every numeric column as double; a null stays null.

    Grain as the input, and features in its order. A category not in CATEGORIES counts as 'other'.
    """
    category = F.when(F.col(CATEGORY_COLUMN).isin(*CATEGORIES), F.col(CATEGORY_COLUMN)).otherwise(
        "other"
    )

    def numeric(column: str, feature: str) -> Column:
        if feature == CATEGORY_COLUMN:
            value = category == column.removeprefix(f"{feature}_is_")
        else:
            value = F.col(feature)
        return value.cast("double").alias(column)

    return features.select(
        *KEYS,
        F.col(LABEL).cast("double").alias("label"),
        *(
            numeric(column, feature)
            for column, feature in columns([c for c in features.columns if c in BY_NAME])
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
