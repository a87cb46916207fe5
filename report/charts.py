"""What charts of several figures have in common: axes, scales, bars, intervals, lines.

Functions that draw take rows and a width in pixels. The mark of each row says in words what it
shows (column `words`), for a reader who hovers over it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import altair as alt
import pandas as pd

from report.svg import COLOUR

NARROW = 480  # below this width, in pixels, a chart is drawn for a phone

Chart = alt.TopLevelMixin

CHURNED, STAYED = "churned", "stayed"
SQUARES = alt.Legend(symbolType="square", symbolStrokeWidth=0)


_FONTS = {
    "labelFont": "Helvetica",
    "titleFont": "Helvetica",
    "labelFontSize": 12,
    "titleFontSize": 12,
    "titleFontWeight": "normal",
    "titleColor": COLOUR["muted"],
}
_STYLE: dict[str, Any] = {
    "view": {"stroke": None},
    "axis": _FONTS
    | {"labelColor": COLOUR["muted"], "labelLimit": 240, "labelFlush": False}
    | {"gridColor": COLOUR["grid"], "domainColor": COLOUR["rule"], "tickColor": COLOUR["rule"]},
    "axisX": {"titlePadding": 8},
    "axisY": {"titlePadding": 8},
    "legend": _FONTS
    | {"orient": "top", "direction": "horizontal", "title": None, "offset": 8}
    | {"labelColor": COLOUR["ink"], "symbolOpacity": 1},
    "text": {"font": "Helvetica", "fontSize": 12, "color": COLOUR["ink"]},
}


def finished(
    chart: alt.Chart | alt.LayerChart | alt.FacetChart, width: int, height: int | alt.Step
) -> Chart:
    """The chart at a total width, axes and legends included."""
    fit = alt.AutoSizeParams(type="fit-x", contains="padding")
    return chart.properties(
        width=width, height=height, background="transparent", padding=0, autosize=fit
    ).configure(**_STYLE)


def share_axis(title: str) -> alt.Axis:
    """An axis of shares, 0 to 1, in per cent."""
    return alt.Axis(title=title, format="~%", tickCount=5)


def counts_axis(title: str) -> alt.Axis:
    """An axis of numbers, as they are in the tables: 1,500."""
    return alt.Axis(title=title, format=",~r", tickCount=5)


def names_axis(width: int) -> alt.Axis:
    """An axis of names, one a row."""
    return cells_axis(labelLimit=170 if width < NARROW else 360)


def cells_axis(title: str | None = None, **more: Any) -> alt.Axis:
    """An axis of the names or numbers of cells."""
    return alt.Axis(title=title, ticks=False, domain=False, **more)


def time_axis(title: str | None = None) -> alt.Axis:
    """An axis of UTC dates."""
    return alt.Axis(title=title, format="%-d %b", tickCount=6, grid=False, labelOverlap=True)


def with_dates_as_text(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with dates as text (2018-10-01), which Vega-Lite reads as UTC."""
    return rows.map(lambda value: value.isoformat()[:10] if isinstance(value, date) else value)


def bars(
    rows: pd.DataFrame,
    width: int,
    name: str,
    value: str,
    axis: alt.Axis,
    sort: Sequence[str] | None = None,
    colour: object | None = None,
    scale: alt.Scale | None = None,
    step: int = 26,
) -> Chart:
    """Horizontal bars with the column `shown` behind each, in the order of the rows or `sort`."""
    largest = max(1e-9, float(rows[value].max()))
    scale = scale or alt.Scale(domain=[0, largest * 1.18], nice=False)
    base = alt.Chart(rows).encode(
        y=alt.Y(f"{name}:N", sort=sort, axis=names_axis(width)),
        x=alt.X(f"{value}:Q", scale=scale, axis=axis),
    )
    drawn = base.mark_bar(height={"band": 0.7}).encode(
        color=colour or alt.value(COLOUR["stayed"]), description="words:N"
    )
    text = base.mark_text(align="left", dx=5).encode(text="shown:N")
    return finished(drawn + text, width, alt.Step(step))


def intervals(
    rows: pd.DataFrame,
    width: int,
    name: str,
    value: str,
    axis: alt.Axis,
    step: int,
    scale: Any = alt.Undefined,
) -> Chart:
    """Dots with intervals, from columns `low` and `high`, a row of the chart for each row."""
    y = alt.Y(f"{name}:N", sort=None, axis=names_axis(width))
    low, dot = alt.X("low:Q", axis=axis, scale=scale), alt.X(f"{value}:Q", scale=scale)
    base = alt.Chart(rows).encode(y=y, description="words:N")
    ranges = base.mark_rule(strokeWidth=3, color=COLOUR["much2"]).encode(x=low, x2="high:Q")
    dots = base.mark_circle(size=75, color=COLOUR["stayed"], opacity=1).encode(x=dot)
    return finished(ranges + dots, width, alt.Step(step))


def heat_map(rows: pd.DataFrame, width: int, x: alt.X, y: alt.Y, step: int, text: bool) -> Chart:
    """Cells in the colours of the column `fill`, with `shown` in the colour of `ink` on them."""
    base = alt.Chart(rows).encode(x=x, y=y)
    cells = base.mark_rect(stroke=COLOUR["paper"], strokeWidth=1).encode(
        fill=alt.Fill("fill:N", scale=None), description="words:N"
    )
    ink = alt.Color("ink:N", scale=None)
    layers = cells + base.mark_text(fontSize=11).encode(text="shown:N", color=ink)
    return finished(layers if text else cells, width, alt.Step(step))


def by_kind(rows: pd.DataFrame, column: str) -> tuple[alt.Color, alt.StrokeDash]:
    """Colour and dashes that tell one or two kinds of lines apart, with a legend."""
    kinds = list(dict.fromkeys(rows[column]))
    colours = alt.Scale(domain=kinds, range=[COLOUR["stayed"], COLOUR["churned"]][: len(kinds)])
    dashes = alt.Scale(domain=kinds, range=[[1, 0], [6, 3]][: len(kinds)])
    legend = alt.Legend(symbolType="stroke", symbolStrokeWidth=2, symbolSize=250)
    return (
        alt.Color(f"{column}:N", scale=colours, legend=legend),
        alt.StrokeDash(f"{column}:N", scale=dashes, legend=legend),
    )


def lines(rows: pd.DataFrame, width: int, time: str, value: str, axis: alt.Axis) -> Chart:
    """A line for each of the one or two values of the column `kind`."""
    colour, dash = by_kind(rows, "kind")
    base = alt.Chart(rows).encode(
        x=alt.X(f"{time}:T", timeUnit="utcyearmonthdate", axis=time_axis()),
        y=alt.Y(f"{value}:Q", axis=axis),
        color=colour,
    )
    drawn = base.mark_line(strokeWidth=2).encode(strokeDash=dash)
    points = base.mark_circle(size=60, opacity=0).encode(description="words:N")
    return finished(drawn + points, width, 240)
