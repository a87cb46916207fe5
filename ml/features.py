"""The feature schema: the one place that names the columns of `churn_features`.

Grain of the table: one row per user_id and snapshot_date. A feature counts only events before the
snapshot; the label is null until the horizon after the snapshot has passed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, StructType

from warehouse.errors import ProjectError

TABLE = "churn_features"
LABEL = "is_churned_next_10_days"
HORIZON_DAYS = 10

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


@dataclass(frozen=True)
class Feature:
    """One column of the mart.

    Attributes:
        name: column name.
        spark_type: type as Spark spells it (`bigint`, `double`, `boolean`, `int`, `string`).
        unit: unit of the value.
        null_means: what a null says, or '' where nulls are not expected.
        theme: one of THEMES; features of one theme are one reason, and add up.
        phrase: plain words for a value and the typical value (both maybe None).
        is_skewed: counts and durations, for which linear models take log(1 + x), and -log(1 - x)
            below 0: the order of the values stays, and none becomes a missing one.
    """

    name: str
    spark_type: str
    unit: str
    null_means: str
    theme: str
    phrase: Callable[[Any, float | None], str]
    is_skewed: bool = True

    @property
    def is_nullable(self) -> bool:
        """Whether a null carries meaning, so that models get a flag for it."""
        return bool(self.null_means)


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


def _typical(typical: float | None, shown: Callable[[float], str] = number) -> str:
    return "" if typical is None or math.isnan(typical) else f" (typical: {shown(typical)})"


def _counted(words: str, period: str) -> Callable[[float | None, float | None], str]:
    def phrase(value: float | None, typical: float | None) -> str:
        start = "No" if not value else number(value)
        return f"{start} {words} {period}{_typical(typical)}"

    return phrase


def _timed(words: str, period: str, hours_per_unit: float) -> Callable[..., str]:
    def phrase(value: float | None, typical: float | None) -> str:
        def shown(amount: float) -> str:
            return duration(amount * hours_per_unit)

        start = "No" if not value else f"{shown(value)} of"
        return f"{start} {words} {period}{_typical(typical, shown)}"

    return phrase


def _since(words: str, is_wanted: bool) -> Callable[[float | None, float | None], str]:
    # A long silence is the news where the act is wanted; how recent it was where it is not.
    def phrase(value: float | None, typical: float | None) -> str:
        if value is None:
            return f"Never a {words}" if words[0] not in "aeiou" else f"Never an {words}"
        if is_wanted and value >= 24:
            return f"No {words} for {duration(value)}{_typical(typical, duration)}"
        return f"Last {words} {duration(value)} ago{_typical(typical, duration)}"

    return phrase


def _rated(words: str, scale: float, per: str, none: str) -> Callable[..., str]:
    def phrase(value: float | None, typical: float | None) -> str:
        if value is None:
            return none
        typical = None if typical is None else typical * scale
        return f"{words} {number(value * scale)} {per}{_typical(typical)}"

    return phrase


def _compared(words: str) -> Callable[[float | None, float | None], str]:
    def phrase(value: float | None, typical: float | None) -> str:
        if value is None:
            return f"No {words} in the 3 weeks before the last 7 days"

        def shown(ratio: float) -> str:
            return f"{ratio:.0%}"

        start = f"{words.capitalize()} of the last 7 days at {shown(value)}"
        return f"{start} of a week in the 3 weeks before{_typical(typical, shown)}"

    return phrase


def _aged(words: str) -> Callable[[float | None, float | None], str]:
    def phrase(value: float | None, typical: float | None) -> str:
        if value is None:
            return f"{words} at an unknown date"

        def shown(days: float) -> str:
            return f"{days:,.0f} day{'' if round(days) == 1 else 's'}"

        when = f"{shown(value)} ago" if value >= 0 else f"{shown(-value)} after the snapshot"
        return f"{words} {when}{_typical(typical, shown)}"

    return phrase


def _plan(value: float | None, typical: float | None) -> str:
    return "On the paid plan" if value else "On the free plan"


def _last_action(value: str | None, typical: float | None) -> str:
    return f"Last action: {(value or 'unknown').replace('_', ' ')}"


# --- the schema ----------------------------------------------------------------------------------

WINDOWS = (7, 28)
_ALL_WINDOWS = {  # measure: (words, theme)
    "active_days": ("active days", "activity"),
    "sessions": ("sessions", "activity"),
    "songs": ("songs", "activity"),
    "listening_milliseconds": ("listening", "activity"),
    "thumbs_up": ("thumbs up", "habits"),
    "thumbs_down": ("thumbs down", "habits"),
    "adverts": ("adverts", "habits"),
    "errors": ("errors", "habits"),
}
_LONGEST_WINDOW = {
    "playlist_adds": ("songs added to a playlist", "habits"),
    "friend_adds": ("friends added", "habits"),
    "help_visits": ("visits to the help page", "habits"),
    "home_visits": ("visits to the home page", "habits"),
    "settings_visits": ("visits to the settings", "habits"),
    "logouts": ("logouts", "habits"),
    "downgrade_visits": ("visits to the downgrade page", "habits"),
    "upgrade_visits": ("visits to the upgrade page", "habits"),
}
_TO_DATE = {
    "events": ("actions", "activity"),
    "active_days": ("active days", "activity"),
    "sessions": ("sessions", "activity"),
    "songs": ("songs", "activity"),
    "adverts": ("adverts", "habits"),
    "thumbs_up": ("thumbs up", "habits"),
    "thumbs_down": ("thumbs down", "habits"),
    "errors": ("errors", "habits"),
    "friend_adds": ("friends added", "habits"),
    "playlist_adds": ("songs added to a playlist", "habits"),
    "paid_events": ("actions on the paid plan", "plan"),
    "free_events": ("actions on the free plan", "plan"),
    "events_after_song_paid": ("actions after a song on the paid plan", "activity"),
    "events_after_song_free": ("actions after a song on the free plan", "activity"),
    "adverts_after_song_paid": ("adverts after a song on the paid plan", "habits"),
    "adverts_after_song_free": ("adverts after a song on the free plan", "habits"),
    "thumbs_up_after_song_paid": ("thumbs up after a song on the paid plan", "habits"),
    "thumbs_up_after_song_free": ("thumbs up after a song on the free plan", "habits"),
    "thumbs_down_after_song_paid": ("thumbs down after a song on the paid plan", "habits"),
    "thumbs_down_after_song_free": ("thumbs down after a song on the free plan", "habits"),
    "session_ends_after_song_paid": (
        "sessions ended after a song on the paid plan",
        "habits",
    ),
    "session_ends_after_song_free": (
        "sessions ended after a song on the free plan",
        "habits",
    ),
    "session_ends_after_advert": ("sessions ended after an advert", "habits"),
    "upgrade_visits_after_song_free": ("upgrade visits after a song", "habits"),
    "downgrade_visits_after_song_paid": ("downgrade visits after a song", "habits"),
}
_RECENCY = {  # column without 'hours_since_last_': (words, theme, wanted)
    "event": ("activity", "recency", True),
    "session_start": ("new session", "recency", True),
    "song": ("song", "recency", True),
    "advert": ("advert", "habits", False),
    "thumbs_down": ("thumbs down", "habits", False),
    "error": ("error", "habits", False),
    "downgrade_visit": ("visit to the downgrade page", "habits", False),
    "upgrade_visit": ("visit to the upgrade page", "habits", False),
}
_RATIOS = {  # column: (words, scale, per, theme, what a null means)
    "thumbs_up_per_song": ("Thumbs up", 100, "per 100 songs", "habits", "no songs"),
    "thumbs_down_per_song": ("Thumbs down", 100, "per 100 songs", "habits", "no songs"),
    "adverts_per_song": ("Adverts", 100, "per 100 songs", "habits", "no songs"),
    "songs_per_session": ("Songs", 1, "per session", "activity", "no sessions"),
}
_RATIOS_TO_DATE = {
    **_RATIOS,
    "session_ends_per_song": ("Session ends", 100, "per 100 songs", "habits", "no songs"),
    "session_ends_per_advert": ("Session ends", 100, "per 100 adverts", "habits", "no adverts"),
    "upgrade_visits_per_free_song": (
        "Upgrade visits",
        100,
        "per 100 actions after a song on the free plan",
        "habits",
        "nothing yet after a song on the free plan",
    ),
    "downgrade_visits_per_paid_song": (
        "Downgrade visits",
        100,
        "per 100 actions after a song on the paid plan",
        "habits",
        "nothing yet after a song on the paid plan",
    ),
    "idle_hours_per_session": ("Idle", 1, "hours between sessions", "recency", "only one session"),
}


def _period(days: int) -> str:
    return f"in the last {days} days"


def _count(name: str, words: str, period: str, theme: str) -> Feature:
    if "milliseconds" in name:
        phrase = _timed(words, period, hours_per_unit=1 / 3_600_000)
        return Feature(name, "bigint", "milliseconds", "", theme, phrase)
    return Feature(name, "bigint", "count", "", theme, _counted(words, period))


def _ratio(name: str, suffix: str, period: str, spec: tuple[str, float, str, str, str]) -> Feature:
    words, scale, per, theme, null_means = spec
    phrase = _rated(words, scale, f"{per} {period}", f"{null_means.capitalize()} {period}")
    return Feature(
        f"{name}{suffix}", "double", "ratio", null_means, theme, phrase, is_skewed=scale == 1
    )


def _build() -> tuple[Feature, ...]:
    features = [
        Feature("is_paid", "boolean", "yes or no", "", "plan", _plan, is_skewed=False),
        # below 0 where the events came before the registration: to the models newer than new
        Feature("tenure_days", "int", "days", "no registration", "tenure", _aged("Registered")),
        Feature("days_since_first_event", "int", "days", "", "tenure", _aged("First seen")),
        Feature(CATEGORY_COLUMN, "string", "page category", "", "recency", _last_action, False),
    ]
    for event, (words, theme, is_wanted) in _RECENCY.items():
        name = f"hours_since_last_{event}"
        never = f"never a {words}"
        features.append(Feature(name, "double", "hours", never, theme, _since(words, is_wanted)))
    for (measure, (words, theme)), days in product(_ALL_WINDOWS.items(), WINDOWS):
        name = f"{measure}_last_{days}_days"
        features.append(_count(name, words, _period(days), theme))
    for measure, (words, theme) in _LONGEST_WINDOW.items():
        features.append(_count(f"{measure}_last_28_days", words, _period(28), theme))
    for name, spec in _RATIOS.items():
        features.append(_ratio(name, "_last_28_days", _period(28), spec))
    for measure in ("songs", "sessions"):
        name, none = f"{measure}_trend_7_over_21_days", f"no {measure} in the 3 weeks before"
        features.append(
            Feature(name, "double", "ratio", none, "activity", _compared(measure), is_skewed=True)
        )
    for measure, (words, theme) in _TO_DATE.items():
        features.append(_count(f"{measure}_to_date", words, "so far", theme))
    idle = _timed("idle time between actions", "so far", hours_per_unit=1 / 3600)
    features.append(Feature("idle_seconds_to_date", "bigint", "seconds", "", "recency", idle))
    for name, spec in _RATIOS_TO_DATE.items():
        features.append(_ratio(name, "_to_date", "so far", spec))
    return tuple(features)


FEATURES: tuple[Feature, ...] = _build()
THEMES = ("habits", "activity", "recency", "plan", "tenure")
BY_NAME: dict[str, Feature] = {feature.name: feature for feature in FEATURES}
TYPES: dict[str, str] = {feature.name: feature.spark_type for feature in FEATURES}
KEYS = {"user_id": "string", "snapshot_date": "date"}
LABELS = {LABEL: "boolean"}

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
WORDS = {f"{name}_to_date": words for name, (words, _) in _TO_DATE.items()}


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
        wanted = "ml/features.py" if types == TYPES else "the model run"
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
