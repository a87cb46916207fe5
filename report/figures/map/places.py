"""Where American cities and states lie: small tables in this folder, see its README."""

from __future__ import annotations

import csv
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent


@cache
def outlines() -> dict[str, Any]:
    """TopoJSON of the states; object `states`, features with the FIPS code as `id`."""
    return json.loads((FOLDER / "us_states.topo.json").read_text(encoding="utf-8"))


@cache
def states() -> dict[str, tuple[str, str]]:
    """Name and FIPS code by the two letters of the state."""
    return {row["state"]: (row["name"], row["fips"]) for row in _rows("us_states.csv")}


def position(metro_area: str, state: str) -> tuple[float, float] | None:
    """Latitude and longitude, in degrees, of the first city of a metropolitan area.

    Names of cities hold hyphens too (Winston-Salem, NC), so the longest name that is known counts.
    None where no beginning of the name is a city of the state.
    """
    parts = metro_area.split("/")[0].split("--")[0].split("-")
    names = ("-".join(parts[:length]) for length in range(len(parts), 0, -1))
    found = (_cities().get((_plain(name), state)) for name in names)
    return next(filter(None, found), None)


def _plain(name: str) -> str:
    # sources differ in 'Boise City', 'Urban Honolulu', 'Saint Louis', accents and apostrophes
    name = re.sub(r"[^a-z -]", "", name.casefold())
    return re.sub(r"^(urban|town of) | city$", "", re.sub(r"\bsaint\b", "st", name)).strip()


@cache
def _cities() -> dict[tuple[str, str], tuple[float, float]]:
    return {
        (_plain(row["city"]), row["state"]): (float(row["latitude"]), float(row["longitude"]))
        for row in _rows("us_cities.csv")
    }


def _rows(name: str) -> list[dict[str, str]]:
    with (FOLDER / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
