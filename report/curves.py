"""The figures and curves of the model that the report shows, for all figures that draw them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import altair as alt
import pandas as pd

from ml.models import model_name
from report.charts import Chart, by_kind, finished
from report.data import Data
from report.figure import Figure
from report.profit import Assumptions
from report.svg import COLOUR

BASELINE = "recency"  # the best that needs no model


def of_chosen(rows: pd.DataFrame, metric: str, cohort: str = "all") -> pd.Series | None:
    """The row of model_figures of the chosen model; None where a metric is not defined."""
    found = rows[rows["is_chosen"] & (rows["metric"] == metric) & (rows["cohort"] == cohort)]
    return None if found.empty else found.iloc[0]


def with_interval(figure: pd.Series, digits: int = 3) -> str:
    """'0.812 (0.790 to 0.834)'; without the interval where there is none."""
    if pd.isna(figure.low):
        return f"{figure.value:.{digits}f}"
    return f"{figure.value:.{digits}f} ({figure.low:.{digits}f} to {figure.high:.{digits}f})"


@dataclass(frozen=True)
class Curves:
    """What is known of the model: rows of model_figures, and metrics.json of its run."""

    figures: pd.DataFrame
    metrics: Mapping[str, Any]
    assumed: Assumptions = field(default_factory=Assumptions)

    @property
    def chosen(self) -> str:
        """Name of the chosen model."""
        return self.figures[self.figures["is_chosen"]]["model_name"].iloc[0]

    @property
    def empty(self) -> bool:
        """The backtest has one class only."""
        return not self.points_of(self.chosen)

    def points_of(self, model: str) -> list[dict[str, float]]:
        """Points of the curves of a model, in the order of its list; none if it has no curves."""
        return self.metrics["curves"].get(model, [])

    def points(self) -> pd.DataFrame:
        """Points of the curves of the chosen model and of the baseline, by `model`."""
        return pd.DataFrame(
            {"model": model_name(model), **point}
            for model in dict.fromkeys((self.chosen, BASELINE))
            for point in self.points_of(model)
        )


def read_curves(data: Data) -> Curves | None:
    """None where the files of the run are not there."""
    if data.model.problem:
        return None
    return Curves(data["model_figures"].rows, data.model.metrics, data.assumed)


# A figure that takes Curves, and is left out where there are none.
curve_figure = partial(Figure, queries=("model_figures",), read=read_curves, empty="")


def draw_curves(
    rows: pd.DataFrame,
    width: int,
    across: alt.Axis,
    up: alt.Axis,
    guess: Mapping[str, Sequence[float]],
) -> Chart:
    """A curve for each `model`, and as a thin line what a guess comes to.

    `guess` holds the ends of the line, of the column across and of the column up.
    """
    x, y = (f"{column}:Q" for column in guess)
    colour, dash = by_kind(rows, "model")
    base = alt.Chart(rows)
    curves = base.mark_line(strokeWidth=2).encode(
        alt.X(x, axis=across), alt.Y(y, axis=up), colour, dash, order="share:Q"
    )
    points = base.mark_circle(size=40, opacity=0).encode(x=x, y=y, description="words:N")
    return finished(thin_line(guess) + curves + points, width, 240)


def thin_line(ends: Mapping[str, Sequence[float]]) -> alt.Chart:
    """What a curve is compared with, from the two values of the column across and of that up."""
    x, y = (f"{column}:Q" for column in ends)
    line = alt.Chart(pd.DataFrame(ends))
    return line.mark_line(color=COLOUR["muted"], strokeWidth=1, strokeDash=[2, 2]).encode(x=x, y=y)
