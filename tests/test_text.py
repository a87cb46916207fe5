"""Text of a log, wherever it is shown: a page, a drawing, a terminal."""

from __future__ import annotations

import re
import unicodedata
from datetime import date
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.table import Table

from ml.score import likeliest
from tools.demo import risk_table
from warehouse.console import Console
from warehouse.text import printable

ID = "[/x][bold]user[0] \x1b[2J\x07\ud83c\u202e"
SHOWN = "[/x][bold]user[0] �[2J���"


@given(st.text(st.characters(exclude_categories=())))
@example("\0\x0b\x1b\x85\u2028\ud800\udfff\ufdd0\ufffe\uffff\u202e\u2066\u2069\U0001fffe")
@example("one\r\ntwo")
def test_any_text_becomes_one_line_that_xml_and_utf8_can_hold(text: str) -> None:
    found = printable(text)
    assert ElementTree.fromstring(f"<text>{escape(found)}</text>").text == (found or None)
    assert found.encode().decode() == found
    assert len(found.splitlines()) <= 1
    assert not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in found)
    assert printable(found) == found or found.startswith("\u2068")
    # letters, numbers and whatever else can be shown stay, in their order
    assert [c for c in found if c.isalnum()] == [c for c in text if c.isalnum()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Sigur Rós (Ágætis byrjun) e\u0301 🎵", "Sigur Rós (Ágætis byrjun) e\u0301 🎵"),
        ("שלום 5", "\u2068שלום 5\u2069"),
        ("\u202eturned\u202c שלום\u2069", "\u2068�turned� שלום�\u2069"),
        ("a\x0bb\tc", "a b c"),
    ],
)
def test_marks_of_direction_end_with_the_name(text: str, expected: str) -> None:
    assert printable(text) == expected


@pytest.mark.parametrize(
    "table",
    [
        likeliest(
            [{"user_id": ID, "churn_probability": 0.5, **{f"reason_{i}": ID for i in (1, 2, 3)}}],
            date(2018, 12, 2),
        ),
        risk_table([(ID, "50.0%", ID)]),
    ],
    ids=["score", "demo"],
)
def test_ids_are_text_to_the_terminal(table: Table) -> None:
    console = Console(width=200, force_terminal=True, color_system=None)
    with console.capture() as captured:
        console.print(table)
    # without rich's own codes for bold and italic
    shown = re.sub(r"\x1b\[[\d;]*m", "", captured.get())
    assert shown.count(SHOWN) == 2
    assert not {"\x1b", "\x07", "\ud83c", "\u202e"} & set(shown)
