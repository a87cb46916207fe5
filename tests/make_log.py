"""A small log by the simulator, the same for the same seed.

Example:
  python -m tests.make_log --out data/sample --users 60 --days 62 --seed 8

Every event costs the tests time, and a small log must have all that they look for. So users stay
for fewer songs, cancel and downgrade sooner, often listen across midnight, and play few songs.
"""

import functools
import gzip
import json
import math
import sys
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from simulator.behaviour import DAY_SECONDS as DAY
from simulator.behaviour import SESSION_ENDS, Behaviour, load_behaviour
from simulator.catalogue import words
from simulator.dirt import encoded_twice
from simulator.engine import NO_SONG, simulate
from simulator.lines import LineMaker
from simulator.settings import Settings
from warehouse.commands import program

Event = dict[str, Any]

FIRST_DAY = date(2018, 10, 1)
START = Settings(1, FIRST_DAY, FIRST_DAY).start_seconds
FIRST_NAMES, LAST_NAMES = words()["female"] + words()["male"], words()["last"]

# Of 10,000 visits to a page by users who are logged in, so many go on to this page (None ends the
# session). They are taken from the likeliest page, which each row of the simulator's table begins
# with.
NEXT_PAGES = {
    "NextSong": (None, 700),
    "Roll Advert": ("Cancel", 500),
    "Thumbs Down": ("Cancel", 500),
    "Downgrade": ("Submit Downgrade", 3000),
}
# in place of those in behaviour.yml
NUMBERS = {
    "rates": {"idle_seconds": 3 * DAY, "log_deviation": 0.5},
    # most sessions start late in the evening
    "calendar": {"warp_share_of_day": 0.14, "warp_from_hour": 11},
    "accounts": {
        "growth_a_year": 1.5,
        "start_as": {"logged in/free": 0.45, "logged in/paid": 0.45, "logged out/free": 0.1},
    },
    "songs": {"plays_of_most_played": {1: 0.08, 100: 1.0}, "artists": 12},
}
SONG_NAMED_NAN = 2  # its rank by plays


class SmallLog(Settings):
    """Settings of a log whose users behave like that."""

    @property
    def behaviour(self) -> Behaviour:
        return _behaviour()


@functools.cache
def _behaviour() -> Behaviour:
    usual = load_behaviour()
    next_state = usual.next_state.copy()
    for number, state in enumerate(usual.states):
        if state.auth == "Logged In" and state.page in NEXT_PAGES:
            page, share = NEXT_PAGES[state.page]
            to = usual.states.index(replace(state, page=page)) if page else SESSION_ENDS
            next_state[:, :, number, :share] = to
    numbers = {name: usual.numbers[name] | NUMBERS[name] for name in usual.numbers}
    return replace(usual, next_state=next_state, numbers=numbers)


def make_log(users: int, days: int, seed: int) -> list[Event]:
    """All events of `users` accounts over `days` days from 2018-10-01 UTC, in the order of time.

    As in the real sets, a song is named NaN, and names of artists beyond ASCII are encoded twice.
    """
    settings = SmallLog(users, FIRST_DAY, FIRST_DAY + timedelta(days=days - 1), seed)
    rows, _ = simulate(settings, np.arange(users))
    rows = rows[np.argsort(rows["seconds"], kind="stable")]
    events = [json.loads(line) for line in LineMaker(settings).lines(rows).to_pylist()]
    for event, song in zip(events, rows["song"].tolist(), strict=True):
        if song != NO_SONG:
            event["artist"] = encoded_twice(event["artist"])
        if song == SONG_NAMED_NAN:
            event["song"] = "NaN"
    return events


def write_log(events: list[Event], folder: Path, files: int = 2) -> list[Path]:
    """Write the events, in order, to `files` gzip files of like size; the same bytes each time."""
    folder.mkdir(parents=True, exist_ok=True)
    size = math.ceil(len(events) / files)
    paths = []
    for number in range(files):
        lines = [json.dumps(e, ensure_ascii=False, separators=(",", ":")) + "\n"
                 for e in events[number * size : (number + 1) * size]]  # fmt: skip
        path = folder / f"events-{number + 1}.json.gz"
        path.write_bytes(gzip.compress("".join(lines).encode(), 9, mtime=0))
        paths.append(path)
    return paths


@program("python -m tests.make_log", __doc__)
def main(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the .json.gz files.")],
    users: int = 60,
    days: int = 62,
    seed: int = 8,
) -> None:
    events = make_log(users, days, seed)
    paths = write_log(events, out)
    print(f"{len(events)} events in {', '.join(map(str, paths))}")


if __name__ == "__main__":
    sys.exit(main())
