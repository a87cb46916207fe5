"""Writes a log: chunks of users are simulated, then each day's events are gathered into its file.

Both steps run in several processes and in memory that does not grow with the number of users: what
a chunk did lies on disk, in the order of time, until the days are written.
"""

import contextlib
import csv
import functools
import gzip
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from itertools import pairwise
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from simulator.dirt import DUPLICATE, STAGED, Injector
from simulator.engine import EVENT, NO_SONG, Events, Outcome, simulate
from simulator.lines import LineMaker, text_of
from simulator.population import user_ids
from simulator.settings import Settings

CHUNK_USERS = 1024
_EVENTS, _STARTS = ".events", ".starts"
_MINUTE_STARTS = np.dtype(np.int32)
_DAY_MINUTES = 1440
_SLICE_EVENTS = 50_000
_COMPRESSION = 4  # 6 takes twice the time for a tenth of the bytes

TRUTH = "truth.csv"
TRUTH_COLUMNS = (
    "userId", "type", "alpha_s", "beta_s", "new_in_window", "registration", "initial_auth",
    "initial_level", "final_auth", "final_level", "churned", "churned_at",
)  # fmt: skip
MANIFEST = "manifest.csv"
MANIFEST_COLUMNS = ("file", "line_number", "kind", "expected_outcome")

T = TypeVar("T")
Progress = Callable[[str, int, int], None]
"""Told the step, how much of it is done, and how much there is."""


class Report(NamedTuple):
    """What was written."""

    events: int
    injected_lines: int
    bytes: int


