"""Files in any split, any order, with overlaps and empty runs, come to the tables of one build."""

import itertools
import json
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.conftest import MakeProject
from tests.make_log import DAY, START, Event, make_log
from tests.warehouse import LOAD_TIMES, NO_TESTS, Project, assert_same_rows

pytestmark = [pytest.mark.slow, pytest.mark.thorough, pytest.mark.nightly]

EXAMPLES = int(os.environ.get("CHURN_REPLAYS", "1"))
EXAMPLE_NUMBERS = itertools.count()
BUILDS = 4
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


@st.composite
def deliveries(draw: st.DrawFn) -> list[Delivery]:
    """A log in files: late, twice, with bad lines, and events of a broken clock years away."""
    source = random.Random(draw(st.integers(0, 2**32 - 1), label="seed"))
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


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES == 1,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(arrivals=deliveries())
def test_any_split_in_any_order_comes_to_the_same(
    make_project: MakeProject, arrivals: list[Delivery]
) -> None:
    example = next(EXAMPLE_NUMBERS)
    project = make_project(f"replay_{example}")
    for number in range(BUILDS):
        for delivery in arrivals:
            if delivery.build == number:
                path = project.raw / delivery.name
                path.parent.mkdir(exist_ok=True)
                path.write_text("\n".join(delivery.lines) + "\n")
        if number == BUILDS - 1:
            take_some_lines_back(project, arrivals)
        build = project.build().ok()
        assert build.lines_with(r"\bPublished |Nothing new"), build.output
    whole = make_project(f"replayed_{example}", raw=project.raw)
    whole.build("--full-refresh", *NO_TESTS).ok()
    for name in project.nodes():
        assert_same_rows(project.table(name), whole.table(name), name, LOAD_TIMES)


def take_some_lines_back(project: Project, arrivals: list[Delivery]) -> None:
    """A loaded file is found to be wrong: half of it goes, by `reload`."""
    delivery = next(each for each in arrivals if each.build < BUILDS - 1)
    path = project.raw / delivery.name
    path.write_text("\n".join(delivery.lines[::2]) + "\n")
    project.operate("reload", delivery.name).ok()
