"""Why a user's probability is what it is: log odds by theme, and three reasons in plain words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.features import BY_NAME, CATEGORIES, CATEGORY_COLUMN, HORIZON_DAYS, THEMES, number
from ml.mixture import REST, Array
from ml.models import LISTENER, SESSION_RATE, Model, Parts, load

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
        center: mean part of each of the model's parts, log odds.
        typical: median by owner of a part; nan where there is none.
        strength: by owner, the mean of |log odds| that it adds to those of the mean user.
        direction: by owner, above 0 where more of it raises the risk, below 0 where less does.
        habits: of a mixture, a sentence for each type and each outcome that speaks for it.
        model: the fitted model.
    """

    center: tuple[float, ...]
    typical: Mapping[str, float]
    strength: Mapping[str, float]
    direction: Mapping[str, float]
    habits: tuple[str, ...]
    model: Model

    @classmethod
    def of(cls, model: Model, rows: pd.DataFrame) -> Explained:
        """Explain a model by the rows that it was fitted on."""
        parts = model.parts(rows[rows["snapshot_date"] == rows["snapshot_date"].max()])
        center = parts.values.mean(axis=0)
        by_owner = _by_owner(parts, center)
        return cls(
            center=tuple(center.tolist()),
            typical={name: float(pd.Series(v).median()) for name, (_, v) in by_owner.items()},
            strength={owner: float(np.abs(adds).mean()) for owner, (adds, _) in by_owner.items()},
            direction={owner: _correlation(*both) for owner, both in by_owner.items()},
            habits=_habits(model, rows),
            model=model,
        )

    def scored(self, rows: pd.DataFrame) -> pd.DataFrame:
        """One row per row of encoded `rows`, in their order: the columns of SCORED.

        The log odds by theme are those above, or below, what the users have in the mean that the
        model is explained by. No row is looked at by itself.
        """
        parts = self.model.parts(rows)
        by_owner = _by_owner(parts, self.center)
        adds = np.column_stack([added for added, _ in by_owner.values()])
        # what an owner adds where its value says so
        speaks = np.column_stack(
            [
                np.where((added > 0) & self._agrees(owner, value), added, -np.inf)
                for owner, (added, value) in by_owner.items()
            ]
        )
        # by theme, its sum and the owner that speaks for it
        of_theme = np.zeros((len(rows), len(THEMES)))
        speaker = np.zeros((len(rows), len(THEMES)), dtype=int)
        for i, theme in enumerate(THEMES):
            own = np.flatnonzero([_theme(owner) == theme for owner in by_owner])
            if own.size:
                of_theme[:, i] = adds[:, own].sum(axis=1)
                speaker[:, i] = own[np.argmax(speaks[:, own], axis=1)]
        has_reason = (of_theme > 0) & (np.take_along_axis(speaks, speaker, axis=1) > 0)
        order = np.argsort(np.where(has_reason, -of_theme, np.inf), axis=1, kind="stable")
        speakers = np.take_along_axis(np.where(has_reason, speaker, -1), order, axis=1)
        values = {owner: value for owner, (_, value) in by_owner.items()}
        if LISTENER in values:
            values[LISTENER] = self._habits_of(rows, values[LISTENER])
        found = pd.DataFrame(
            {
                "snapshot_date": rows["snapshot_date"].to_numpy(),
                "user_id": rows["user_id"].to_numpy(),
                "churn_probability": parts.probability,
                **dict(zip(THEME_COLUMNS, of_theme.T, strict=True)),
            }
        )
        for place in range(REASONS):
            texts = np.full(len(rows), NO_REASON, dtype=object)
            for i, (owner, value) in enumerate(values.items()):
                is_said = speakers[:, place] == i
                texts[is_said] = self._words(owner, value[is_said])
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
        typical, direction = self.typical[owner], self.direction[owner]
        if owner in UNORDERED or not direction or np.isnan(typical):
            return np.ones(len(value), dtype=bool)
        return np.isnan(value) | ((value - typical) * direction > 0)

    def _habits_of(self, rows: pd.DataFrame, of_type: Array) -> Array:
        """(rows,) places in `habits`, of what speaks for the types of the users."""
        assert self.model.mixture is not None
        types, mixture = of_type.astype(np.intp), self.model.mixture
        place = types * len(mixture.outcomes) + mixture.most_telling(rows, types)
        return place.astype(float)

    def _words(self, owner: str, values: Array) -> NDArray[np.object_]:
        """(rows,) sentences; a value that reads the same is put into words once."""
        typical = None if np.isnan(self.typical[owner]) else self.typical[owner]
        known, which = np.unique(_rounded(values), return_inverse=True)
        texts = [self._sentence(owner, None if np.isnan(v) else float(v), typical) for v in known]
        return np.array(texts or [""], dtype=object)[which]

    def _sentence(self, owner: str, value: float | None, typical: float | None) -> str:
        if owner == LISTENER:
            return self.habits[int(value or 0)]
        if owner == SESSION_RATE:
            of_most = "" if typical is None else f" (typical: {number(7 * typical)})"
            often = number(7 * (value or 0))
            return f"{often} session{'' if often == '1' else 's'} a week so far{of_most}"
        if owner == CATEGORY_COLUMN:
            return BY_NAME[owner].phrase(CATEGORIES[int(value or 0)], None)
        return BY_NAME[owner].phrase(value, typical)

    def to_json(self) -> str:
        """Its fields, which `from_json` makes it from again, as text."""
        typical = {owner: None if np.isnan(v) else v for owner, v in self.typical.items()}
        return json.dumps({**asdict(self), "typical": typical}, default=np.ndarray.tolist)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Explained:
        """What `to_json` gave. Raises KeyError, TypeError or ValueError for other fields."""
        typical = {owner: np.nan if v is None else v for owner, v in fields["typical"].items()}
        return cls(
            tuple(fields["center"]),
            typical,
            fields["strength"],
            fields["direction"],
            tuple(fields["habits"]),
            load(fields["model"]),
        )


