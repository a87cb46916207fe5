"""A corpus of bad and of merely odd lines: none stops a build, none is lost, none leaks a name."""

import gzip
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MakeProject
from tests.make_log import FIRST_NAMES, LAST_NAMES, make_log, write_log
from tests.warehouse import Project, Run, assert_same_rows, run_process

pytestmark = pytest.mark.slow

# two names that no other field holds, on every line of the corpus
FIRST, LAST = "Zaphirel", "Quorvane"
GOOD: dict[str, Any] = {
    "ts": 1539000000000, "userId": "77", "sessionId": 5, "page": "NextSong", "auth": "Logged In",
    "method": "PUT", "status": 200, "level": "paid", "itemInSession": 3,
    "location": "Mill Ferry, TX", "userAgent": '"Mozilla/5.0 (iPhone; CPU iPhone OS 7_1)"',
    "lastName": LAST, "firstName": FIRST, "registration": 1536000000000, "gender": "F",
    "artist": "Nulla", "song": "Paper Song", "length": 200.5,
}  # fmt: skip
DROP = object()


def line(**changes: Any) -> str:
    """The good line with other values; DROP leaves a field out."""
    fields = {k: v for k, v in {**GOOD, **changes}.items() if v is not DROP}
    return json.dumps(fields, ensure_ascii=False)


def raw(field: str, text: str) -> str:
    """The good line with a value that Python would not write."""
    return re.sub(rf'("{field}": )("[^"]*"|[^,}}]+)', rf"\g<1>{text}", line())


