"""Reasons in plain words from the exact additive parts of each prediction."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

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
    texts: list[str] = []
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
    names = [name for name in encoded.columns if name in BY_NAME]
    row = encoded.agg(*(F.percentile_approx(name, 0.5).alias(name) for name in names)).collect()[0]
    return row.asDict()


def strengths(parts: Parts) -> list[dict[str, Any]]:
    """How much each feature moves the log odds of the rows of centred `parts`, strongest first.

    The rows are collected: bound them.

    `mean_log_odds` is the mean over rows of |contribution|, all parts of a feature added;
    `direction` the correlation of value and contribution, -1 to 1: above 0, more of it raises the
    risk. None for a feature without an order of values, or that never varies.
    """
    names = [name for name in BY_NAME if name in parts.owners]
    ordered = [name for name in names if name != CATEGORY_COLUMN]
    # Spark itself takes some 10 s for these 139 figures of 33,000 rows, 4 of them to plan
    rows: pd.DataFrame = parts.rows.select(*ordered, "parts").toPandas()
    contributions = _contributions(rows["parts"], parts.factors, parts.center)
    listed: list[dict[str, Any]] = []
    for name in names:
        total = contributions[:, [owner == name for owner in parts.owners]].sum(axis=1)
        listed.append(
            {
                "feature": name,
                "theme": BY_NAME[name].theme,
                "mean_log_odds": float(np.abs(total).mean()) if total.size else 0.0,
                "direction": _correlation(rows[name], total) if name in ordered else None,
            }
        )
    return sorted(listed, key=lambda each: (-each["mean_log_odds"], each["feature"]))


def _contributions(
    parts: pd.Series, factors: Sequence[float], center: Sequence[float]
) -> np.ndarray:
    """(rows, parts) log odds, of (rows,) arrays of parts."""
    values = np.stack(parts) if len(parts) else np.zeros((0, len(factors)))
    values -= np.asarray(center)
    values *= np.asarray(factors)
    return values


def _correlation(value: pd.Series, total: np.ndarray) -> float | None:
    """Pearson's, of the rows with a value; None where one of both never varies."""
    known = value.notna().to_numpy()
    x, y = value.to_numpy(dtype=float)[known], total[known]
    if not x.size or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(np.corrcoef(x, y)[0, 1])


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
            contributions = _contributions(batch["parts"], factors, center)
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


def feature_values(encoded_row: Mapping[str, Any]) -> dict[str, float | str | None]:
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
