"""Figures of a churn probability, with intervals: pure functions on numpy arrays.

Arrays have one element per (user, snapshot). `label` is 0.0 or 1.0, `probability` lies in [0, 1],
`weight` counts how often a row is drawn. Every figure that is undefined, such as a ROC AUC with one
class, is nan. Ties are shared, never broken by row order.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import betainc

TOP_PERCENTS = (1, 5, 10)
BINS = 10
LOGIT_BINS = 500  # of rows of like probability, taken as one where many samples are recalibrated
NEWTON_STEPS = 25
CURVE_POINTS = 200

# A figure's `value`, and `low` and `high` of its bootstrap 95 % interval; None where undefined.
Interval = dict[str, Any]


class Ranking:
    """(rows,) labels sorted by falling (rows,) probability, equal probabilities in one group.

    Attributes:
        label, probability: (rows,) in this order.
        order: (rows,) position of each in the original arrays.
        starts: (groups,) first row of each group.
        bins: (rows,) calibration bin, 0 = highest probability.
        weight: (rows,) how often each is drawn.
        positive, negative: (groups,) rows drawn of churners, and of others.
        hits, misses, drawn: (groups + 1,) rows drawn of churners, of others, and of both that are
            above each group, last of all.
    """

    def __init__(self, label: np.ndarray, probability: np.ndarray) -> None:
        self.order = np.argsort(-probability, kind="stable")
        self.label = label[self.order].astype(float)
        self.probability = probability[self.order].astype(float)
        is_start = np.ones(label.size, dtype=bool)
        is_start[1:] = self.probability[1:] != self.probability[:-1]
        self.starts = np.flatnonzero(is_start)
        # equal-mass bins; a group of ties stays in one bin, that of its first row
        self.bins = (self.starts * BINS // max(label.size, 1))[np.cumsum(is_start) - 1]
        self._draw(np.ones(label.size))

    def _draw(self, weight: np.ndarray) -> None:
        self.weight = weight
        self.positive = np.add.reduceat(weight * self.label, self.starts)
        self.negative = np.add.reduceat(weight, self.starts) - self.positive
        self.hits = np.r_[0.0, np.cumsum(self.positive)]
        self.misses = np.r_[0.0, np.cumsum(self.negative)]
        self.drawn = self.hits + self.misses

    def resampled(self, weight: np.ndarray) -> Ranking:
        """The same with each row drawn `weight` (rows,) times, in the order of the original arrays:
        a bootstrap sorts once."""
        found = copy(self)
        found._draw(weight[self.order].astype(float))
        return found

    def mean(self, values: np.ndarray) -> float:
        """That of (rows,) values."""
        return float(np.average(values, weights=self.weight)) if self.weight.sum() else np.nan

    @cached_property
    def logit_bins(self) -> tuple[np.ndarray, np.ndarray]:
        """(bins,) first group of each bin, and its mean log odds: up to LOGIT_BINS of like size,
        and a bin for each probability where these are no more. Cut at 1e-15, as the log loss."""
        size = np.diff(np.r_[self.starts, self.label.size])
        bin_of = self.starts * LOGIT_BINS // max(self.label.size, 1)
        if self.starts.size <= LOGIT_BINS:
            bin_of = np.arange(self.starts.size)
        first = np.flatnonzero(np.r_[True, bin_of[1:] != bin_of[:-1]][: bin_of.size])
        p = np.clip(self.probability[self.starts], 1e-15, 1 - 1e-15)
        log_odds = np.log(p) - np.log1p(-p)
        return first, np.add.reduceat(size * log_odds, first) / np.add.reduceat(size, first)

    @cached_property
    def log_losses(self) -> np.ndarray:
        """(rows,) those of `row_losses`."""
        return row_losses(self.label, self.probability)

    @cached_property
    def squared_errors(self) -> np.ndarray:
        """(rows,) squared difference of probability and outcome."""
        return (self.probability - self.label) ** 2


def row_losses(label: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """(rows,) -log of the probability given to what happened (natural log, cut at 1e-15)."""
    p = np.clip(probability, 1e-15, 1 - 1e-15)
    return -np.where(label > 0, np.log(p), np.log1p(-p))


def roc_auc(ranking: Ranking) -> float:
    """Chance that a churner ranks above a non-churner, ties counting half.

    The Mann-Whitney form: Hanley and McNeil, Radiology 143 (1982).
    """
    positives, negatives = ranking.hits[-1], ranking.misses[-1]
    if not positives or not negatives:
        return np.nan
    negative_below = negatives - ranking.misses[1:]
    wins = (ranking.positive * (negative_below + ranking.negative / 2)).sum()
    return float(wins / (positives * negatives))


def pr_auc(ranking: Ranking) -> float:
    """Average precision: sum over thresholds of (gain in recall) x precision.

    Without interpolation, as scikit-learn's average_precision_score; Davis and Goadrich (ICML
    2006) on why not to interpolate. A ranking without any skill has the base rate.
    """
    hits, drawn = ranking.hits[1:], ranking.drawn[1:]
    if not ranking.hits[-1]:
        return np.nan
    precision = np.divide(hits, drawn, out=np.zeros_like(hits), where=drawn > 0)
    return float((ranking.positive / ranking.hits[-1] * precision).sum())


def recall_at(ranking: Ranking, percent: float) -> float:
    """Share of the churners among the `percent` % of rows with the highest probability.

    Where the cut falls into a group of ties, the group counts in proportion (its expectation).
    """
    hits, drawn = ranking.hits, ranking.drawn
    if not hits[-1]:
        return np.nan
    return float(np.interp(drawn[-1] * percent / 100, drawn, hits) / hits[-1])


def lift_at(ranking: Ranking, percent: float) -> float:
    """Churn rate of the top `percent` % over that of all rows: recall / share looked at."""
    return recall_at(ranking, percent) / (percent / 100)


def log_loss(ranking: Ranking) -> float:
    """Mean of -log of the probability given to what happened."""
    return ranking.mean(ranking.log_losses)


def brier(ranking: Ranking) -> float:
    """Mean squared difference of probability and outcome.

    Brier, Monthly Weather Review 78 (1950).
    """
    return ranking.mean(ranking.squared_errors)


def calibration_bins(ranking: Ranking) -> list[dict[str, float]]:
    """Ten bins of equal size by probability, highest first: rows, mean probability, churn rate."""
    drawn = ranking.weight
    rows = np.bincount(ranking.bins, drawn, BINS)
    predicted = np.bincount(ranking.bins, drawn * ranking.probability, BINS)
    churned = np.bincount(ranking.bins, drawn * ranking.label, BINS)
    return [
        {"rows": rows[i], "probability": predicted[i] / rows[i], "churn_rate": churned[i] / rows[i]}
        for i in range(BINS)
        if rows[i]
    ]


def calibration_error(ranking: Ranking) -> float:
    """Mean over bins, by size, of |mean probability - churn rate|.

    The expected calibration error of Naeini et al. (AAAI 2015), with bins of equal size. Noise of
    the churn rates adds to it: a perfect probability has one above 0, and a resampled set a larger
    one than the set it was drawn from, so it has no interval (Roelofs et al., AISTATS 2022).
    """
    bins = calibration_bins(ranking)
    total = sum(b["rows"] for b in bins)
    if not total:
        return np.nan
    gaps = sum(b["rows"] * abs(b["probability"] - b["churn_rate"]) for b in bins)
    return float(gaps / total)


def calibration_slope(ranking: Ranking) -> float:
    """b of the logistic recalibration logit(churn rate) = a + b logit(probability), fitted by
    maximum likelihood: 1 if right, below 1 if probabilities are too extreme.

    Cox, Biometrika 45 (1958), 562-565. Undefined where a class is missing, where all probabilities
    are one, and where these tell the classes apart without an error.
    """
    return float(_recalibrated(ranking, has_slope=True)[1])


def calibration_intercept(ranking: Ranking) -> float:
    """a of the same with b at 1, calibration in the large: 0 if right, above 0 if fewer churners
    were predicted than there are.

    Van Calster et al., BMC Medicine 17:230 (2019). Undefined where a class is missing.
    """
    return float(_recalibrated(ranking, has_slope=False)[0])


def _recalibrated(ranking: Ranking, has_slope: bool) -> np.ndarray:
    """a, and b with a slope, of the logistic recalibration, by Newton's method; nan where the
    likelihood has no maximum."""
    first, log_odds = ranking.logit_bins
    churned = np.add.reduceat(ranking.positive, first)
    stayed = np.add.reduceat(ranking.negative, first)
    inputs = np.ones((1, log_odds.size))
    offset: np.ndarray | float = log_odds
    if has_slope:
        inputs, offset = np.stack([inputs[0], log_odds]), 0.0
    found, undefined = np.zeros(len(inputs)), np.full(len(inputs), np.nan)
    if not churned.sum() or not stayed.sum():
        return undefined
    drawn = churned + stayed
    # near the answer: far from it, a step can lead away
    found[0] = np.log(churned.sum() / stayed.sum()) - (drawn * offset).sum() / drawn.sum()
    for _ in range(NEWTON_STEPS):
        p = 1 / (1 + np.exp(-np.clip(found @ inputs + offset, -500, 500)))
        information = (inputs * (drawn * p * (1 - p))) @ inputs.T
        if not np.linalg.cond(information) < 1e12:
            return undefined
        change = np.linalg.solve(information, inputs @ (churned - drawn * p))
        found = found + change
        if np.abs(change).max() < 1e-9:
            return found
    return undefined


def expected_profit(ranking: Ranking, campaign: Campaign | None = None) -> float:
    """Expected maximum profit per user of a campaign that contacts the users at most risk (EMPC).

    Of users about to cancel, a share g accepts the offer and stays. g is not known, but has a Beta
    distribution, and for each g the campaign stops where its profit is highest. These places are
    on the convex hull of the ROC curve, so the integral over g is a sum over its corners.

    Verbraken, Verbeke and Baesens, IEEE Transactions on Knowledge and Data Engineering 25 (2013),
    961-973, with their values. Undefined where a class is missing.
    """
    terms = campaign or Campaign()
    if not ranking.hits[-1] or not ranking.misses[-1]:
        return np.nan
    false_positive, recall = _upper_hull(
        ranking.misses / ranking.misses[-1], ranking.hits / ranking.hits[-1]
    )
    churn = ranking.hits[-1] / ranking.drawn[-1]
    stay = 1 - churn
    offer, contact = terms.offer_cost / terms.value, terms.contact_cost / terms.value
    # the g from which on it pays to go on to the next corner
    with np.errstate(divide="ignore"):
        gain = churn * (1 - offer) * np.diff(recall)
        cost = stay * (offer + contact) * np.diff(false_positive)
        cost += churn * contact * np.diff(recall)
        pays_from = np.clip(cost / gain, 0, 1)
    edges = np.r_[0, pays_from, 1]
    chance = np.diff(betainc(terms.alpha, terms.beta, edges))
    mean = terms.alpha / (terms.alpha + terms.beta)
    accepted = mean * np.diff(betainc(terms.alpha + 1, terms.beta, edges))
    spent = churn * contact * recall + stay * (offer + contact) * false_positive
    return float(terms.value * (churn * (1 - offer) * recall * accepted - spent * chance).sum())


def _upper_hull(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the upper convex hull of points in rising order of both (monotone chain)."""
    corners: list[tuple[float, float]] = []
    for point in zip(x.tolist(), y.tolist(), strict=True):
        while len(corners) > 1:
            (x0, y0), (x1, y1) = corners[-2:]
            if (x1 - x0) * (point[1] - y0) < (y1 - y0) * (point[0] - x0):
                break
            corners.pop()
        if not corners or point != corners[-1]:
            corners.append(point)
    return np.array(corners).T[0], np.array(corners).T[1]


