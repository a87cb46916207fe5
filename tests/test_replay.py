"""Files in any split and order, and whatever operators do, come to the tables of one build.

CHURN_REPLAYS is the number of random histories, 25 at night; some of their builds are killed. Their
seeds are other ones each day: CHURN_REPLAYS_SEED is the first, to repeat one that failed. Without
CHURN_REPLAYS there is one history, shorter and always the same.
"""

import json
import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from tests.conftest import MakeProject
from tests.make_log import DAY, START, Event, make_log
from tests.test_faults import started
from tests.warehouse import NO_TESTS, Project, assert_like_one_build, copy_of_project

pytestmark = [pytest.mark.slow, pytest.mark.thorough]

REPLAYS = int(os.environ.get("CHURN_REPLAYS", "0"))
FIRST_SEED = int(os.environ.get("CHURN_REPLAYS_SEED", "0")) or int(time.time()) // 86_400 * 100
BUILDS = 4 if REPLAYS else 2
YEARS = 3 * 365 * DAY * 1000


@dataclass(frozen=True)
class Delivery:
    """A log file and the build before which it lands."""

    name: str
    lines: Sequence[str]
    build: int


def events_of_a_messy_log(source: random.Random) -> list[Event]:
    """A log with users who come back after more than 28 days, and one who is there on two dates."""
    events = make_log(users=6, days=75, seed=source.randrange(1000))
    users = sorted({event["userId"] for event in events} - {""})
    away = {user: source.randrange(5, 40) for user in users[:3]}
    kept = []
    for event in events:
        day = (event["ts"] // 1000 - START) // DAY
        first_day_away = away.get(event["userId"], 10_000)
        if not first_day_away <= day < first_day_away + 32 and (
            event["userId"] != users[3] or day in (3, 68)
        ):
            kept.append(event)
    return kept


def deliveries(source: random.Random) -> list[Delivery]:
    """A log in files: late, twice, with bad lines, and events of a broken clock years away."""
    events = events_of_a_messy_log(source)
    number = source.randrange(5, 9)
    in_order = source.random() < 0.5
    files: list[list[str]] = [[] for _ in range(number)]
    for position, event in enumerate(events):
        chosen = position * number // len(events) if in_order else source.randrange(number)
        if source.random() < 0.05:  # late
            chosen = source.randrange(number)
        files[chosen].append(json.dumps(event))
        if source.random() < 0.03:  # twice
            files[source.randrange(number)].append(json.dumps(event))
    for lines in files:
        lines += source.sample(["no json", '{"ts": 1}', '{"ts": "x"}', "[]", "", '{"page": 1}'], 3)
        source.shuffle(lines)
    # more of them than of the log, as long as little of it is there
    stray = [json.dumps({**e, "ts": e["ts"] + YEARS}) for e in events[: len(events) // 3]]
    order = list(range(1, number))
    source.shuffle(order)
    arrives = {file: source.randrange(BUILDS) for file in order} | {0: 0}
    return [
        *(Delivery(f"part-{n}.json", lines, arrives[n]) for n, lines in enumerate(files)),
        Delivery("years/away.json", stray, source.choice([0, 1])),
    ]


# what operators do before a build; most of it leaves tables that were made from different lines
DEEDS = (
    *("nothing", "part", "untested", "failed", "killed", "code", "reload", "rollback", "tables"),
    *("maintain", "rebuild", "refresh"),
)
PARTS = ("base_events", "int_session_parts", "stg_line_counts+", "log_calendar", "fct_user_days+")
# a change of code that changes no row: file, a text in it and what stands in its place for a while
CODE = {
    "staging/base_events.sql": ("ts is null then", "ts + 0 is null then"),
    "staging/duplicate_candidates.sql": ("count(*) > 1", "count(*) > 1 + 0"),
    "staging/stg_events.sql": ("then true", "then not false"),
    "marts/core/fct_user_days.sql": ("sum(songs) as songs", "sum(songs) + 0 as songs"),
    "marts/churn/churn_features.sql": (
        "active_days_to_date,\n",
        "active_days_to_date + 0 as active_days_to_date,\n",
    ),
}


@dataclass
class History:
    """A project to change at will, and the files that landed in it."""

    project: Project
    source: random.Random
    builds: list[str] = field(default_factory=list)

    def land(self, arrivals: Sequence[Delivery], number: int) -> None:
        for delivery in arrivals:
            if delivery.build == number:
                path = self.project.raw / delivery.name
                path.parent.mkdir(exist_ok=True)
                path.write_text("\n".join(delivery.lines) + "\n")

    def do(self, deed: str) -> None:
        getattr(self, deed)()

    def nothing(self) -> None:
        pass

    def part(self) -> None:
        """A build of a part, on what there is of the rest."""
        self.project.build("--select", self.source.choice(PARTS))

    def untested(self) -> None:
        self.project.build(*NO_TESTS).ok()

    def failed(self) -> None:
        """All is built before a test fails."""
        test = self.project.root / "tests" / "planted.sql"
        test.write_text("select * from {{ ref('weekly_kpis') }}\n")
        assert self.project.build().status != 0
        test.unlink()

    def code(self) -> None:
        """Some models are written in another way, and a part is built by it."""
        name = self.source.choice(list(CODE))
        path = self.project.root / "models" / name
        old, new = CODE[name]
        text = path.read_text()
        changed = text.replace(new, old) if new in text else text.replace(old, new, 1)
        assert changed != text, name
        path.write_text(changed)
        if self.source.random() < 0.5:
            self.part()

    def reload(self) -> None:
        """A loaded file is found to be wrong: half of its lines go."""
        rows = self.project.table("base_events").select("source_file").distinct().collect()
        name = self.source.choice(sorted(row.source_file for row in rows))
        path = self.project.raw / name
        path.write_text("".join(f"{line}\n" for line in path.read_text().splitlines()[::2]))
        if self.source.random() < 0.5:
            self.project.operate("reload", name).ok()

    def rollback(self, *options: str) -> None:
        self.project.operate("rollback", self.source.choice(self.builds), *options).ok()

    def tables(self) -> None:
        self.rollback("--tables")

    def maintain(self) -> None:
        self.project.operate("maintain", "--keep-hours", "0").ok()

    def rebuild(self) -> None:
        """A date that has lines, and some after it that may have none."""
        dates = self.project.table("base_events").select("event_date").distinct().dropna().collect()
        first = self.source.choice(sorted(row.event_date for row in dates))
        last = first + timedelta(days=self.source.randrange(10))
        self.project.operate("rebuild", f"--first={first}", f"--last={last}").ok()

    def refresh(self) -> None:
        self.project.build("--full-refresh").ok()

    def killed(self) -> None:
        """At any moment, by SIGKILL."""
        with started(self.project, "build", root=self.project.root) as build:
            time.sleep(self.source.uniform(8, 40))
            build.kill()
        self.project.refresh()


@pytest.mark.parametrize("seed", [FIRST_SEED + number for number in range(REPLAYS)] or [1])
def test_any_history_comes_to_the_tables_of_one_build(
    make_project: MakeProject, tmp_path: Path, seed: int
) -> None:
    source = random.Random(seed)
    arrivals = deliveries(source)
    deeds = source.sample(DEEDS, BUILDS - 1) if REPLAYS else ["reload"]
    root = copy_of_project(tmp_path / "project", small=not REPLAYS)
    project = make_project(f"replay_{seed}", root=root)
    history = History(project, source)
    print(f"seed {seed}: {', '.join(deeds)}")
    for number, deed in enumerate(["nothing", *deeds]):
        history.land(arrivals, number)
        history.do(deed)
        build = project.build().ok()
        assert build.lines_with(r"\bPublished |Nothing new"), build.output
        if build.lines_with(r"\bPublished "):
            history.builds.append(build.published_build)
    whole = make_project(f"replayed_{seed}", raw=project.raw, root=root)
    whole.build(*NO_TESTS).ok()
    assert_like_one_build(project, whole)
