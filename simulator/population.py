"""Who the users are: a function of the seed and the number of an account, so nothing is stored."""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from simulator.behaviour import DAY_SECONDS, State, parse_visitor
from simulator.random_numbers import exponential, streams, uniform
from simulator.settings import Settings

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# purposes of random numbers; each has sequences of its own
RATES, REGISTRATION, AGE, NEWCOMER, FIRST_VISIT, EVENTS, PROFILE = range(7)

# Steps of the two-dimensional sequence of least discrepancy: 1/p and 1/p**2, p**3 = p + 1
# (M. Roberts, "The unreasonable effectiveness of quasirandom sequences", 2018).
_EVEN_STEPS = 0.7548776662466927, 0.5698402909980532

FIRST_USER_ID = 2
_LEAST_IDS_A_RUN = 100_000


@dataclass(frozen=True)
class Accounts:
    """One entry per account, in the order of account numbers."""

    number: Ints
    """0 to users - 1: the accounts of the first type, of the second, ..."""
    type: Ints
    page_seconds: Floats
    """Mean time that a page takes (alpha)."""
    idle_seconds: Floats
    """Mean time from the end of a session to the next (beta)."""
    registration: Ints
    """Seconds since 1970."""
    is_newcomer: NDArray[np.bool_]
    """Registered while the log runs."""
    first_state: Ints
    """A state with the auth and level that they start with."""


def accounts(settings: Settings, number: Ints) -> Accounts:
    """The accounts with these numbers."""
    type_, number_in_type = account_type(settings, number)
    page_seconds, idle_seconds = _rates(settings, type_, number_in_type)
    is_newcomer = _is_newcomer(settings, number)
    first_state = _first_states(settings, number, is_newcomer)
    registration = registrations(settings, number)
    return Accounts(
        number, type_, page_seconds, idle_seconds, registration, is_newcomer, first_state
    )


def registrations(settings: Settings, number: Ints) -> Ints:
    """Seconds since 1970 at which accounts registered."""
    age = exponential(streams(settings.seed, AGE, number))
    plan = settings.behaviour.numbers["accounts"]
    age_seconds = np.minimum(
        age * plan["mean_age_days"] * DAY_SECONDS, plan["most_age_days"] * DAY_SECONDS
    )
    day_in_log = _hashed(settings, REGISTRATION, number) * settings.days
    return np.where(
        _is_newcomer(settings, number),
        settings.start_seconds + day_in_log * DAY_SECONDS,
        settings.start_seconds - age_seconds,
    ).astype(np.int64)


def accounts_by_type(settings: Settings) -> Ints:
    """How many accounts each type has, as near to its share as whole numbers allow."""
    ends = np.rint(np.cumsum(settings.behaviour.type_shares) * settings.users).astype(np.int64)
    return np.diff(ends, prepend=0)


def account_type(settings: Settings, number: Ints) -> tuple[Ints, Ints]:
    """Type of an account and its number among the accounts of the type."""
    ends = np.cumsum(accounts_by_type(settings))
    type_ = np.searchsorted(ends, number, side="right")
    return type_, number - np.concatenate([[0], ends])[type_]


def user_ids(settings: Settings, number: Ints) -> Ints:
    """Each type is a run of its own, as in the real sets, with user ids of its own."""
    type_, number_in_type = account_type(settings, number)
    ids_a_run = max(_LEAST_IDS_A_RUN, 10 ** len(str(settings.users)))
    return type_ * ids_a_run + number_in_type + FIRST_USER_ID


def session_ids(settings: Settings, number: Ints, session: Ints) -> Ints:
    """Ids of the sessions of accounts: unique in a run, rising in time, the same in other runs."""
    type_, number_in_type = account_type(settings, number)
    return 1 + number_in_type + session * accounts_by_type(settings)[type_]


def _rates(settings: Settings, type_: Ints, number_in_type: Ints) -> tuple[Floats, Floats]:
    """Spread evenly over their distribution, so that a small set has the means of a large one."""
    rates = settings.behaviour.numbers["rates"]
    deviation = rates["log_deviation"]
    columns = []
    for dimension, name in enumerate(("page_seconds", "idle_seconds")):
        start = _hashed(settings, RATES, type_ * 2 + dimension)
        share = (start + (number_in_type + 1) * _EVEN_STEPS[dimension]) % 1
        normal = [NormalDist().inv_cdf(value) for value in np.clip(share, 1e-9, 1 - 1e-9)]
        columns.append(rates[name] * np.exp(deviation * np.array(normal) - deviation**2 / 2))
    return columns[0], columns[1]


def _is_newcomer(settings: Settings, number: Ints) -> NDArray[np.bool_]:
    """Whether accounts register while the log runs."""
    growth = settings.behaviour.numbers["accounts"]["growth_a_year"] * settings.days / 365
    return _hashed(settings, NEWCOMER, number) < growth / (1 + growth)


def _first_states(settings: Settings, number: Ints, is_newcomer: NDArray[np.bool_]) -> Ints:
    behaviour = settings.behaviour
    plan = behaviour.numbers["accounts"]

    def home(visitor: str) -> int:
        return behaviour.states.index(State(*parse_visitor(visitor), "Home"))

    shares = np.cumsum(list(plan["start_as"].values()))
    choice = np.searchsorted(
        shares / shares[-1], _hashed(settings, FIRST_VISIT, number), side="right"
    )
    homes = np.array([home(visitor) for visitor in plan["start_as"]])
    return np.where(is_newcomer, home(plan["newcomers_start_as"]), homes[choice])


def _hashed(settings: Settings, purpose: int, number: Ints) -> Floats:
    return uniform(streams(settings.seed, purpose, number))
