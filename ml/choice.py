"""Which candidate a backtest supports: the simplest that is as good as the best."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ml.figures import row_losses, user_weights

SEED = 20


@dataclass(frozen=True)
class Loss:
    """Mean log loss of a candidate in the backtest, how much it is above the best one's, and the
    standard error of that difference."""

    log_loss: float
    above_best: float
    standard_error: float

    @property
    def is_as_good(self) -> bool:
        """Within one standard error of the best."""
        return self.above_best <= self.standard_error


def losses(predictions: pd.DataFrame, names: list[str], replicates: int) -> dict[str, Loss]:
    """By candidate. Differences are paired, row by row, and users are resampled with their rows.

    `predictions` has `label`, `user_id` and a column of probabilities per candidate.
    """
    label = predictions["label"].to_numpy(dtype=float)
    by_row = np.column_stack([row_losses(label, predictions[name].to_numpy()) for name in names])
    codes, _ = pd.factorize(predictions["user_id"], sort=True)
    users = int(codes.max()) + 1
    # sums by user are all that a resampling of users needs
    rows = np.bincount(codes, minlength=users).astype(float)
    sums = np.column_stack([np.bincount(codes, each, users) for each in by_row.T])
    mean = by_row.mean(axis=0)
    best = int(np.argmin(mean))
    drawn = user_weights(np.arange(users), replicates, SEED)
    above = (drawn @ (sums - sums[:, [best]])) / (drawn @ rows)[:, None]
    return {
        name: Loss(float(mean[i]), float(mean[i] - mean[best]), float(above[:, i].std()))
        for i, name in enumerate(names)
    }


def simplest(found: Mapping[str, Loss]) -> str:
    """The first that is within one standard error of the best; `found` is in rising complexity.

    The rule of one standard error: Breiman, Friedman, Olshen and Stone, Classification and
    Regression Trees (1984), section 3.4.3.
    """
    return next(name for name, loss in found.items() if loss.is_as_good)