def curve(ranking: Ranking, points: int = CURVE_POINTS) -> list[dict[str, float]]:
    """The ranking from the highest probability down, for ROC, precision-recall, lift and profit.

    Up to `points` + 1 places to stop at, closer together at the top, each with the share of rows
    that lie above it, recall (true positive rate), false positive rate and precision, all 0 to 1.
    Rows of one probability are taken together. Empty where a class is missing.
    """
    hits, misses, drawn = ranking.hits, ranking.misses, ranking.drawn
    if not hits[-1] or not misses[-1]:
        return []
    wanted = np.linspace(0, 1, points + 1) ** 2 * drawn[-1]
    return [
        {
            "share": drawn[i] / drawn[-1],
            "recall": hits[i] / hits[-1],
            "false_positive_rate": misses[i] / misses[-1],
            "precision": hits[i] / max(drawn[i], 1.0),
        }
        for i in np.unique(np.searchsorted(drawn, wanted))
    ]


def figures(ranking: Ranking) -> dict[str, float]:
    """Every figure that has an interval, by name, in the order in which they are reported."""
    found = {
        "base_rate": ranking.mean(ranking.label),
        "roc_auc": roc_auc(ranking),
        "pr_auc": pr_auc(ranking),
    }
    for percent in TOP_PERCENTS:
        found[f"lift_at_{percent}_percent"] = lift_at(ranking, percent)
        found[f"recall_at_{percent}_percent"] = recall_at(ranking, percent)
    return found | {
        "log_loss": log_loss(ranking),
        "brier": brier(ranking),
        "calibration_slope": calibration_slope(ranking),
        "calibration_intercept": calibration_intercept(ranking),
    }


