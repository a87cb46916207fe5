"""The simulator: bytes, format, dirt and its manifest, scenarios, and likeness to the real sets."""

import csv
import dataclasses
import gzip
import json
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import psutil
import pytest

from simulator import engine, log_files
from simulator.__main__ import main
from simulator.behaviour import Behaviour, State, _steps, load_behaviour, scenarios
from simulator.dirt import encoded_twice, kinds, past_the_last_day
from simulator.log_files import write_log
from simulator.random_numbers import below, draw, streams, uniform
from simulator.settings import Layout, Settings
from tests.conftest import REFERENCE, MakeProject
from tests.make_log import make_log
from tests.warehouse import ROOT, SAMPLE, STAGING

PROFILE = ["location", "userAgent", "lastName", "firstName", "registration", "gender"]
VISIT = ["ts", "userId", "sessionId", "page", "auth", "method", "status", "level", "itemInSession"]
SONG = ["artist", "song", "length"]

SMALL = Settings(users=60, start=date(2018, 10, 1), end=date(2018, 10, 20), seed=7)
DIRTY = dataclasses.replace(SMALL, dirt=0.02)


def write(settings: Settings, out: Path, workers: int = 1) -> Path:
    write_log(settings, out, workers, lambda *_: None)
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*")) if path.is_file()}  # fmt: skip


def lines_of(folder: Path) -> dict[str, list[bytes]]:
    """Lines by file, without their line feeds."""
    return {name: text.split(b"\n")[:-1] for name, text in contents(folder).items()
            if name.endswith(".json")}  # fmt: skip


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(SMALL, tmp_path_factory.mktemp("clean") / "log")


@pytest.fixture(scope="module")
def dirty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(DIRTY, tmp_path_factory.mktemp("dirty") / "log")


@pytest.fixture(scope="module")
def events(clean: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for lines in lines_of(clean).values() for line in lines]


# --- the same bytes


