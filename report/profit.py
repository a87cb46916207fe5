"""What it is worth to contact a user, under assumptions that the reader can change."""

from __future__ import annotations

from dataclasses import dataclass


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