YEAR = 365 * 86_400_000
# reason: the lines that must get it, each with a name
REJECTED: dict[str, dict[str, str]] = {
    "not_json": {
        "words": "upstream timed out",
        "html": "<html><body>502 Bad Gateway</body></html>",
        "cut_before_names": line()[:120],
        "cut_in_last_name": line()[: line().index(LAST) + 4],
        "cut_in_first_name": line()[: line().index(FIRST) + 6],
        "cut_after_names": line()[:-30],
        "cut_at_front": line()[40:],
        "trailing_garbage": line() + "}]",
        "two_on_one_line": line(sessionId=6) + line(sessionId=7),
        "length_nan": raw("length", "NaN"),
        # nobody can tell it from a line of which a reader replaced the bytes that were no UTF-8
        "bytes_replaced": line(ts="yesterday", artist="Bj\ufffdrk"),
        "no_quotes": f"{{ts: 1539000000000, firstName: {FIRST}, lastName: {LAST}",
    },
    "wrong_type": {
        "number": "42",
        "text": '"NextSong"',
        "null": "null",
        "list": "[1, 2]",
        "ts_words": line(ts="yesterday"),
        "ts_fraction": line(ts=1539000000000.5),
        "ts_huge": raw("ts", "1" + "0" * 30),
        "ts_object": line(ts={"$date": 1539000000000}),
        "user_object": line(userId={"id": "77", "firstName": FIRST}),
        "user_list": line(userId=["77", LAST]),
        "page_object": line(page={"name": "NextSong", "lastName": LAST}),
        "page_list": line(page=["NextSong"]),
        "location_object": line(location={"city": "Mill Ferry", "firstName": FIRST}),
        "song_object": line(song={"title": "Paper Song", "lastName": LAST}),
        "location_object_with_a_blank": line().replace('"Mill Ferry, TX"', f'{{ "of": "{FIRST}"}}'),
        "agent_list": line(userAgent=[FIRST, LAST]),
        **{
            f"{field}_object": line(**{field: {"firstName": FIRST}})
            for field in ("auth", "method", "level", "gender", "artist")
        },
        "session_words": line(sessionId="five"),
        "session_huge": raw("sessionId", "9" * 30),
        "item_words": line(itemInSession="third"),
        "status_words": line(status="OK"),
        "registration_words": line(registration="last year"),
        "length_words": line(length="long"),
        "length_list": line(length=[200.5]),
        "item_beyond_int": line(itemInSession=3_000_000_000),
        "status_beyond_int": line(status=3_000_000_000),
    },
    "missing_timestamp": {
        "empty_object": "{}",
        "ts_null": line(ts=None),
        "ts_absent": line(ts=DROP),
    },
    "timestamp_out_of_range": {
        "ts_0": line(ts=0),
        "ts_seconds": line(ts=1539000000),
        "ts_negative": line(ts=-1539000000000),
        "ts_1999": line(ts=946684799999),
        "ts_2100": line(ts=4102444800000),
    },
    "years_from_the_log": {
        "3_years_early": line(ts=GOOD["ts"] - 3 * YEAR),
        "3_years_late": line(ts=GOOD["ts"] + 3 * YEAR),
    },
    "missing_page": {
        "page_null": line(page=None),
        "page_absent": line(page=DROP),
        "page_empty": line(page=""),
    },
    "missing_session": {
        "session_null": line(sessionId=None),
        "session_absent": line(sessionId=DROP),
    },
    "length_out_of_range": {
        "length_negative": line(length=-0.5),
        "length_huge": line(length=86_400.001),
        "length_infinite": raw("length", "1e400"),
    },
    "registration_out_of_range": {
        "registration_negative": line(registration=-1),
        "registration_huge": line(registration=1e18),
    },
}
# odd, but an event all the same: what `stg_events` must say of it
ACCEPTED: dict[str, tuple[str, dict[str, Any]]] = {
    "float_registration": (line(registration=1536000000000.0, sessionId=9001), {"user_id": "77"}),
    "numeric_user": (line(userId=78, sessionId=9002), {"user_id": "78"}),
    "unknown_page": (line(page="Karaoke", sessionId=9003), {"page_category": "unknown"}),
    "song_named_nan": (line(song="NaN", sessionId=9004), {"song": "NaN"}),
    "encoded_twice": (line(artist="BjÃÂ¶rk", sessionId=9005), {"artist": "BjÃÂ¶rk"}),
    "bytes_replaced_in_a_name": (
        line(artist="Bj\ufffdrk", sessionId=9021), {"artist": "Bj\ufffdrk"}
    ),
    "song_in_brackets": (line(song="[Untitled]", sessionId=9015), {"song": "[Untitled]"}),
    "not_latin": (line(artist="Σtella 音楽 🎵", sessionId=9006), {"artist": "Σtella 音楽 🎵"}),
    "escaped": (line(song='6\'2" \\ \t\n', sessionId=9007), {"song": '6\'2" \\ \t\n'}),
    "quoted_agent": (line(sessionId=9008), {"user_agent": GOOD["userAgent"].strip('"')}),
    "before_registration": (
        line(registration=GOOD["ts"] + 86_400_000, sessionId=9009),
        {"user_id": "77", "events": 1},
    ),
    "pseudo_user": (
        line(userId="1261737", registration=None, gender=None, firstName=None, lastName=None,
             sessionId=9010),
        {"user_id": None},
    ),
    "empty_user": (
        line(userId="", registration=DROP, gender=DROP, sessionId=9011), {"user_id": None}
    ),
    "null_user": (line(userId=None, sessionId=9012), {"user_id": None}),
    "no_length": (line(length=None, sessionId=9013), {"song_milliseconds": None}),
    "shortest_and_longest": (
        line(length=0, sessionId=9014) + "\n" + line(length=86_400, sessionId=9014), {"events": 2}
    ),
    "no_level": (line(level=None, sessionId=9016), {"level": None, "is_paid": False}),
    "more_fields": (line(device={"os": "x"}, lastname=LAST, sessionId=9017), {"events": 1}),
    "crlf_and_blank_lines": (
        f"\r\n{line(sessionId=9018)}\r\n\r\n   \r\n\t\r\n{line(sessionId=9018, ts=1539000001000)}",
        {"events": 2},
    ),
    "single_carriage_return": (
        line(sessionId=9019) + "\r" + line(sessionId=9019, ts=1539000001000), {"events": 2}
    ),
    "byte_order_mark": ("\ufeff" + line(sessionId=9020), {"events": 1}),
}  # fmt: skip

