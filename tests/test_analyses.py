"""The analysts' questions in analyses/ run on what is published, and answer what they ask."""

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from tests.make_log import Event, make_log
from tests.warehouse import ROOT, Project, answers_of

FOLDER = ROOT / "analyses"
NAMES = sorted(path.stem for path in FOLDER.glob("*.sql"))
# the ends of the select lists; a question whose answer has other columns is another question
COLUMNS = {
    "active_users_by_date": "kpi_date active_users active_users_last_28_days"
    " active_share_of_last_28_days",
    "active_users_by_week": "week_start_date active_users change_to_week_before",
    "adverts_of_free_and_paid_days": "is_paid_day user_days adverts adverts_per_day",
    "artists_in_the_charts_for_longest": "artist weeks best_rank plays",
    "busiest_weekday": "day_of_week active_users_per_date songs_per_date",
    "churn_by_level": "level users churned_users churned_share",
    "churn_by_state": "state users churned_users",
    "churn_rate_by_week": "week_start_date active_users churned_users churned_share",
    "dates_with_most_errors": "kpi_date errors active_users errors_per_user",
    "listening_hours_by_week": "week_start_date listening_hours listening_hours_per_user",
    "most_active_users": "user_id level active_days songs distinct_songs",
    "paid_share_by_week": "week_start_date paid_users free_users paid_share",
    "plan_changes_in_all": "direction visits submits submits_per_visit",
    "plays_cut_short": "artist song followed_plays cut_short_plays cut_short_share",
    "retention_of_long_standing_users": "week_start_date first_level cohort_users active_users"
    " retained_share",
    "sessions_by_platform": "platform sessions minutes_per_session songs_per_session",
    "states_with_most_listening": "state sessions listening_hours",
    "thumbs_of_churned_users": "is_churned thumbs_up thumbs_down liked_share",
    "top_songs_of_the_last_week": "chart_rank artist song plays users",
    "upgrade_funnel": "week_start_date visiting_users converted_users converted_share",
}


@pytest.fixture(scope="module")
def answers(sample: Project) -> dict[str, pd.DataFrame]:
    """The answer to each question, by the SQL that `dbt compile` leaves for a client."""
    return answers_of(sample.questions())


@pytest.fixture(scope="module")
def events() -> list[Event]:
    """The log of data/sample, made again; the 62 days of users with an id."""
    return [event for event in make_log(users=60, days=62, seed=8) if event["userId"]]


def test_each_question_is_described_and_is_plain_sql() -> None:
    described = yaml.safe_load((FOLDER / "_analyses.yml").read_text())["analyses"]
    assert len(NAMES) == 20
    assert {each["name"]: each["description"] for each in described} == {
        name: first_comment(FOLDER / f"{name}.sql") for name in NAMES
    }
    for name in NAMES:
        text = (FOLDER / f"{name}.sql").read_text()
        assert "{%" not in text
        assert text.count("{{") == text.count("{{ target.schema }}_published.") > 0


def first_comment(path: Path) -> str:
    line = path.read_text().splitlines()[0]
    assert line.startswith("-- ")
    assert line.endswith("?")
    return line.removeprefix("-- ")


@pytest.mark.parametrize("name", NAMES)
def test_answers_have_their_columns_and_rows(name: str, answers: dict[str, pd.DataFrame]) -> None:
    assert list(answers[name].columns) == COLUMNS[name].split()
    assert len(answers[name]) > 0


@pytest.fixture(scope="module")
def reader(sample: Project, warehouse: Path) -> Any:
    """A DuckDB on the published marts."""
    pytest.importorskip("duckdb", reason="no duckdb for this Python in requirements.txt")
    from warehouse.published import connect

    return connect(warehouse, sample.schema)


# as they are; one has names of weekdays, which the engines write in two ways
@pytest.mark.parametrize("name", [name for name in NAMES if name != "busiest_weekday"])
def test_duckdb_gives_the_answers_of_spark(
    name: str, answers: dict[str, pd.DataFrame], reader: Any
) -> None:
    sql = (FOLDER / f"{name}.sql").read_text().replace("{{ target.schema }}", "sample")
    found = plain(reader.sql(sql).df())
    pd.testing.assert_frame_equal(found, plain(answers[name]), check_dtype=False)