def write_log(settings: Settings, out: Path, workers: int, progress: Progress) -> Report:
    """Write the log, truth.csv and, with dirt, manifest.csv to the folder `out`.

    `out` must be absent or empty. It appears when everything is written; whatever goes wrong before
    leaves nothing behind. Raises OSError where the disk is full or not writable.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        # beside `out`, so that moving it is one step on one disk
        partial = tempfile.mkdtemp(prefix=f".{out.name}.partial-", dir=out.parent)
        stack.callback(shutil.rmtree, partial, ignore_errors=True)
        spill, log = Path(partial) / "spill", Path(partial) / "log"
        spill.mkdir()
        log.mkdir(mode=0o755)

        run = stack.enter_context(_runner(workers))
        chunks = range(chunk_count(settings))
        progress("users", 0, settings.users)
        users = 0
        for chunk_users in run(functools.partial(_simulate_chunk, settings, spill), chunks):
            users += chunk_users
            progress("users", users, settings.users)
        progress("days", 0, settings.days)
        reports = []
        write_day = functools.partial(_write_day, settings, spill, log)
        for report in run(write_day, range(settings.days)):
            reports.append(report)
            progress("days", len(reports), settings.days)

        _join_parts(spill, log / TRUTH, TRUTH_COLUMNS)
        if settings.dirt:
            _join_parts(spill, log / MANIFEST, MANIFEST_COLUMNS)
            reports.append(_deliver_again(settings, log, settings.days // 2))
        if out.exists():
            out.rmdir()
        log.rename(out)
    return Report(*(sum(column) for column in zip(*reports, strict=True)))


# --- step 1: users


def chunk_count(settings: Settings) -> int:
    """How many chunks the accounts are cut into."""
    return -(-settings.users // CHUNK_USERS)


def chunk_accounts(settings: Settings, chunk: int) -> NDArray[np.int64]:
    """Numbers of the accounts of a chunk."""
    first = chunk * CHUNK_USERS
    return np.arange(first, min(first + CHUNK_USERS, settings.users))


def _simulate_chunk(settings: Settings, spill: Path, chunk: int) -> int:
    """Spill what the users of a chunk do, in the order of time; returns how many they are."""
    number = chunk_accounts(settings, chunk)
    events, outcome = simulate(settings, number)
    events = events[np.lexsort((events["account"], events["seconds"]))]
    minutes = np.arange(settings.days * _DAY_MINUTES + 1) * 60
    starts = np.searchsorted(events["seconds"], minutes).astype(_MINUTE_STARTS)
    (spill / f"{chunk:06}{_EVENTS}").write_bytes(events.data.cast("B"))
    (spill / f"{chunk:06}{_STARTS}").write_bytes(starts.data.cast("B"))
    _write_part(spill / f"{TRUTH}-{chunk:06}", _truth(settings, outcome))
    return len(number)


def _truth(settings: Settings, outcome: Outcome) -> Iterator[tuple[object, ...]]:
    behaviour, who = settings.behaviour, outcome.accounts
    for i, user_id in enumerate(user_ids(settings, who.number).tolist()):
        first, last = (behaviour.states[s[i]] for s in (who.first_state, outcome.last_state))
        churned_at = int(outcome.churned_at[i])
        yield (
            user_id, behaviour.types[who.type[i]], round(float(who.page_seconds[i]), 3),
            round(float(who.idle_seconds[i]), 3), int(who.is_newcomer[i]),
            int(who.registration[i]) * 1000, first.auth, first.level, last.auth, last.level,
            int(churned_at > 0), np.datetime64(churned_at, "s").item() if churned_at else "",
        )  # fmt: skip


# --- step 2: days


def _write_day(settings: Settings, spill: Path, log: Path, day: int) -> Report:
    """Write the file of a day, and its part of the manifest."""
    name = settings.file(day)
    path = log / name
    path.parent.mkdir(exist_ok=True)
    maker = _line_maker(settings)
    injector = Injector(settings, day)
    events = 0
    with _open(path) as file:
        for slice_ in _slices_of_day(spill, day):
            events += len(slice_)
            lines = maker.lines(slice_)
            if settings.dirt:
                file.writelines(injector.inject(lines, may_be_source=slice_["song"] != NO_SONG))
            else:
                file.write(text_of(lines))
    rows = ((name.as_posix(), line, kind.name, kind.outcome) for line, kind in injector.injected)
    _write_part(spill / f"{MANIFEST}-{day:06}", rows)
    return Report(events, len(injector.injected), path.stat().st_size)


def _slices_of_day(spill: Path, day: int) -> Iterator[Events]:
    """The events of a day in the order of time, so many at once as memory is meant to hold."""
    chunks, first_minute = sorted(spill.glob(f"*{_EVENTS}")), day * _DAY_MINUTES
    # shape (chunks, minutes of the day + 1): the number of the first event from each minute on
    starts = np.stack([
        _read(chunk.with_suffix(_STARTS), _MINUTE_STARTS, first_minute, _DAY_MINUTES + 1)
        for chunk in chunks
    ])  # fmt: skip
    before = starts.sum(axis=0, dtype=np.int64) - starts[:, 0].sum(dtype=np.int64)
    slice_of_minute = before[:-1] // _SLICE_EVENTS
    bounds = [*np.flatnonzero(np.diff(slice_of_minute, prepend=-1)).tolist(), _DAY_MINUTES]
    for first, end in pairwise(bounds):
        events = np.concatenate([
            _read(chunk, EVENT, of_chunk[first], of_chunk[end] - of_chunk[first])
            for chunk, of_chunk in zip(chunks, starts.tolist(), strict=True)
        ])  # fmt: skip
        # ties stay in the order of account numbers, which chunks are in
        yield events[np.argsort(events["seconds"], kind="stable")]


def _read(path: Path, type_: np.dtype, first: int, count: int) -> NDArray[Any]:
    """Some rows of a spilled file. Mapped into memory, it would all come to stay there."""
    return np.fromfile(path, type_, count, offset=first * type_.itemsize)


_line_maker = functools.lru_cache(maxsize=1)(LineMaker)


def _deliver_again(settings: Settings, log: Path, day: int) -> Report:
    """A second copy of a file. What is rejected in the one is rejected in the other."""
    first, again = settings.file(day), settings.file(day, again=True)
    shutil.copyfile(log / first, log / again)
    with (log / MANIFEST).open(newline="") as file:
        outcomes = {int(row["line_number"]): row["expected_outcome"]
                    for row in csv.DictReader(file) if row["file"] == first.as_posix()}  # fmt: skip
    open_again = gzip.open if again.suffix == ".gz" else open
    with open_again(log / again, "rb") as file:
        lines = sum(1 for _ in file)
    with (log / MANIFEST).open("a", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(
            (again.as_posix(), number, "file_twice",
             outcomes.get(number, STAGED).replace(STAGED, DUPLICATE))
            for number in range(1, lines + 1)
        )  # fmt: skip
    return Report(0, lines, (log / again).stat().st_size)


# --- files and processes


@contextlib.contextmanager
def _open(path: Path) -> Iterator[IO[bytes] | gzip.GzipFile]:
    with path.open("wb") as file:
        if path.suffix != ".gz":
            yield file
            return
        # no name and no time in it: the same bytes each time
        with gzip.GzipFile("", "wb", _COMPRESSION, file, mtime=0) as compressed:
            yield compressed


def _write_part(path: Path, rows: Iterable[tuple[object, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def _join_parts(spill: Path, path: Path, columns: tuple[str, ...]) -> None:
    """Write a file of the log from its parts, one for each chunk or day, below their columns."""
    with path.open("wb") as file:
        file.write((",".join(columns) + "\n").encode())
        for part in sorted(spill.glob(f"{path.name}-*")):
            with part.open("rb") as source:
                shutil.copyfileobj(source, file)


@contextlib.contextmanager
def _runner(workers: int) -> Iterator[Callable[[Callable[[int], T], range], Iterator[T]]]:
    """A function that runs a task for each number and yields the results as they come."""
    if workers == 1:
        yield lambda task, numbers: map(task, numbers)
        return
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _start_worker)

    def run(task: Callable[[int], T], numbers: range) -> Iterator[T]:
        futures: list[Future[T]] = [pool.submit(task, number) for number in numbers]
        return (future.result() for future in as_completed(futures))

    try:
        yield run
    finally:
        # before the folder that the tasks write to is removed
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    """Ctrl-C goes to all processes of a terminal; the first of them ends the others, or its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    if parent := parent_process():
        parent.join()
    os._exit(1)
