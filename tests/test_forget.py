"""Users who are forgotten are in no file of the warehouse any more, and stay out of it."""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.conftest import MakeProject
from tests.make_log import Event, make_log
from tests.warehouse import (
    LOAD_TIMES,
    NO_TESTS,
    Project,
    Run,
    active_spark,
    assert_same_rows,
    copy_of_project,
    environment,
)
from warehouse.connection import SparkConnection
from warehouse.errors import ProjectError
from warehouse.forget import read_ids

FIRST, SECOND = "zq-forget-me-7", "aa-forget-me-8"
# what is counted by line or by file, the lines of forgotten users among them
LEDGERS = {"base_files", "ingested_files", "stg_line_counts"}


# --- without Spark


@pytest.mark.parametrize(
    ("content", "ids"),
    [
        (b"91\n", {"91": 1}),
        (b"\xef\xbb\xbf91\r\n\r\n  92 \n", {"91": 1, "92": 3}),
        (b"\n92\n91\n92", {"92": 2, "91": 3}),
        ("a b\u2028c\né".encode(), {"a b\u2028c": 1, "é": 2}),
    ],
)
def test_a_file_has_one_id_a_line(tmp_path: Path, content: bytes, ids: dict[str, int]) -> None:
    (tmp_path / "users.txt").write_bytes(content)
    assert read_ids(tmp_path / "users.txt") == ids


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf\n \n", b"\xff\xfe9\x001\x00"])
def test_a_file_without_ids_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "users.txt").write_bytes(content)
    with pytest.raises(ProjectError, match="names no user|cannot be read as UTF-8"):
        read_ids(tmp_path / "users.txt")


# --- files of a warehouse


def texts_of(path: Path) -> Iterator[bytes]:
    """Whatever a file of the warehouse holds, not compressed."""
    content = path.read_bytes()
    yield content
    if path.suffix == ".parquet":
        yield repr(pq.ParquetFile(path).read().to_pydict()).encode()
    elif path.suffix == ".avro":
        yield from avro_blocks(content)


def avro_blocks(content: bytes) -> Iterator[bytes]:
    """https://avro.apache.org/docs/1.12.0/specification/#object-container-files"""
    assert b"avro.codec\x0edeflate" in content
    # a block ends with the marker that ends the header
    marker = content[-16:]
    for block in content.split(marker)[1:-1]:
        rest = block
        for _ in range(2):  # how many objects, how many bytes
            rest = rest.lstrip(bytes(range(128, 256)))[1:]
        yield zlib.decompress(rest, -15)


def files_with(warehouse: Path, schema: str, text: str) -> list[str]:
    """Names of the files in which a text is found."""
    paths = [path for path in warehouse.glob(f"{schema}_*/**/*") if path.is_file()]
    assert {".parquet", ".avro", ".json"} <= {path.suffix for path in paths}
    paths.append(warehouse / "catalog.db")
    return [
        str(path.relative_to(warehouse))
        for path in paths
        if any(text.encode() in found for found in texts_of(path))
    ]


# --- on a warehouse


def log_with_both() -> list[Event]:
    """A log in which two users who play songs have these ids."""
    events = make_log(users=8, days=40, seed=3)
    ids = sorted({event["userId"] for event in events if event["page"] == "NextSong"})
    names = dict(zip(ids, (FIRST, SECOND), strict=False))
    return [{**event, "userId": names.get(event["userId"], event["userId"])} for event in events]


def bad_lines(user: str, event: Event) -> list[str]:
    """Lines that are rejected: as JSON, without a profile, of a wrong type, and as no JSON."""
    line = json.dumps({**event, "userId": user})
    return [
        json.dumps({**event, "userId": user, "page": ""}),
        json.dumps({"ts": None, "userId": user, "page": "Home"}),
        json.dumps({**event, "userId": f" {user} ", "sessionId": "x"}),
        line[:-5],
        line + line,
        json.dumps(line)[:-1],
        f"2018-10-05,{user},Home",
    ]


class Place:
    """A small project with its log, in which both users are."""

    def __init__(self, project: Project, make_project: MakeProject, warehouse: Path) -> None:
        self.project, self.make_project, self.warehouse = project, make_project, warehouse
        self.users = project.folder / "users.txt"

    def forget(self, *options: str, ids: str = FIRST) -> Run:
        self.users.write_text(f"{ids}\n")
        options = ("--user-file", str(self.users), *options)
        with environment({"DBT_PROJECT_DIR": str(self.project.root)}):
            return self.project.operate("forget", *options)

    def build(self, *options: str) -> Run:
        run = self.project.build(*options)
        print(run.output)  # shown where the test fails
        return run.ok()

    def files_with(self, user: str) -> list[str]:
        return files_with(self.warehouse, self.project.schema, user)

    def assert_like_a_log_without(self, *users: str) -> None:
        """All rows are those of a build of the log that never had these users."""
        # its schemas begin with another word, as those of this project are searched
        schema = f"without_{len(users)}_forgotten"
        whole = self.make_project(schema, root=self.project.root)
        for path in self.project.raw.iterdir():
            lines = path.read_text().splitlines(keepends=True)
            left = [line for line in lines if not any(user in line for user in users)]
            (whole.raw / path.name).write_text("".join(left))
            os.utime(whole.raw / path.name, ns=(path.stat().st_mtime_ns,) * 2)
        whole.build(*NO_TESTS).ok()
        for name in set(self.project.tables()) - LEDGERS:
            rows, expected = self.project.table(name), whole.table(name)
            if name == "base_events":
                rows = rows.where("coalesce(reject_reason, '') <> 'forgotten_user'")
                rows = rows.drop("source_file_bytes")
                expected = expected.drop("source_file_bytes")
            assert_same_rows(rows, expected, name, LOAD_TIMES)


