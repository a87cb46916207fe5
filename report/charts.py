"""The charts: from the rows of a query to an Altair chart of a given width in pixels.

Every function takes rows as a query of `queries/` gives them and a width. The mark of each row says
in words what it shows (`words`), for a reader who hovers over it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

import altair as alt
import pandas as pd

from ml.models import model_name
from report import places
from report.svg import COLOUR, DIVERGING, MUCH
from report.words import (
    METRICS,
    PAGES,
    feature_name,
    group_name,
    hours,
    number,
    percent,
    several,
)

NARROW = 480  # below this width, in pixels, a chart is drawn for a phone
FEW_USERS = 10  # a state or area with fewer users has no rate that is worth a colour
COLD = MUCH[1:6]  # colours of churn rates on the map: of states
WARM = [f"warm{i}" for i in range(5)]  # and of areas

Chart = alt.TopLevelMixin
Draw = Callable[[pd.DataFrame, int], Chart]

CHURNED, STAYED, UNKNOWN = "churned", "stayed", "not yet known"
GROUP_SCALE = alt.Scale(domain=[CHURNED, STAYED], range=[COLOUR["churned"], COLOUR["stayed"]])
SQUARES = alt.Legend(symbolType="square", symbolStrokeWidth=0)
LINES = alt.Legend(symbolType="stroke", symbolStrokeWidth=2, symbolSize=250)


def finished(
    chart: alt.Chart | alt.LayerChart | alt.FacetChart, width: int, height: int | alt.Step
) -> Chart:
    """The chart at a total width, axes and legends included."""
    return (
        chart.properties(
            width=width,
            height=height,
            background="transparent",
            padding=0,
            autosize=alt.AutoSizeParams(type="fit-x", contains="padding"),
        )
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=COLOUR["muted"],
            titleColor=COLOUR["muted"],
            labelFontSize=12,
            titleFontSize=12,
            titleFontWeight="normal",
            gridColor=COLOUR["grid"],
            domainColor=COLOUR["rule"],
            tickColor=COLOUR["rule"],
            labelFont="Helvetica",
            titleFont="Helvetica",
            labelLimit=240,
            labelFlush=False,
        )
        .configure_axisX(titlePadding=8)
        .configure_axisY(titlePadding=8)
        .configure_legend(
            orient="top",
            direction="horizontal",
            title=None,
            labelColor=COLOUR["ink"],
            labelFontSize=12,
            titleColor=COLOUR["muted"],
            titleFontSize=12,
            titleFontWeight="normal",
            labelFont="Helvetica",
            titleFont="Helvetica",
            symbolOpacity=1,
            offset=8,
        )
        .configure_text(font="Helvetica", fontSize=12, color=COLOUR["ink"])
    )


def share_axis(title: str | None = None, **more: Any) -> alt.Axis:
    """An axis of shares, 0 to 1, in per cent."""
    return alt.Axis(title=title, format="~%", tickCount=5, **more)


def counts_axis(title: str | None = None) -> alt.Axis:
    """An axis of numbers, as they are in the tables: 1,500."""
    return alt.Axis(title=title, format=",~r", tickCount=5)


def names_axis(width: int) -> alt.Axis:
    """An axis of names, one a row."""
    return alt.Axis(
        title=None, ticks=False, domain=False, labelLimit=170 if width < NARROW else 360
    )


def time_axis(title: str | None = None) -> alt.Axis:
    """An axis of UTC dates."""
    return alt.Axis(title=title, format="%-d %b", tickCount=6, grid=False, labelOverlap=True)


def with_dates_as_text(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with dates as text (2018-10-01), which Vega-Lite reads as UTC."""
    return rows.assign(
        **{
            name: [v.isoformat()[:10] if isinstance(v, date) else None for v in rows[name]]
            for name in rows
            if rows[name].map(lambda value: isinstance(value, date)).any()
        }
    )


# --- the data ------------------------------------------------------------------------------------


def missing_values(rows: pd.DataFrame, width: int) -> Chart:
    """Bars: share of rows without a value, of the columns that lack any (at most 20)."""
    rows = rows[rows["missing_rows"] > 0].head(20)
    rows = rows.assign(
        words=[
            f"{r.column_name} of {r.mart}: {several(r.missing_rows, 'row')} of {r.total_rows:,}"
            f" ({percent(r.missing_share)})"
            for r in rows.itertuples()
        ],
        shown=[percent(share) for share in rows["missing_share"]],
    )
    base = alt.Chart(rows).encode(
        y=alt.Y("column_name:N", sort=None, axis=names_axis(width)),
        x=alt.X(
            "missing_share:Q",
            scale=alt.Scale(domain=[0, min(1.0, float(rows["missing_share"].max()) * 1.15)]),
            axis=share_axis("Rows without a value"),
        ),
    )
    bars = base.mark_bar(color=COLOUR["stayed"], height={"band": 0.7}).encode(description="words:N")
    return finished(
        bars + base.mark_text(align="left", dx=5).encode(text="shown:N"), width, alt.Step(20)
    )