@dataclass(frozen=True)
class Campaign:
    """What `expected_profit` supposes, money in one currency.

    Attributes:
        value: what a user is worth who stays instead of cancelling.
        offer_cost: of the offer, where a user takes it.
        contact_cost: of contacting a user.
        alpha, beta: of the Beta distribution of the share of cancelling users who accept.
    """

    value: float = 200.0
    offer_cost: float = 10.0
    contact_cost: float = 1.0
    alpha: float = 6.0
    beta: float = 14.0


def user_weights(user: np.ndarray, replicates: int, seed: int) -> np.ndarray:
    """(replicates, rows) draw counts of a bootstrap that resamples users with replacement.

    `user` numbers the user of each row from 0. A user's rows are drawn together: their labels
    overlap, so resampling rows would make intervals far too narrow (cluster bootstrap, Davison and
    Hinkley 1997, section 3.8).
    """
    users = int(user.max()) + 1 if user.size else 0
    generator = np.random.default_rng(seed)
    counts = generator.multinomial(users, np.full(users, 1 / max(users, 1)), size=replicates)
    return counts[:, user].astype(np.float32)


def figures_with_intervals(
    label: np.ndarray,
    probability: np.ndarray,
    user: np.ndarray,
    replicates: int = 200,
    seed: int = 0,
) -> dict[str, Interval]:
    """Figures of (rows,) arrays with the 2.5 and 97.5 percentiles over resampled users; without
    these, the calibration error and the expected profit."""
    ranking = Ranking(label, probability)
    point = figures(ranking)
    _, codes = np.unique(user, return_inverse=True)
    # one replicate at a time: memory stays at a few arrays of the size of the test set
    seeds = np.random.SeedSequence(seed).generate_state(replicates)
    drawn = [figures(ranking.resampled(user_weights(codes, 1, int(s))[0])) for s in seeds]
    return {
        **{
            name: _interval(value, [replicate[name] for replicate in drawn])
            for name, value in point.items()
        },
        "calibration_error": _interval(calibration_error(ranking)),
        "expected_profit": _interval(expected_profit(ranking)),
    }


def strongest_single_feature(label: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(features,) ROC AUC of each column of (rows, features) alone, at best, from 0.5 to 1.

    The better direction counts, and nulls (nan) count as lowest or highest, whichever tells more.
    """
    best = np.full(values.shape[1], 0.5)
    for j in range(values.shape[1]):
        column = values[:, j]
        for fill in (-np.inf, np.inf) if np.isnan(column).any() else (0.0,):
            ranking = Ranking(label, np.where(np.isnan(column), fill, column))
            auc = roc_auc(ranking)
            if not np.isnan(auc):
                best[j] = max(best[j], auc, 1 - auc)
    return best


def _interval(value: float, replicates: Sequence[float] = ()) -> Interval:
    known = [each for each in replicates if not np.isnan(each)]
    low, high = np.percentile(known, [2.5, 97.5]).tolist() if known else (None, None)
    return {"value": None if np.isnan(value) else value, "low": low, "high": high}