@pytest.mark.parametrize("format_", ["json", "json.gz"])
def test_workers_and_memory_change_no_byte(
    format_: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = dataclasses.replace(DIRTY, users=log_files.CHUNK_USERS + 60, format=format_)
    settings = dataclasses.replace(settings, end=settings.start + timedelta(days=2))
    one = contents(write(settings, tmp_path / "one", workers=1))
    assert one == contents(write(settings, tmp_path / "two", workers=2))
    # chunks bound the memory of the first step, and only they do
    monkeypatch.setattr(log_files, "CHUNK_USERS", 100)
    assert one == contents(write(settings, tmp_path / "small chunks", workers=1))


def test_another_seed_gives_another_log(clean: Path, tmp_path: Path) -> None:
    other = contents(write(dataclasses.replace(SMALL, seed=8), tmp_path / "log"))
    assert all(text != other[name] for name, text in contents(clean).items())


def test_users_do_what_they_do_whoever_else_is_there() -> None:
    number = np.arange(20, 30)
    alone, _ = engine.simulate(SMALL, number)
    among, _ = engine.simulate(SMALL, np.arange(60))
    among = among[np.isin(among["account"], number)]
    for events in (alone, among):
        events.sort(order=["account", "seconds", "session", "item"])
    assert (alone == among).all()


# --- the raw format


def keys(event: dict[str, Any]) -> list[str]:
    """The keys that a line must have, in order."""
    return (VISIT + (PROFILE if event["userId"] else [])
            + (SONG if event["page"] == "NextSong" else []))  # fmt: skip


def test_fields_are_in_order_and_absent_where_null(events: list[dict[str, Any]]) -> None:
    assert {event["page"] for event in events} >= {"NextSong", "Home", "Roll Advert", "Login"}
    for event in events:
        assert list(event) == keys(event)
        assert None not in event.values()


def test_lines_are_compact_json(clean: Path) -> None:
    for lines in lines_of(clean).values():
        for line in lines[:200]:
            again = json.dumps(json.loads(line), ensure_ascii=False, separators=(",", ":"))
            assert again.encode() == line


def test_values_are_like_those_of_the_log(events: list[dict[str, Any]]) -> None:
    agents = {event["userAgent"] for event in events if event["userId"]}
    assert any(agent.startswith('"Mozilla') and agent.endswith('"') for agent in agents)
    assert any(agent.startswith("Mozilla") for agent in agents)
    for event in events:
        assert event["ts"] % 1000 == 0
        assert (event["userId"] == "") == (event["auth"] in ("Logged Out", "Guest"))
        assert (event["method"], event["status"]) == SMALL.behaviour.methods[event["page"]]
        if event["page"] == "NextSong":
            assert 0.522 <= event["length"] <= 3024.66567


@pytest.mark.reference
@pytest.mark.parametrize("run", range(4))
def test_fields_are_those_of_the_reference(run: int) -> None:
    with gzip.open(REFERENCE / "eventsim_sparkify_mini" / f"part-{run}-0000.json.gz") as file:
        for line, _ in zip(file, range(5_000), strict=False):
            event = json.loads(line)
            assert list(event) == keys(event)
            assert (event["method"], event["status"]) == SMALL.behaviour.methods[event["page"]]


def test_a_file_holds_a_day_in_the_order_of_time(clean: Path) -> None:
    files = lines_of(clean)
    assert len(files) == SMALL.days
    for name, lines in files.items():
        times = [json.loads(line)["ts"] for line in lines]
        assert times == sorted(times)
        days = {datetime.fromtimestamp(ts / 1000, timezone.utc).date() for ts in times}
        assert [f"events-{day}.json" for day in days] == [name]


def test_layouts_differ_in_names_only(clean: Path, tmp_path: Path) -> None:
    dated = write(dataclasses.replace(SMALL, layout="dated"), tmp_path / "log")
    assert get_args(Layout) == ("flat", "dated")
    assert list(lines_of(dated)) == [f"date=2018-10-{day:02}/events.json" for day in range(1, 21)]
    assert list(lines_of(dated).values()) == list(lines_of(clean).values())


def test_gzip_holds_the_same_lines(clean: Path, tmp_path: Path) -> None:
    packed = write(dataclasses.replace(SMALL, format="json.gz"), tmp_path / "log")
    for name, lines in lines_of(clean).items():
        assert gzip.decompress((packed / f"{name}.gz").read_bytes()).split(b"\n")[:-1] == lines


def test_visitors_can_share_a_user_id(clean: Path, tmp_path: Path) -> None:
    named = write(dataclasses.replace(SMALL, anonymous_user_id="1261737"), tmp_path / "log")
    for lines, named_lines in zip(lines_of(clean).values(), lines_of(named).values(), strict=True):
        as_empty = [line.replace(b'"userId":"1261737"', b'"userId":""') for line in named_lines]
        assert as_empty == lines
        assert named_lines != lines


def test_session_ids_collide_between_runs_only(events: list[dict[str, Any]]) -> None:
    users: dict[int, set[str]] = {}
    for event in events:
        if event["userId"]:
            users.setdefault(event["sessionId"], set()).add(event["userId"])
    assert any(len(of_session) > 1 for of_session in users.values())
    for of_session in users.values():
        runs = [int(user) // 100_000 for user in of_session]
        assert len(runs) == len(set(runs))


def test_sessions_are_numbered_without_gaps_and_some_are_open_at_the_start() -> None:
    log, _ = engine.simulate(SMALL, np.arange(SMALL.users))
    sessions = pd.DataFrame(log).groupby(["account", "session"])["item"]
    assert (sessions.max() - sessions.min() + 1 == sessions.size()).all()
    assert sessions.apply(lambda items: items.is_monotonic_increasing).all()
    is_first = ~sessions.min().reset_index().duplicated("account")
    assert (sessions.min()[is_first.to_numpy()] > 0).any()
    assert (sessions.min()[~is_first.to_numpy()] == 0).all()


def test_songs_follow_each_other_at_their_length() -> None:
    """A song starts when the one before is over, in a session of songs alone."""
    log, _ = engine.simulate(SMALL, np.arange(SMALL.users))
    table = pd.DataFrame(log)
    seconds = engine.Songs(SMALL).whole_seconds
    after = table.groupby("account").shift(-1)
    pair = (table["song"] >= 0) & (after["song"] >= 0) & (after["session"] == table["session"])
    waited = after["seconds"][pair] - table["seconds"][pair]
    assert (waited == seconds[table["song"][pair]]).all()


# --- truth


def test_truth_says_what_became_of_each_account(tmp_path: Path) -> None:
    settings = dataclasses.replace(SMALL, users=300, end=date(2018, 11, 30))
    out = write(settings, tmp_path / "log")
    truth = {row["userId"]: row for row in csv.DictReader((out / "truth.csv").open())}
    assert len(truth) == settings.users
    types = Counter(row["type"] for row in truth.values())
    assert types == {"usual": 203, "advert_averse": 32, "critical": 32, "keen": 33}
    confirmed, registered, seen = {}, {}, {}
    for lines in lines_of(out).values():
        for event in map(json.loads, lines):
            if event["userId"]:
                seen[event["userId"]] = event
                registered[event["userId"]] = event["registration"]
            if event["page"] == "Cancellation Confirmation":
                at = datetime.fromtimestamp(event["ts"] / 1000, timezone.utc)
                confirmed[event["userId"]] = f"{at:%Y-%m-%d %H:%M:%S}"
    in_log = {user: row["churned_at"] for user, row in truth.items()
              if row["churned_at"] >= "2018-10-01"}  # fmt: skip
    assert confirmed == in_log
    assert len(confirmed) > 30
    for user, row in truth.items():
        assert (row["churned"] == "1") == (row["churned_at"] != "")
        if user in seen:
            assert int(row["registration"]) == registered[user]
            if row["final_auth"] != "Logged Out":
                assert row["final_level"] == seen[user]["level"]
    newcomers = [row for row in truth.values() if row["new_in_window"] == "1"]
    assert newcomers
    assert all(row["initial_auth"] == "Guest" for row in newcomers)


# --- dirt


def reason(line: bytes, settings: Settings) -> str | None:
    """Why a line is no event, by the rules of the models, in a few lines of Python."""
    try:
        event = json.loads(line.decode())
    except ValueError:  # not UTF-8 is one, too
        return "not_json"
    if not isinstance(event, dict):
        return "wrong_type"
    whole = ("ts", "sessionId", "itemInSession", "status")
    is_number = {**dict.fromkeys(whole, int), "registration": int | float, "length": int | float}
    for field, value in event.items():
        is_wrong = value is not None and field in is_number and not isinstance(
            value, is_number[field])  # fmt: skip
        if is_wrong or isinstance(value, dict | list):
            return "wrong_type"
    ts, log_end = event.get("ts"), settings.end_seconds * 1000
    checks = {
        "missing_timestamp": ts is None,
        "timestamp_out_of_range": ts is not None and not 946_684_800_000 <= ts < 4_102_444_800_000,
        "missing_page": not event.get("page"),
        "missing_session": event.get("sessionId") is None,
        "length_out_of_range": not 0 <= (event.get("length") or 0) <= 86_400,
        "registration_out_of_range": (event.get("registration") or 0) < 0,
        "later_than_its_file": ts is not None and ts > 1000 * (time.time() + 86_400),
        "far_from_the_log": ts is not None and abs(ts - log_end) > 366 * 86_400_000,
    }
    return next((name for name, is_broken in checks.items() if is_broken), None)


def manifest_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_log_less_its_injected_lines_is_the_clean_log(clean: Path, dirty: Path) -> None:
    injected: dict[str, set[int]] = {}
    for row in manifest_of(dirty):
        injected.setdefault(row["file"], set()).add(int(row["line_number"]))
    rest = {name: [line for number, line in enumerate(lines, 1) if number not in injected[name]]
            for name, lines in lines_of(dirty).items()}  # fmt: skip
    assert rest.pop("events-2018-10-11_again.json") == []
    assert rest == lines_of(clean)


def test_each_injected_line_is_what_the_manifest_says(dirty: Path) -> None:
    files = lines_of(dirty)
    seen: set[bytes] = set()
    for row in sorted(manifest_of(dirty), key=lambda row: (row["file"], int(row["line_number"]))):
        lines, number = files[row["file"]], int(row["line_number"])
        line, outcome = lines[number - 1], row["expected_outcome"]
        found = reason(line, DIRTY)
        assert (f"rejected:{found}" if found else "event", row) == (
            outcome if found else "event", row)  # fmt: skip
        if row["kind"] == "line_twice":
            assert (outcome, line) == ("duplicate", lines[number - 2])
        elif row["kind"] == "file_twice":
            first = files[row["file"].replace("_again", "")]
            assert line == first[number - 1]
            assert found or outcome == "duplicate"
        elif not found:
            assert outcome == "staged"
            assert line not in lines[: number - 1]
            assert line not in seen
            seen.add(line)


def test_every_kind_is_injected_at_the_rate_asked_for(dirty: Path) -> None:
    last = DIRTY.end_seconds * 1000 - 1
    rows = [row for row in manifest_of(dirty) if row["kind"] != "file_twice"]
    names = {kind.name for kind in [*kinds(last), past_the_last_day(last)]}
    assert {row["kind"] for row in rows} == names
    lines = sum(len(lines) for name, lines in lines_of(dirty).items() if "again" not in name)
    assert len(rows) / lines == pytest.approx(DIRTY.dirt, rel=0.02)


def test_no_dirt_no_manifest(clean: Path) -> None:
    assert not (clean / "manifest.csv").exists()


def test_encoded_twice_is_what_the_real_set_has() -> None:
    assert encoded_twice("Björk") == "BjÃ\x83Â¶rk"


def test_the_warehouse_gives_each_line_its_reason(
    make_project: MakeProject, tmp_path: Path
) -> None:
    settings = dataclasses.replace(DIRTY, users=100, end=date(2018, 11, 10))
    folder = write(settings, tmp_path / "log", workers=2)
    project = make_project("simulated", raw=folder)
    project.build(*STAGING).ok()
    expected: Counter[tuple[str, str]] = Counter()
    duplicates: Counter[str] = Counter()
    for row in manifest_of(folder):
        kind, _, why = row["expected_outcome"].partition(":")
        if kind == "rejected":
            expected[row["file"], why] += 1
        elif kind == "duplicate":
            duplicates[row["file"]] += 1
    rejected = project.table("stg_events_rejected").groupBy("source_file", "reject_reason").count()
    assert {(row[0], row[1]): row[2] for row in rejected.collect()} == expected
    ledger = project.table("ingested_files").select("source_file", "duplicate_lines").collect()
    assert {row[0]: row[1] for row in ledger if row[1]} == duplicates


def test_the_sample_is_a_log_of_it() -> None:
    """Whoever changes what users do makes it again: see tests/make_log.py."""
    texts = [gzip.decompress(path.read_bytes()) for path in sorted(SAMPLE.iterdir())]
    lines = [json.loads(line) for text in texts for line in text.splitlines()]
    assert lines == make_log(users=60, days=62, seed=8)


# --- behaviour


def test_a_row_that_adds_up_to_more_than_one_is_refused() -> None:
    home, song = State("Logged In", "free", "Home"), State("Logged In", "free", "NextSong")
    assert (_steps({home: 0.4, song: 0.6}, (home, song)) == [0] * 4_000 + [1] * 6_000).all()
    with pytest.raises(ValueError, match="more than 1"):
        _steps({home: 0.5, song: 0.6}, (home, song))


def test_only_a_confirmed_cancellation_ends_everything() -> None:
    behaviour: Behaviour = load_behaviour()
    for number, state in enumerate(behaviour.states):
        is_end = (behaviour.next_state[:, :, number] == 255).all()
        assert is_end == (state.page == "Cancellation Confirmation")
        assert (behaviour.first_state[number] == 255).all() == (state.auth == "Cancelled")


def test_random_numbers_are_even_and_apart() -> None:
    one, other = (streams(1, purpose, np.arange(100_000)) for purpose in (0, 1))
    assert not set(one.tolist()) & set(other.tolist())
    numbers = below(draw(one), 10)
    assert np.bincount(numbers, minlength=10) / 10_000 == pytest.approx(np.ones(10), rel=0.05)
    assert uniform(draw(other)).mean() == pytest.approx(0.5, abs=0.005)


# --- the command


def arguments(out: Path, **changes: Any) -> list[str]:
    options = {"users": 20, "start": "2018-10-01", "end": "2018-10-03", "seed": 1, "out": out,
               **changes}  # fmt: skip
    return [part for name, value in options.items()
            for part in (f"--{name.replace('_', '-')}", str(value))]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"users": 0}, "'--users': Input should be greater than or equal to 1"),
        ({"users": -5}, "'--users': Input should be greater than or equal to 1"),
        ({"users": "many"}, "'--users': Input should be a valid integer"),
        ({"end": "2018-09-30"}, "--end 2018-09-30 is before --start 2018-10-01"),
        ({"start": "1 October"}, "'--start': Input should be a valid date"),
        ({"start": "1969-01-01", "end": "1969-01-02"}, "the days must be of the years"),
        ({"end": "2050-01-01"}, "a log may have 3660 days at most"),
        ({"dirt": 0.5}, "'--dirt': Input should be less than or equal to 0.4"),
        ({"dirt": "nan"}, "'--dirt': Input should be less than or equal to 0.4"),
        ({"workers": 0}, "'--workers': Input should be greater than or equal to 1"),
        ({"scenario": "strike"}, "--scenario must be one of baseline, "),
        ({"scenario_from": "2018-10-04"}, "is not between --start and --end"),
        ({"format": "xml"}, "'xml' is not one of 'json', 'json.gz'"),
    ],
)
def test_a_wrong_argument_gets_one_sentence(
    changes: dict[str, Any], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(tmp_path / "log", **changes)) == 2
    message = capsys.readouterr().err
    assert sentence in message
    assert message.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_empty_stays_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    for out, sentence in ((tmp_path, "is not empty"), (tmp_path / "mine.txt", "is a file")):
        assert main(arguments(out)) == 2
        assert sentence in capsys.readouterr().err
    assert contents(tmp_path) == {"mine.txt": b"mine"}


