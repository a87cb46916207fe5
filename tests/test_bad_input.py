"""Bad and odd lines and files: none stops a build, none is lost, none leaks a name.

One project has them all, beside a usual log: built once, then again with later files.
"""

import bz2
import gzip
import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
from pyspark.errors import NumberFormatException
from pyspark.sql import Row, SparkSession

from tests.bad_input_corpus import CASES, FIRST, GOOD, LAST, Case, line
from tests.conftest import MakeProject
from tests.make_log import FIRST_NAMES, LAST_NAMES, make_log, write_log
from tests.warehouse import (
    AWKWARD_NAME,
    LOAD_TIMES,
    Project,
    Run,
    ansi_mode,
    assert_same_rows,
    run_process,
)

pytestmark = pytest.mark.slow

LOG = make_log(users=10, days=45, seed=5)
BEFORE = line(ts="1538~000", sessionId="1", page='"Home"').encode()
AFTER = line(ts="1538~001", sessionId="2", page='"Help"').encode()


@dataclass(frozen=True)
class CaseFile:
    """A file of cases, each with the number that `~` stands for on its lines."""

    cases: dict[int, Case]
    # A list on the first line makes the whole file be read line by line.
    first_line: bytes = b""

    def content(self) -> bytes:
        first = self.first_line + numbered(BEFORE, min(self.cases))
        lines = [numbered(case.text, number) for number, case in self.cases.items()]
        return b"\n".join([first, *lines, numbered(AFTER, min(self.cases)), b""])


def numbered(text: str | bytes, number: int) -> bytes:
    """Lines that no other file has."""
    return (text if isinstance(text, bytes) else text.encode()).replace(b"~", b"%d" % number)


def case_files() -> dict[str, CaseFile]:
    """A line must become the same whoever its neighbours are, and whoever reads it.

    Spark's JSON reader reads the files with none but plain lines, together by what must become of
    them. A line that is not plainly one object has a file of its own: beside others, nobody would
    see that it is taken for one. Then all cases are read line by line, once mixed.
    """
    files: dict[str, dict[int, Case]] = defaultdict(dict)
    for number, case in enumerate(CASES, 100_000):
        if case.reader != "by-line":
            is_alone = bool(case.shows) or not is_plain(case.text)
            files[f"by-file/{case.name if is_alone else case.outcome}.json"][number] = case
        if case.reader != "by-file":
            files[f"by-line/{case.outcome}.json"][number + 100_000] = case
            if len(case.text) < 100_000:
                files["by-line.json"][number + 200_000] = case
    return {
        name: CaseFile(cases, b"" if name.startswith("by-file/") else b"[]\n")
        for name, cases in files.items()
    }


def is_plain(text: bytes) -> bool:
    """Whether each line has braces at its ends only."""
    return all(
        re.fullmatch(rb"{[^{}\[\]]*}", part) is not None for part in re.split(rb"[\r\n]+", text)
    )


CASE_FILES = case_files()


# --- files: what is in them, and lines, events, rejected lines and duplicates in the ledger; None
# for a file that is not in it

NUMBERS = iter(range(900_001, 1_000_000))
Counts = tuple[int, int, int, int] | None


def one(text: str = GOOD) -> bytes:
    return numbered(text, next(NUMBERS))


def lines_of(data: bytes) -> int:
    return sum(1 for part in re.split(rb"\r\n|\r|\n", data) if part.strip(b" \t"))


