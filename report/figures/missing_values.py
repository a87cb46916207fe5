"""Missing values per column: bars of the columns that lack any, at most 20."""

import altair as alt
import pandas as pd

from report.charts import Chart, finished, names_axis, share_axis
from report.figure import Figure, columns
from report.svg import COLOUR
from report.words import capitalized, listed, number, percent, several


def draw(rows: pd.DataFrame, width: int) -> Chart | None:
    rows = rows[rows["missing_rows"] > 0].head(20)
    if rows.empty:
        return None
    rows = rows.assign(
        words=[
            f"{r.column_name} of {r.mart}: {several(r.missing_rows, 'row')} of {r.total_rows:,}"
            f" ({percent(r.missing_share)})"
            for r in rows.itertuples()
        ],
        shown=[percent(share) for share in rows["missing_share"]],
    )
    scale = alt.Scale(domain=[0, min(1.0, float(rows["missing_share"].max()) * 1.15)])
    base = alt.Chart(rows).encode(
        y=alt.Y("column_name:N", sort=None, axis=names_axis(width)),
        x=alt.X("missing_share:Q", scale=scale, axis=share_axis("Rows without a value")),
    )
    bars = base.mark_bar(color=COLOUR["stayed"], height={"band": 0.7}).encode(description="words:N")
    text = base.mark_text(align="left", dx=5).encode(text="shown:N")
    return finished(bars + text, width, alt.Step(20))


def finding(rows: pd.DataFrame) -> str:
    lacking = rows[rows["missing_rows"] > 0]
    if lacking.empty:
        return f"None of the {len(rows)} columns lacks a value."
    profile = lacking[lacking["mart"] == "dim_users"]
    users = (
        "no column of users lacks a value"
        if profile.empty
        else f"of users, {listed(list(profile['column_name'].head(3)))} lack values"
    )
    worst = lacking.iloc[0]
    return capitalized(
        f"{users}; {len(rows) - len(lacking)} of all {len(rows)} columns are complete, and "
        f"{worst.column_name} is null most often ({percent(worst.missing_share)})."
    )


FIGURE = Figure(
    place=("data", 10),
    id="missing",
    title="Missing values per column",
    queries=("missing_values",),
    draw=draw,
    finding=finding,
    table=columns(
        column_name=("Column", str),
        mart=("Table", str),
        missing_rows=("Rows without a value", number),
        total_rows=("Rows", number),
        missing_share=("Share", percent),
    ),
    is_wide=True,
    note="Features of today's snapshot: null means never, or a ratio to nothing.",
)
