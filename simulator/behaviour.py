"""Reads behaviour.yml into the tables that the engine looks up."""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

STEPS = 10_000  # probabilities are multiples of 1 / STEPS, so that a look-up draws exactly
SESSION_ENDS = 255  # in place of a state
DAY_SECONDS = 86_400

Row = dict["State", float]


@dataclass(frozen=True, order=True)
class State:
    """A page as one kind of visitor sees it; auth and level are those of the log."""

    auth: str
    level: str
    page: str

    @property
    def is_anonymous(self) -> bool:
        return self.auth in ("Guest", "Logged Out")


@dataclass(frozen=True)
class Behaviour:
    """behaviour.yml as tables; states are numbered as in `states`, account types as in `types`."""

    types: tuple[str, ...]
    type_shares: NDArray[np.float64]
    states: tuple[State, ...]
    next_state: NDArray[np.uint8]
    """Shape (2, types, states, STEPS): before and during the scenario; SESSION_ENDS ends it."""
    first_state: NDArray[np.uint8]
    """Shape (states, STEPS): the first state of a session after one that ended in this state."""
    methods: Mapping[str, tuple[str, int]]
    """Page to method and status."""
    scenario_days: int | None
    """How long the scenario lasts; None: to the end."""
    numbers: Mapping[str, Any]
    """The sections of behaviour.yml that are plain numbers."""


def scenarios() -> list[str]:
    return list(_file()["scenarios"])


@functools.cache
def load_behaviour(scenario: str = "baseline") -> Behaviour:
    """The tables for a scenario of behaviour.yml.

    Raises ValueError where a row of probabilities adds up to more than 1.
    """
    content = _file()
    usual = _rows(content["transitions"])
    by_type = []
    for name in content["account_types"]:
        changes = _rows(content["changes"].get(name, {}))
        by_type.append({state: row | changes.get(state, {}) for state, row in usual.items()})
    states = tuple(sorted(set(usual) | {target for row in usual.values() for target in row}))
    what_changes = content["scenarios"][scenario]
    changed = [{state: _change(state, row, what_changes.get("changes", []))
                for state, row in rows.items()} for rows in by_type]  # fmt: skip
    shares = np.array(list(content["account_types"].values()))
    return Behaviour(
        types=tuple(content["account_types"]),
        type_shares=shares / shares.sum(),
        states=states,
        next_state=np.array([[[_steps(rows.get(state, {}), states) for state in states]
                              for rows in all_rows] for all_rows in (by_type, changed)]),
        first_state=np.array([_steps(_first_pages(content["new_session"], state), states)
                              for state in states]),
        methods={page: (key.split()[0], int(key.split()[1]))
                 for key, pages in content["pages"].items() for page in pages},
        scenario_days=what_changes.get("days"),
        numbers={name: content[name] for name in ("rates", "calendar", "accounts", "songs")},
    )  # fmt: skip


@functools.cache
def _file() -> dict[str, Any]:
    return yaml.safe_load((Path(__file__).parent / "behaviour.yml").read_text())


def parse_visitor(text: str) -> tuple[str, str]:
    """'logged in/free' as the log writes it: ('Logged In', 'free')."""
    auth, level = text.split("/")
    return auth.title(), level


def _rows(content: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[State, Row]:
    rows = {}
    for visitor, pages in content.items():
        for page, targets in pages.items():
            source = State(*parse_visitor(visitor), page)
            rows[source] = {_target(source, text): p for text, p in targets.items()}
    return rows


def _target(source: State, text: str) -> State:
    """The state that 'Home' or 'Home (logged in/free)' means after another."""
    found = re.fullmatch(r"([^(]+?)(?: \((.+)\))?", text)
    if found is None:
        raise ValueError(f"no state: {text!r}")
    page, visitor = found.groups()
    return State(*(parse_visitor(visitor) if visitor else (source.auth, source.level)), page)


def _change(source: State, row: Row, changes: list[dict[str, Any]]) -> Row:
    """A row as the changes of a scenario leave it."""
    for change in changes:
        if (source.auth, source.level) not in map(parse_visitor, change["of"]):
            continue
        target = State(source.auth, source.level, change["to"])
        before = row.get(target, 0)
        if before > 0:
            after = change.get("becomes", before * change.get("times", 1))
            scale = (1 - after) / (1 - before)
            row = {state: p * scale for state, p in row.items()} | {target: after}
    return row


def _first_pages(content: Mapping[str, Mapping[str, float]], before: State) -> Row:
    """Probabilities of the first page of a session; empty for somebody who has cancelled."""
    weights = content.get(f"{before.auth.lower()}/{before.level}", {})
    total = sum(weights.values())
    return {State(before.auth, before.level, page): w / total for page, w in weights.items()}


def _steps(row: Row, states: tuple[State, ...]) -> NDArray[np.uint8]:
    """A row as STEPS equally likely states."""
    ends = np.rint(np.cumsum(list(row.values())) * STEPS).astype(int)
    if len(ends) and ends[-1] > STEPS:
        raise ValueError(f"behaviour.yml: the probabilities of {dict(row)} add up to more than 1")
    steps = np.full(STEPS, SESSION_ENDS, dtype=np.uint8)
    for state, first, end in zip(row, [0, *ends], ends, strict=False):
        steps[first:end] = states.index(state)
    return steps


def days_off(first: date, days: int, calendar: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Whether each of `days` days from `first` on is a weekend or a holiday."""
    return np.array([_is_off(first + timedelta(days=day), calendar) for day in range(days)])


def _is_off(day: date, calendar: Mapping[str, Any]) -> bool:
    return day.weekday() in calendar["weekend"] or any(
        day.month == holiday["month"]
        and (
            day.day == holiday["day"]
            if "day" in holiday
            else day.weekday() == holiday["weekday"] and (day.day - 1) // 7 + 1 == holiday["nth"]
        )
        for holiday in calendar["holidays"]
    )