MARK = "\ufeff".encode()
DELIVERED = one() + b"\n" + one() + b"\n"
CUT_IN_LINE = one() + b"\n" + one()
BINARY = gzip.compress(DELIVERED, mtime=0)
# names of files with one good line, which are read
READ = [
    "other-name.ndjson", "folder.json/part.json", "folder.json.gz/part.json",
    "2018/10/08/a/b/c/part.json", "year=2018/month=10/part.json", "ts=5/page=Home/part.json",
    "two%20words.json", "100%.json", "it's.json", 'double"quote.json', "back\\slash.json",
    "a,b;c.json", "a+b&c=d#e?f@g!.json", "{{ target.name }}.json", "{% raw %}.json",
    "${spark.master}.json", "%s.json", "{a,b}.json", "[ab].json", "star*.json",
    "-- drop table.json", "line\nfeed.json", "grüße-音楽-🎵.json", f"{'long' * 60}.json",
]  # fmt: skip
# and of those which are not; hidden to Spark, as to Hadoop: half-written files are named so
NOT_READ = [
    "capitals.JSON", "no-log.csv", "copying.json.tmp", "backslash-at-the-end\\",
    ".hidden.json", "_hidden.json", "copying.json._COPYING_", "_temporary/0/part.json",
    ".staging/part.json",
]  # fmt: skip
FILES: dict[str, tuple[bytes, Counts]] = {
    "empty.json": (b"", None),
    "one-line-feed.json": (b"\n", (0, 0, 0, 0)),
    "blank-lines.json": (b"\n\r\n  \n\t\n\r", (0, 0, 0, 0)),
    "no-line-feed-at-the-end.json": (one() + b"\n" + one(), (2, 2, 0, 0)),
    "carriage-return-at-the-end.json": (one() + b"\r" + one() + b"\r", (2, 2, 0, 0)),
    "crlf.json": (one() + b"\r\n\r\n" + one() + b"\r\n", (2, 2, 0, 0)),
    "crlf-and-blank-lines.json": (
        b"\r\n" + one() + b"\r\n\r\n   \r\n\t\r\n" + one(), (2, 2, 0, 0)
    ),
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
    "zstandard.json.zst": (b"\x28\xb5\x2f\xfd", None),
    "two words.json": (one() + b"\n[]\n", (2, 1, 1, 0)),
    # of the lines of one event, the one in the first file by name is staged
    "delivered.json": (DELIVERED, (2, 2, 0, 0)),
    "delivered2.json.gz": (gzip.compress(DELIVERED), (2, 0, 0, 2)),
    "delivered3/delivered.json": (DELIVERED.replace(b"\n", b"\r\n"), (2, 0, 0, 2)),
    "delivered4-and-irregular.json": (b"{\n" + DELIVERED, (3, 0, 1, 2)),
}  # fmt: skip
FILES |= {name: (one() + b"\n", (1, 1, 0, 0)) for name in READ}
FILES |= {name: (one(), None) for name in NOT_READ}

# an error of a build, unless they are known
UNREADABLE = [name for name, (_, counts) in FILES.items() if counts and 0 < counts[0] == counts[2]]

# What comes with the second build: names that its SQL must hold, and lines that are there already.
# The new ones are of nobody, so that no mart of users may change.
NOBODY = line(userId="null")
LATER: dict[str, tuple[bytes, Counts]] = {
    "later, it's 100% \\ \"new\".json": (one(NOBODY) + b"\n{\n[]", (3, 1, 2, 0)),
    "later.json.gz": (gzip.compress(MARK + one(NOBODY) + b"\r\n" + one(NOBODY)), (2, 2, 0, 0)),
    "later-empty.json": (b"\n", (0, 0, 0, 0)),
    "later-irregular.json": (one(NOBODY) + b"\n" + DELIVERED + b"[]", (4, 1, 1, 2)),
}  # fmt: skip
LATER_EVENTS = sum(counts[1] for _, counts in LATER.values() if counts)
# the usual log, delivered again; by name it is before the first
AGAIN, USUAL = "cut-short.json.gz", "events-1.json.gz"
# pieces of the names on the lines, for lines that are cut within one
NAMES = (FIRST[:4], FIRST[3:], LAST[:4], LAST[4:])


@dataclass
class Found:
    """What the tables say of each file: its counts, its quarantined lines, its events."""

    counts: dict[str, Counts]
    rejected: dict[str, list[Row]]
    events: dict[str, list[Row]]
    all_events: list[Row]


@dataclass
class Corpus:
    """The project and its first build."""

    project: Project
    build: Run
    found: Found
    published: dict[str, Any]


@dataclass
class Later:
    """What a file that is cut short left as it was, and what the build after it found."""

    before: dict[str, int]
    failed: Run
    after_failure: dict[str, int]
    published_after_failure: dict[str, Any]
    build: Run
    found: Found


