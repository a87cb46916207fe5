"""Reasons in plain words from the exact additive parts of each prediction."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import reduce
from operator import add

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from ml.features import BY_NAME, CATEGORIES, CATEGORY_COLUMN
from ml.models import Parts

REASONS = 3
NO_REASON = "Nothing else raises the risk above the average user's"
SCORED = (
    "snapshot_date date, user_id string, churn_probability double, "
    "reason_1 string, reason_2 string, reason_3 string"
)


def reasons_for(
    contributions: np.ndarray,
    owners: Sequence[str],
    values: Mapping[str, float | str | None],
    typical: Mapping[str, float | None],
) -> list[str]:
    """Three reasons for one user.

    `contributions` (parts,) are log odds, part i belonging to the feature `owners[i]`. Features of
    one theme are one reason, as many of them say the same: the theme's contributions are added,
    and its strongest feature speaks for it. Only themes that raise the risk count, strongest
    first; where fewer than three do, the rest say so.

    `values` and `typical` hold the user's and the median value of each feature.
    """
    by_feature: dict[str, float] = {}
    for owner, contribution in zip(owners, contributions, strict=True):
        by_feature[owner] = by_feature.get(owner, 0.0) + float(contribution)
    by_theme: dict[str, float] = {}
    for name, contribution in by_feature.items():
        theme = BY_NAME[name].theme
        by_theme[theme] = by_theme.get(theme, 0.0) + contribution
    texts = []
    for theme in sorted(by_theme, key=lambda t: (-by_theme[t], t)):
        if by_theme[theme] <= 0 or len(texts) == REASONS:
            break
        speaker = max(
            (name for name in by_feature if BY_NAME[name].theme == theme),
            key=lambda name: (by_feature[name], name),
        )
        texts.append(BY_NAME[speaker].phrase(values.get(speaker), typical.get(speaker)))
    return texts + [NO_REASON] * (REASONS - len(texts))


def typical_values(encoded: DataFrame) -> dict[str, float | None]:
    """Median of each numeric feature over encoded rows; None where none has a value."""
    names = [name for name in BY_NAME if name != CATEGORY_COLUMN]
    row = encoded.agg(*(F.percentile_approx(name, 0.5).alias(name) for name in names)).first()
    return row.asDict()


def strengths(parts: Parts) -> list[dict[str, str | float | None]]:
    """How much each feature moves the log odds of the rows of centred `parts`, strongest first.

    `mean_log_odds` is the mean over rows of |contribution|, all parts of a feature added;
    `direction` the correlation of value and contribution, -1 to 1: above 0, more of it raises the
    risk. None for a feature without an order of values, or that never varies.
    """
    totals = {
        name: reduce(
            add,
            (
                (F.col("parts")[i] - F.lit(parts.center[i])) * F.lit(parts.factors[i])
                for i, owner in enumerate(parts.owners)
                if owner == name
            ),
        )
        for name in BY_NAME
        if name in parts.owners
    }
    row = parts.rows.agg(
        *(F.avg(F.abs(total)).alias(f"mean__{name}") for name, total in totals.items()),
        *(
            F.corr(name, total).alias(f"direction__{name}")
            for name, total in totals.items()
            if name != CATEGORY_COLUMN
        ),
    ).first()
    found = row.asDict() if row else {}

    def known(key: str) -> float | None:
        value = found.get(key)
        return None if value is None or math.isnan(value) else float(value)

    listed = [
        {
            "feature": name,
            "theme": BY_NAME[name].theme,
            "mean_log_odds": known(f"mean__{name}") or 0.0,
            "direction": known(f"direction__{name}"),
        }
        for name in totals
    ]
    return sorted(listed, key=lambda each: (-each["mean_log_odds"], each["feature"]))


def with_reasons(parts: Parts, typical: Mapping[str, float | None]) -> DataFrame:
    """One row per row of `parts.rows`: the columns of SCORED. Runs in Spark, batch by batch."""
    return parts.rows.mapInPandas(
        _reasons_of_batches(parts.owners, parts.factors, parts.center, dict(typical)),
        schema=SCORED,
    )


def _reasons_of_batches(
    owners: tuple[str, ...],
    factors: tuple[float, ...],
    center: tuple[float, ...],
    typical: dict[str, float | None],
) -> Callable[[Iterable[pd.DataFrame]], Iterator[pd.DataFrame]]:
    def apply(batches: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            contributions = (
                (np.stack(batch["parts"]) - np.asarray(center)) * np.asarray(factors)
                if len(batch)
                else np.zeros((0, len(owners)))
            )
            texts = [
                reasons_for(row, owners, feature_values(record), typical)
                for row, record in zip(contributions, batch.to_dict("records"), strict=True)
            ]
            yield pd.DataFrame(
                {
                    "snapshot_date": batch["snapshot_date"],
                    "user_id": batch["user_id"],
                    "churn_probability": batch["probability"],
                    **{f"reason_{i + 1}": [t[i] for t in texts] for i in range(REASONS)},
                }
            )

    return apply


def feature_values(encoded_row: Mapping[str, object]) -> dict[str, float | str | None]:
    """Feature values by name from one encoded row; a null or nan is None."""
    found: dict[str, float | str | None] = {}
    for name in BY_NAME:
        if name == CATEGORY_COLUMN:
            is_one = (c for c in CATEGORIES if encoded_row.get(f"{name}_is_{c}") == 1.0)
            found[name] = next(is_one, None)
        else:
            value = encoded_row.get(name)
            found[name] = None if value is None or math.isnan(value) else float(value)
    return found
