"""The corpus of bad and odd lines and files, in one build of the staging layer."""

import bz2
import gzip
import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, unquote

import pytest

from tests.bad_input_corpus import CASES, FIRST, GOOD, LAST, Case, line
from tests.conftest import MakeProject
from tests.warehouse import NO_TESTS, Project

STAGING = (
    *("--select", "+stg_events", "+stg_events_rejected", "+ingested_files"),
    *("--exclude", "events_are_conserved"),  # looks at marts
)
# A line must become the same whoever its neighbours are: Spark's JSON reader reads the one folder,
# and a list on the first line makes each file of the other be read line by line.
READERS = {"by-file": b"", "by-line": b"[]\n"}
READERS_AND_CASES = [
    (reader, case) for case in CASES for reader in READERS if case.reader in (None, reader)
]
BEFORE = line(ts="1538~000", sessionId="1", page='"Home"').encode()
AFTER = line(ts="1538~001", sessionId="2", page='"Help"').encode()


def numbered(text: str | bytes, number: int) -> bytes:
    """Lines that no other file has."""
    return (text if isinstance(text, bytes) else text.encode()).replace(b"~", b"%d" % number)


# --- files: what is in them, and lines, events, rejected lines and duplicates in the ledger; None
# for a file that is not in it

NUMBERS = iter(range(900_001, 1_000_000))
Counts = tuple[int, int, int, int] | None


def one() -> bytes:
    return numbered(GOOD, next(NUMBERS))


def lines_of(data: bytes) -> int:
    return sum(1 for part in re.split(rb"\r\n|\r|\n", data) if part.strip(b" \t"))


