"""Missing values per column: bars of the columns that lack any, at most 20."""

import altair as alt
import pandas as pd

from report.charts import Chart, bars, share_axis
from report.figure import Figure, columns
from report.words import capitalized, listed, number, percent, several


def draw(rows: pd.DataFrame, width: int) -> Chart | None:
    rows = rows[rows["missing_rows"] > 0].head(20)
    if rows.empty:
        return None
    words = [
        f"{r.column_name} of {r.mart}: {several(r.missing_rows, 'row')} of {r.total_rows:,}"
        f" ({percent(r.missing_share)})"
        for r in rows.itertuples()
    ]
    rows = rows.assign(words=words, shown=rows["missing_share"].map(percent))
    scale = alt.Scale(domain=[0, min(1.0, float(rows["missing_share"].max()) * 1.15)])
    axis = share_axis("Rows without a value")
    return bars(rows, width, "column_name", "missing_share", axis, scale=scale, step=20)


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