def write(project: Project, name: str, content: bytes) -> None:
    path = project.raw / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def in_ledger(name: str) -> str:
    """The name of a file as Spark writes it: as in a URL, but for letters of other alphabets."""
    return "".join(quote(c, safe="/:!$&'()*+,;=@") if c.isascii() else c for c in name)


def read(project: Project) -> Found:
    counts = {
        row.source_file: (row.lines, row.staged_events, row.rejected_lines, row.duplicate_lines)
        for row in project.table("ingested_files").collect()
    }
    rejected, events = defaultdict(list), defaultdict(list)
    # in one order: that of a table is nobody's promise
    for row in sorted(project.table("stg_events_rejected").collect(), key=repr):
        rejected[row.source_file].append(row)
    all_events = project.table("stg_events").collect()
    by_hash = {row.content_hash: row for row in all_events}
    for row in project.table("base_events").select("source_file", "content_hash").collect():
        if event := by_hash.get(row.content_hash):
            events[row.source_file].append(event)
    return Found(counts, rejected, events, all_events)


@pytest.fixture(scope="module")
def corpus(make_project: MakeProject) -> Corpus:
    project = make_project("corpus")
    write_log(LOG, project.raw, files=1)
    for name, file in CASE_FILES.items():
        write(project, name, file.content())
    for name, (content, _) in FILES.items():
        write(project, name, content)
    (project.raw / "empty-folder.json").mkdir()
    build = project.build(accepted_files=UNREADABLE).ok()
    return Corpus(project, build, read(project), project.published())