# after a good line in a file of its own: Spark's reader makes a row of each element, of none no row
LISTS = {
    "lists/empty.json": "[]",
    "lists/two.json": f"[{line(sessionId=8)}, {line(sessionId=9)}]",
}


@dataclass
class Corpus:
    """A project with a usual log and a file for every line of the corpus."""

    project: Project
    build: Run


@pytest.fixture(scope="module")
def corpus(make_project: MakeProject) -> Corpus:
    project = make_project("bad")
    write_log(make_log(users=10, days=45, seed=5), project.raw, files=1)
    lines = {f"{reason}/{name}": text for reason in REJECTED
             for name, text in REJECTED[reason].items()}  # fmt: skip
    lines |= {f"accepted/{name}": text for name, (text, _) in ACCEPTED.items()}
    for name, text in lines.items():
        path = project.raw / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text.encode() + b"\n")
    # a byte that is no UTF-8, a line of zeros that a crashed disk left, and files that are no logs
    latin = line(artist="Bjork").encode().replace(b"Bjork", b"Bj\xf6rk")
    (project.raw / "not_json" / "not_utf8.json").write_bytes(latin + b"\n")
    zeros = b"\0" * 300
    (project.raw / "not_json" / "zeros.json").write_bytes(zeros + b"\n")
    # a mark is no part of a line but of the start of a file
    together = [text.encode() for name, text in lines.items() if not name.endswith("order_mark")]
    (project.raw / "together.json").write_bytes(b"\n".join([*together, latin, zeros, b""]))
    for session, (name, text) in enumerate(LISTS.items(), 9022):
        (project.raw / name).parent.mkdir(exist_ok=True)
        (project.raw / name).write_text(f"{line(sessionId=session)}\n{text}\n")
    (project.raw / "truth.csv").write_text("user,first\n77,Zaphirel\n")
    (project.raw / "empty.json").touch()
    return Corpus(project, project.build())


@pytest.fixture(scope="module")
def found(corpus: Corpus) -> dict[str, list[tuple[str, int]]]:
    """Reasons and their counts by file, None for accepted lines."""
    rows = corpus.project.table("base_events").groupBy("source_file").count().collect()
    result: dict[str, list[tuple[str, int]]] = {row[0]: [] for row in rows}
    rejected = corpus.project.table("stg_events_rejected")
    for row in rejected.groupBy("source_file", "reject_reason").count().collect():
        result[row[0]].append((row[1], row[2]))
    return result


def test_the_build_goes_on_and_publishes(corpus: Corpus) -> None:
    assert "Published" in corpus.build.ok().output


@pytest.mark.parametrize(
    ("reason", "name"),
    [(reason, name) for reason in REJECTED for name in REJECTED[reason]]
    + [("not_json", "zeros"), ("not_json", "not_utf8")],
)
def test_a_bad_line_is_rejected_for_its_reason(
    reason: str, name: str, found: dict[str, list[tuple[str, int]]]
) -> None:
    assert found.get(f"{reason}/{name}.json") == [(reason, 1)]


def test_neighbours_do_not_change_what_becomes_of_a_line(
    found: dict[str, list[tuple[str, int]]],
) -> None:
    """Lists and several values on a line change how the whole file is read."""
    expected = {reason: len(lines) for reason, lines in REJECTED.items()}
    expected["not_json"] += 2
    assert dict(found["together.json"]) == expected


@pytest.mark.parametrize("name", ACCEPTED)
def test_an_odd_line_is_accepted(name: str, found: dict[str, list[tuple[str, int]]]) -> None:
    assert found.get(f"accepted/{name}.json") == []


