"""What moves together: rank correlations of features and of a cancellation, as a heat map."""

from typing import Any

import altair as alt
import pandas as pd

from report.charts import NARROW, Chart, cells_axis, heat_map
from report.figure import Figure, columns
from report.svg import COLOUR, DIVERGING
from report.words import capitalized, feature_name

LABEL = "is_churned_next_10_days"
EDGES = [-0.5, -0.25, -0.05, 0.05, 0.25, 0.5]  # of the colours


def with_label(rows: pd.DataFrame) -> dict[str, float]:
    """Correlation of each feature with a cancellation."""
    pairs = rows[(rows["feature"] == LABEL) | (rows["other_feature"] == LABEL)]
    return {
        (r.other_feature if r.feature == LABEL else r.feature): float(r.correlation)
        for r in pairs.itertuples()
    }


def draw(rows: pd.DataFrame, width: int) -> Chart | None:
    """Each pair both ways round; a cancellation comes first, then what goes with it most."""
    rows = rows[rows["correlation"].notna()]
    if rows.empty:
        return None
    narrow, of_label = width < NARROW, with_label(rows)
    features = sorted({*rows["feature"], *rows["other_feature"]} - {LABEL})
    order = [LABEL] if of_label else []
    order += sorted(features, key=lambda name: -of_label.get(name, 0.0))
    names = [feature_name(name) for name in order]
    turned = rows.rename(columns={"feature": "other_feature", "other_feature": "feature"})
    same = pd.DataFrame({"feature": order, "other_feature": order, "correlation": 1.0})
    both = pd.concat([rows, turned, same])
    both = both.assign(
        across=both["feature"].map(feature_name),
        down=both["other_feature"].map(feature_name),
        fill=[COLOUR[DIVERGING[sum(v >= e for e in EDGES)]] for v in both["correlation"]],
        ink=[COLOUR["onmuch" if abs(v) >= 0.5 else "onlittle"] for v in both["correlation"]],
    )
    both["words"] = [f"{r.across} and {r.down}: {r.correlation:+.2f}" for r in both.itertuples()]
    both["shown"] = [
        "" if r.across == r.down else f"{round(r.correlation, 2) + 0:+.2f}".replace("0.", ".")
        for r in both.itertuples()
    ]
    size: dict[str, Any] = {"labelFontSize": 10 if narrow else 12, "labelLimit": 200}
    across = cells_axis(labelAngle=-90, orient="top", **size)
    x = alt.X("across:N", sort=names, axis=across)
    y = alt.Y("down:N", sort=names, axis=cells_axis(**size))
    return heat_map(both, width, x, y, step=16 if narrow else 26, text=not narrow)


def finding(rows: pd.DataFrame) -> str:
    """The closest pair of features, and the feature closest to a cancellation."""
    rows = rows[rows["correlation"].notna()]
    if rows.empty:
        return "No feature varies."
    of_label = with_label(rows)
    pairs = rows[(rows["feature"] != LABEL) & (rows["other_feature"] != LABEL)]
    if pairs.empty:
        text = "one feature alone varies"
    else:
        closest = pairs.loc[pairs["correlation"].abs().idxmax()]
        text = (
            f"{feature_name(closest.feature)} and {feature_name(closest.other_feature)} move "
            f"together most ({closest.correlation:+.2f})"
        )
    if not of_label:
        return capitalized(text) + "; nobody cancelled, so nothing moves with that."
    name = max(sorted(of_label), key=lambda each: abs(of_label[each]))
    way = "closest to a cancellation"
    if abs(of_label[name]) < 0.3:
        way = "no single feature tells who cancels: the closest"
    return capitalized(f"{text}; {way} is {feature_name(name)} ({of_label[name]:+.2f}).")


FIGURE = Figure(
    place=("behaviour", 40),
    id="correlations",
    title="What moves together",
    queries=("feature_correlations",),
    draw=draw,
    finding=finding,
    table=columns(
        feature=("Feature", feature_name),
        other_feature=("With", feature_name),
        correlation=("Rank correlation", "{:+.2f}".format),
    ),
    is_wide=True,
    note="Spearman's rank correlation over snapshots ten days apart, with a known outcome.",
    empty="No snapshot has a known outcome yet: that takes ten days.",
)