def told(reasons: Sequence[str | None]) -> list[str]:
    """Those of a user that say something, each once: NO_REASON only where there is no other."""
    found = [each for each in dict.fromkeys(reasons) if each]
    return [each for each in found if each != NO_REASON] or found


def _theme(owner: str) -> str:
    of_types = {LISTENER: "habits", SESSION_RATE: "activity"}
    return of_types.get(owner) or BY_NAME[owner].theme


def _by_owner(parts: Parts, center: Sequence[float] | Array) -> dict[str, tuple[Array, Array]]:
    """By owner, (rows,) log odds that its parts add to the mean ones, and (rows,) values that a
    sentence says; nan where a user has none."""
    adds, found = parts.values - center, {}
    for owner in dict.fromkeys(parts.owners):
        own = [each == owner for each in parts.owners]
        inputs = parts.inputs[:, own]
        if owner in (LISTENER, CATEGORY_COLUMN):
            value = np.argmax(inputs, axis=1).astype(float)
        else:
            value = np.exp(inputs[:, 0]) if owner == SESSION_RATE else inputs[:, 0]
        found[owner] = reduce(np.add, adds[:, own].T), value
    return found


def _habits(model: Model, rows: pd.DataFrame) -> tuple[str, ...]:
    """For each type and outcome, type by type: what such users do, and how many of them churn."""
    if model.mixture is None:
        return ()
    types, sentences = model.mixture.probabilities(rows), []
    for of_type, ratios in enumerate(model.mixture.ratios):
        rate = np.average(rows["label"], weights=types[:, of_type])
        churn = f"of whom {rate:.0%} cancel within {HORIZON_DAYS} days"
        for (_, name), ratio in zip(model.mixture.outcomes, ratios, strict=True):
            habit = ""
            if name != REST:
                habit = f"with {number(ratio)} times as many {BY_NAME[name].words} as most, "
            sentences.append(f"Like users {habit}{churn}")
    return tuple(sentences)


def _correlation(part: Array, value: Array) -> float:
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
    return np.round(values * scale) / scale