@pytest.mark.parametrize("name", [name for name, (_, values) in ACCEPTED.items() if values])
def test_an_odd_line_keeps_its_values(name: str, corpus: Corpus) -> None:
    text, expected = ACCEPTED[name]
    session = int(re.search(r'"sessionId": (\d+)', text)[1])
    events = corpus.project.table("stg_events").where(f"session_id = {session}").collect()
    assert len(events) == expected.get("events", 1)
    for column, value in expected.items():
        if column != "events":
            assert events[0][column] == value


def test_nobody_is_not_a_user(corpus: Corpus) -> None:
    """Logged-out rows and the pseudo-user count as events of the site only."""
    users = {row[0] for row in corpus.project.table("dim_users").select("user_id").collect()}
    assert {"77", "78"} <= users
    assert not users & {"", "1261737", None}
    for name in ("stg_sessions", "fct_user_days", "churn_features"):
        strangers = corpus.project.table(name).where(
            "user_id is null or user_id in ('', '1261737')"
        )
        assert strangers.count() == 0


def test_every_line_is_accounted_for(corpus: Corpus) -> None:
    raw_files = {}
    for path in corpus.project.raw.rglob("*.json*"):
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        raw_files[str(path.relative_to(corpus.project.raw))] = sum(
            1 for part in re.split(rb"\r\n|\r|\n", data) if part.strip()
        )
    ledger = corpus.project.table("ingested_files").toPandas().set_index("source_file")
    # Spark lists no file of zero bytes
    assert {**dict.fromkeys(raw_files, 0), **ledger["lines"]} == raw_files
    parts = ledger["staged_events"] + ledger["rejected_lines"] + ledger["duplicate_lines"]
    assert (parts == ledger["lines"]).all()


@pytest.mark.parametrize("name", LISTS)
def test_a_line_that_is_a_list_is_one_rejected_line(name: str, corpus: Corpus) -> None:
    (file,) = corpus.project.table("ingested_files").where(f"source_file = '{name}'").collect()
    assert (file.lines, file.staged_events, file.rejected_lines) == (2, 1, 1)


def test_an_unknown_page_is_a_warning_with_its_count(corpus: Corpus) -> None:
    assert corpus.build.lines_with(r"WARN \d+ log_anomalies")
    unknown = corpus.project.table("stg_events").where("page_category = 'unknown'")
    (event,) = unknown.collect()
    assert event.page == "Karaoke"
    found = corpus.project.table("stg_log_anomalies").where("finding = 'unknown_pages'")
    (finding,) = found.collect()
    assert re.fullmatch(
        rf"{event.event_date}: 1 of \d+ events \(.* %\) on pages that the catalogue lacks: Karaoke",
        finding.message,
    )
    assert corpus.build.lines_with(f"log_anomalies: {re.escape(finding.message)}")


def test_no_name_is_in_any_table(corpus: Corpus) -> None:
    """Neither of people on good lines nor of those on bad ones, whole or cut."""
    pieces = [FIRST[:6], LAST[:4], *FIRST_NAMES, *LAST_NAMES]
    leaks = {
        name: [row[0] for row in rows]
        for name in corpus.project.nodes()
        if (
            rows := corpus.project.table(name)
            .selectExpr("to_json(struct(*)) as row")
            .where(f"row rlike '(?i){'|'.join(pieces)}'")
            .take(5)
        )
    }
    assert leaks == {}


def test_the_quarantine_keeps_what_helps_to_mend_a_line(corpus: Corpus) -> None:
    rejected = corpus.project.table("stg_events_rejected")
    for name, parts in {
        "not_json/cut_after_names.json": ("1539000000000", '"gender": "F"', "***"),
        "wrong_type/session_words.json": ('"sessionId": "five"', '"Paper Song"'),
        "length_out_of_range/length_negative.json": ("-0.5", "Paper Song"),
        "years_from_the_log/3_years_late.json": ("Paper Song", "2021"),
    }.items():
        (row,) = rejected.where(f"source_file = '{name}'").collect()
        assert all(part in row.raw_line for part in parts), row.raw_line


