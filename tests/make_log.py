"""A small made-up log in the raw Sparkify format, the same for the same seed.

    python -m tests.make_log --out data/sample --users 60 --days 62 --seed 8

Field order, absent keys and quirks are those of the real logs; people, places and songs are ours.
"""

import argparse
import gzip
import json
import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

Event = dict[str, Any]

START = int(datetime(2018, 10, 1, tzinfo=timezone.utc).timestamp())
DAY = 86_400

FIRST_NAMES = "Talwin Orsabel Quenby Merrit Zephine Ildra Brontel Vashti Nimrow Kessa".split()
LAST_NAMES = "Ambleforth Quillhaven Drosselby Tarnwick Oxmantle Velloway Pindrift Hask".split()
PLACES = ["Fairbrook, OH", "Port Lucent-Halden, WA-OR", "Mill Ferry, TX", "Cobalt Springs, NM"]
AGENTS = [
    '"Mozilla/5.0 (Windows NT 6.1; WOW64) AppleWebKit/537.36 Chrome/36.0 Safari/537.36"',
    '"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_9_4) AppleWebKit/537.78.2 Safari/537.78.2"',
    '"Mozilla/5.0 (iPhone; CPU iPhone OS 7_1_2 like Mac OS X) Mobile/11D257 Safari/9537.53"',
    "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:31.0) Gecko/20100101 Firefox/31.0",
]
BANDS = ["The Tin Lanterns", "Marrow & Pine", "Oda Fjell", "Sister Voltage", "BjÃ¸rn Kalk", "Nulla"]
NOUNS = "Harbour Copper Winter Ladder Comet Orchard Signal Paper Thunder Velvet".split()
SHAPES = ["{0} Song", "Under the {0}", "{0} and {1}", "No More {0}", "{0} (Live at {1} Hall)"]
GET_PAGES = {"Home", "Help", "About", "Settings", "Upgrade", "Downgrade", "Roll Advert", "Error"}
# what else a user does between songs, per song and level
RATES = {
    "Thumbs Up": 0.055, "Add to Playlist": 0.03, "Add Friend": 0.018, "Home": 0.04,
    "Help": 0.007, "About": 0.004, "Settings": 0.007, "Save Settings": 0.0015, "Error": 0.002,
}  # fmt: skip


@dataclass
class User:
    """Who somebody is, fixed for the whole log but for `level`."""

    user_id: str
    level: str
    profile: Event
    days_between_sessions: float
    songs_per_session: float
    thumbs_down_rate: float
    advert_rate: float


def make_log(users: int, days: int, seed: int) -> list[Event]:
    """All events of `users` users over `days` days from 2018-10-01 UTC, in the order of time."""
    source = random.Random(seed)
    songs = [
        (source.choice(BANDS), shape.format(*source.sample(NOUNS, 2)), round(length, 5))
        for shape in SHAPES
        for length in (source.lognormvariate(5.45, 0.3) for _ in range(24))
    ]
    songs[0] = (songs[0][0], "NaN", songs[0][2])
    events: list[Event] = []
    # two halves with session counters of their own, so that session ids collide between users
    counters = [iter(range(1, 1_000_000)), iter(range(1, 1_000_000))]
    for number in range(users):
        user = make_user(str(number + 2), source)
        events += user_events(user, days, songs, counters[number % 2], source)
    end = (START + days * DAY) * 1000
    return sorted(
        (event for event in events if START * 1000 <= event["ts"] < end), key=lambda e: e["ts"]
    )


def make_user(user_id: str, source: random.Random) -> User:
    registered = START - source.randrange(5 * DAY, 150 * DAY)
    return User(
        user_id=user_id,
        level=source.choice(["free", "paid", "paid"]),
        profile={
            "location": source.choice(PLACES),
            "userAgent": source.choice(AGENTS),
            "lastName": source.choice(LAST_NAMES),
            "firstName": source.choice(FIRST_NAMES),
            "registration": registered * 1000,
            "gender": source.choice("FM"),
        },
        days_between_sessions=source.lognormvariate(0.9, 0.5),
        songs_per_session=source.lognormvariate(2.2, 0.5),
        thumbs_down_rate=source.choice([0.006, 0.006, 0.05]),
        advert_rate=source.choice([0.04, 0.18]),
    )


