"""Types of users that nobody names: a mixture of multinomials, fitted without labels.

Every user is of one of k types. Given the type, what follows a song on the paid plan, what follows
one on the free plan, and what follows an advert are independent draws, so the counts of a user say
all there is to know, and the log odds of the types are linear in them.

The fit is expectation maximisation: Dempster, Laird and Rubin, "Maximum likelihood from incomplete
data via the EM algorithm", Journal of the Royal Statistical Society B 39 (1977), 1-38.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.features import DRAWS

Array = NDArray[np.float64]

SEED = 20
STARTS = 3
MAX_ITERATIONS, TOLERANCE = 1000, 1e-9  # the largest change of a log share
PSEUDO_COUNTS = 20.0  # draws at the shares of all users, added to each multinomial of a type
SAME = 1e-6  # mean log likelihood of a user: starts that differ by less are one
REST = "rest"
UNUSUAL = 1.2  # times as often as the mean user: worth saying


@dataclass(frozen=True)
class Mixture:
    """A fitted mixture of k types, the largest first.

    Attributes:
        shares: share of users of each type, (k,).
        outcomes: (multinomial, outcome) of each column of counts.
        log_shares: log of the share of each outcome in its multinomial, (k, outcomes).
    """

    shares: Array
    outcomes: tuple[tuple[str, str], ...]
    log_shares: Array

    def probabilities(self, rows: pd.DataFrame) -> Array:
        """(rows, k) probability of each type, given the counts to the snapshot."""
        return _posterior(np.log(self.shares), counts(rows) @ self.log_shares.T)[0]

    @property
    def ratios(self) -> Array:
        """(k, outcomes) share of an outcome in its multinomial, over that of the mean user."""
        return np.exp(self.log_shares) / self._mean

    def most_telling(self, rows: pd.DataFrame, of_type: NDArray[np.intp]) -> NDArray[np.intp]:
        """(rows,) place in `outcomes` of what speaks most for `of_type`, the types of the users.

        The user has done it more often than the mean user would have, and so does the type: at
        least UNUSUAL times as often. Where there is no such outcome, the place of a REST.
        """
        totals, names = np.array(self.outcomes).T
        counted = counts(rows)
        expected = counted @ (totals[:, None] == totals) * self._mean
        says = np.where((self.ratios >= UNUSUAL) & (names != REST), np.log(self.ratios), 0)
        evidence = (counted - expected) * says[of_type]
        found = np.argmax(evidence, axis=1)
        return np.where(evidence.max(axis=1) > 0, found, np.argmax(names == REST))

    @property
    def _mean(self) -> Array:
        return self.shares @ np.exp(self.log_shares)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Mixture:
        """A mixture of its fields, in lists."""
        outcomes = tuple((total, outcome) for total, outcome in fields["outcomes"])
        return cls(np.array(fields["shares"]), outcomes, np.array(fields["log_shares"]))


def counts(rows: pd.DataFrame) -> Array:
    """(rows, outcomes) counts to the snapshot: of each multinomial of DRAWS its outcomes, and what
    is left of its total."""
    found = []
    for total, outcomes in DRAWS.items():
        drawn = rows[list(outcomes)].to_numpy(dtype=float)
        found += [drawn, np.maximum(rows[[total]].to_numpy(dtype=float) - drawn.sum(1)[:, None], 0)]
    return np.hstack(found)


def fit(rows: pd.DataFrame, types: int) -> Mixture:
    """Fit `types` types on the last row of each user of `rows`, whatever their order.

    The best of STARTS starts, each from the counts of some users.
    """
    last = rows.sort_values(["user_id", "snapshot_date"]).drop_duplicates("user_id", keep="last")
    # each set of counts once, in order: the sums come in one order, whatever that of the rows
    drawn, users = np.unique(counts(last), axis=0, return_counts=True)
    outcomes = tuple((t, o) for t, names in DRAWS.items() for o in (*names, REST))
    starts = np.cumsum([0, *(len(names) + 1 for names in DRAWS.values())])[:-1]
    pooled = _shares((users @ drawn)[None] + 1, starts)[0]
    prior = PSEUDO_COUNTS * pooled
    random = np.random.default_rng(SEED)
    best: tuple[float, Array, Array] | None = None
    for _ in range(STARTS):
        some = random.choice(len(drawn), types, replace=len(drawn) < types)
        log_shares = np.log(_shares(drawn[some] + prior, starts))
        found = _maximised(drawn, users / users.sum(), log_shares, prior / users.sum(), starts)
        if best is None or found[0] > best[0] + SAME:
            best = found
    assert best is not None
    order = np.argsort(-best[1], kind="stable")
    return Mixture(best[1][order], outcomes, best[2][order])


def _maximised(
    drawn: Array, weights: Array, log_shares: Array, prior: Array, starts: NDArray[np.intp]
) -> tuple[float, Array, Array]:
    """Objective, shares of the types and log shares of the outcomes at a maximum.

    `weights` (users,) add up to 1; the objective is per user, as is `prior`, in draws.
    """
    size, objective = np.full(len(log_shares), 1 / len(log_shares)), -np.inf
    for _ in range(MAX_ITERATIONS):
        posterior, log_likelihood = _posterior(np.log(size), drawn @ log_shares.T)
        objective = float(weights @ log_likelihood + (log_shares @ prior).sum())
        of_type = posterior * weights[:, None]
        size = np.maximum(of_type.sum(axis=0), 1e-12)
        before, log_shares = log_shares, np.log(_shares(of_type.T @ drawn + prior, starts))
        if np.abs(log_shares - before).max() < TOLERANCE:
            break
    return objective, size, log_shares


def _shares(counted: Array, starts: NDArray[np.intp]) -> Array:
    """(k, outcomes) shares of each outcome in its multinomial, which begin at `starts`."""
    totals = np.add.reduceat(counted, starts, axis=1)
    sizes = np.diff(np.r_[starts, counted.shape[1]])
    return counted / np.repeat(totals, sizes, axis=1)


def _posterior(log_prior: Array, log_likelihood: Array) -> tuple[Array, Array]:
    """Softmax of (rows, k), and the log of the sum that it is divided by."""
    scores = log_prior + log_likelihood
    top = scores.max(axis=1, keepdims=True)
    odds = np.exp(scores - top)
    total = odds.sum(axis=1, keepdims=True)
    return odds / total, (top + np.log(total))[:, 0]
