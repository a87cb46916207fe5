"""The made-up log of a podcast app, in its own format."""

from __future__ import annotations

import gzip
import json
import random
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated, Any

import typer

from warehouse.commands import program

Line = dict[str, Any]

START = datetime(2026, 3, 2, tzinfo=timezone.utc)
LISTENERS, DAYS, SEED = 48, 70, 3
DEVICES = ["Podhoard/5.1 (iPhone; iOS 19)", "Podhoard/5.0 (Android 16)", "Podhoard/2 (Windows 11)"]
CITIES = ["Fairbrook, OH", "Port Lucent-Halden, WA-OR", "Mill Ferry, TX"]
NAMES = "Talwin Orsabel Quenby Merrit Zephine Ildra".split()
SHOWS = ["The Quiet Lathe", "Ferry Tales", "Minor Planets", "Salt & Ledger"]
# what else happens during an episode, and how often
DURING = {"like": 0.1, "queue_add": 0.06, "start": 0.08, "follow_listener": 0.02, "dislike": 0.03,
          "support": 0.01, "preferences": 0.01, "failure": 0.005}  # fmt: skip
# by plan: the screen that offers the other one, and the screen that changes to it
CHANGES = {
    "basic": ("premium_offer", "premium_bought"),
    "premium": ("basic_offer", "basic_chosen"),
}
PLANS = {"premium_bought": "premium", "basic_chosen": "basic"}


def make_log(listeners: int = LISTENERS, days: int = DAYS, seed: int = SEED) -> list[Line]:
    """All lines in the order of time; each account that is closed is replaced by a new one."""
    source = random.Random(seed)
    lines: list[Line] = []
    for place in range(listeners):
        begin, account = START, 0
        while begin < START + timedelta(days=days):
            lines += account_lines(f"m-{place:02}-{account}", begin, days, source)
            begin, account = parse_time(lines[-1]["event_time"]), account + 1
            if lines[-1]["screen"] != "account_closed":
                break
    return sorted(lines, key=lambda line: line["event_time"])


def account_lines(name: str, begin: datetime, days: int, source: random.Random) -> Iterator[Line]:
    """Visits of one account, until the end of the log or until it is closed."""
    member = {
        "id": name,
        "first_name": source.choice(NAMES),
        "joined": (begin - timedelta(days=source.randrange(1, 200))).date().isoformat(),
    }
    context = {
        "plan": source.choice(["basic", "premium"]),
        "device": source.choice(DEVICES),
        "city": source.choice(CITIES),
    }
    clock = begin + timedelta(hours=source.uniform(0, 48))
    last_visit = source.randrange(4, 60)
    for number in range(last_visit + 1):
        if clock >= START + timedelta(days=days):
            return
        screens = visit_screens(context["plan"], source)
        if number == last_visit:
            screens.append(("account_closed", 1, {}))
        for step, (screen, seconds, more) in enumerate(screens):
            yield {
                "event_time": clock.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                "screen": screen,
                "visit": f"{name}/{number}",
                "step": step,
                "member": member,
                "context": dict(context),
                **more,
            }
            clock += timedelta(seconds=seconds)
            context["plan"] = PLANS.get(screen, context["plan"])
        clock += timedelta(hours=source.expovariate(1 / 30) + 1)


def visit_screens(plan: str, source: random.Random) -> list[tuple[str, float, Line]]:
    """Screens of a visit in order, with the seconds to the next one and what else is logged."""
    screens: list[tuple[str, float, Line]] = [("start", 12, {})]
    for _ in range(source.randrange(1, 5)):
        minutes = round(source.uniform(8, 55), 2)
        episode = {
            "show": source.choice(SHOWS),
            "title": f"Episode {source.randrange(1, 40)}",
            "minutes": minutes,
        }
        screens.append(("episode_play", minutes * 60, {"episode": episode}))
        rates = DURING | {"sponsor_spot": 0.5 if plan == "basic" else 0}
        screens += [(screen, 9, {}) for screen, rate in rates.items() if source.random() < rate]
    offer, change = CHANGES[plan]
    if source.random() < 0.08:
        screens.append((offer, 15, {}))
        if source.random() < 0.4:
            screens.append((change, 15, {}))
    if source.random() < 0.2:
        screens.append(("sign_out", 5, {}))
    return screens


def parse_time(text: str) -> datetime:
    """A time as the log writes it."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def write_log(lines: list[Line], path: Path) -> None:
    """One JSON object per line, gzipped."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


@program(
    "python -m examples.podcasts.make_log",
    epilog="Example:\n  python -m examples.podcasts.make_log --out data/podcasts",
)
def main(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the log.")],
    listeners: int = LISTENERS,
    days: int = DAYS,
    seed: int = SEED,
) -> None:
    """Write the made-up log of a podcast app. The same options give the same bytes."""
    lines = make_log(listeners, days, seed)
    half = len(lines) // 2
    for number, part in enumerate((lines[:half], lines[half:]), start=1):
        write_log(part, out / f"podcasts-{number}.jsonl.gz")
    print(f"{len(lines)} lines in {out}")


if __name__ == "__main__":
    sys.exit(main())
