"""What the model looks at: bars of the mean change of the log odds by a feature."""

import altair as alt
import pandas as pd

from report.charts import SQUARES, Chart, bars
from report.curves import curve_figure, read_curves
from report.data import Data
from report.figure import columns
from report.svg import COLOUR
from report.words import feature_name

MORE, LESS, BOTH = "more of it: more risk", "more of it: less risk", "both ways"


def strongest(data: Data) -> pd.DataFrame | None:
    """The strongest 15 features, if there are curves of the run."""
    curves = read_curves(data)
    if curves is None or curves.empty:
        return None
    return pd.DataFrame(curves.metrics["strengths"][:15])


def way(correlation: float | None) -> str:
    """Which way a feature moves the risk, from the correlation of value and contribution."""
    if correlation is None or pd.isna(correlation) or abs(correlation) < 0.2:
        return BOTH
    return MORE if correlation > 0 else LESS


def draw(rows: pd.DataFrame, width: int) -> Chart:
    rows = rows.assign(
        name=rows["feature"].map(feature_name),
        shown=[f"{v:.2f}" for v in rows["mean_log_odds"]],
        kind=[way(each) for each in rows["direction"]],
    )
    rows["words"] = [
        f"{r.name}: moves the log odds by {r.mean_log_odds:.2f} in the mean; {r.kind}"
        for r in rows.itertuples()
    ]
    colours = [COLOUR["churned"], COLOUR["stayed"], COLOUR["unknown"]]
    scale = alt.Scale(domain=[MORE, LESS, BOTH], range=colours)
    colour = alt.Color("kind:N", scale=scale, legend=SQUARES)
    axis = alt.Axis(title="Mean change of the log odds", tickCount=4)
    return bars(rows, width, "name", "mean_log_odds", axis, colour=colour)


def finding(rows: pd.DataFrame) -> str:
    """The strongest feature and its direction."""
    first = rows.iloc[0]
    tail = "" if way(first["direction"]) == BOTH else f" ({way(first['direction'])})"
    return (
        f"What moves the predictions most is “{feature_name(first['feature'])}”{tail}; the "
        f"{len(rows)} strongest features are shown."
    )


FIGURE = curve_figure(
    place=("model", 80),
    id="features",
    title="What the model looks at",
    read=strongest,
    draw=draw,
    finding=finding,
    table=columns(
        feature=("Feature", str),
        theme=("Theme", str),
        mean_log_odds=("Mean change of the log odds", "{:.3f}".format),
        direction=("Correlation of value and contribution", "{:+.2f}".format),
    ),
    is_wide=True,
    note="Mean absolute contribution to the log odds over the rows of the fit: metrics.json of the "
    "run. What the model looks at is no cause.",
)
