"""Pages opened, churned against stayed: ratios as dots on a log scale."""

import altair as alt
import pandas as pd

from report.charts import CHURNED, STAYED, Chart, finished, names_axis
from report.figure import Figure, columns
from report.svg import COLOUR

PAGES = {
    "songs": "songs",
    "thumbs_up": "thumbs up",
    "thumbs_down": "thumbs down",
    "playlist_adds": "adds to a playlist",
    "friend_adds": "friends added",
    "adverts": "adverts",
    "errors": "errors",
    "home_visits": "home page",
    "help_visits": "help page",
    "settings_visits": "settings",
    "logouts": "logouts",
    "upgrade_visits": "looks at the paid plan",
    "downgrade_visits": "looks at the free plan",
}


def ratios(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per page category: mean per active day of both groups, and their ratio, falling."""
    wide = rows.pivot(index="page_category", columns="is_churned", values="mean_per_day")
    if not {True, False} <= set(wide.columns):
        return pd.DataFrame(columns=["page_category", STAYED, CHURNED, "ratio"])
    wide = wide.rename(columns={True: CHURNED, False: STAYED}).reset_index()
    wide = wide[(wide[CHURNED] > 0) & (wide[STAYED] > 0)]
    wide["ratio"] = wide[CHURNED].astype(float) / wide[STAYED].astype(float)
    return wide.sort_values("ratio", ascending=False, ignore_index=True)


def draw(rows: pd.DataFrame, width: int) -> Chart | None:
    rows = ratios(rows)
    if rows.empty:
        return None
    rows["page"] = rows["page_category"].map(PAGES)
    rows["one"] = 1.0
    rows["words"] = [
        f"{r.page}: {r.churned:.3g} per active day of users who churned, {r.stayed:.3g} of those "
        "who stayed"
        for r in rows.itertuples()
    ]
    rows["shown"] = [f"{ratio:.2f}×" for ratio in rows["ratio"]]
    colour = alt.condition(
        "datum.ratio > 1", alt.value(COLOUR["churned"]), alt.value(COLOUR["stayed"])
    )
    axis = alt.Axis(
        title="Pages per active day: churned over stayed",
        values=[0.25, 0.5, 0.67, 0.8, 1, 1.25, 1.5, 2, 4],
        format="~g",
    )
    domain = [min(0.9, rows["ratio"].min() * 0.88), max(1.1, rows["ratio"].max() * 1.12)]
    base = alt.Chart(rows).encode(
        y=alt.Y("page:N", sort=None, axis=names_axis(width)),
        x=alt.X("ratio:Q", scale=alt.Scale(type="log", domain=domain, nice=False), axis=axis),
    )
    one = alt.Chart(pd.DataFrame({"one": [1.0]})).mark_rule(color=COLOUR["muted"])
    more, less = (base.transform_filter(f"datum.ratio {which} 1") for which in (">", "<="))
    layers = (
        one.encode(x="one:Q")
        + base.mark_rule(strokeWidth=3).encode(x2="one:Q", color=colour)
        + base.mark_circle(size=80, opacity=1).encode(color=colour, description="words:N")
        + more.mark_text(align="left", dx=8).encode(text="shown:N")
        + less.mark_text(align="right", dx=-8).encode(text="shown:N")
    )
    return finished(layers, width, alt.Step(24))


def finding(rows: pd.DataFrame) -> str:
    found = ratios(rows)
    if found.empty:
        return "Nobody, or everybody, churned: there is nothing to compare."
    top, bottom = found.iloc[0], found.iloc[-1]
    return (
        f"Per active day, users who churned had {top.ratio:.2f} times as many "
        f"“{PAGES[top.page_category]}” as those who stayed, and {bottom.ratio:.2f} times as many "
        f"“{PAGES[bottom.page_category]}”."
    )


FIGURE = Figure(
    place=("behaviour", 30),
    id="pages",
    title="Pages opened, churned against stayed",
    queries=("page_counts",),
    draw=draw,
    finding=finding,
    table=columns(
        page_category=("Page", PAGES.__getitem__),
        is_churned=("Group", lambda is_churned: CHURNED if is_churned else STAYED),
        mean_per_day=("Mean per active day", "{:.3g}".format),
        lower_quartile=("Lower quartile", "{:.3g}".format),
        median_per_day=("Median", "{:.3g}".format),
        upper_quartile=("Upper quartile", "{:.3g}".format),
    ),
    is_wide=True,
    note="1 is no difference. Per active day, as users who leave have fewer days.",
)