def command(out: Path, **options: Any) -> list[str]:
    return [sys.executable, "-m", "simulator", *arguments(out, **options)]


def test_the_command_writes_into_an_empty_folder(tmp_path: Path) -> None:
    done = subprocess.run(command(tmp_path, workers=2), cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.count("\n")) == (0, 1)
    names = [f"events-2018-10-0{day}.json" for day in (1, 2, 3)] + ["truth.csv"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_leaves_nothing(workers: int, tmp_path: Path) -> None:
    """A limit on the size of a file stands in for the disk: both are an OSError of a write."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = subprocess.run(
        command(tmp_path / "log", users=300, workers=workers),
        cwd=ROOT, capture_output=True, text=True, preexec_fn=limit,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert "the log was not written" in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def writing(tmp_path: Path) -> subprocess.Popen[bytes]:
    """A command that has begun to write."""
    process = subprocess.Popen(
        command(tmp_path / "log", users=20_000, end="2018-11-30", workers=2),
        cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    while not list(tmp_path.rglob("*.events")):
        assert process.poll() is None
        time.sleep(0.05)
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_leaves_nothing(
    number: int, writing: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    writing.send_signal(number)
    _, message = writing.communicate(timeout=60)
    assert writing.returncode == 130
    assert b"nothing was kept" in message
    assert b"Traceback" not in message
    assert list(tmp_path.iterdir()) == []


def test_no_process_outlives_a_kill(writing: subprocess.Popen[bytes], tmp_path: Path) -> None:
    children = psutil.Process(writing.pid).children()
    assert len(children) >= 2
    writing.kill()
    writing.wait()
    _, left = psutil.wait_procs(children, timeout=10)
    for child in left:
        child.kill()
    assert left == []
    assert not (tmp_path / "log").exists()


def test_help_shows_commands_that_work(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert "python -m simulator --users 230 --start 2018-10-01" in text
    assert all(name in text for name in scenarios())
