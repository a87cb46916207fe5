"""Risk by tenth of the users: bars of the mean probability."""

import pandas as pd

from report.charts import Chart, bars, share_axis
from report.figure import Figure, columns
from report.words import number, percent, several


def draw(rows: pd.DataFrame, width: int) -> Chart:
    rows = rows.assign(
        decile=rows["risk_decile"].astype(str),
        shown=[percent(p) for p in rows["mean_probability"]],
        words=[
            f"Tenth {r.risk_decile}: {several(r.users, 'user')}, {percent(r.lowest_probability)} "
            f"to {percent(r.highest_probability)}, {r.expected_cancellations:.1f} cancellations "
            "expected"
            for r in rows.itertuples()
        ],
    )
    axis = share_axis("Mean probability to cancel")
    return bars(rows, width, "decile", "mean_probability", axis, sort=list(rows["decile"]))


def finding(rows: pd.DataFrame) -> str:
    """What is expected of all, and of the first tenth."""
    expected, users = float(rows["expected_cancellations"].sum()), int(rows["users"].sum())
    share = float(rows["expected_cancellations"].iloc[0]) / expected if expected else 0.0
    return (
        f"{expected:.1f} of {several(users, 'user')} are expected to cancel in ten days, "
        f"{percent(share, 0)} of them in the tenth with the highest risk."
    )


FIGURE = Figure(
    place=("risk", 10),
    id="deciles",
    title="Risk by tenth of the users",
    queries=("risk_by_decile",),
    draw=draw,
    finding=finding,
    table=columns(
        risk_decile=("Tenth", number),
        users=("Users", number),
        mean_probability=("Mean probability", percent),
        lowest_probability=("from", percent),
        highest_probability=("to", percent),
        expected_cancellations=("Expected to cancel", "{:.1f}".format),
    ),
    is_wide=True,
    note="Tenth 1 has the highest risk.",
)