@pytest.fixture(scope="module")
def place(
    make_project: MakeProject, tmp_path_factory: pytest.TempPathFactory, warehouse: Path
) -> Place:
    """Built and published twice; a third file is the second once more."""
    root = copy_of_project(tmp_path_factory.mktemp("forget"), small=True)
    place = Place(make_project("forget", root=root), make_project, warehouse)
    events = log_with_both()
    half, example = len(events) // 2, next(e for e in events if e["userId"] == FIRST)
    bad = [line for user in (FIRST, SECOND) for line in bad_lines(user, example)]
    of_both = [json.dumps(event) for event in events[half:]] + bad

    def write(name: str, lines: list[str]) -> None:
        (place.project.raw / name).write_text("".join(f"{line}\n" for line in lines))

    write("a.json", [json.dumps(event) for event in events[:half]])
    assert place.build().published_build
    write("b.json", of_both)
    write("c.json", of_both)
    assert place.build().published_build
    spark = active_spark()
    spark.sql(
        "insert into forget_ml.churn_scores (model_run_id, snapshot_date, user_id, "
        "churn_probability, reason_1, reason_2, reason_3, scored_at) select 'run', "
        "date '2018-11-01', user_id, 0.5D, 'a', 'b', 'c', current_timestamp() "
        "from forget_marts.dim_users"
    )
    # of a date at which they were scored, and of one at which nobody was
    for day in ("2018-11-01", "2018-11-02"):
        spark.sql(
            f"insert into forget_ml.score_bins values ('run', date '{day}', 'a', 1, 'any', 8, 8)"
        )
        spark.sql(
            "insert into forget_ml.score_outcomes values "
            f"('run', date '{day}', 1, 'paid', 'unknown', 8, 4.0, 1)"
        )
    return place


def counts_of(place: Place) -> list[tuple[object, ...]]:
    ledger = place.project.table("ingested_files").orderBy("source_file")
    return [tuple(row) for row in ledger.select("source_file", "lines").collect()]


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.nightly
def test_a_dry_run_and_an_unknown_id_change_nothing(place: Place) -> None:
    before = place.project.versions()
    unknown = place.forget(ids=f"{FIRST}\nnobody-1\n\nnobody-2")
    assert unknown.status == 1
    assert unknown.lines_with("has no line of the user on line 2, 4, so nothing was changed")
    dry = place.forget("--dry-run").ok()
    assert dry.lines_with(r"^Would forget 1 user\(s\): \d+ lines of 3 file\(s\) and 1 score\(s\)")
    assert FIRST not in dry.output
    assert place.project.versions() == before
    assert not place.project.source("audit.forgotten_users").count()


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.nightly
def test_a_user_is_in_no_file_any_more(place: Place) -> None:
    found = place.files_with(FIRST)
    assert {".parquet", ".avro"} <= {Path(name).suffix for name in found}
    counts = counts_of(place)
    events = place.project.table("base_events")
    lines = events.where(f"user_id = '{FIRST}' or raw_line like '%{FIRST}%'").count()
    run = place.forget()
    print(run.output)
    run.ok()
    assert run.lines_with(rf"^Forgot 1 user\(s\): {lines} lines of 3 file\(s\) and 1 score\(s\)")
    assert run.lines_with("when they were loaded: a.json, b.json, c.json$")
    assert FIRST not in run.output
    assert place.files_with(FIRST) == []
    assert place.files_with(SECOND)
    assert run.lines_with("python -m ml score --first 2018-11-01 --last 2018-11-01$")
    for table in ("score_bins", "score_outcomes"):
        left = place.project.source(f"ml.{table}").select("snapshot_date").collect()
        assert [str(row[0]) for row in left] == ["2018-11-02"]
    forgotten = place.project.table("base_events").where("reject_reason = 'forgotten_user'")
    assert forgotten.count() == lines
    assert counts_of(place) == counts
    back = place.project.operate("rollback")
    assert back.status == 1 and back.lines_with("^No build before build_.* is kept")
    place.assert_like_a_log_without(FIRST)
    before = place.project.versions()
    assert place.build().lines_with("Nothing new in .*, so nothing was built")
    assert place.project.versions() == before


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.nightly
def test_a_user_stays_out_when_files_are_loaded_again(place: Place) -> None:
    rows = sorted(place.project.table("dim_users").collect())
    counts = counts_of(place)
    for path in place.project.raw.iterdir():
        os.utime(path)
    for options in ((), ("--full-refresh",)):
        run = place.build(*options)
        assert run.published_build
        assert place.files_with(FIRST) == []
        assert counts_of(place) == counts
        assert sorted(place.project.table("dim_users").collect()) == rows


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.nightly
def test_a_command_that_was_killed_is_finished_by_another(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = RuntimeError("killed")
    read = SparkConnection.rows
    for pattern in ("^update ", "^delete .*churn_scores", "_marts.* drop tag", "expire_.*_marts"):

        def rows(
            connection: SparkConnection, sql: str, pattern: str = pattern
        ) -> list[tuple[object, ...]]:
            if re.search(pattern, sql):
                raise killed
            return read(connection, sql)

        with monkeypatch.context() as patch:
            patch.setattr(SparkConnection, "rows", rows)
            with pytest.raises(RuntimeError, match="killed"):
                place.forget(ids=SECOND)
    assert place.files_with(SECOND)
    run = place.forget(ids=f"{FIRST}\n{SECOND}").ok()
    assert run.lines_with("^Dropped all versions of")
    assert place.files_with(SECOND) == []
    assert place.project.source("audit.forgotten_users").count() == 2
    place.assert_like_a_log_without(FIRST, SECOND)
