"""Files in any split, any order, with overlaps and empty runs, come to the tables of one build."""

import itertools
import json
import os
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.conftest import MakeProject
from tests.make_log import DAY, START, Event, make_log
from tests.warehouse import LOAD_TIMES, NO_TESTS, ROOT, Project, assert_same_rows

pytestmark = pytest.mark.slow

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
    events = make_log(users=5, days=75, seed=source.randrange(1000))
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
    """A loaded file is found to be wrong: half of it goes, by `reload_files`."""
    delivery = next(each for each in arrivals if each.build < BUILDS - 1)
    path = project.raw / delivery.name
    path.write_text("\n".join(delivery.lines[::2]) + "\n")
    project.run_operation("reload_files", files=[delivery.name]).ok()


@dataclass(frozen=True)
class Days:
    """A log whose last days came later, and the same log in one build."""

    project: Project
    whole: Project
    later: Path
    first: str
    versions: dict[str, list[tuple]]
    published: dict[str, tuple[list[str], list[tuple]]]

    def land_later_days(self) -> None:
        if self.later.exists():
            self.later.rename(self.project.raw / self.later.name)

    def assert_complete(self) -> None:
        """All tables are those of one full build."""
        for table in self.project.nodes():
            rows = (project.table(table) for project in (self.project, self.whole))
            assert_same_rows(*rows, table, LOAD_TIMES)


@pytest.fixture(scope="module")
def days(make_project: MakeProject) -> Days:
    """As the earlier days left it."""
    project = make_project("one_more_day")
    events = [
        event
        for event in make_log(users=6, days=100, seed=7)
        if event["userId"] != "7" or not 10 <= (event["ts"] // 1000 - START) // DAY < 91
    ]
    last_day = (START + 98 * DAY) * 1000
    earlier = [json.dumps(event) for event in events if event["ts"] < last_day]
    later = [json.dumps(event) for event in events if event["ts"] >= last_day]
    for name, lines in (("earlier.json", earlier), ("later.json", later)):
        (project.raw / name).write_text("\n".join(lines) + "\n")
    whole = make_project("all_days", raw=project.raw)
    whole.build("--full-refresh", *NO_TESTS).ok()
    path = (project.raw / "later.json").rename(project.folder / "later.json")
    (first,) = re.findall(r"build_\w+", project.build().ok().lines_with("Published")[0])
    return Days(project, whole, path, first, every_version(project), project.published())


def test_without_news_nothing_is_committed(days: Days) -> None:
    again = days.project.build().ok()
    sentence = f"Nothing new in .*, so nothing was built. Readers still see {days.first}"
    assert again.lines_with(sentence)
    assert every_version(days.project) == days.versions
    assert days.project.published() == days.published


def test_one_more_day_reopens_few_snapshots(days: Days) -> None:
    """Also of a user who is back after months."""
    days.land_later_days()
    assert days.project.build().ok().lines_with("Published")
    days.assert_complete()
    before, after = (
        {row.file_path for row in files.where("partition.snapshot_date < '2018-12-01'").collect()}
        for files in (
            days.project.data_files("churn_features", version_of(days.versions, "churn_features")),
            days.project.data_files("churn_features"),
        )
    )
    assert before == after
    assert len(after) >= 60


def test_tables_go_back_and_dates_are_rebuilt(days: Days) -> None:
    """To the first build, by its invocation; the next one loads again what came later."""
    project, audit = days.project, days.project.source("audit.model_builds")
    days.land_later_days()
    invocation = audit.where(f"build_name = '{days.first}'").first().invocation_id
    back = project.run_operation("rollback", build=invocation, built=True).ok()
    assert back.lines_with(f"Readers now see {days.first}, and all tables are as it left them")
    assert project.versions() == {
        name: version_of(days.versions, name) for name in project.tables()
    }
    assert project.published() == days.published

    spark = audit.sparkSession
    mart = project.relation("fct_user_days")
    spark.sql(f"update {mart} set events = events + 1 where activity_date = '2018-10-05'")
    spark.sql(f"delete from {mart} where activity_date = '2018-10-06'")
    for first, last, sentence in (
        ("2017-01-01", "2017-01-31", "No date from 2017-01-01 to 2017-01-31 has a line"),
        ("2018-10-05", "soon", "soon is no date; write it as 2018-10-05"),
        ("2018-10-05", "", "Name the dates: --args"),
    ):
        refused = project.run_operation("rebuild_dates", first=first, last=last)
        assert refused.status != 0
        assert refused.lines_with(sentence)
    rebuild = project.run_operation("rebuild_dates", first="2018-10-05", last="2018-10-06").ok()
    assert rebuild.lines_with(r"Marked 2 date\(s\)")
    (last,) = re.findall(r"build_\w+", project.build().ok().lines_with("Published")[0])
    days.assert_complete()
    built = project.source("audit.model_builds").where(f"build_name = '{last}'")
    changes = {row.model_name: row.change for row in built.collect()}
    assert changes["fct_user_days"] == changes["churn_features"] == "updated"  # not made anew


def test_every_operation_is_in_the_help(days: Days) -> None:
    documented = yaml.safe_load((ROOT / "macros" / "_operations.yml").read_text())["macros"]
    listed = days.project.run_operation("help_operations").ok().output
    for operation in documented:
        assert f"run-operation {operation['name']} " in listed or "help" in operation["name"]


def every_version(project: Project) -> dict[str, list[tuple]]:
    """All snapshots and tags of every table, that of the runs among them."""
    spark = project.table("page_catalogue").sparkSession
    relations = {name: project.relation(name) for name in [*project.tables(), "page_catalogue"]}
    relations["model_builds"] = f"{project.schema}_audit.model_builds"
    return {
        name: [
            *map(tuple, spark.sql(f"select * from {relation}.refs").collect()),
            *map(tuple, spark.sql(f"select * from {relation}.snapshots").collect()),
        ]
        for name, relation in relations.items()
    }


def version_of(versions: dict[str, list[tuple]], table: str) -> int:
    """The snapshot that was current."""
    return next(row[2] for row in versions[table] if row[0] == "main")