@pytest.fixture(scope="module")
def later(corpus: Corpus) -> Later:
    """A build that fails for a gzip file cut short, and one with the whole file and others."""
    project = corpus.project
    before = project.versions()
    whole = (project.raw / USUAL).read_bytes()
    write(project, AGAIN, whole[: len(whole) * 2 // 3])
    failed = project.build(accepted_files=UNREADABLE)
    after_failure, published = project.versions(), project.published()

    write(project, AGAIN, whole)
    for name, (content, _) in LATER.items():
        write(project, name, content)
    build = project.build(accepted_files=UNREADABLE).ok()
    return Later(before, failed, after_failure, published, build, read(project))


def test_the_corpus_is_large() -> None:
    outcomes = Counter(case.outcome for case in CASES)
    names = [(case.name, case.reader) for case in CASES]
    assert len(set(names)) == len(names)
    assert len(CASES) - outcomes["staged"] >= 200


# --- the first build


def test_the_build_goes_on_and_publishes(corpus: Corpus) -> None:
    assert "Published" in corpus.build.output


def test_a_line_becomes_what_it_should_and_its_neighbours_are_staged(corpus: Corpus) -> None:
    wrong = {
        name: found
        for name, file in CASE_FILES.items()
        if (found := what_is_wrong(file, name, corpus.found))
    }
    assert wrong == {}


def what_is_wrong(file: CaseFile, name: str, found: Found) -> list[str]:
    """What became of the lines of a file, where it is not what it should be."""
    wrong = []
    marks = 1 if file.first_line else 0
    events, rejected, duplicates = (
        sum(getattr(case, column) for case in file.cases.values())
        for column in ("events", "rejected", "duplicates")
    )
    lines = events + rejected + duplicates + 2 + marks
    counts = (lines, events + 2, rejected + marks, duplicates)
    if found.counts[name] != counts:
        wrong.append(f"{found.counts[name]}, not {counts}")

    reasons = Counter({"wrong_type": marks})
    for case in file.cases.values():
        reasons[str(case.reason)] += case.rejected
    if (became := Counter(row.reject_reason for row in found.rejected[name])) != +reasons:
        wrong.append(f"{became}, not {reasons}")

    by_number = defaultdict(dict)
    for event in found.events[name]:
        if event.session_id not in (1, 2):
            # a line and its duplicate are one event
            by_number[int(event.event_at.timestamp()) % 1_000_000][event.content_hash] = event
    kept = "\n".join(row.raw_line for row in found.rejected[name])
    for number, case in file.cases.items():
        staged = by_number[number].values()
        if len(staged) != case.events:
            wrong.append(f"{case.name}: {len(staged)} events")
        for event in staged:
            values = {column: shown(event[column]) for column in case.values}
            if values != case.values:
                wrong.append(f"{case.name}: {values}, not {case.values}")
        wrong += [f"{case.name}: no {piece} is shown" for piece in case.shows if piece not in kept]
    texts = kept.replace("\0", "") + repr(found.events[name])
    return wrong + [f"{piece} is shown" for piece in NAMES if piece in texts]


def shown(value: Any) -> Any:
    """A time as text."""
    return str(value) if isinstance(value, datetime) else value


def test_plain_lines_are_read_by_the_reader_of_files(corpus: Corpus) -> None:
    rows = corpus.project.table("base_files").collect()
    irregular = {row.source_file: row.irregular_lines for row in rows}
    plain = {f"by-file/{case.outcome}.json" for case in CASES} & CASE_FILES.keys()
    assert len(plain) > 5
    assert {irregular[name] for name in plain} == {0}
    assert all(irregular[name] for name in CASE_FILES if name.startswith("by-line"))


def test_a_file_counts_as_it_should_and_no_other_is_in_the_ledger(corpus: Corpus) -> None:
    counts = corpus.found.counts
    others = {*CASE_FILES, USUAL}
    assert {name: counts[name] for name in counts.keys() - others} == {
        in_ledger(name): expected for name, (_, expected) in FILES.items() if expected
    }
    assert others <= counts.keys()
    assert counts[USUAL] == (len(LOG), len(LOG), 0, 0)


def test_every_line_of_every_file_is_staged_rejected_or_a_duplicate(corpus: Corpus) -> None:
    assert_lines_are_accounted_for(corpus.project, corpus.found)


def assert_lines_are_accounted_for(project: Project, found: Found) -> None:
    for name, (lines, *parts) in found.counts.items():
        data = (project.raw / unquote(name)).read_bytes()
        if name.endswith(".gz"):
            data = gzip.decompress(data)
        elif name.endswith(".bz2"):
            data = bz2.decompress(data)
        assert lines == sum(parts) == lines_of(data.removeprefix(MARK)), name


def test_nobody_is_not_a_user(corpus: Corpus) -> None:
    """Logged-out rows and the pseudo-user count as events of the site only."""
    users = {row[0] for row in corpus.project.table("dim_users").select("user_id").collect()}
    assert {"77", "78", "077", "12345678"} <= users
    assert not users & {"77.0", "77.5", "true", "True", "nan", "None", "null"}
    for name in ("dim_users", "fct_sessions", "fct_user_days", "churn_features"):
        strangers = corpus.project.table(name).where(
            "user_id is null or user_id in ('', '1261737')"
        )
        assert strangers.count() == 0


def test_an_unknown_page_is_a_warning_with_its_count(corpus: Corpus) -> None:
    assert corpus.build.lines_with(r"WARN \d+ log_anomalies")
    events = corpus.found.all_events
    date = min(event.event_date for event in events if event.page == "Karaoke")
    pages = [event.page for event in events if event.event_date == date]
    found = corpus.project.table("int_log_anomalies").where(
        f"finding = 'unknown_pages' and event_date = '{date}'"
    )
    (finding,) = found.collect()
    assert re.fullmatch(
        rf"{date}: {pages.count('Karaoke')} of {len(pages):,} events \(0\.\d %\)"
        " on pages that the catalogue lacks: Karaoke",
        finding.message,
    )
    assert corpus.build.lines_with(f"log_anomalies: {re.escape(finding.message)}")


def test_no_name_is_in_any_table(corpus: Corpus) -> None:
    """Neither of people on good lines nor of those on bad ones, whole or cut."""
    pieces = [piece.lower() for piece in (FIRST[:6], LAST[:4], *FIRST_NAMES, *LAST_NAMES)]
    leaks = {}
    for name in corpus.project.nodes():
        table = corpus.project.table(name)
        texts = [column for column, kind in table.dtypes if "string" in kind]
        if not texts:
            continue
        # in Python: a pattern in a text of 5 MB takes Spark long
        text = repr(table.select(*texts).toArrow().to_pydict()).lower()
        if found := [piece for piece in pieces if piece in text]:
            leaks[name] = found
    assert leaks == {}


@pytest.mark.thorough
@pytest.mark.nightly
def test_ansi_mode_changes_no_row(corpus: Corpus, spark: SparkSession) -> None:
    """dbt-spark switches it off in session mode; a Thrift server or another client has it on."""
    project = corpus.project
    compiled = project.folder / "target" / "compiled" / "churn_at_scale"
    for name, node in project.nodes().items():
        if node["resource_type"] == "model":
            built = project.table(name)
            # looking up a table of a project takes the profile's setting again
            with ansi_mode(spark, on=True):
                with pytest.raises(NumberFormatException):
                    spark.sql("select cast('x' as int)").collect()
                rows = spark.sql((compiled / node["original_file_path"]).read_text())
                # of a view in the order of its contract
                assert_same_rows(rows.select(*built.columns), built, name, LOAD_TIMES)
                assert spark.conf.get("spark.sql.ansi.enabled") == "true"


# --- a build that fails, and one with later files


def test_a_gzip_file_cut_short_changes_nothing(corpus: Corpus, later: Later) -> None:
    assert later.failed.status == 1
    assert later.failed.lines_with(r"cut-short\.json\.gz")
    assert later.failed.lines_with("Not published: base_files failed")
    assert later.after_failure == later.before
    assert later.published_after_failure == corpus.published


def test_a_later_build_adds_its_files_and_changes_no_other(corpus: Corpus, later: Later) -> None:
    assert "Published" in later.build.output
    assert later.found.counts == {
        **corpus.found.counts,
        **{in_ledger(name): counts for name, (_, counts) in LATER.items()},
        # of the lines of one event, the one in the first file by name is staged
        AGAIN: (len(LOG), len(LOG), 0, 0),
        USUAL: (len(LOG), 0, 0, len(LOG)),
    }
    later_rejected = {name: later.found.rejected[name] for name in corpus.found.rejected}
    assert later_rejected == corpus.found.rejected
    assert_lines_are_accounted_for(corpus.project, later.found)


def test_a_file_delivered_twice_shows_in_the_ledger_only(corpus: Corpus, later: Later) -> None:
    project = corpus.project
    before, after = (Counter(map(repr, found.all_events)) for found in (corpus.found, later.found))
    assert before - after == Counter()
    assert (after - before).total() == LATER_EVENTS
    of_lines = {"ingested_files"} | upstream(project.nodes(), "stg_events")
    for name in set(project.tables()) - of_lines:
        assert_same_rows(project.table(name, later.before[name]), project.table(name), name)


def upstream(nodes: dict[str, dict[str, Any]], name: str) -> set[str]:
    """Names of all models and seeds that a model is built from."""
    parents = {
        parent.split(".")[-1]
        for parent in nodes[name]["depends_on"].get("nodes", [])
        if parent.startswith(("model.", "seed."))
    }
    return parents.union(*(upstream(nodes, parent) for parent in parents))


# --- no logs


RUN_ALL = """
import json, sys
from dbt.cli.main import dbtRunner
succeeded = [dbtRunner().invoke(command).success for command in json.loads(sys.argv[1])]
print("succeeded:", succeeded)
sys.exit(not all(succeeded))
"""


def test_no_logs_is_one_clear_sentence(make_project: MakeProject, tmp_path: Path) -> None:
    project = make_project("none")
    runs = {"empty": (project.raw, project.dbt("build"))}
    project.raw = project.folder / "somebody's logs"
    project.raw.mkdir()
    (project.raw / "truth.csv").write_text("a,b\n")
    runs["without logs"] = (project.raw, project.dbt("build"))
    # as a user sees it, whose warehouse is not there either, which no command needs to be
    project.raw = project.raw / "not-here"
    commands = [project.command("compile", "--select", "dim_users"), project.command("build")]
    missing = run_process(
        "python",
        "-c",
        RUN_ALL,
        json.dumps(commands),
        CHURN_WAREHOUSE=str(tmp_path / AWKWARD_NAME / "b"),
    )
    assert missing.lines_with("succeeded") == ["succeeded: [True, False]"]
    runs["missing"] = (project.raw, missing)
    for kind, (folder, run) in runs.items():
        assert run.status != 0, kind
        assert run.lines_with(f"No raw logs in {re.escape(str(folder))}"), kind
        assert not run.lines_with(r"Traceback|^\s*at \w+\.|Exception"), kind