# --- who cancels ---------------------------------------------------------------------------------


def churn_by_month(rows: pd.DataFrame, width: int) -> Chart:
    """Stacked bars: users of each month by what became of them."""
    names = {"churned_users": CHURNED, "stayed_users": STAYED, "unknown_users": UNKNOWN}
    long = rows.melt("month_start_date", list(names), "kind", "users")
    long = long.assign(
        month=pd.to_datetime(long["month_start_date"]).dt.strftime("%b %Y"),
        kind=long["kind"].map(names),
        order=long["kind"].map(list(names).index),
    )
    long["words"] = [f"{r.month}: {several(r.users, 'user')} {r.kind}" for r in long.itertuples()]
    known = rows.assign(
        month=pd.to_datetime(rows["month_start_date"]).dt.strftime("%b %Y"),
        total=rows[list(names)].sum(axis=1),
        shown=[
            "" if pd.isna(share) else f"{percent(share)} churned" for share in rows["churned_share"]
        ],
    )
    top = max(1, int(known["total"].max())) * 1.1  # room for the words above the highest bar
    x = alt.X("month:N", sort=None, axis=alt.Axis(title=None, labelAngle=0, ticks=False))
    bars = (
        alt.Chart(long)
        .mark_bar(width={"band": 0.6})
        .encode(
            x=x,
            y=alt.Y("users:Q", axis=counts_axis("Users"), scale=alt.Scale(domain=[0, top])),
            color=alt.Color(
                "kind:N",
                scale=alt.Scale(
                    domain=[CHURNED, STAYED, UNKNOWN],
                    range=[COLOUR["churned"], COLOUR["stayed"], COLOUR["unknown"]],
                ),
                legend=SQUARES,
            ),
            order="order:Q",
            description="words:N",
        )
    )
    text = alt.Chart(known).mark_text(dy=-8).encode(x=x, y="total:Q", text="shown:N")
    return finished(bars + text, width, 240)


def churn_by_gender_and_level(rows: pd.DataFrame, width: int) -> Chart:
    """Dots with 95 % intervals: churn rate of each group."""
    rows = rows.assign(group=[group_name(r.gender, r.level) for r in rows.itertuples()])
    rows["kind"] = rows["gender"].notna().astype(int) + rows["level"].notna().astype(int)
    rows = rows.sort_values(["kind", "level", "gender"], na_position="last", kind="stable")
    rows["words"] = [
        f"{r.group}: {r.churned_users:,} of {several(r.users, 'user')} ({percent(r.churn_rate)}; "
        f"{percent(r.low)} to {percent(r.high)})"
        for r in rows.itertuples()
    ]
    return finished(
        _intervals(rows, width, "group", "churn_rate", "Churn rate"), width, alt.Step(30)
    )


def _intervals(
    rows: pd.DataFrame, width: int, name: str, value: str, title: str, axis: alt.Axis | None = None
) -> alt.LayerChart:
    """Dots with intervals, from columns `low` and `high`, a row of the chart for each row."""
    y = alt.Y(f"{name}:N", sort=None, axis=names_axis(width))
    axis = axis or share_axis(title)
    lines = (
        alt.Chart(rows)
        .mark_rule(strokeWidth=3, color=COLOUR["much2"])
        .encode(y=y, x=alt.X("low:Q", axis=axis), x2="high:Q", description="words:N")
    )
    dots = (
        alt.Chart(rows)
        .mark_circle(size=75, color=COLOUR["stayed"], opacity=1)
        .encode(y=y, x=f"{value}:Q", description="words:N")
    )
    return lines + dots


