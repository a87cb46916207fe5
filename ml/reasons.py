"""Why a user's probability is what it is: log odds by theme, and three reasons in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.features import BY_NAME, CATEGORIES, CATEGORY_COLUMN, HORIZON_DAYS, THEMES, number
from ml.models import LISTENER, SESSION_RATE, Model, Parts, load

Array = NDArray[np.float64]

REASONS = 3
NO_REASON = "Nothing else raises the risk above the average user's"
THEME_COLUMNS = tuple(f"{theme}_log_odds" for theme in THEMES)
SCORED = (
    "snapshot_date date, user_id string, churn_probability double, "
    + "".join(f"{column} double, " for column in THEME_COLUMNS)
    + "reason_1 string, reason_2 string, reason_3 string"
)
SIGNIFICANT_DIGITS = 3  # of a value in words; what differs less reads the same
# their words need no comparison with others
UNORDERED = {LISTENER, CATEGORY_COLUMN, "is_paid"}


@dataclass(frozen=True)
class Explained:
    """A model, and what its users are compared with: those of the last snapshot of its fit.

    Attributes:
        model: the fitted model.
        center: mean part of each of the model's parts, log odds.
        typical: median by owner of a part; nan where there is none.
        strength: by owner, the mean of |log odds| that it adds to those of the mean user.
        direction: by owner, above 0 where more of it raises the risk, below 0 where less does.
        listeners: a sentence for each type of a mixture.
    """

    model: Model
    center: tuple[float, ...]
    typical: Mapping[str, float]
    strength: Mapping[str, float]
    direction: Mapping[str, float]
    listeners: tuple[str, ...]

    @classmethod
    def of(cls, model: Model, rows: pd.DataFrame) -> Explained:
        """Explain a model by the rows that it was fitted on."""
        last = rows[rows["snapshot_date"] == rows["snapshot_date"].max()]
        parts = model.parts(last)
        center = parts.values.mean(axis=0)
        values, by_owner = _values(parts), _by_owner(parts.owners, parts.values - center)
        return cls(
            model,
            tuple(center.tolist()),
            {owner: _median(each) for owner, each in values.items()},
            {owner: float(np.abs(part).mean()) for owner, part in by_owner.items()},
            {owner: _correlation(values[owner], part) for owner, part in by_owner.items()},
            _listeners(model, rows),
        )

    def scored(self, rows: pd.DataFrame) -> pd.DataFrame:
        """One row per row of encoded `rows`, in their order: the columns of SCORED.

        The log odds by theme are those above, or below, what the users have in the mean that the
        model is explained by. No row is looked at by itself.
        """
        parts = self.model.parts(rows)
        by_owner = _by_owner(parts.owners, parts.values - self.center)
        owners = list(by_owner)
        of_owner = np.column_stack([by_owner[owner] for owner in owners])
        values = list(_values(parts).values())
        theme_of = np.array([THEMES.index(_theme(owner)) for owner in owners])
        of_theme = np.zeros((len(rows), len(THEMES)))
        speaker = np.zeros((len(rows), len(THEMES)), dtype=int)
        speaks = np.full((len(rows), len(THEMES)), -np.inf)
        raises = np.column_stack(
            [
                (part > 0) & self._agrees(owner, value)
                for owner, part, value in zip(owners, of_owner.T, values, strict=True)
            ]
        )
        for theme in range(len(THEMES)):
            own = np.flatnonzero(theme_of == theme)
            if own.size:
                of_theme[:, theme] = of_owner[:, own].sum(axis=1)
                said = np.where(raises[:, own], of_owner[:, own], -np.inf)
                speaker[:, theme] = own[np.argmax(said, axis=1)]
                speaks[:, theme] = said.max(axis=1)
        has_reason = (of_theme > 0) & (speaks > 0)
        order = np.argsort(np.where(has_reason, -of_theme, np.inf), axis=1, kind="stable")
        found = pd.DataFrame(
            {
                "snapshot_date": rows["snapshot_date"].to_numpy(),
                "user_id": rows["user_id"].to_numpy(),
                "churn_probability": parts.probability,
                **dict(zip(THEME_COLUMNS, of_theme.T, strict=True)),
            }
        )
        each = np.arange(len(rows))
        for place in range(REASONS):
            of_row = order[:, place]
            said_by = np.where(has_reason[each, of_row], speaker[each, of_row], -1)
            texts = np.full(len(rows), NO_REASON, dtype=object)
            for i, owner in enumerate(owners):
                texts[said_by == i] = self._words(owner, values[i][said_by == i])
            found[f"reason_{place + 1}"] = texts
        return found

    def strengths(self) -> list[dict[str, Any]]:
        """How much each feature moves the log odds, strongest first, and the direction, -1 to 1,
        None where there is none."""
        found = [
            {
                "feature": owner,
                "theme": _theme(owner),
                "mean_log_odds": strength,
                "direction": self.direction[owner] or None,
            }
            for owner, strength in self.strength.items()
        ]
        return sorted(found, key=lambda each: (-each["mean_log_odds"], each["feature"]))

    def _agrees(self, owner: str, value: Array) -> NDArray[np.bool_]:
        """Whether a value says what it did to the score: more where more raises the risk."""
        if owner in UNORDERED or not self.direction[owner] or np.isnan(self.typical[owner]):
            return np.ones(len(value), dtype=bool)
        found: NDArray[np.bool_] = np.isnan(value) | (
            (value - self.typical[owner]) * self.direction[owner] > 0
        )
        return found

    def _words(self, owner: str, values: Array) -> NDArray[np.object_]:
        """(rows,) sentences; a value that reads the same is put into words once."""
        typical = None if np.isnan(self.typical[owner]) else self.typical[owner]
        known, which = np.unique(_rounded(values), return_inverse=True)
        texts = [self._sentence(owner, None if np.isnan(v) else float(v), typical) for v in known]
        found: NDArray[np.object_] = np.array(texts or [""], dtype=object)[which]
        return found

    def _sentence(self, owner: str, value: float | None, typical: float | None) -> str:
        if owner == LISTENER:
            return self.listeners[int(value or 0)]
        if owner == SESSION_RATE:
            of_most = "" if typical is None else f" (typical: {number(7 * typical)})"
            often = number(7 * (value or 0))
            return f"{often} session{'' if often == '1' else 's'} a week so far{of_most}"
        if owner == CATEGORY_COLUMN:
            return BY_NAME[owner].phrase(CATEGORIES[int(value or 0)], None)
        return BY_NAME[owner].phrase(value, typical)

    @property
    def reads(self) -> tuple[str, ...]:
        """Numeric columns that it looks at."""
        return self.model.reads

    def to_json(self) -> dict[str, Any]:
        """What `from_json` makes it from again."""
        return {
            "center": self.center,
            "typical": {k: None if np.isnan(v) else v for k, v in self.typical.items()},
            "strength": dict(self.strength),
            "direction": dict(self.direction),
            "listeners": self.listeners,
            "model": self.model.to_json(),
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Explained:
        """What `to_json` gave."""
        typical = {k: np.nan if v is None else v for k, v in fields["typical"].items()}
        return cls(
            load(fields["model"]),
            tuple(fields["center"]),
            typical,
            fields["strength"],
            fields["direction"],
            tuple(fields["listeners"]),
        )


def _theme(owner: str) -> str:
    of_types = {LISTENER: "habits", SESSION_RATE: "activity"}
    return of_types.get(owner) or BY_NAME[owner].theme


def _by_owner(owners: Sequence[str], values: Array) -> dict[str, Array]:
    """(rows,) sums of the parts of each owner."""
    found: dict[str, Array] = {}
    for i, owner in enumerate(owners):
        found[owner] = found[owner] + values[:, i] if owner in found else values[:, i]
    return found


def _values(parts: Parts) -> dict[str, Array]:
    """(rows,) what a sentence about an owner says; nan where a user has no value."""
    found: dict[str, Array] = {}
    for owner in dict.fromkeys(parts.owners):
        inputs = parts.inputs[:, [each == owner for each in parts.owners]]
        if owner in (LISTENER, CATEGORY_COLUMN):
            found[owner] = np.argmax(inputs, axis=1).astype(float)
        else:
            found[owner] = np.exp(inputs[:, 0]) if owner == SESSION_RATE else inputs[:, 0]
    return found


def _listeners(model: Model, rows: pd.DataFrame) -> tuple[str, ...]:
    """What each type of user does more often than others, and how many of them churn."""
    if model.mixture is None:
        return ()
    types, sentences = model.mixture.probabilities(rows), []
    for of_type in range(types.shape[1]):
        name, ratio = model.mixture.most_unusual(of_type)
        rate = np.average(rows["label"], weights=types[:, of_type])
        sentences.append(
            f"{number(ratio)} times as many {BY_NAME[name].words} as most; of such users "
            f"{rate:.0%} cancel within {HORIZON_DAYS} days"
        )
    return tuple(sentences)


def _median(values: Array) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if known.size else float("nan")


def _correlation(value: Array, part: Array) -> float:
    """Pearson's, of the rows with a value; 0 where one of both never varies."""
    known = ~np.isnan(value)
    x, y = value[known], part[known]
    if not x.size or np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    return float(np.corrcoef(x, y)[0, 1])


def _rounded(values: Array) -> Array:
    """To as many digits as a reader sees."""
    known = np.where(np.isnan(values) | (values == 0), 1.0, np.abs(values))
    scale = 10.0 ** (SIGNIFICANT_DIGITS - 1 - np.floor(np.log10(known)))
    found: Array = np.round(values * scale) / scale
    return found
