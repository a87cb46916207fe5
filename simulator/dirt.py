"""Rows as they should not be: what the real sets hold, and what broken transport makes of lines.

Every injected line is made from a line of the log and stands behind it, which stays as it is. So a
log less its injected lines is the clean log, byte for byte.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from simulator.lines import ends_of, text_of
from simulator.settings import Settings

Bytes = bytes | memoryview
Event = dict[str, Any]
Change = Event | Callable[[Event], Event]  # new values of some fields, perhaps made from the event

DAY = 86_400_000
YEAR = 365 * DAY
STAGED, DUPLICATE = "staged", "duplicate"


@dataclass(frozen=True)
class Kind:
    """One kind of dirt, and what a loader should make of it."""

    name: str
    outcome: str
    """staged, duplicate, or rejected:<reason>."""
    make: Callable[[bytes], bytes]
    """A line of the log to the line to inject, both without line feed."""


def kinds(last_millisecond: int) -> list[Kind]:
    """All kinds of lines to inject; `last_millisecond` is the last of the log.

    All of them need a line with a song and a user.
    """
    return [
        # seen in the real sets
        _staged("pseudo_user", _PSEUDO_USER),
        _staged("encoded_twice", lambda e: {"artist": encoded_twice(e["artist"] + " é")}),
        _staged("song_named_nan", {"song": "NaN"}),
        _staged("shortest_song", {"length": 0.522}),
        _staged("longest_song", {"length": 3024.66567}),
        _staged("level_change", lambda e: {"level": "free" if e["level"] == "paid" else "paid"}),
        _staged("before_registration", lambda e: {"registration": e["ts"] + DAY}),
        _staged("registration_float", lambda e: {"registration": e["registration"] + 0.0,
                                                 "itemInSession": e["itemInSession"] + 1}),
        Kind("line_twice", DUPLICATE, lambda line: line),
        # odd, but an event all the same
        _staged("numeric_user", lambda e: {"userId": int(e["userId"]), "status": 201}),
        _staged("unknown_page", {"page": "Karaoke"}),
        _staged("more_fields", {"device": "tablet", "status": 202}),
        # fields that cannot be
        *_rejected("missing_timestamp", ts_null={"ts": None}, ts_absent={"ts": _ABSENT}),
        *_rejected("missing_page", page_null={"page": None}, page_empty={"page": ""},
                   page_absent={"page": _ABSENT}),
        *_rejected("missing_session", session_null={"sessionId": None},
                   session_absent={"sessionId": _ABSENT}),
        *_rejected("timestamp_out_of_range", ts_zero={"ts": 0}, ts_negative={"ts": -1},
                   ts_in_seconds=lambda e: {"ts": e["ts"] // 1000}),
        *_rejected("far_from_the_log", years_early={"ts": last_millisecond - 4 * YEAR}),
        *_rejected("later_than_its_file", end_of_2099={"ts": 4_102_444_799_000}),
        *_rejected("length_out_of_range", length_negative={"length": -0.5},
                   length_huge={"length": 1e9}),
        *_rejected("registration_out_of_range", registration_negative={"registration": -1}),
        *_rejected("wrong_type", ts_words={"ts": "yesterday"}, session_words={"sessionId": "five"},
                   status_words={"status": "OK"}, length_words={"length": "long"},
                   user_object={"userId": {"id": "77"}}, page_list={"page": ["NextSong"]},
                   song_object={"song": {"title": "Untitled"}}),
        # lines that are no object of single values
        Kind("list", "rejected:wrong_type", lambda line: b"[" + line + b"]"),
        Kind("number", "rejected:wrong_type", lambda line: b"42"),
        Kind("not_utf8", "rejected:not_json", lambda line: line.replace(
            b'"song":"', b'"song":"\xf6')),
        Kind("words", "rejected:not_json", lambda line: b"upstream timed out"),
        Kind("html", "rejected:not_json", lambda line: b"<html>502 Bad Gateway</html>"),
        Kind("cut_at_end", "rejected:not_json", lambda line: line[: len(line) * 3 // 4]),
        Kind("cut_at_front", "rejected:not_json", lambda line: line[40:]),
        Kind("two_values", "rejected:not_json", lambda line: line + line),
        Kind("trailing_garbage", "rejected:not_json", lambda line: line + b"}]"),
        Kind("zeros", "rejected:not_json", lambda line: bytes(300)),
    ]  # fmt: skip


def past_the_last_day(last_millisecond: int) -> Kind:
    """A straggler of the day after the log; for the last file only, as in the real sets."""
    return _staged("past_the_last_day", lambda e: {"ts": last_millisecond + 1 + e["ts"] % DAY})


def encoded_twice(text: str) -> str:
    """UTF-8 read as Latin-1, twice: Björk as BjÃÂ¶rk."""
    return text.encode().decode("latin-1").encode().decode("latin-1")


_ABSENT = object()


_PSEUDO_USER: Event = (
    {"userId": "1261737", "page": "Home", "auth": "Logged Out", "method": "GET"}
    | dict.fromkeys(("location", "userAgent", "lastName", "firstName", "registration", "gender"))
    | dict.fromkeys(("artist", "song", "length"), _ABSENT)
)


def _staged(name: str, change: Change) -> Kind:
    return _changed(name, STAGED, change)


def _rejected(reason: str, **changes: Change) -> list[Kind]:
    return [_changed(name, f"rejected:{reason}", change) for name, change in changes.items()]


def _changed(name: str, outcome: str, change: Change) -> Kind:
    """A kind that gives some fields of an event other values; _ABSENT leaves them out."""

    def make(line: bytes) -> bytes:
        event = json.loads(line)
        event |= change(event) if callable(change) else change
        fields = {name: value for name, value in event.items() if value is not _ABSENT}
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()

    return Kind(name, outcome, make)


class Injector:
    """Puts lines of all kinds, in turn, into the file of one day."""

    def __init__(self, settings: Settings, day: int) -> None:
        last = settings.end_seconds * 1000 - 1
        self._kinds = kinds(last)
        if day == settings.days - 1:
            self._kinds.append(past_the_last_day(last))
        self._random = np.random.default_rng([settings.seed, day])
        self._per_line = settings.dirt / (1 - settings.dirt)
        self._due = self._random.random()
        self._next_kind = day * 7  # days with few lines begin with other kinds
        self._line_number = 0
        self.injected: list[tuple[int, Kind]] = []
        """Line number in the file, from 1, and kind of each injected line so far."""

    def inject(self, lines: pa.StringArray, may_be_source: NDArray[np.bool_]) -> list[Bytes]:
        """The bytes of the lines with injected ones between them."""
        text, ends = text_of(lines), ends_of(lines)
        sources = np.flatnonzero(may_be_source)
        self._due += len(lines) * self._per_line
        count = min(int(self._due), len(sources))
        self._due -= count
        pieces: list[Bytes] = []
        written = 0
        for source in np.sort(self._random.choice(sources, count, replace=False)).tolist():
            kind = self._kinds[self._next_kind % len(self._kinds)]
            self._next_kind += 1
            line = bytes(text[ends[source - 1] if source else 0 : ends[source]])
            pieces += [text[written : ends[source]], kind.make(line.rstrip(b"\n")) + b"\n"]
            written = ends[source]
            self.injected.append((self._line_number + source + len(pieces) // 2 + 1, kind))
        self._line_number += len(lines) + count
        return [*pieces, text[written:]]
