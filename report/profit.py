"""What it is worth to contact the top of the list, under assumptions that the reader can change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Assumptions:
    """Money in one currency.

    Attributes:
        contact_cost: of contacting one user.
        saved_value: what a user is worth who would have cancelled and stays.
        save_rate: share, 0 to 1, of contacted users about to cancel who stay.
    """

    contact_cost: float = 1.0
    saved_value: float = 60.0
    save_rate: float = 0.2


def profit_curve(points: Sequence[dict[str, float]], assumed: Assumptions) -> pd.DataFrame:
    """One row per point of a curve of metrics.json: `share` contacted, and `profit` per 1,000 users
    of the list: saved users x their value - contacts x their cost."""
    rows = pd.DataFrame(points)
    base_rate = float(rows["precision"].iloc[-1])
    saved = rows["recall"] * base_rate * assumed.save_rate
    return rows.assign(
        profit=1000 * (saved * assumed.saved_value - rows["share"] * assumed.contact_cost)
    )