def map_of_states(rows: pd.DataFrame, width: int, cities: pd.DataFrame) -> Chart:
    """Map: states by churn rate, cities by users (area) and churn rate; Alaska and Hawaii inset.

    `cities` are rows of map_of_areas with a `latitude` and `longitude`. States with fewer than
    FEW_USERS users, or none, are grey.
    """
    narrow = width < NARROW
    height = round(width * 0.6)
    names = places.states()
    by_state = {r.state: r for r in rows.itertuples()}
    colour = rate_colour(rows)
    regions = []
    for state, (name, fips) in names.items():
        found = by_state.get(state)
        users = found.users if found else 0
        words = f"{name}: no users"
        if found:
            words = f"{name}: {found.churned_users:,} of {several(users, 'user')} churned"
            words += f" ({percent(found.churn_rate)})" if users >= FEW_USERS else ""
        regions.append(
            {
                "id": fips,
                "words": words,
                "fill": colour(found.churn_rate)
                if found and users >= FEW_USERS
                else COLOUR["empty"],
            }
        )
    shapes = alt.Chart(
        alt.InlineData(
            values=places.outlines(), format=alt.TopoDataFormat(type="topojson", feature="states")
        )
    )
    layers = [
        shapes.mark_geoshape(stroke=COLOUR["paper"], strokeWidth=0.8)
        .transform_lookup("id", alt.LookupData(pd.DataFrame(regions), "id", ["words", "fill"]))
        .encode(fill=alt.Fill("fill:N", scale=None), description="words:N")
    ]
    if len(cities):
        warm = rate_colour(rows, WARM)
        enough = cities["users"] >= FEW_USERS
        cities = cities.assign(
            words=[
                f"{r.metro_area}, {r.state}: {r.churned_users:,} of {several(r.users, 'user')} "
                f"churned"
                for r in cities.itertuples()
            ],
            fill=[
                warm(rate) if known else COLOUR["paper"]
                for rate, known in zip(cities["churn_rate"], enough, strict=True)
            ],
            line=[COLOUR["paper" if known else "muted"] for known in enough],
        )
        layers.append(
            alt.Chart(cities)
            .mark_circle(strokeWidth=1, opacity=1, fillOpacity=0.9)
            .encode(
                latitude="latitude:Q",
                longitude="longitude:Q",
                fill=alt.Fill("fill:N", scale=None),
                stroke=alt.Stroke("line:N", scale=None),
                size=alt.Size(
                    "users:Q",
                    scale=alt.Scale(
                        domain=[0, int(cities["users"].max())], range=[0, 160 if narrow else 700]
                    ),
                    legend=None,
                ),
                description="words:N",
            )
        )
    return finished(alt.layer(*layers).project("albersUsa"), width, height)


def rate_steps(rows: pd.DataFrame) -> list[float]:
    """Upper bounds of all but the last colour of the map: whole steps of per cent."""
    known = rows[rows["users"] >= FEW_USERS]["churn_rate"]
    highest = float(known.max()) if len(known) else 0.0
    step = next(s for s in (0.01, 0.02, 0.05, 0.1, 0.15, 0.2) if s * 5 >= highest or s == 0.2)
    return [step * i for i in range(1, 5)]


def rate_colour(rows: pd.DataFrame, names: Sequence[str] = COLD) -> Callable[[float], str]:
    """The colour of a churn rate on the map: of states, or with WARM of areas."""
    steps = rate_steps(rows)
    return lambda rate: COLOUR[names[sum(rate >= step for step in steps)]]


# --- what they do --------------------------------------------------------------------------------


def _distribution(rows: pd.DataFrame, width: int, start: str, size: str, title: str) -> Chart:
    """Outlines of two histograms: share of each group in each bin."""
    step = float(rows[size].iloc[0])
    bins = [step * i for i in range(round(rows[start].max() / step) + 1)]
    rows = rows.assign(group=rows["is_churned"].map({True: CHURNED, False: STAYED}))
    every = pd.MultiIndex.from_product([rows["group"].unique(), bins], names=["group", start])
    rows = rows.set_index(["group", start])[["users", "share_of_group"]]
    rows = rows.reindex(every, fill_value=0).reset_index().rename(columns={start: "start"})
    rows["middle"] = rows["start"] + step / 2
    rows["words"] = [
        f"{r.group}, {r.start:,.0f} to {r.start + step:,.0f}: {several(r.users, 'user')} "
        f"({percent(r.share_of_group)})"
        for r in rows.itertuples()
    ]
    # the outline of a step begins at its bin and ends where the next one begins
    last = rows[rows["start"] == bins[-1]].assign(start=bins[-1] + step)
    scale = alt.Scale(domain=[0, bins[-1] + step], nice=False)
    axis = alt.Axis(title=title, grid=False, tickCount=6, format=",~r")
    outline = alt.Chart(pd.concat([rows, last])).encode(
        x=alt.X("start:Q", axis=axis, scale=scale),
        y=alt.Y("share_of_group:Q", axis=share_axis("Share of the group"), stack=None),
        color=alt.Color("group:N", scale=GROUP_SCALE, legend=SQUARES),
    )
    points = alt.Chart(rows).mark_circle(size=60, opacity=0)
    return finished(
        outline.mark_area(interpolate="step-after", opacity=0.16, line=False)
        + outline.mark_line(interpolate="step-after", strokeWidth=2)
        + points.encode(x="middle:Q", y="share_of_group:Q", description="words:N"),
        width,
        220,
    )