def plain(answer: pd.DataFrame) -> pd.DataFrame:
    """Dates as text: one engine has dates, the other timestamps."""
    dates = [name for name in answer if name.endswith("_date")]
    return answer.assign(**{name: pd.to_datetime(answer[name]).dt.date for name in dates})


def test_plan_changes(answers: dict[str, pd.DataFrame], events: list[Event]) -> None:
    pages = Counter(event["page"] for event in events)
    found = answers["plan_changes_in_all"].set_index("direction")
    assert found[["visits", "submits"]].to_dict("index") == {
        "downgrade": {"visits": pages["Downgrade"], "submits": pages["Submit Downgrade"]},
        "upgrade": {"visits": pages["Upgrade"], "submits": pages["Submit Upgrade"]},
    }


def test_churn(answers: dict[str, pd.DataFrame], events: list[Event]) -> None:
    churned = {e["userId"] for e in events if e["page"] == "Cancellation Confirmation"}
    found = answers["churn_by_level"]
    assert found["churned_users"].sum() == len(churned) > 0
    assert found["users"].sum() == len({event["userId"] for event in events})


def test_most_active_users(answers: dict[str, pd.DataFrame], events: list[Event]) -> None:
    songs = Counter(event["userId"] for event in events if event["page"] == "NextSong")
    first = sorted(songs.items(), key=lambda each: (-each[1], each[0]))[:10]
    found = answers["most_active_users"]
    assert list(zip(found["user_id"], found["songs"], strict=True)) == first


def test_active_users_of_dates_and_weeks(
    answers: dict[str, pd.DataFrame], events: list[Event]
) -> None:
    users = pd.DataFrame(
        {
            "date": pd.to_datetime([event["ts"] for event in events], unit="ms").normalize(),
            "user_id": [event["userId"] for event in events],
        }
    )
    dates = users.groupby("date")["user_id"].nunique()
    found = answers["active_users_by_date"]
    found = found.set_index(pd.to_datetime(found["kpi_date"]))
    assert found["active_users"].to_dict() == {d: dates[d] for d in found.index}
    for date, lately in found["active_users_last_28_days"].items():
        window = users["date"].between(date - pd.Timedelta(days=27), date)
        assert lately == users.loc[window, "user_id"].nunique()

    weeks = users.groupby(users["date"] - pd.to_timedelta(users["date"].dt.weekday, unit="D"))
    found = answers["active_users_by_week"]
    assert found["active_users"].to_list() == [
        weeks["user_id"].nunique()[pd.Timestamp(week)] for week in found["week_start_date"]
    ]


def test_plays_cut_short(answers: dict[str, pd.DataFrame], events: list[Event]) -> None:
    """What a user leaves the song for comes more than a second before its end."""
    beside = ("Thumbs Up", "Thumbs Down", "Add to Playlist", "Add Friend")
    visits = sorted(
        (event for event in events if event["page"] not in beside),
        key=lambda e: (e["userId"], e["ts"], e["sessionId"], e["itemInSession"]),
    )
    followed, cut_short = Counter(), Counter()
    for play, then in pairwise(visits):
        sides = [(e["userId"], e["sessionId"], monday(e)) for e in (play, then)]
        if play["page"] == "NextSong" and sides[0] == sides[1]:
            song = play["artist"], play["song"]
            followed[song] += 1
            cut_short[song] += then["ts"] - play["ts"] < round(play["length"] * 1000) - 1000
    rows = answers["plays_cut_short"].itertuples()
    found = {(row.artist, row.song): (row.followed_plays, row.cut_short_plays) for row in rows}
    assert found == {song: (followed[song], cut_short[song]) for song in found}
    shares = {song: cut_short[song] / plays for song, plays in followed.items() if plays >= 20}
    most = sorted(shares.values(), reverse=True)[:10]
    assert sorted((shares[song] for song in found), reverse=True) == pytest.approx(most, abs=0.001)
    assert most[-1] > 0


def monday(event: Event) -> int:
    """Number of the week of an event; the first of 1970 was a Thursday."""
    return (event["ts"] // 86_400_000 + 3) // 7
