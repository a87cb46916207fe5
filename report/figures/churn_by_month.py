"""Churned and stayed per month: stacked bars."""

import altair as alt
import pandas as pd

from report.charts import CHURNED, SQUARES, STAYED, Chart, counts_axis, finished
from report.figure import Figure, columns
from report.svg import COLOUR
from report.words import day, number, percent, several

KINDS = {"churned_users": CHURNED, "stayed_users": STAYED, "unknown_users": "not yet known"}


def draw(rows: pd.DataFrame, width: int) -> Chart:
    rows = rows.assign(month=pd.to_datetime(rows["month_start_date"]).dt.strftime("%b %Y"))
    long = rows.melt("month", list(KINDS), "column", "users")
    long = long.assign(kind=long["column"].map(KINDS), order=long["column"].map(list(KINDS).index))
    long["words"] = [f"{r.month}: {several(r.users, 'user')} {r.kind}" for r in long.itertuples()]
    shares = rows["churned_share"]
    shown = ["" if pd.isna(share) else f"{percent(share)} churned" for share in shares]
    totals = rows.assign(total=rows[list(KINDS)].sum(axis=1), shown=shown)
    top = max(1, int(totals["total"].max())) * 1.1  # room for the words above the highest bar
    x = alt.X("month:N", sort=None, axis=alt.Axis(title=None, labelAngle=0, ticks=False))
    y = alt.Y("users:Q", axis=counts_axis("Users"), scale=alt.Scale(domain=[0, top]))
    colours = [COLOUR["churned"], COLOUR["stayed"], COLOUR["unknown"]]
    scale = alt.Scale(domain=list(KINDS.values()), range=colours)
    colour = alt.Color("kind:N", scale=scale, legend=SQUARES)
    bars = alt.Chart(long).mark_bar(width={"band": 0.6})
    bars = bars.encode(x=x, y=y, color=colour, order="order:Q", description="words:N")
    text = alt.Chart(totals).mark_text(dy=-8).encode(x=x, y="total:Q", text="shown:N")
    return finished(bars + text, width, 240)


def finding(rows: pd.DataFrame) -> str:
    known = rows[rows["churned_share"].notna()]
    if known.empty:
        return "No outcome is known yet: it is, ten days after a snapshot."
    worst = known.loc[known["churned_share"].astype(float).idxmax()]
    highest = ", the highest share of all months" if len(known) > 1 else ""
    unknown = int(rows["unknown_users"].sum())
    open_end = f"; of {several(unknown, 'user')} of the last snapshots it is not known yet"
    return (
        f"{worst.churned_users:,} of the {worst.churned_users + worst.stayed_users:,} active users "
        f"of {pd.Timestamp(worst.month_start_date):%B %Y} whose outcome is known cancelled "
        f"({percent(worst.churned_share)}){highest}{open_end if unknown else ''}."
    )


FIGURE = Figure(
    place=("churn", 10),
    id="months",
    title="Churned and stayed per month",
    queries=("churn_by_month",),
    draw=draw,
    finding=finding,
    table=columns(
        month_start_date=("Month from", day),
        churned_users=("Churned", number),
        stayed_users=("Stayed", number),
        unknown_users=("Not yet known", number),
        churned_share=("Churned, of known", percent),
    ),
    note="Users with a daily snapshot in the month: churned within ten days of one of them, or of "
    "none.",
    empty="A log of one day has no snapshot yet.",
)