MARK = "\ufeff".encode()
DELIVERED = one() + b"\n" + one() + b"\n"
CUT_IN_LINE = one() + b"\n" + one()
BINARY = gzip.compress(DELIVERED, mtime=0)
FILES: dict[str, tuple[bytes, Counts]] = {
    "empty.json": (b"", None),
    "one-line-feed.json": (b"\n", (0, 0, 0, 0)),
    "blank-lines.json": (b"\n\r\n  \n\t\n\r", (0, 0, 0, 0)),
    "no-line-feed-at-the-end.json": (one() + b"\n" + one(), (2, 2, 0, 0)),
    "carriage-return-at-the-end.json": (one() + b"\r" + one() + b"\r", (2, 2, 0, 0)),
    "crlf.json": (one() + b"\r\n\r\n" + one() + b"\r\n", (2, 2, 0, 0)),
    "mark.json": (MARK + one() + b"\r\n" + one() + b"\r\n", (2, 2, 0, 0)),
    "mark-and-irregular.json": (MARK + one() + b"\n[]\n", (2, 1, 1, 0)),
    "mark.json.gz": (gzip.compress(MARK + one() + b"\n" + one()), (2, 2, 0, 0)),
    "mark-alone.json": (MARK, (0, 0, 0, 0)),
    "two-marks.json": (MARK + MARK + one() + b"\n" + one(), (2, 1, 1, 0)),
    "mark-where-files-were-joined.json": (MARK + one() + b"\n" + MARK + one(), (2, 1, 1, 0)),
    # a carriage return is followed by a zero there, so that the zero is a line
    "utf-16.json": (f"\ufeff{GOOD}\r\n{GOOD}\r\n".encode("utf-16-le"), (5, 0, 5, 0)),
    "pretty-printed.json": (json.dumps(json.loads(one()), indent=1).encode(), (20, 0, 20, 0)),
    "one-list.json": (b"[" + one() + b",\n" + one() + b"]\n", (2, 0, 2, 0)),
    "gzip.json.gz": (gzip.compress(one() + b"\n" + one() + b"\n"), (2, 2, 0, 0)),
    "gzip-of-nothing.json.gz": (gzip.compress(b""), (0, 0, 0, 0)),
    "gzip-of-blank-lines.json.gz": (gzip.compress(b"\n \n"), (0, 0, 0, 0)),
    "gzip-with-two-members.json.gz": (
        gzip.compress(one() + b"\n") + gzip.compress(one() + b"\n"), (2, 2, 0, 0)
    ),
    "gzip-with-a-line-in-two-members.json.gz": (
        gzip.compress(CUT_IN_LINE[:600]) + gzip.compress(CUT_IN_LINE[600:]), (2, 2, 0, 0)
    ),
    "gzip-with-an-empty-member.json.gz": (
        gzip.compress(one() + b"\n") + gzip.compress(b"") + gzip.compress(one()), (2, 2, 0, 0)
    ),
    "gzip-with-a-bad-line.json.gz": (gzip.compress(one() + b"\n{\n" + one()), (3, 2, 1, 0)),
    "empty.json.gz": (b"", None),
    "bzip2.jsonl.bz2": (bz2.compress(one() + b"\n" + one()), (2, 2, 0, 0)),
    "bzip2-with-two-members.json.bz2": (
        bz2.compress(one() + b"\n") + bz2.compress(one() + b"\n"), (2, 2, 0, 0)
    ),
    # the name says what a file is: bytes that no one can read as lines are rejected lines
    "gzip-without-gz.json": (BINARY, (lines_of(BINARY), 0, lines_of(BINARY), 0)),
    "other-name.ndjson": (one(), (1, 1, 0, 0)),
    "capitals.JSON": (one(), None),
    "no-log.csv": (one(), None),
    "copying.json.tmp": (one(), None),
    "zstandard.json.zst": (b"\x28\xb5\x2f\xfd", None),
    # hidden to Spark, as to Hadoop: half-written files are named so
    ".hidden.json": (one(), None),
    "_hidden.json": (one(), None),
    "copying.json._COPYING_": (one(), None),
    "_temporary/0/part.json": (one(), None),
    ".staging/part.json": (one(), None),
    "folder.json/part.json": (one() + b"\n", (1, 1, 0, 0)),
    "folder.json.gz/part.json": (one() + b"\n", (1, 1, 0, 0)),
    "2018/10/08/a/b/c/part.json": (one() + b"\n", (1, 1, 0, 0)),
    "year=2018/month=10/part.json": (one() + b"\n", (1, 1, 0, 0)),
    "ts=5/page=Home/part.json": (one() + b"\n", (1, 1, 0, 0)),
    "two words.json": (one() + b"\n[]\n", (2, 1, 1, 0)),
    "two%20words.json": (one(), (1, 1, 0, 0)),
    "100%.json": (one(), (1, 1, 0, 0)),
    "it's.json": (one(), (1, 1, 0, 0)),
    'double"quote.json': (one(), (1, 1, 0, 0)),
    "back\\slash.json": (one(), (1, 1, 0, 0)),
    "backslash-at-the-end\\": (one(), None),
    "a,b;c.json": (one(), (1, 1, 0, 0)),
    "a+b&c=d#e?f@g!.json": (one(), (1, 1, 0, 0)),
    "{{ target.name }}.json": (one(), (1, 1, 0, 0)),
    "{% raw %}.json": (one(), (1, 1, 0, 0)),
    "${spark.master}.json": (one(), (1, 1, 0, 0)),
    "%s.json": (one(), (1, 1, 0, 0)),
    "{a,b}.json": (one(), (1, 1, 0, 0)),
    "[ab].json": (one(), (1, 1, 0, 0)),
    "star*.json": (one(), (1, 1, 0, 0)),
    "-- drop table.json": (one(), (1, 1, 0, 0)),
    "line\nfeed.json": (one(), (1, 1, 0, 0)),
    "grüße-音楽-🎵.json": (one(), (1, 1, 0, 0)),
    f"{'long' * 60}.json": (one(), (1, 1, 0, 0)),
    # of the lines of one event, the one in the first file by name is staged
    "delivered.json": (DELIVERED, (2, 2, 0, 0)),
    "delivered2.json.gz": (gzip.compress(DELIVERED), (2, 0, 0, 2)),
    "delivered3/delivered.json": (DELIVERED.replace(b"\n", b"\r\n"), (2, 0, 0, 2)),
    "delivered4-and-irregular.json": (b"{\n" + DELIVERED, (3, 0, 1, 2)),
}  # fmt: skip

# what comes with the second build: names that its SQL must hold, and lines that are there already
LATER: dict[str, tuple[bytes, Counts]] = {
    "later, it's 100% \\ \"new\".json": (one() + b"\n{\n[]", (3, 1, 2, 0)),
    "later.json.gz": (gzip.compress(MARK + one() + b"\r\n" + one()), (2, 2, 0, 0)),
    "later-empty.json": (b"\n", (0, 0, 0, 0)),
    "later-irregular.json": (one() + b"\n" + DELIVERED + b"[]", (4, 1, 1, 2)),
}  # fmt: skip
# pieces of the names on the lines, for lines that are cut within one
NAMES = (FIRST[:4], FIRST[3:], LAST[:4], LAST[4:])


@dataclass
class Found:
    """What the tables say of each file: its counts, its quarantined lines, its events."""

    project: Project
    ledger: dict[str, Any]
    rejected: dict[str, list[Any]]
    events: dict[str, list[Any]]

    def counts(self, name: str) -> Counts:
        row = self.ledger.get(name)
        return row and (row.lines, row.staged_events, row.rejected_lines, row.duplicate_lines)