def test_a_file_delivered_twice_shows_in_the_ledger_only(corpus: Corpus) -> None:
    project = corpus.project
    before, events = project.versions(), project.table("stg_events").collect()
    (log,) = project.raw.glob("*.json.gz")
    again = project.raw / "delivered-again.json.gz"
    shutil.copy2(log, again)
    project.build().ok()

    nodes = project.nodes()
    of_lines = {"ingested_files"} | upstream(nodes, "stg_events")
    for name in set(project.tables()) - of_lines:
        assert_same_rows(project.table(name, before[name]), project.table(name), name)
    assert sorted(map(repr, project.table("stg_events").collect())) == sorted(map(repr, events))
    ledger = {row.source_file: row for row in project.table("ingested_files").collect()}
    one, other = ledger[again.name], ledger[log.name]
    assert one.lines == other.lines == one.staged_events + one.duplicate_lines
    assert (one.duplicate_lines, other.duplicate_lines) in ((one.lines, 0), (0, one.lines))


def upstream(nodes: dict[str, dict[str, Any]], name: str) -> set[str]:
    """Names of all models and seeds that a model is built from."""
    parents = {
        parent.split(".")[-1]
        for parent in nodes[name]["depends_on"].get("nodes", [])
        if parent.startswith(("model.", "seed."))
    }
    return parents.union(*(upstream(nodes, parent) for parent in parents))


def test_a_gzip_file_cut_short_changes_nothing_until_it_is_mended(corpus: Corpus) -> None:
    project = corpus.project
    before, readers = project.versions(), project.published()
    (whole,) = write_log(make_log(users=4, days=45, seed=6), project.folder / "late", files=1)
    cut = project.raw / "cut-short.json.gz"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    failed = project.build()
    assert failed.status == 1
    assert failed.lines_with(r"cut-short\.json\.gz")
    assert failed.lines_with("Not published: base_files failed")
    for name in project.tables():
        assert_same_rows(project.table(name, before[name]), project.table(name), name)
    assert project.published() == readers

    cut.write_bytes(whole.read_bytes())
    assert "Published" in project.build().ok().output
    ledger = {row.source_file: row for row in project.table("ingested_files").collect()}
    assert ledger["cut-short.json.gz"].staged_events == len(make_log(users=4, days=45, seed=6))


RUN_ALL = """
import json, sys
from dbt.cli.main import dbtRunner
succeeded = [dbtRunner().invoke(command).success for command in json.loads(sys.argv[1])]
print("succeeded:", succeeded)
sys.exit(not all(succeeded))
"""


@pytest.mark.parametrize("kind", ["missing", "empty", "without logs"])
def test_no_logs_is_one_clear_sentence(
    kind: str, make_project: MakeProject, tmp_path: Path
) -> None:
    project = make_project(f"none_{kind.replace(' ', '_')}")
    if kind == "missing":
        project.raw = project.raw / "not-here"
    elif kind == "without logs":
        project.raw = project.folder / "somebody's logs"
        project.raw.mkdir()
        (project.raw / "truth.csv").write_text("a,b\n")
    if kind == "missing":  # nor is the warehouse there, which no command needs to be
        commands = [project.command("compile", "--select", "dim_users"), project.command("build")]
        run = run_process(
            "python", "-c", RUN_ALL, json.dumps(commands), CHURN_WAREHOUSE=str(tmp_path / "a" / "b")
        )
        assert run.lines_with("succeeded") == ["succeeded: [True, False]"]
    else:
        run = project.dbt("build")
    assert run.status != 0
    assert run.lines_with(f"No raw logs in {re.escape(str(project.raw))}")
    assert not run.lines_with(r"Traceback|^\s*at \w+\.|Exception")