def user_events(
    user: User,
    days: int,
    songs: list[tuple[str, str, float]],
    session_ids: Iterator[int],
    source: random.Random,
) -> Iterable[Event]:
    """Sessions of one user until the end of the log or a cancellation, whichever is first."""
    weights = [math.log(rank + 2) for rank in range(len(songs))]  # the first are played most
    # from a day early, so that some sessions are open when the log starts
    clock = START - DAY + source.expovariate(1 / user.days_between_sessions) * DAY
    while clock < START + days * DAY:
        session = Session(user, next(session_ids), clock)
        session.page("Home")
        annoyed = 0
        for _ in range(1 + int(source.expovariate(1 / user.songs_per_session))):
            annoyed += session.song(source.choices(songs, cum_weights=weights)[0], source)
            if source.random() < 0.012:
                session.log_out_and_in()
        if source.random() < 0.02 + 0.025 * annoyed and session.change_plan(source):
            yield from session.events
            return
        if source.random() < 0.25:
            session.page("Logout")
        yield from session.events
        # most of the evening, so that many sessions cross midnight
        clock = session.clock + source.expovariate(1 / user.days_between_sessions) * DAY
        if source.random() < 0.5:
            clock = math.floor(clock / DAY) * DAY + source.uniform(21, 24) * 3600
        clock = max(clock, session.clock + 1800)


class Session:
    """Collects the events of one session; `clock` is in seconds."""

    def __init__(self, user: User, session_id: int, clock: float) -> None:
        self.user, self.session_id, self.clock = user, session_id, clock
        self.events: list[Event] = []

    def page(self, page: str, auth: str = "Logged In", seconds: float = 20, **more: Any) -> None:
        known = auth in ("Logged In", "Cancelled")
        is_get = page in GET_PAGES or page == "Cancellation Confirmation"
        self.events.append(
            {
                "ts": int(self.clock) * 1000,
                "userId": self.user.user_id if known else "",
                "sessionId": self.session_id,
                "page": page,
                "auth": auth,
                "method": "GET" if is_get else "PUT",
                "status": 404 if page == "Error" else 200 if is_get or more else 307,
                "level": self.user.level,
                "itemInSession": len(self.events),
                **(self.user.profile if known else {}),
                **more,
            }
        )
        self.clock += seconds

    def song(self, played: tuple[str, str, float], source: random.Random) -> int:
        """One song and what follows it; returns how often it annoyed the user."""
        artist, song, length = played
        self.page("NextSong", seconds=length, artist=artist, song=song, length=length)
        for page, rate in RATES.items():
            if source.random() < rate:
                self.page(page, seconds=source.randrange(1, 60))
        annoyed = 0
        advert_rate = self.user.advert_rate if self.user.level == "free" else 0.004
        for page, rate in (
            ("Thumbs Down", self.user.thumbs_down_rate),
            ("Roll Advert", advert_rate),
        ):
            if source.random() < rate:
                self.page(page)
                annoyed += 1
        if source.random() < 0.012:
            self.page("Downgrade" if self.user.level == "paid" else "Upgrade")
        return annoyed

    def log_out_and_in(self) -> None:
        self.page("Logout")
        self.page("Home", "Logged Out")
        self.page("Login", "Logged Out")
        self.page("Home")

    def change_plan(self, source: random.Random) -> bool:
        """Cancel (True), or change the plan."""
        if source.random() < 0.35:
            self.page("Cancel")
            self.page("Cancellation Confirmation", "Cancelled")
            return True
        is_upgrade = self.user.level == "free"
        self.page("Upgrade" if is_upgrade else "Downgrade")
        self.page("Submit Upgrade" if is_upgrade else "Submit Downgrade")
        self.user.level = "paid" if is_upgrade else "free"
        return False


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the .json.gz files")
    parser.add_argument("--users", type=int, default=60)
    parser.add_argument("--days", type=int, default=62)
    parser.add_argument("--seed", type=int, default=8)
    options = parser.parse_args()
    events = make_log(options.users, options.days, options.seed)
    paths = write_log(events, options.out)
    print(f"{len(events)} events in {', '.join(map(str, paths))}")


if __name__ == "__main__":
    main()
