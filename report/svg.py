"""From a Vega-Lite chart to the SVG that the page holds: no style of its own, no text that runs.

Charts are drawn when the report is written, with the colours of COLOURS. Each of these becomes a
CSS variable, so that one drawing serves light, dark and print.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from itertools import count

import altair as alt
import vl_convert

SVG = "{http://www.w3.org/2000/svg}"

# name: (light, dark). The light ones are what charts use, so no two may be equal. Text has a
# contrast of 4.5 or more to the paper, lines and areas that matter 3 or more.
COLOURS = {
    "paper": ("#ffffff", "#161b22"),
    "ink": ("#1b2330", "#e6eaf0"),
    "muted": ("#566072", "#a2adbb"),
    "rule": ("#c3cad3", "#475161"),
    "grid": ("#e6e9ee", "#28303a"),
    "empty": ("#eceff3", "#232a34"),
    "churned": ("#c2410c", "#ff9a62"),
    "stayed": ("#1d6fa5", "#6cb6eb"),
    "unknown": ("#a3adba", "#5d6877"),
    # from little to much
    "much0": ("#e3eef7", "#1c2c3c"),
    "much1": ("#bfd8ec", "#22415c"),
    "much2": ("#8fbbdd", "#2a5a82"),
    "much3": ("#3a7ab0", "#4585b8"),
    "much4": ("#236497", "#6aa5d3"),
    "much5": ("#15507f", "#a3cdee"),
    "much6": ("#0a3054", "#dcedfb"),
    "warm0": ("#fbe3c5", "#4a3420"),
    "warm1": ("#f6c08a", "#7a4f28"),
    "warm2": ("#ec9450", "#b06f34"),
    "warm3": ("#d0661f", "#e2954f"),
    "warm4": ("#94410a", "#ffcf9e"),
    # from -1 over 0 to 1
    "less3": ("#15518e", "#8fc4f2"),
    "less2": ("#5f9dcd", "#2f6594"),
    "less1": ("#a9cbe6", "#2b4f71"),
    "none": ("#f1f2f4", "#20262f"),
    "more1": ("#f3c9a8", "#6a452c"),
    "more2": ("#e39a62", "#8a5527"),
    "more3": ("#a84d0e", "#ffb27a"),
    # text on cells of a heat map
    "onlittle": ("#1b2331", "#e6eaf1"),
    "onmuch": ("#fffffe", "#0d1117"),
}
COLOUR = {name: light for name, (light, _) in COLOURS.items()}
MUCH = [f"much{i}" for i in range(7)]
DIVERGING = ["less3", "less2", "less1", "none", "more1", "more2", "more3"]

_VARIABLE = {light: f"var(--{name})" for name, (light, _) in COLOURS.items()}
_SHAPES = {f"{SVG}{name}" for name in ("path", "circle", "line", "rect")}
_NOTHING = {"", "M0,0h0v0h0Z"}  # d of the frames that Vega draws around everything
_DROPPED = {
    *("font-family", "aria-roledescription", "role", "class", "style", "aria-hidden"),
    *("pointer-events", "version", "stroke-miterlimit"),
}
_PIXELS = {"d", "transform", "x", "y", "x1", "y1", "x2", "y2", "cx", "cy", "width", "height"}
_DEFAULTS = {("opacity", "1"), ("stroke-width", "1"), ("transform", "translate(0,0)")}
_numbers = count()

ElementTree.register_namespace("", SVG.strip("{}"))


def stylesheet() -> str:
    """CSS that gives the colours for light, dark and print."""
    light = "".join(f"--{name}:{value};" for name, (value, _) in COLOURS.items())
    dark = "".join(f"--{name}:{value};" for name, (_, value) in COLOURS.items())
    return (
        f":root{{color-scheme:light dark;{light}}}\n"
        f"@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"
    )


def draw(chart: alt.TopLevelMixin, label: str) -> str:
    """An `<svg>` element with `label` as its text for screen readers.

    What a mark says for itself becomes its `<title>`, which browsers show on hovering.
    """
    version = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    return tidy(vl_convert.vegalite_to_svg(chart.to_dict(), vl_version=version), label)


def tidy(svg: str, label: str) -> str:
    """The same picture without styles and fonts of its own, its colours as CSS variables."""
    root = ElementTree.fromstring(svg)
    prefix = f"c{next(_numbers)}-"
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == f"{SVG}path" and child.get("d", "") in _NOTHING:
                parent.remove(child)
    for element in list(root.iter()):
        spoken = element.attrib.pop("aria-label", "")
        if spoken and element.get("role") == "graphics-symbol" and element.tag in _SHAPES:
            ElementTree.SubElement(element, f"{SVG}title").text = spoken
        element.attrib = {
            name: _attribute(name, value, prefix)
            for name, value in element.attrib.items()
            if name not in _DROPPED and (name, value) not in _DEFAULTS
        }
    root.attrib |= {"role": "img", "aria-label": label, "focusable": "false"}
    return ElementTree.tostring(root, encoding="unicode")


def _attribute(name: str, value: str, prefix: str) -> str:
    if value.lower() in _VARIABLE:
        return _VARIABLE[value.lower()]
    if name == "id":
        return prefix + value
    if value.startswith("url(#"):
        return value.replace("url(#", f"url(#{prefix}")
    if name in _PIXELS:
        return re.sub(r"-?\d+\.\d+(?:e-?\d+)?", _rounded, value)
    return value


def _rounded(number: re.Match[str]) -> str:
    # a tenth of a pixel is enough
    return f"{round(float(number[0]), 1) + 0:g}"
