"""Text of a log, as a page, a drawing or a terminal can take it."""

from __future__ import annotations

import re
import unicodedata

# Controls, halves of a surrogate pair, and what is no character: XML 1.0 forbids them or advises
# against them (https://www.w3.org/TR/xml/#charsets), and some tell a terminal what to do. Then the
# marks that turn the direction of whatever follows (https://www.unicode.org/reports/tr9/).
_NOT_SHOWN = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff"
    "\u202a-\u202e\u2066-\u2069]"
)
_BREAKS = re.compile("[\t-\r\x85\u2028\u2029]")
_RIGHT_TO_LEFT = {"R", "AL", "AN"}


def printable(text: str) -> str:
    """The text on one line, with U+FFFD for each character that cannot be shown.

    What is written from right to left keeps its order to itself (U+2068 to U+2069): numbers and
    names beside it stay where they are.
    """
    text = _NOT_SHOWN.sub("\ufffd", _BREAKS.sub(" ", text))
    if any(unicodedata.bidirectional(letter) in _RIGHT_TO_LEFT for letter in text):
        return f"\u2068{text}\u2069"
    return text
