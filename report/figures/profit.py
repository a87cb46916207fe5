"""Profit of contacting the top of the list, by the share contacted, under the assumptions."""

from collections.abc import Sequence

import pandas as pd

from ml.models import model_name
from report.charts import Chart, counts_axis, share_axis
from report.curves import BASELINE, Curves, curve_figure, draw_curves
from report.profit import Assumptions
from report.words import number, percent


def profit_curve(points: Sequence[dict[str, float]], assumed: Assumptions) -> pd.DataFrame:
    """One row per point of a curve of metrics.json: `share` contacted, and `profit` per 1,000 users
    of the list: saved users x their value - contacts x their cost."""
    rows = pd.DataFrame(points)
    base_rate = float(rows["precision"].iloc[-1])
    saved = rows["recall"] * base_rate * assumed.save_rate
    return rows.assign(
        profit=1000 * (saved * assumed.saved_value - rows["share"] * assumed.contact_cost)
    )


def draw(curves: Curves, width: int) -> Chart:
    rows = pd.concat(
        profit_curve(points, curves.assumed).assign(model=model_name(name))
        for name in dict.fromkeys((curves.chosen, BASELINE))
        if (points := curves.points_of(name))
    )
    rows["words"] = [
        f"{r.model}: contacting {percent(r.share)} of the list gains {r.profit:,.0f} per 1,000 "
        "users"
        for r in rows.itertuples()
    ]
    across, up = share_axis("Share of the list contacted"), counts_axis("Profit per 1,000 users")
    return draw_curves(rows, width, across, up, {"share": [0, 1], "profit": [0, 0]})


def finding(curves: Curves) -> str:
    """Where the profit is highest."""
    assumed = curves.assumed
    rows = profit_curve(curves.points_of(curves.chosen), assumed)
    best = rows.loc[rows["profit"].idxmax()]
    given = (
        f"If a contact costs {number(assumed.contact_cost)}, a user who stays is worth "
        f"{number(assumed.saved_value)} and {percent(assumed.save_rate, 0)} of those about to "
        "cancel can be kept"
    )
    if best["profit"] <= 0:
        return f"{given}, contacting anybody by this list loses money."
    return (
        f"{given}, contacting the first {percent(best['share'], 0)} of the list pays most: "
        f"{best['profit']:,.0f} per 1,000 users on it."
    )


FIGURE = curve_figure(
    place=("model", 70),
    id="profit",
    title="Profit",
    draw=draw,
    finding=finding,
    is_wide=True,
    note="Your own numbers: python -m report --contact-cost 1 --saved-value 60 --save-rate 0.2. "
    "The curve: metrics.json of the run.",
)