def write(project: Project, name: str, content: bytes) -> None:
    path = project.raw / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def in_ledger(name: str) -> str:
    """The name of a file as Spark writes it: as in a URL, but for letters of other alphabets."""
    return "".join(quote(c, safe="/:!$&'()*+,;=@") if c.isascii() else c for c in name)


def read(project: Project) -> Found:
    ledger = {row.source_file: row for row in project.table("ingested_files").collect()}
    rejected, events = defaultdict(list), defaultdict(list)
    for row in project.table("stg_events_rejected").collect():
        rejected[row.source_file].append(row)
    keys = ["event_date", "content_hash"]
    lines = project.table("base_events").select("source_file", *keys).distinct()
    for row in lines.join(project.table("stg_events"), keys).collect():
        events[row.source_file].append(row)
    return Found(project, ledger, rejected, events)


@pytest.fixture(scope="module")
def found(make_project: MakeProject) -> Found:
    project = make_project("corpus")
    for number, (reader, case) in enumerate(READERS_AND_CASES, 100_000):
        lines = READERS[reader] + b"\n".join([BEFORE, case.text, AFTER, b""])
        write(project, f"{reader}/{case.name}.json", numbered(lines, number))
    for name, (content, _) in FILES.items():
        write(project, name, content)
    (project.raw / "empty-folder.json").mkdir()
    project.build(*STAGING).ok()
    return read(project)


def test_the_corpus_is_large() -> None:
    outcomes = Counter(case.outcome for case in CASES)
    assert len({(reader, case.name) for reader, case in READERS_AND_CASES}) == len(
        READERS_AND_CASES
    )
    assert len(CASES) - outcomes["staged"] >= 200


@pytest.mark.parametrize(
    ("reader", "case"),
    READERS_AND_CASES,
    ids=[f"{reader}-{case.outcome}-{case.name}" for reader, case in READERS_AND_CASES],
)
def test_a_line_becomes_what_it_should_and_its_neighbours_are_staged(
    reader: str, case: Case, found: Found
) -> None:
    name = f"{reader}/{case.name}.json"
    marks = 1 if READERS[reader] else 0
    lines = case.events + case.rejected + case.duplicates + 2 + marks
    assert found.counts(name) == (lines, case.events + 2, case.rejected + marks, case.duplicates)

    reasons = Counter(row.reject_reason for row in found.rejected[name])
    assert reasons == Counter({case.reason: case.rejected}) + Counter({"wrong_type": marks})

    events = [row for row in found.events[name] if row.session_id not in (1, 2)]
    assert len(events) == case.events
    for event in events:
        assert {column: shown(event[column]) for column in case.values} == case.values

    kept = "\n".join(row.raw_line for row in found.rejected[name])
    assert [piece for piece in case.shows if piece not in kept] == []
    assert [piece for piece in NAMES if piece in kept.replace("\0", "")] == []
    assert [piece for piece in NAMES if piece in repr(events)] == []


def shown(value: Any) -> Any:
    """A time as text."""
    return str(value) if isinstance(value, datetime) else value


@pytest.mark.parametrize("name", FILES, ids=ascii)
def test_a_file_counts_as_it_should(name: str, found: Found) -> None:
    assert found.counts(in_ledger(name)) == FILES[name][1]


def test_the_ledger_has_no_file_that_is_not_there(found: Found) -> None:
    files = {in_ledger(name) for name, (_, counts) in FILES.items() if counts}
    files |= {f"{reader}/{case.name}.json" for reader, case in READERS_AND_CASES}
    assert set(found.ledger) == files


def test_every_line_of_every_file_is_staged_rejected_or_a_duplicate(found: Found) -> None:
    for name, row in found.ledger.items():
        data = (found.project.raw / unquote(name)).read_bytes()
        if name.endswith(".gz"):
            data = gzip.decompress(data)
        elif name.endswith(".bz2"):
            data = bz2.decompress(data)
        counted = lines_of(data.removeprefix(MARK))
        assert row.lines == counted, name
        assert row.staged_events + row.rejected_lines + row.duplicate_lines == counted, name


def test_a_later_build_adds_its_files_and_changes_no_other(found: Found) -> None:
    for name, (content, _) in LATER.items():
        write(found.project, name, content)
    found.project.build(*STAGING, *NO_TESTS).ok()
    later = read(found.project)
    added = {in_ledger(name): counts for name, (_, counts) in LATER.items()}
    assert {name: later.counts(name) for name in later.ledger} == {
        **{name: found.counts(name) for name in found.ledger}, **added
    }  # fmt: skip
    assert all(later.rejected[name] == rows for name, rows in found.rejected.items())
