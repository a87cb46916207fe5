"""What a figure is: a module of `figures/` describes it, and the page lays it out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from report import svg
from report.charts import Chart, with_dates_as_text
from report.data import Answer, Data
from report.words import NOTHING

# pixels by class of the page's style; a chart of one column fits a phone as it is
TWO_COLUMNS, ONE_COLUMN = {"wide": 760, "narrow": 328}, {"half": 362}

Column = tuple[str, Callable[[Any], str]]  # heading, words for a value
Legend = tuple[str, str, tuple[tuple[str, str], ...]]  # title, shape, (name of a colour, words)


@dataclass(frozen=True)
class Table:
    """A table as text: the first cell of a row is its heading."""

    headings: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Figure:
    """A chart, with a sentence that says what it shows and a table.

    `draw`, `finding`, `table` and `legends` take the rows of the first query, or what `read` makes
    of all that was read. Where that is empty, the page shows `empty`, or without words no figure.
    `read` gives None for no figure.

    Attributes:
        place: section, a key of page.SECTIONS, and order in it: the smallest number is first.
        id: of its element, so that links lead to it.
        queries: names of the SQL files. The page shows their text.
        draw: the chart at a width in pixels; None where there is nothing to compare.
        finding: one sentence, computed from the rows. Screen readers have it for the chart.
        credit: who is named at the end of the page for data of others.
    """

    place: tuple[str, int]
    id: str
    title: str
    queries: tuple[str, ...]
    draw: Callable[[Any, int], Chart | None]
    finding: Callable[[Any], str]
    table: Callable[[Any], Table] | None = None
    legends: Callable[[Any], tuple[Legend, ...]] | None = None
    read: Callable[[Data], Any] | None = None
    is_wide: bool = False
    note: str = ""
    empty: str = "There is nothing to show yet."
    credit: str = ""

    def shown(self, data: Data) -> Shown | None:
        """The figure of the data; None where the page leaves it out."""
        sources = tuple(data[name] for name in self.queries)
        if sources[0].missing:
            return Shown(self, sources, problem=sources[0].problem)
        rows = self.read(data) if self.read else sources[0].rows
        if rows is None or (rows.empty and not self.empty):
            return None
        if rows.empty:
            return Shown(self, sources, problem=self.empty)
        finding = self.finding(rows)
        dated = with_dates_as_text(rows) if isinstance(rows, pd.DataFrame) else rows
        widths = TWO_COLUMNS if self.is_wide else ONE_COLUMN
        charts = [(size, self.draw(dated, width)) for size, width in widths.items()]
        return Shown(
            self,
            sources,
            finding,
            tuple((size, svg.draw(chart, finding)) for size, chart in charts if chart is not None),
            self.legends(rows) if self.legends else (),
            self.table(rows) if self.table else None,
        )


@dataclass(frozen=True)
class Shown:
    """What the page shows of a figure: `problem` in place of all else where it cannot be drawn."""

    figure: Figure
    sources: tuple[Answer, ...]
    finding: str = ""
    drawings: tuple[tuple[str, str], ...] = ()  # class of the size, SVG
    legends: tuple[Legend, ...] = ()
    table: Table | None = None
    problem: str = ""


def columns(**shown: Column) -> Callable[[pd.DataFrame], Table]:
    """A table of these columns of the rows, each with its heading and the words for a value.

    What is null is a dash.
    """

    def table(rows: pd.DataFrame) -> Table:
        cells = [
            [
                NOTHING if pd.isna(row[name]) else words(row[name])
                for name, (_, words) in shown.items()
            ]
            for row in rows.to_dict("records")
        ]
        return Table([heading for heading, _ in shown.values()], cells)

    return table


def part_of(query: str, **wanted: str) -> Callable[[Data], pd.DataFrame]:
    """A `read` of the rows of a query that have this value in this column."""
    ((column, value),) = wanted.items()

    def read(data: Data) -> pd.DataFrame:
        rows = data[query].rows
        return rows[rows[column] == value]

    return read
