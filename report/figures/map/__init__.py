"""Churn rate by state, and where users live: a map of states and cities, with legends.

This folder is all there is of the map: without it, the report has no map and works as before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import altair as alt
import pandas as pd

from report.charts import NARROW, Chart, finished
from report.data import Data
from report.figure import Figure, Legend, columns
from report.figures.map import places
from report.svg import COLOUR, MUCH
from report.words import number, percent, several

FEW_USERS = 10  # a state or area with fewer users has no rate that is worth a colour
COLD = MUCH[1:6]  # colours of churn rates: of states
WARM = [f"warm{i}" for i in range(5)]  # and of areas


@dataclass(frozen=True)
class Places:
    """What the map shows.

    Attributes:
        states: rows of map_of_states.
        areas: rows of map_of_areas that have a place, with its `latitude` and `longitude`.
        all_areas: how many metropolitan areas there are, those without a place too.
        users_without_state: how many users have no known state.
    """

    states: pd.DataFrame
    areas: pd.DataFrame
    all_areas: int
    users_without_state: int

    @property
    def empty(self) -> bool:
        """No user has a known state."""
        return self.states.empty


def read(data: Data) -> Places:
    states, areas, all_areas = data["map_of_states"].rows, data["map_of_areas"].rows, 0
    if not areas.empty:
        all_areas = int(areas["all_areas"].iloc[0])
        found = [places.position(r.metro_area, r.state) for r in areas.itertuples()]
        positions = pd.DataFrame(
            [each or (None, None) for each in found], areas.index, ["latitude", "longitude"]
        )
        areas = areas.join(positions).dropna(subset="latitude")
    known = 0 if states.empty else int(states["users"].sum())
    users = data["data_period"].first().get("users", 0)
    return Places(states, areas, all_areas, int(users - known))


def rate_steps(states: pd.DataFrame) -> list[float]:
    """Upper bounds of all but the last colour: whole steps of per cent."""
    known = states[states["users"] >= FEW_USERS]["churn_rate"]
    highest = float(known.max()) if len(known) else 0.0
    step = next(s for s in (0.01, 0.02, 0.05, 0.1, 0.15, 0.2) if s * 5 >= highest or s == 0.2)
    return [step * i for i in range(1, 5)]


def rate_colour(states: pd.DataFrame, names: Sequence[str]) -> Callable[[float], str]:
    """The colour of a churn rate."""
    steps = rate_steps(states)
    return lambda rate: COLOUR[names[sum(rate >= step for step in steps)]]


def draw(found: Places, width: int) -> Chart:
    """States by churn rate, cities by users (area) and churn rate; Alaska and Hawaii inset.

    States with fewer than FEW_USERS users, or none, are grey.
    """
    layers = [draw_states(found.states)]
    if len(found.areas):
        layers.append(draw_areas(found, largest=160 if width < NARROW else 700))
    return finished(alt.layer(*layers).project("albersUsa"), width, round(width * 0.6))


def draw_states(rows: pd.DataFrame) -> alt.Chart:
    colour = rate_colour(rows, COLD)
    by_state = {r.state: r for r in rows.itertuples()}
    regions = []
    for state, (name, fips) in places.states().items():
        words, fill = f"{name}: no users", COLOUR["empty"]
        if r := by_state.get(state):
            words = f"{name}: {r.churned_users:,} of {several(r.users, 'user')} churned"
            if r.users >= FEW_USERS:
                words, fill = f"{words} ({percent(r.churn_rate)})", colour(r.churn_rate)
        regions.append({"id": fips, "words": words, "fill": fill})
    topology = alt.TopoDataFormat(type="topojson", feature="states")
    return (
        alt.Chart(alt.InlineData(values=places.outlines(), format=topology))
        .mark_geoshape(stroke=COLOUR["paper"], strokeWidth=0.8)
        .transform_lookup("id", alt.LookupData(pd.DataFrame(regions), "id", ["words", "fill"]))
        .encode(fill=alt.Fill("fill:N", scale=None), description="words:N")
    )


def draw_areas(found: Places, largest: int) -> alt.Chart:
    rows, colour = found.areas, rate_colour(found.states, WARM)
    enough = rows["users"] >= FEW_USERS
    rows = rows.assign(
        words=[
            f"{r.metro_area}, {r.state}: {r.churned_users:,} of {several(r.users, 'user')} churned"
            for r in rows.itertuples()
        ],
        fill=[
            colour(rate) if known else COLOUR["paper"]
            for rate, known in zip(rows["churn_rate"], enough, strict=True)
        ],
        line=[COLOUR["paper" if known else "muted"] for known in enough],
    )
    sizes = alt.Scale(domain=[0, int(rows["users"].max())], range=[0, largest])
    return (
        alt.Chart(rows)
        .mark_circle(strokeWidth=1, opacity=1, fillOpacity=0.9)
        .encode(
            latitude="latitude:Q",
            longitude="longitude:Q",
            fill=alt.Fill("fill:N", scale=None),
            stroke=alt.Stroke("line:N", scale=None),
            size=alt.Size("users:Q", scale=sizes, legend=None),
            description="words:N",
        )
    )


def finding(found: Places) -> str:
    """The state with the highest rate of those with enough users, and how sure that is."""
    rows = found.states
    enough = rows[(rows["users"] >= FEW_USERS) & rows["churn_rate"].notna()]
    areas, lost = several(found.all_areas, "metropolitan area"), found.users_without_state
    tail = f" {len(found.areas):,} of {areas} are on the map."
    tail += f" {several(lost, 'user')} have no known state." if lost else ""
    if enough.empty:
        return f"No state has {FEW_USERS} users, so none has a rate worth showing." + tail
    top = enough.loc[enough["churn_rate"].idxmax()]
    return (
        f"Of the {several(len(enough), 'state')} with {FEW_USERS} users or more, {top.state} has "
        f"the highest churn rate: {top.churned_users:,} of {top.users:,} "
        f"({percent(top.churn_rate)}, 95% interval {percent(top.low)} to {percent(top.high)})."
        + tail
    )


def legends(found: Places) -> tuple[Legend, ...]:
    steps = rate_steps(found.states)
    few = f"fewer than {FEW_USERS} users"
    ranges = [
        f"below {percent(steps[0], 0)}",
        *(f"{percent(low, 0)} to {percent(high, 0)}" for low, high in pairwise(steps)),
        f"{percent(steps[-1], 0)} or more",
    ]
    return (
        ("States", "square", (("empty", few), *zip(COLD, ranges, strict=True))),
        ("Areas, by users", "circle", (("paper", few), *zip(WARM, ranges, strict=True))),
    )


of_states = columns(
    state=("State", lambda state: places.states().get(state, (state,))[0]),
    users=("Users", number),
    churned_users=("Churned", number),
    churn_rate=("Churn rate", percent),
    low=("95% from", percent),
    high=("to", percent),
)


FIGURE = Figure(
    place=("churn", 30),
    id="map",
    title="Churn rate by state, and where users live",
    queries=("map_of_states", "map_of_areas"),
    read=read,
    draw=draw,
    finding=finding,
    table=lambda found: of_states(found.states),
    legends=legends,
    is_wide=True,
    note="Churned, of the users of the whole log. Areas are placed at their first city.",
    empty="No user has a known state.",
    credit="State outlines: United States Census Bureau by us-atlas, public domain. City "
    "positions: GeoNames, CC BY 4.0.",
)