def lifetime_distribution(rows: pd.DataFrame, width: int) -> Chart:
    """Histograms of days from registration to the last event."""
    title = "Days from registration to the last event"
    return _distribution(rows, width, "from_days", "bin_days", title)


def listening_distribution(rows: pd.DataFrame, width: int) -> Chart:
    """Histograms of minutes of listening per active day."""
    title = "Minutes of songs per active day"
    return _distribution(rows, width, "from_minutes", "bin_minutes", title)


def page_ratios(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per page category: mean per active day of both groups, and their ratio, falling."""
    wide = rows.pivot(index="page_category", columns="is_churned", values="mean_per_day")
    if not {True, False} <= set(wide.columns):
        return pd.DataFrame(columns=["page_category", "stayed", "churned", "ratio"])
    wide = wide.rename(columns={True: "churned", False: "stayed"}).reset_index()
    wide = wide[(wide["churned"] > 0) & (wide["stayed"] > 0)]
    wide["ratio"] = wide["churned"].astype(float) / wide["stayed"].astype(float)
    return wide.sort_values("ratio", ascending=False, ignore_index=True)


def page_counts(rows: pd.DataFrame, width: int) -> Chart:
    """Dots on a log scale: pages of users who churned over those of users who stayed."""
    rows = page_ratios(rows)
    rows = rows.assign(
        page=rows["page_category"].map(lambda name: PAGES.get(name, name)),
        one=1.0,
        words=[
            f"{PAGES.get(r.page_category, r.page_category)}: {r.churned:.3g} per active day of "
            f"users who "
            f"churned, {r.stayed:.3g} of those who stayed"
            for r in rows.itertuples()
        ],
        shown=[f"{ratio:.2f}×" for ratio in rows["ratio"]],
    )
    domain = [min(0.9, rows["ratio"].min() * 0.88), max(1.1, rows["ratio"].max() * 1.12)]
    colour = alt.condition(
        "datum.ratio > 1", alt.value(COLOUR["churned"]), alt.value(COLOUR["stayed"])
    )
    y = alt.Y("page:N", sort=None, axis=names_axis(width))
    x = alt.X(
        "ratio:Q",
        scale=alt.Scale(type="log", domain=domain, nice=False),
        axis=alt.Axis(
            title="Pages per active day: churned over stayed",
            values=[0.25, 0.5, 0.67, 0.8, 1, 1.25, 1.5, 2, 4],
            format="~g",
        ),
    )
    base = alt.Chart(rows).encode(y=y, x=x)
    return finished(
        alt.Chart(pd.DataFrame({"one": [1.0]})).mark_rule(color=COLOUR["muted"]).encode(x="one:Q")
        + base.mark_rule(strokeWidth=3).encode(x2="one:Q", color=colour)
        + base.mark_circle(size=80, opacity=1).encode(color=colour, description="words:N")
        + base.transform_filter("datum.ratio > 1")
        .mark_text(align="left", dx=8)
        .encode(text="shown:N")
        + base.transform_filter("datum.ratio <= 1")
        .mark_text(align="right", dx=-8)
        .encode(text="shown:N"),
        width,
        alt.Step(24),
    )


def feature_correlations(rows: pd.DataFrame, width: int) -> Chart:
    """Heat map: rank correlation of each pair of features, both ways round."""
    narrow = width < NARROW
    rows = rows[rows["correlation"].notna()]
    order = correlation_order(rows)
    both = pd.concat(
        [
            rows,
            rows.rename(columns={"feature": "other_feature", "other_feature": "feature"}),
            pd.DataFrame({"feature": order, "other_feature": order, "correlation": 1.0}),
        ]
    )
    edges = [-0.5, -0.25, -0.05, 0.05, 0.25, 0.5]
    pairs = list(zip(both["feature"], both["other_feature"], both["correlation"], strict=True))
    both = both.assign(
        fill=[COLOUR[DIVERGING[sum(v >= e for e in edges)]] for v in both["correlation"]],
        ink=[COLOUR["onmuch" if abs(v) >= 0.5 else "onlittle"] for v in both["correlation"]],
        words=[
            f"{feature_name(a)} and {feature_name(b)}: {v:+.2f}"
            for a, b, v in pairs
        ],
        across=both["feature"].map(feature_name),
        down=both["other_feature"].map(feature_name),
        shown=["" if a == b else f"{round(v, 2) + 0:+.2f}".replace("0.", ".") for a, b, v in pairs],
    )  # fmt: skip
    names = [feature_name(name) for name in order]
    base = alt.Chart(both).encode(
        x=alt.X("across:N", sort=names, axis=alt.Axis(title=None, labelAngle=-90, orient="top",
                ticks=False, domain=False, labelFontSize=10 if narrow else 12, labelLimit=200)),
        y=alt.Y("down:N", sort=names, axis=alt.Axis(title=None, ticks=False, domain=False,
                labelFontSize=10 if narrow else 12, labelLimit=200)),
    )  # fmt: skip
    cells = base.mark_rect(stroke=COLOUR["paper"], strokeWidth=1).encode(
        fill=alt.Fill("fill:N", scale=None), description="words:N"
    )
    text = base.mark_text(fontSize=11).encode(text="shown:N", color=alt.Color("ink:N", scale=None))
    return finished(cells if narrow else cells + text, width, alt.Step(16 if narrow else 26))


def correlation_order(rows: pd.DataFrame) -> list[str]:
    """Features by their correlation with a cancellation, which comes first."""
    label = "is_churned_next_10_days"
    pairs = rows[(rows["feature"] == label) | (rows["other_feature"] == label)]
    with_label = {
        (r.other_feature if r.feature == label else r.feature): r.correlation
        for r in pairs.itertuples()
    }
    names = sorted({*rows["feature"], *rows["other_feature"]} - {label})
    first = [label] if with_label else []
    return first + sorted(names, key=lambda name: -with_label.get(name, 0.0))


# --- over time -----------------------------------------------------------------------------------


def daily_activity(rows: pd.DataFrame, width: int) -> Chart:
    """Two lines: users of each date, and of the 28 days up to it."""
    names = {"active_users": "active on the day", "active_users_last_28_days": "active in 28 days"}
    long = rows.melt("kpi_date", list(names), "kind", "users")
    long["kind"] = long["kind"].map(names)
    long["words"] = [
        f"{r.kpi_date}: {several(r.users, 'user')} {r.kind}" for r in long.itertuples()
    ]
    return _lines(long, width, "kpi_date", "users", counts_axis("Users"))


def _lines(rows: pd.DataFrame, width: int, time: str, value: str, axis: alt.Axis) -> Chart:
    kinds = list(dict.fromkeys(rows["kind"]))
    scale = alt.Scale(domain=kinds, range=[COLOUR["stayed"], COLOUR["churned"]][: len(kinds)])
    base = alt.Chart(rows).encode(
        x=alt.X(f"{time}:T", timeUnit="utcyearmonthdate", axis=time_axis()),
        y=alt.Y(f"{value}:Q", axis=axis),
        color=alt.Color("kind:N", scale=scale, legend=LINES),
    )
    dash_scale = alt.Scale(domain=kinds, range=[[1, 0], [6, 3]][: len(kinds)])
    dashes = alt.StrokeDash("kind:N", scale=dash_scale, legend=LINES)
    return finished(
        base.mark_line(strokeWidth=2).encode(strokeDash=dashes)
        + base.mark_circle(size=60, opacity=0).encode(description="words:N"),
        width,
        240,
    )


def _one_line(
    rows: pd.DataFrame, width: int, value: str, axis: alt.Axis, band: bool = False
) -> Chart:
    base = alt.Chart(rows).encode(
        x=alt.X("week_start_date:T", timeUnit="utcyearmonthdate", axis=time_axis("Week from"))
    )
    layers = []
    if band:
        layers.append(
            base.mark_area(color=COLOUR["much1"], opacity=0.8).encode(y="low:Q", y2="high:Q")
        )
    line = base.encode(y=alt.Y(f"{value}:Q", axis=axis, scale=alt.Scale(zero=True)))
    layers += [
        line.mark_line(strokeWidth=2, color=COLOUR["stayed"]),
        line.mark_circle(size=50, opacity=1, color=COLOUR["stayed"]).encode(description="words:N"),
    ]
    return finished(alt.layer(*layers), width, 200)


def weekly_churn(rows: pd.DataFrame, width: int) -> Chart:
    """Line with its 95 % band: share of the week's users who cancelled in it."""
    rows = rows.copy()
    rows["words"] = [
        f"week from {r.week_start_date}: {r.churned_users:,} of {several(r.active_users, 'user')} "
        f"({percent(r.churned_share)})"
        for r in rows.itertuples()
    ]
    return _one_line(rows, width, "churned_share", share_axis("Churn rate of the week"), band=True)


def weekly_paid(rows: pd.DataFrame, width: int) -> Chart:
    """Line: share of the week's users on the paid plan."""
    rows = rows.copy()
    rows["words"] = [
        f"week from {r.week_start_date}: {percent(r.paid_share)} paid" for r in rows.itertuples()
    ]
    return _one_line(rows, width, "paid_share", share_axis("Users on the paid plan"))


def weekly_listening(rows: pd.DataFrame, width: int) -> Chart:
    """Line: hours of songs per user and week."""
    rows = rows.copy()
    rows["words"] = [
        f"week from {r.week_start_date}: {hours(r.listening_hours_per_user)} hours a user"
        for r in rows.itertuples()
    ]
    axis = alt.Axis(title="Hours of songs a user", tickCount=5)
    return _one_line(rows, width, "listening_hours_per_user", axis)


def retention_cohorts(rows: pd.DataFrame, width: int) -> Chart:
    """Heat map: share of each week's newcomers who are active so many weeks later."""
    rows = rows.assign(
        cohort=[
            f"{r.cohort_week_start_date} ({number(r.cohort_users)})" for r in rows.itertuples()
        ],
        fill=[
            COLOUR["empty" if pd.isna(share) else MUCH[min(6, int(float(share) * 7))]]
            for share in rows["retained_share"]
        ],
        ink=[
            COLOUR["onmuch" if share >= 3 / 7 else "onlittle"] for share in rows["retained_share"]
        ],
        shown=[percent(share, digits=0) for share in rows["retained_share"]],
        words=[
            f"Registered in the week from {r.cohort_week_start_date}: {r.active_users:,} of "
            f"{several(r.cohort_users, 'user')} active {several(r.weeks_since, 'week')} later"
            for r in rows.itertuples()
        ],
    )
    base = alt.Chart(rows).encode(
        x=alt.X("weeks_since:O", axis=alt.Axis(title="Weeks since registration", labelAngle=0,
                orient="top", ticks=False, domain=False)),
        y=alt.Y("cohort:O", axis=alt.Axis(title=None, ticks=False, domain=False)),
    )  # fmt: skip
    return finished(
        base.mark_rect(stroke=COLOUR["paper"]).encode(
            fill=alt.Fill("fill:N", scale=None), description="words:N"
        )
        + base.mark_text(fontSize=11).encode(text="shown:N", color=alt.Color("ink:N", scale=None)),
        width,
        alt.Step(26),
    )


def retention_of_long_standing_users(rows: pd.DataFrame, width: int) -> Chart:
    """Lines by first plan: share of the users from before the log who are active in the week."""
    rows = rows.assign(kind=rows["first_level"] + " at first")
    rows["words"] = [
        f"week from {r.week_start_date}, {r.kind}: {r.active_users:,} of {r.cohort_users:,} "
        f"({percent(r.retained_share)})"
        for r in rows.itertuples()
    ]
    rows = rows.sort_values(["kind", "week_start_date"], ascending=[False, True])
    return _lines(
        rows, width, "week_start_date", "retained_share", share_axis("Active in the week")
    )


def plan_change_funnel(rows: pd.DataFrame, width: int) -> Chart:
    """Bars: user-weeks with a visit to the page of the other plan, and with the change too."""
    steps = {"visiting_user_weeks": "looked", "converted_user_weeks": "changed"}
    long = rows.melt("direction", list(steps), "step", "user_weeks")
    long["step"] = long["direction"].str.capitalize() + ": " + long["step"].map(steps)
    long["changed"] = long["step"].str.endswith("changed")
    order = [f"{d.capitalize()}: {s}" for d in rows["direction"] for s in steps.values()]
    long["shown"] = [f"{n:,}" for n in long["user_weeks"]]
    long["words"] = [f"{r.step}: {r.user_weeks:,} user-weeks" for r in long.itertuples()]
    return _bars(long, width, "step", "user_weeks", "Users, each once a week", sort=order,
                 colour=alt.condition("datum.changed", alt.value(COLOUR["churned"]),
                                      alt.value(COLOUR["stayed"])))  # fmt: skip


def _bars(
    rows: pd.DataFrame,
    width: int,
    name: str,
    value: str,
    title: str,
    sort: Sequence[str] | None = None,
    colour: object | None = None,
    axis: alt.Axis | None = None,
) -> Chart:
    """Horizontal bars with the column `shown` behind each."""
    largest = max(1e-9, float(rows[value].max()))
    base = alt.Chart(rows).encode(
        y=alt.Y(f"{name}:N", sort=sort, axis=names_axis(width)),
        x=alt.X(f"{value}:Q", scale=alt.Scale(domain=[0, largest * 1.18], nice=False),
                axis=axis or counts_axis(title)),
    )  # fmt: skip
    bars = base.mark_bar(height={"band": 0.7}).encode(
        color=colour or alt.value(COLOUR["stayed"]), description="words:N"
    )
    return finished(
        bars + base.mark_text(align="left", dx=5).encode(text="shown:N"), width, alt.Step(26)
    )


def top_artists(rows: pd.DataFrame, width: int) -> Chart:
    """Bars: plays of the ten artists of the week."""
    return _charts(rows.assign(title=rows["artist"]), width)


def top_songs(rows: pd.DataFrame, width: int) -> Chart:
    """Bars: plays of the ten songs of the week."""
    return _charts(rows.assign(title=rows["song"] + " · " + rows["artist"]), width)


def _charts(rows: pd.DataFrame, width: int) -> Chart:
    # two titles that look the same when they are cut must stay two bars
    rows = rows.assign(
        ranked=[f"{r.chart_rank}. {r.title}" for r in rows.itertuples()],
        shown=[f"{plays:,}" for plays in rows["plays"]],
        words=[
            f"{r.chart_rank}. {r.title}: {several(r.plays, 'play')} by {several(r.users, 'user')}"
            for r in rows.itertuples()
        ],
    )
    return _bars(rows, width, "ranked", "plays", "Plays in the week")


# --- the model -----------------------------------------------------------------------------------


def model_figures(rows: pd.DataFrame, width: int, cohort: str) -> Chart:
    """Dots with 95 % intervals: ROC AUC of each model."""
    rows = rows[(rows["metric"] == "roc_auc") & (rows["cohort"] == cohort)]
    rows = rows.sort_values("value", ascending=False)
    rows["name"] = [
        model_name(r.model_name) + (" (chosen)" if r.is_chosen else "") for r in rows.itertuples()
    ]
    rows["words"] = [
        f"{r.name}: {METRICS['roc_auc']} {r.value:.3f}"
        + ("" if pd.isna(r.low) else f" ({r.low:.3f} to {r.high:.3f})")
        for r in rows.itertuples()
    ]
    axis = alt.Axis(title="ROC AUC (0.5 is a guess)", tickCount=5, format=".2f")
    chart = _intervals(rows, width, "name", "value", "", axis)
    for layer in chart.layer:
        layer.encoding.x.scale = alt.Scale(zero=False, padding=8)
    return finished(chart, width, alt.Step(28))


def _curves(metrics: Mapping, chosen: str, baseline: str) -> pd.DataFrame:
    return pd.DataFrame(
        {"model": model_name(model), **point}
        for model in (chosen, baseline)
        for point in metrics["curves"].get(model, [])
    )


def _curve(
    rows: pd.DataFrame, width: int, across: alt.X, up: alt.Y, guess: pd.DataFrame, order: str
) -> Chart:
    """Curves of the chosen model and a baseline, and as a thin line what a guess comes to."""
    models = list(dict.fromkeys(rows["model"]))
    scale = alt.Scale(domain=models, range=[COLOUR["stayed"], COLOUR["churned"]][: len(models)])
    dash = alt.Scale(domain=models, range=[[1, 0], [6, 3]][: len(models)])
    lines = (
        alt.Chart(rows)
        .mark_line(strokeWidth=2)
        .encode(
            x=across,
            y=up,
            color=alt.Color("model:N", scale=scale, legend=LINES),
            strokeDash=alt.StrokeDash("model:N", scale=dash, legend=LINES),
            order=f"{order}:Q",
        )
    )
    x, y = across.shorthand, up.shorthand
    line = alt.Chart(guess).mark_line(color=COLOUR["muted"], strokeWidth=1, strokeDash=[2, 2])
    points = alt.Chart(rows).mark_circle(size=40, opacity=0).encode(x=x, y=y, description="words:N")
    return finished(line.encode(x=x, y=y) + lines + points, width, 240)


def roc(metrics: Mapping, chosen: str, baseline: str, width: int) -> Chart:
    """Recall against false positive rate."""
    rows = _curves(metrics, chosen, baseline)
    rows["words"] = [
        f"{r.model}: {percent(r.recall)} of the churners found at {percent(r.false_positive_rate)} "
        "false alarms"
        for r in rows.itertuples()
    ]
    guess = pd.DataFrame({"false_positive_rate": [0, 1], "recall": [0, 1]})
    across = alt.X("false_positive_rate:Q", axis=share_axis("False positive rate"))
    up = alt.Y("recall:Q", axis=share_axis("Churners found (recall)"))
    return _curve(rows, width, across, up, guess, "share")


def precision_recall(metrics: Mapping, chosen: str, baseline: str, width: int) -> Chart:
    """Precision against recall; a guess has the base rate."""
    rows = _curves(metrics, chosen, baseline)
    base = float(rows["precision"].iloc[-1])
    # the first few rows of a ranking are one hit or none
    rows = rows[rows["share"] >= 0.005]
    rows = rows.assign(
        words=[
            f"{r.model}: precision {percent(r.precision)} at recall {percent(r.recall)}"
            for r in rows.itertuples()
        ]
    )
    guess = pd.DataFrame({"recall": [0, 1], "precision": [base, base]})
    across = alt.X("recall:Q", axis=share_axis("Churners found (recall)"))
    up = alt.Y("precision:Q", axis=share_axis("Precision"))
    return _curve(rows, width, across, up, guess, "share")


def lift(metrics: Mapping, chosen: str, baseline: str, width: int) -> Chart:
    """Churn rate of the top of the list over that of all, by the share looked at."""
    rows = _curves(metrics, chosen, baseline)
    rows = rows[rows["share"] >= 0.005]
    rows = rows.assign(lift=rows["recall"] / rows["share"])
    rows["words"] = [
        f"{r.model}: the first {percent(r.share)} of the list churn {r.lift:.1f} times as often"
        for r in rows.itertuples()
    ]
    guess = pd.DataFrame({"share": [0, 1], "lift": [1, 1]})
    across = alt.X("share:Q", axis=share_axis("Share of the list looked at"))
    up = alt.Y("lift:Q", axis=alt.Axis(title="Lift", tickCount=5))
    return _curve(rows, width, across, up, guess, "share")


def profit(rows: pd.DataFrame, width: int) -> Chart:
    """Money per 1,000 users of the list, by the share contacted; rows of `money.profit_curve`."""
    guess = pd.DataFrame({"share": [0, 1], "profit": [0, 0]})
    across = alt.X("share:Q", axis=share_axis("Share of the list contacted"))
    up = alt.Y("profit:Q", axis=counts_axis("Profit per 1,000 users"))
    return _curve(rows, width, across, up, guess, "share")


def calibration(metrics: Mapping, width: int) -> Chart:
    """Churn rate against predicted probability, of ten groups of equal size."""
    rows = pd.DataFrame(metrics["calibration"])
    rows["words"] = [
        f"predicted {percent(r.probability)}, churned {percent(r.churn_rate)} of "
        f"{several(int(r.rows), 'row')}"
        for r in rows.itertuples()
    ]
    end = float(max(rows["probability"].max(), rows["churn_rate"].max())) * 1.05 or 1.0
    scale = alt.Scale(domain=[0, end], nice=False)
    guess = pd.DataFrame({"probability": [0, end], "churn_rate": [0, end]})
    across = alt.X("probability:Q", axis=share_axis("Predicted"), scale=scale)
    up = alt.Y("churn_rate:Q", axis=share_axis("Churned"), scale=scale)
    base = alt.Chart(rows).encode(x=across, y=up)
    line = alt.Chart(guess).mark_line(color=COLOUR["muted"], strokeWidth=1, strokeDash=[2, 2])
    return finished(
        line.encode(x="probability:Q", y="churn_rate:Q")
        + base.mark_line(color=COLOUR["stayed"], strokeWidth=2)
        + base.mark_circle(color=COLOUR["stayed"], size=60, opacity=1).encode(
            description="words:N"
        ),
        width,
        240,
    )


def strengths(rows: pd.DataFrame, width: int) -> Chart:
    """Bars: mean change of the log odds by a feature; the colour says which way."""
    rows = rows.assign(
        name=rows["feature"].map(feature_name),
        shown=[f"{v:.2f}" for v in rows["mean_log_odds"]],
        kind=[direction(d) for d in rows["direction"]],
    )
    rows["words"] = [
        f"{r.name}: moves the log odds by {r.mean_log_odds:.2f} in the mean; {r.kind}"
        for r in rows.itertuples()
    ]
    scale = alt.Scale(
        domain=["more of it: more risk", "more of it: less risk", "both ways"],
        range=[COLOUR["churned"], COLOUR["stayed"], COLOUR["unknown"]],
    )
    return _bars(rows, width, "name", "mean_log_odds", "Mean change of the log odds",
                 colour=alt.Color("kind:N", scale=scale, legend=SQUARES),
                 axis=alt.Axis(title="Mean change of the log odds", tickCount=4))  # fmt: skip


def direction(correlation: float | None) -> str:
    """Which way a feature moves the risk, from the correlation of value and contribution."""
    if correlation is None or pd.isna(correlation) or abs(correlation) < 0.2:
        return "both ways"
    return "more of it: more risk" if correlation > 0 else "more of it: less risk"


# --- the users at risk ---------------------------------------------------------------------------


def risk_by_decile(rows: pd.DataFrame, width: int) -> Chart:
    """Bars: mean probability of each tenth of the users."""
    rows = rows.assign(
        decile=[f"{r.risk_decile}" for r in rows.itertuples()],
        shown=[percent(p) for p in rows["mean_probability"]],
        words=[
            f"Tenth {r.risk_decile}: {several(r.users, 'user')}, {percent(r.lowest_probability)} "
            f"to "
            f"{percent(r.highest_probability)}, {r.expected_cancellations:.1f} cancellations "
            f"expected"
            for r in rows.itertuples()
        ],
    )
    axis = share_axis("Mean probability to cancel")
    return _bars(rows, width, "decile", "mean_probability", "", axis=axis,
                 sort=list(rows["decile"]))  # fmt: skip
