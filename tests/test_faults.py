"""Killed, stopped, out of space, unreadable: readers keep whole builds, the next build mends all.

CHURN_FAULTS is the number of kills (`make faults`: 30), CHURN_FAULTS_SEED repeats their moments.
Without it, one kill in a node or in the publishing, a full disk, and readers and a second build
beside one.
"""

import contextlib
import ctypes
import gzip
import itertools
import json
import os
import random
import re
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import MakeProject
from tests.make_log import Event, make_log
from tests.test_forget import files_with
from tests.warehouse import (
    BIN,
    NO_TESTS,
    NO_UNIT_TESTS,
    ROOT,
    Project,
    Run,
    Seen,
    active_spark,
    assert_like_one_build,
    column_sum,
    environment,
    run_process,
    user_environment,
)

pytestmark = [pytest.mark.slow, pytest.mark.thorough]

KILLS = int(os.environ.get("CHURN_FAULTS", "1"))
in_the_long_form = pytest.mark.skipif(
    "CHURN_FAULTS" not in os.environ, reason="a minute each: make faults"
)
MARTS_OF_EACH_BUILD = 8  # of those that are tables, so many change at least
SEED = int(os.environ.get("CHURN_FAULTS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
BUILT = ("build", *NO_UNIT_TESTS)
STACK_TRACE = r"^\s+at \S+\(.*\)$"
LOADING = "START sql tracked model faults_staging.base_events"
DISK_SIZE = 2**31
FREE_BYTES = 200_000  # enough to begin a build


# --- a log that grows, and the project that reads it


@dataclass
class Growing:
    """A project, and a log of which a file more lands now and then."""

    project: Project
    files: list[list[Event]]
    landed: list[Event] = field(default_factory=list)
    forgotten: set[str] = field(default_factory=set)

    def land(self) -> Path:
        """Put the next file into the landing folder."""
        events = self.files.pop(0)
        self.landed += events
        path = self.project.raw / f"part-{len(self.landed):06}.json"
        path.write_text("".join(json.dumps(event) + "\n" for event in events))
        return path

    def assert_next_build_is_right(self) -> Seen:
        """It needs nothing done before it; readers then see all that has landed."""
        self.project.build().ok()
        seen = self.project.published()
        self.assert_published(seen)
        return seen

    def assert_published(self, seen: Seen) -> None:
        """Readers see what has landed in all marts, counted without the project."""
        users = [event["userId"] for event in self.landed]
        events = [user for user in users if user and user not in self.forgotten]
        assert sorted(seen) == self.project.marts()
        assert column_sum(seen, "fct_user_days", "events") == len(events)
        assert column_sum(seen, "dim_users", "events") == len(events)
        assert len(seen["dim_users"][1]) == len(set(events))

    def assert_equals_undisturbed(self, whole: Project) -> None:
        """All tables are those of one full build, but for when lines were loaded."""
        whole.build("--full-refresh", *NO_TESTS).ok()
        assert_like_one_build(self.project, whole)


@pytest.fixture(scope="module")
def disk(warehouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A warehouse on a disk of its own where this user may mount one, and Spark on it.

    Spark remembers tables that it has read, here not: a reader with a long session sets this too.
    """
    folder = tmp_path_factory.mktemp("disk")
    is_mounted = not mount("-t", "tmpfs", "-o", f"size={DISK_SIZE}", "tmpfs", str(folder))
    try:
        with environment({"CHURN_WAREHOUSE": str(folder)}):
            active_spark_stopped()
            active_spark().conf.set("spark.sql.catalog.lake.cache-enabled", "false")
            try:
                yield folder
            finally:
                active_spark_stopped()
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", folder], check=True)


def active_spark_stopped() -> None:
    """The next one starts on the warehouse of CHURN_WAREHOUSE."""
    from pyspark.sql import SparkSession

    if session := SparkSession.getActiveSession():
        session.stop()


def mount(*arguments: str) -> str:
    """Run `mount`; returns what went wrong."""
    try:
        done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    except FileNotFoundError as error:
        return str(error)
    return done.stderr if done.returncode else ""


@pytest.fixture(scope="module")
def growing(disk: Path, make_project: MakeProject) -> Growing:
    """Nothing is built yet; the first file has four weeks of five users."""
    events = make_log(users=5, days=60, seed=5)
    for event in events:
        # to be found in any file
        event["userId"] = event["userId"] and f"somebody-{event['userId']}-somewhere"
    first = len(events) // 2
    step = (len(events) - first) // (KILLS + 8)
    cuts = [0, *range(first, len(events) - step, step)]
    files = [events[start:end] for start, end in itertools.pairwise(cuts)]
    return Growing(make_project("faults"), files)


@pytest.fixture
def built(growing: Growing) -> Growing:
    """Built and published."""
    if not growing.project.published():
        growing.land()
        growing.assert_next_build_is_right()
    return growing


# --- processes


@dataclass
class Started:
    """A command that runs, in a process group of its own."""

    process: subprocess.Popen
    log: Path

    @property
    def output(self) -> str:
        """What it has said until now."""
        return self.log.read_text()

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Until it holds, or the command ended."""
        while self.process.poll() is None and not condition():
            time.sleep(0.01)

    def wait(self) -> Run:
        """The finished command, when the JVM has ended, too."""
        status = self.process.wait()
        with contextlib.suppress(ProcessLookupError):
            while True:
                os.killpg(self.process.pid, 0)
                time.sleep(0.01)
        return Run(status, self.output)

    def kill(self) -> Run:
        """kill -9 of dbt and the JVM."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        return self.wait()


@contextlib.contextmanager
def started(
    project: Project,
    *arguments: str,
    before: Callable[[], None] | None = None,
    root: Path = ROOT,
    **variables: object,
) -> Iterator[Started]:
    """Start a dbt command, or `warehouse` and one of operators, as a user does; nothing of it is
    left after the block.

    `before` is called in the new process.
    """
    log = project.folder / "output.txt"
    if arguments[0] == "warehouse":
        program = [sys.executable, "-m", *arguments]
    else:
        program = [str(BIN / "dbt"), *project.command(*arguments, **variables)]
    with log.open("w") as output:
        process = subprocess.Popen(
            program,
            cwd=root,
            env=user_environment(CHURN_SCHEMA=project.schema),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=before,
        )
    command = Started(process, log)
    try:
        yield command
    finally:
        command.kill()


# --- the catalog, looked at without Spark


class Catalog:
    """Tables and tags of a project as the catalog file has them."""

    def __init__(self, disk: Path, project: Project) -> None:
        self.file, self.schema = disk / "catalog.db", project.schema
        self.known: dict[str, dict[str, int]] = {}

    def tables(self) -> dict[str, Path]:
        """Newest metadata file of each table, by schema and name."""
        if not self.file.exists():
            return {}
        query = (
            "select table_namespace || '.' || table_name, metadata_location from iceberg_tables"
            " where table_namespace like ? || '_%' and coalesce(iceberg_type, 'TABLE') = 'TABLE'"
        )
        with contextlib.closing(sqlite3.connect(f"file:{self.file}?mode=ro", uri=True)) as catalog:
            try:
                rows = catalog.execute(query, [self.schema]).fetchall()
            except sqlite3.OperationalError:  # not made yet
                return {}
        return {name: Path(location.removeprefix("file:")) for name, location in rows}

    def tags(self) -> dict[tuple[str, str], int]:
        """Snapshot by table and tag."""
        tags = {}
        for name, location in self.tables().items():
            if str(location) not in self.known:
                refs = json.loads(location.read_text()).get("refs", {})
                self.known[str(location)] = {
                    tag: ref["snapshot-id"] for tag, ref in refs.items() if ref["type"] == "tag"
                }
            tags.update({(name, tag): at for tag, at in self.known[str(location)].items()})
        return tags

    def is_locked(self) -> bool:
        """Whether a command holds the lock."""
        return f"{self.schema}_audit.running" in self.tables()

    def published_at(self) -> dict[str, float]:
        """When the tag `published` of each mart came to where it is, in seconds."""
        times = {}
        for name, location in self.tables().items():
            if name.startswith(f"{self.schema}_marts."):
                # not all files of the folder: what a killed commit left there may be cut short
                current = json.loads(location.read_text())
                earlier = [each["metadata-file"] for each in current["metadata-log"]]
                files = [Path(file.removeprefix("file:")) for file in earlier]
                versions = [current, *(json.loads(file.read_text()) for file in files)]
                seen = [
                    (v["last-updated-ms"] / 1000, v["refs"]["published"]["snapshot-id"])
                    for v in versions
                    if "published" in v.get("refs", {})
                ]
                now = max(seen)[1]
                times[name] = min(at for at, snapshot in seen if snapshot == now)
        return times


# --- kill -9


@pytest.mark.nightly
def test_a_killed_build_harms_nothing(
    growing: Growing, disk: Path, make_project: MakeProject
) -> None:
    """At any node of a first, an incremental and a full build, and at any tag of the publishing."""
    project, source = growing.project, random.Random(SEED)
    catalog = Catalog(disk, project)
    project.dbt("parse").ok()  # which marts there will be
    print(f"\nCHURN_FAULTS_SEED={SEED}")
    for kill, number in enumerate(range(SEED, SEED + KILLS), 1):
        before = project.published()
        is_full = number % 4 in (2, 3)
        is_publishing = number % 2 == 1
        if not (is_full and growing.landed):
            growing.land()
        with started(project, *BUILT, *(["--full-refresh"] if is_full else [])) as build:
            if is_publishing:
                # every other time while what readers see moves, after the build's own tags
                tag = "published" if number % 4 == 1 else "build_"
                moves = source.randint(1, MARTS_OF_EACH_BUILD)
                where = in_publishing(build, catalog, tag, moves, source.uniform(0, 0.5))
            else:
                where = in_a_node(build, source.uniform(0, 0.9), source.uniform(0, 0.5))
            assert build.kill().status == -signal.SIGKILL, build.output
        assert catalog.is_locked()
        during = project.published()
        mended = failed_build(growing) if is_publishing else during
        after = growing.assert_next_build_is_right()
        new = [mart for mart in during if during[mart] != before.get(mart)]
        assert all(during[mart] == after[mart] for mart in new)
        assert not new or is_publishing
        # what was cut is finished by the next build at once, even by one that fails
        assert mended == after or (mended == before and not new)
        print(
            f"kill {kill} of {KILLS}, {'full' if is_full else 'incremental'} build, {where}:"
            f" readers saw {len(new)} of {len(after)} marts new",
            flush=True,
        )
    growing.assert_equals_undisturbed(make_project("undisturbed", raw=project.raw))


def in_a_node(build: Started, share: float, seconds: float) -> str:
    """Wait until a share of the nodes of a build has started, and a moment."""

    def is_reached() -> bool:
        begun = re.findall(r"(\d+) of (\d+) START (?!hook)", build.output)
        return bool(begun) and int(begun[-1][0]) >= share * int(begun[-1][1])

    build.wait_until(is_reached)
    time.sleep(seconds)
    return re.findall(r"START (.*?) \.+ \[RUN", build.output)[-1]


def in_publishing(build: Started, catalog: Catalog, tag: str, moves: int, seconds: float) -> str:
    """Wait until the publishing has moved so many tags of a kind, and a moment."""
    build.wait_until(catalog.is_locked)
    before = catalog.tags()

    def is_reached() -> bool:
        moved = dict(catalog.tags().items() - before.items())
        return sum(name.startswith(tag) for _, name in moved) >= moves

    build.wait_until(is_reached)
    time.sleep(seconds)
    return f"in the publishing, tag {moves} of {tag}"


def assert_is_short(run: Run) -> None:
    """Spark's errors and their causes, not where in Java they were: a hundred lines of each."""
    assert len(run.lines_with(STACK_TRACE)) < 40, run.output


def failed_build(growing: Growing) -> Seen:
    """What readers see after a build that could not read a file."""
    broken = growing.project.raw / "broken.json.gz"
    broken.write_bytes(gzip.compress(b"{}\n" * 1000, mtime=0)[:20])
    try:
        run = growing.project.build()
    finally:
        broken.unlink()
    assert run.status == 1
    assert run.lines_with(broken.name)
    return growing.project.published()


# --- stopped by hand


@in_the_long_form
def test_a_build_that_is_told_to_stop_stops(built: Growing) -> None:
    """Ctrl-C reaches dbt and the JVM, `kill` dbt alone: both end, readers keep what they had."""
    project, before = built.project, built.project.published()
    built.land()
    for name in (signal.SIGINT, signal.SIGTERM):
        with started(project, *BUILT) as build:
            build.wait_until(lambda: LOADING in build.output)
            if name == signal.SIGINT:
                os.killpg(build.process.pid, name)
            else:
                build.process.send_signal(name)
            run = build.wait()
        assert run.status != 0
        assert LOADING in run.output
        assert name == signal.SIGTERM or run.lines_with("Exited because of keyboard interrupt")
        assert_is_short(run)
        assert project.published() == before
    built.assert_next_build_is_right()


# --- memory or a disk that is full, a disk that may not be written, a file that may not be read


@in_the_long_form
def test_a_heap_that_is_too_small_is_named(warehouse: Path) -> None:
    """Of what Java throws, dbt would say only that Spark has ended."""
    client = (
        "from warehouse.session import spark_session; "
        "spark_session()[0].sql('select size(array_repeat(1, 1500000000))').collect()"
    )
    run = run_process("python", "-c", client, CHURN_DRIVER_MEMORY="512m")
    assert run.status != 0
    assert run.lines_with("^Terminating due to java.lang.OutOfMemoryError: Java heap space")


@pytest.mark.nightly
def test_a_full_disk(built: Growing, disk: Path) -> None:
    if not disk.is_mount():
        pytest.skip("this user may not mount a disk")
    project, before = built.project, built.project.published()
    built.land()
    usage = os.statvfs(disk)
    used = (usage.f_blocks - usage.f_bfree) * usage.f_frsize
    assert not mount("-o", f"remount,size={used + FREE_BYTES}", str(disk))
    try:
        run = project.build()
        seen = project.published()
    finally:
        assert not mount("-o", f"remount,size={DISK_SIZE}", str(disk))
    assert run.status != 0
    assert run.lines_with("No space left on device|database or disk is full")
    assert_is_short(run)
    assert seen == before
    built.assert_next_build_is_right()


@in_the_long_form
def test_a_warehouse_that_may_not_be_written(built: Growing, disk: Path) -> None:
    project, before = built.project, built.project.published()
    built.land()
    with (
        may_not(stat.S_IWUSR, [disk, *disk.rglob("*")]),
        started(project, *BUILT, before=bound_by_permissions) as build,
    ):
        run = build.wait()
        seen = project.published()
    assert run.status != 0
    assert run.lines_with("Permission denied")
    assert_is_short(run)
    assert seen == before
    built.assert_next_build_is_right()


@in_the_long_form
def test_a_file_that_may_not_be_read(built: Growing) -> None:
    project, before = built.project, built.project.published()
    file = built.land()
    with (
        may_not(stat.S_IRUSR, [file]),
        started(project, *BUILT, before=bound_by_permissions) as build,
    ):
        run = build.wait()
    assert run.status == 1
    assert run.lines_with(f"error while reading file .*{file.name}")
    assert run.lines_with("Not published: base_files failed")
    assert_is_short(run)
    assert project.published() == before
    built.assert_next_build_is_right()


@contextlib.contextmanager
def may_not(right: int, paths: list[Path]) -> Iterator[None]:
    """Take a right of the owner from files and folders for a while."""
    modes = {path: path.stat().st_mode for path in paths}
    try:
        for path, mode in modes.items():
            path.chmod(mode & ~right)
        yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


def bound_by_permissions() -> None:
    """Give up root's right to pass over them (capabilities(7): CAP_DAC_OVERRIDE, _READ_SEARCH)."""
    if os.geteuid() == 0:
        drop_capability = 24  # prctl(2): PR_CAPBSET_DROP
        for capability in (1, 2):
            ctypes.CDLL(None).prctl(drop_capability, capability, 0, 0, 0)


# --- readers during a build, and two builds at once


@dataclass(frozen=True)
class Look:
    """One query of a reader over all marts: rows and a checksum of each; events of users."""

    begun: float
    ended: float
    marts: dict[str, tuple[int, int]]
    events: set[int]


@pytest.mark.nightly
def test_readers_and_another_build_while_one_builds(built: Growing, disk: Path) -> None:
    """Each look at a mart is a whole build; looks at two builds end with the publishing."""
    project, catalog = built.project, Catalog(disk, built.project)
    spark, query = active_spark(), reader_query(project)

    def look() -> Look:
        begun = time.time()
        rows = spark.sql(query).collect()
        return Look(
            begun,
            time.time(),
            {row.mart: (row.rows, row.checksum) for row in rows},
            {row.events for row in rows if row.events is not None},
        )

    before = look()
    built.land()
    with started(project, *BUILT) as build:
        build.wait_until(catalog.is_locked)
        refused = project.build(wait_seconds=0)
        with watching(look) as looks:
            waiting = project.build(wait_seconds=600)
        first = build.wait().ok()
    after = look()

    assert refused.status != 0
    assert refused.lines_with(r"Another dbt build \(process \d+ on .* is at work on this warehouse")
    assert_is_short(refused)
    assert first.lines_with("Published 19 marts")
    assert waiting.ok().lines_with("Waiting up to 600 s for another dbt build")
    assert waiting.lines_with("Nothing new in ")
    built.assert_published(project.published())

    changed = [mart for mart in after.marts if after.marts[mart] != before.marts[mart]]
    assert {"dim_users", "fct_user_days"} <= set(changed)
    for mart in after.marts:
        seen = [each.marts[mart] for each in [before, *looks, after]]
        assert sum(left != right for left, right in itertools.pairwise(seen)) == (mart in changed)
    times = catalog.published_at()
    begin, end = (pick(times.values()) for pick in (min, max))
    mixed = [each for each in looks if len({each.marts[m] == after.marts[m] for m in changed}) == 2]
    contradicting = [each for each in looks if len(each.events) == 2]
    for each in (*mixed, *contradicting):
        assert each.begun <= end and each.ended >= begin
    print(
        f"\nThe publishing of {len(times)} marts took {end - begin:.2f} s. Of {len(looks)} looks"
        f" at all marts, {len(mixed)} met two builds, {len(contradicting)} of them two totals."
    )


def reader_query(project: Project) -> str:
    """All marts in one query."""
    events = {"fct_user_days": "sum(events)", "dim_users": "sum(events)"}
    return " union all ".join(
        f"select '{mart}' as mart, count(*) as rows, bit_xor(xxhash64(*)) as checksum,"
        f" {events.get(mart, 'cast(null as bigint)')} as events"
        f" from {project.schema}_published.{mart}"
        for mart in project.marts()
    )


@contextlib.contextmanager
def watching(look: Callable[[], Look]) -> Iterator[list[Look]]:
    """Look again and again, in a thread, until the block ends; fails where a look failed."""
    looks: list[Look] = []
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.is_set():
            looks.append(look())

    with ThreadPoolExecutor(1) as pool:
        watcher = pool.submit(watch)
        try:
            yield looks
        finally:
            is_over.set()
    watcher.result()


# --- commands of operators that are killed


@pytest.mark.nightly
def test_a_killed_rollback_is_finished(built: Growing, disk: Path) -> None:
    """By the next command, whichever it is: readers never stay between two builds."""
    project, source = built.project, random.Random(SEED)
    catalog = Catalog(disk, project)
    for kill in range(1, 2 + KILLS // 6):
        earlier = project.published()
        built.land()
        before = built.assert_next_build_is_right()
        with started(project, "warehouse", "rollback") as command:
            moves = source.randint(0, MARTS_OF_EACH_BUILD)
            where = in_publishing(command, catalog, "published", moves, source.uniform(0, 0.5))
            command.kill()
        assert project.operate("reload", "nothing.json").status == 1
        assert not catalog.is_locked()
        seen = project.published()
        assert seen in (earlier, before)
        print(f"rollback {kill}, {where}: {'back' if seen == earlier else 'not begun'}", flush=True)
    built.land()
    built.assert_next_build_is_right()


@pytest.mark.nightly
def test_a_killed_forget_is_finished(built: Growing, disk: Path) -> None:
    """By the same command once more; a build in between shows no half of it."""
    project, source = built.project, random.Random(SEED)
    catalog = Catalog(disk, project)
    users = sorted({event["userId"] for event in built.landed} - {""})
    ids = project.folder / "users.txt"
    command = (
        "forget",
        "--user-file",
        str(ids),
        "--vars",
        json.dumps({"raw_path": str(project.raw)}),
    )
    for kill, user in enumerate(users[: min(1 + KILLS // 10, len(users) - 2)], 1):
        ids.write_text(f"{user}\n")
        with started(project, "warehouse", *command) as forget:
            forget.wait_until(catalog.is_locked)
            time.sleep(seconds := source.uniform(0, 40))
            forget.kill()
        project.refresh()
        if source.random() < 0.5:
            project.build().ok()
        project.operate(*command).ok()
        assert files_with(disk, project.schema, user) == []
        built.forgotten.add(user)
        built.assert_published(project.published())
        print(f"forget {kill}, killed {seconds:.0f} s after it began", flush=True)
    built.land()
    built.assert_next_build_is_right()
