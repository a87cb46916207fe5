"""The report: it says what its SQL says, and a browser shows it, hostile names and all."""

from __future__ import annotations

import json
import os
import pickle
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta, timezone
from html.parser import HTMLParser
from importlib.util import find_spec
from itertools import combinations, pairwise, product
from multiprocessing import get_context
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession
from scipy.stats import binomtest
from sqlglot import parse_one

from ml import card, store
from ml.features import FEATURES
from ml.models import RECENCY, Rates, model_name
from ml.reasons import Explained
from report import charts, data, page, svg
from report.__main__ import main
from report.curves import Curves
from report.data import build_name, query
from report.figures import (
    FIGURES,
    MODULES,
    calibration,
    models_compared,
    page_counts,
    profit,
    weekly,
)
from report.figures.map import places
from report.profit import Assumptions
from tests.conftest import MakeProject
from tests.make_log import Event, make_log
from tests.pages import blocks
from tests.warehouse import ROOT, Project, active_spark, ansi_mode, answers_of, environment
from warehouse.session import Target, load_target

SHOTS = ROOT / "target" / "report_screenshots"
SCHEMA = "report"
RUN = "20181121-5ca1ab1e"
OF_WEEKS = ("retained_users", "cohort_users", "retention")  # metrics that no date has
DRAWN: dict[str, str] = {}
QUERIES = sorted(data.QUERIES)

ATTACK = "</script></style></title><img src=x onerror=\"hacked=1\"><svg onload='hacked=2'>{{ 7*7 }}"
# What a page, a drawing or a terminal cannot take as it is: controls, the end of a line, half of a
# surrogate pair, what is no character, marks of direction. Then some that they can.
AWKWARD = (
    "\0 \x01 a\x0bb \x1b[2J \x7f \x9b 1\r\n2 \ud83c \ufdd0 \ufffe \uffff \u202e \u2067 \u2069"
    " e\u0301 \U0001f3b5 \xa0 ]]> &amp; [/x] [bold]"
)
SHOWN = "� � a b �[2J � � 1  2 {half} � � � � � � e\u0301 \U0001f3b5 \xa0 ]]> &amp; [/x] [bold]"
# Spark has a ? in place of half a pair
AWKWARD_SHOWN = SHOWN.format(half="?")
LEFTWARD = "שלום 5"
HOSTILE = {
    "artist": f"Band {ATTACK}{AWKWARD}",
    "song": f"Song {ATTACK}<script>hacked=3</script>{AWKWARD}",
    "userAgent": f"Agent {ATTACK}{AWKWARD}",
    "firstName": f"First {ATTACK}",
    "lastName": f"Last {ATTACK}",
    "gender": f"G {ATTACK}{AWKWARD}",
}
HOSTILE_CITY = f"City {ATTACK}{AWKWARD}"
HOSTILE_USER = f"user [/x][bold] {ATTACK}"
SHOWN_NAMES = (
    f"Band {ATTACK}{AWKWARD_SHOWN}",
    f"Song {ATTACK}<script>hacked=3</script>{AWKWARD_SHOWN}",
    f"\u2068{LEFTWARD}\u2069",
)
# Monday to Sunday of a complete week in which nobody but logged-out visitors comes
NOBODY = pd.date_range("2018-10-22", "2018-10-28")


@dataclass(frozen=True)
class Written:
    """A report: its file, the SQL that ran, the exit status, and what was read."""

    path: Path
    ran: list[str]
    status: int
    read: data.Data | None

    @property
    def html(self) -> str:
        """The text of the file."""
        return self.path.read_text(encoding="utf-8")


# --- one build for all ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def events() -> list[Event]:
    """A log in which one user, one band and one city have names that attack the page, another band
    one from right to left; for a week nobody logs in."""
    found = make_log(users=40, days=45, seed=3)
    attacker = found[-1]["userId"]
    for event in found:
        if event["userId"] == attacker:
            event |= {k: v for k, v in HOSTILE.items() if k not in ("artist", "song")}
            event |= {"userId": HOSTILE_USER, "location": f"{HOSTILE_CITY}, TX"}
        if event.get("artist") == "Dancer Ocean":
            event |= {"artist": HOSTILE["artist"], "song": HOSTILE["song"]}
        if event.get("artist") == "Distant Echo Tiger":
            event["artist"] = LEFTWARD
    in_week = {f"{date:%Y-%m-%d}" for date in NOBODY}
    found = [event for event in found if not event["userId"] or date_of(event) not in in_week]
    nobody = next(event for event in found if not event["userId"])
    visits = [nobody | {"ts": int(date.timestamp() * 1000), "sessionId": 1} for date in NOBODY]
    return sorted([*found, *visits], key=lambda event: event["ts"])


def date_of(event: Event) -> str:
    return f"{datetime.fromtimestamp(event['ts'] / 1000, timezone.utc):%Y-%m-%d}"


@pytest.fixture(scope="module")
def project(make_project: MakeProject, events: list[Event]) -> Project:
    """The log, built and published; nobody is scored yet."""
    made = make_project(SCHEMA)
    # half a surrogate pair is text of JSON by its escape alone
    (made.raw / "events.json").write_text("".join(f"{json.dumps(each)}\n" for each in events))
    made.build().ok()
    return made


def write_report(path: Path, *arguments: str, schema: str = SCHEMA, ansi: bool = False) -> Written:
    """Run the command in this process, and note every query and what was read."""
    ran: list[str] = []
    found: list[data.Data] = []
    sql, read, draw = SparkSession.sql, data.read, svg.draw

    def noted(self: SparkSession, text: str, *more: Any, **others: Any) -> Any:
        ran.append(text)
        return sql(self, text, *more, **others)

    def kept(*arguments: Any) -> data.Data:
        with ansi_mode(arguments[0], ansi):
            found.append(read(*arguments))
        return found[0]

    def drawn(chart: Any, label: str) -> str:
        # most charts are the same in each report of this module
        text = json.dumps(chart.to_dict()) + label
        if text not in DRAWN:
            DRAWN[text] = draw(chart, label)
        return DRAWN[text]

    active_spark()
    with pytest.MonkeyPatch.context() as patch, environment({"CHURN_SCHEMA": schema}):
        patch.setattr(SparkSession, "sql", noted)
        patch.setattr(data, "read", kept)
        patch.setattr(svg, "draw", drawn)
        status = main(["--out", str(path), *arguments])
    return Written(path, ran, status, found[0] if found else None)


@pytest.fixture(scope="module")
def without_model(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Written:
    """The report before a model is trained."""
    folder = tmp_path_factory.mktemp("without_model")
    return write_report(folder / "report.html", "--artifacts", str(folder))


@pytest.fixture(scope="module")
def artifacts(
    project: Project, without_model: Written, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A model run as training leaves it, and scores with reasons that attack the page."""
    folder = tmp_path_factory.mktemp("artifacts")
    run, metrics, rows = made_up_run()
    texts = {"run.json": json.dumps(run), "metrics.json": json.dumps(metrics)}
    none = {RECENCY: 0.0}
    model = Explained((0.0,), {RECENCY: 1.0}, none, none, (), Rates((), (0.1,)))
    store.save_run(folder, RUN, model, texts)
    spark, target = active_spark(), target_of_report()
    store.replace(spark, target, "model_runs", spark.createDataFrame(rows, card.MODEL_RUNS), RUN)
    spark.createDataFrame([(ATTACK,)], "reason string").createOrReplaceTempView("attack")
    spark.sql(
        f"""
        insert into {target.ml}.churn_scores (
            model_run_id, snapshot_date, user_id, churn_probability,
            reason_1, reason_2, reason_3, scored_at
        )
        select '{RUN}', snapshot_date, user_id, pmod(xxhash64(user_id), 1000) / 2500D,
            concat('Reason ', attack.reason), 'Second reason', 'Second reason',
            timestamp '2018-11-15 00:00:00'
        from {target.published}.churn_features cross join attack
        where snapshot_date = (select current_snapshot_date from {target.published}.churn_calendar)
        """
    )
    day = spark.table(f"{target.published}.churn_calendar").first()["current_snapshot_date"]
    store.serve(spark, target, RUN, day, datetime.now(timezone.utc))
    return folder


@pytest.fixture(scope="module")
def written(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Written:
    """The report with everything in it."""
    path = tmp_path_factory.mktemp("written") / "sub folder" / "report.html"
    return write_report(path, "--artifacts", str(artifacts), ansi=True)


@pytest.fixture(scope="module")
def answers(written: Written) -> dict[str, pd.DataFrame]:
    """The answer to each query, which the page shows."""
    return {name: answer.rows for name, answer in written.read.answers.items()}


def target_of_report() -> Target:
    with environment({"CHURN_SCHEMA": SCHEMA}):
        return load_target(profiles_dir=ROOT)


def sql_of(name: str) -> str:
    return query(name, target_of_report())


def made_up_run() -> tuple[dict, dict, list[tuple]]:
    """run.json, metrics.json and the rows of model_runs, as ml/train.py makes them."""
    source = np.random.default_rng(4)
    size = 600
    risk = source.beta(1, 12, size)
    names = ["base_rate", "recency", "xgboost"]
    predictions = pd.DataFrame(
        {
            "user_id": np.repeat(np.arange(size // 4), 4),
            "label": (source.random(size) < risk).astype(float),
            "is_paid": source.integers(0, 2, size),
            "tenure_days": source.integers(1, 200, size),
            "is_new": np.repeat(source.random(size // 4) < 0.3, 4),
            "base_rate": 0.08,
            "recency": np.round(risk + source.normal(0, 0.1, size), 1),
            "xgboost": risk,
        }
    )
    run = {
        "model_run_id": RUN,
        "trained_at": "2018-11-15T00:00:00+00:00",
        "horizon_days": 10,
        "fit": {"first": "2018-10-02", "last": "2018-11-05"},
        "backtest": [{"test_first": "2018-11-03", "test_last": "2018-11-05"}],
        "models": names,
        "chosen": "xgboost",
        "losses": {},
    }
    strengths = [
        {"feature": f.name, "theme": f.theme, "mean_log_odds": 1 / (i + 1), "direction": None}
        for i, f in enumerate(FEATURES)
    ]
    figures = card.all_figures(predictions, names, "xgboost", replicates=10)
    metrics = card.metrics_json(run, predictions, figures, strengths)
    return run, metrics, card.model_run_rows(run, figures)


# --- what is written -----------------------------------------------------------------------------


class Reader(HTMLParser):
    """What a page is made of: elements with attributes, and text by element."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.code: list[str] = []
        self.text = ""
        self._in: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._in.append(tag)
        if tag == "code":
            self.code.append("")

    def handle_endtag(self, tag: str) -> None:
        while self._in and self._in.pop() != tag:
            pass

    def handle_data(self, text: str) -> None:
        if "code" in self._in:
            self.code[-1] += text
        elif not {"style", "script"} & set(self._in):
            self.text += text


def test_it_is_one_file_that_asks_for_nothing(written: Written) -> None:
    assert written.status == 0
    assert 200_000 < written.path.stat().st_size < 8_000_000
    page = Reader(written.html)
    for tag, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
            value = attributes.get(name) or "#"
            assert value.startswith("#") or (tag, value) == ("link", "data:,"), (tag, name, value)
        assert not [name for name in attributes if name.startswith("on") or name == "style"], tag
    assert not re.search(r"url\((?!#)|@import", written.html)
    # numbers of axes as in the tables: 200, not 2e+2
    assert not re.search(r">[\d.]+e[+-]?\d+<", written.html)
    # places in tenths of a pixel: two reports of the same rows are the same picture
    assert not re.search(r' (?:d|transform|[xy][12]?|width|height)="[^"]*\.\d\d', written.html)
    metas = [attributes for tag, attributes in page.elements if tag == "meta"]
    csp = next(m["content"] for m in metas if m.get("http-equiv") == "Content-Security-Policy")
    assert csp.startswith("default-src 'none'; ")
    assert "unsafe" not in csp and "http" not in csp and "*" not in csp


def test_policy_names_the_very_text() -> None:
    assert page.policy("a", "b") != page.policy("a ", "b") != page.policy("a ", "b ")


def test_it_shows_the_sql_that_ran_and_no_other(written: Written) -> None:
    shown = Reader(written.html).code
    assert set(shown) == {sql_of(name) for name in QUERIES}
    assert set(shown) <= set(written.ran)
    others = [sql for sql in written.ran if sql not in shown]
    assert all(re.match(r"show (schemas|views|tables) |select '\w+' as mart", s) for s in others)


@pytest.mark.parametrize("name", QUERIES)
def test_queries_ask_a_question_of_what_is_published(name: str) -> None:
    text = data.QUERIES[name].read_text()
    assert text.startswith("-- ") and text.splitlines()[0].endswith("?")
    schemas = re.findall(r"{{ target\.schema(?:\.split\('\.'\)\[-1\])? }}_", text)
    assert text.count("{{") == len(schemas) > 0 and "{%" not in text
    read = set(re.findall(r"}}_(\w+\.\w+)", text))
    assert all(table.startswith("published.") or table == "ml.model_runs" for table in read)


def test_it_says_what_it_shows(written: Written, answers: dict[str, pd.DataFrame]) -> None:
    text = Reader(written.html).text
    builds = active_spark().sql(
        f"select max(name) from {SCHEMA}_marts.churn_features.refs where name like 'build_%'"
    )
    assert builds.first()[0] in text
    period = answers["data_period"].iloc[0]
    assert RUN in text
    assert f"Snapshot of {period.current_snapshot_date:%-d %B %Y}" in text
    for day in (period.first_event_date, period.last_event_date, period.last_complete_date):
        assert f"{day:%-d %B %Y}" in text


def test_it_says_whether_monitoring_trusts_the_listed_scores(
    written: Written, answers: dict[str, pd.DataFrame]
) -> None:
    reason = "Nobody compared these scores with the fit"  # they were written by no `score`
    assert f"Do not trust these scores. {reason}" in Reader(written.html).text
    assert "speaks against these scores" not in Reader(written.html).text
    listed = answers["users_at_risk"]
    assert page.health(listed.assign(distrust_reason=None)) == ""


def test_ansi_mode_changes_no_answer(
    project: Project, without_model: Written, written: Written
) -> None:
    """Sessions of the profile have it off; a client that a query is pasted into may have it on."""
    before = without_model.read.answers
    for name, answer in written.read.answers.items():
        if not before[name].missing and "_ml." not in answer.sql and "churn_risk" not in answer.sql:
            pd.testing.assert_frame_equal(answer.rows, before[name].rows, obj=name)
    texts = published_texts(project)
    strict, lenient = (answers_of(texts, ansi=on) for on in (True, False))
    for name in texts:
        pd.testing.assert_frame_equal(strict[name], lenient[name], obj=name)


def published_texts(project: Project) -> dict[str, str]:
    """All other queries that the project offers: the questions of analysts, the example of each
    mart, and what all metrics are by date and by week."""
    texts = {
        path.name: path.read_text().replace("{{ target.schema }}", SCHEMA)
        for path in (ROOT / "analyses").glob("*.sql")
    }
    for name in project.marts():
        (text,) = re.findall(r"```sql\n(.*?)```", project.nodes()[name]["description"], re.S)
        texts[name] = text.replace("churn_published.", f"{SCHEMA}_published.")
    if find_spec("metricflow"):  # it is not there for each Python
        from warehouse.metrics import metric_sql

        manifest = project.folder / "target" / "semantic_manifest.json"
        metrics = [each["name"] for each in json.loads(manifest.read_text())["metrics"]]
        for by in ("metric_time__day", "metric_time__week"):
            of_day = [name for name in metrics if by.endswith("week") or name not in OF_WEEKS]
            texts[by] = metric_sql(manifest, "spark", of_day, [by], SCHEMA)
    return texts


@pytest.mark.usefixtures("artifacts")
def test_a_reader_without_spark_has_the_same_text(project: Project, warehouse: Path) -> None:
    pytest.importorskip("duckdb", reason="no duckdb for this Python in requirements.txt")
    from warehouse.published import connect

    columns: dict[str, list[str]] = {}
    # of events, all that is behind their view would be read
    for mart in {*project.marts()} - {"fct_events"}:
        view = f"{SCHEMA}_published.{mart}"
        types = active_spark().table(view).dtypes
        columns[view] = [column for column, kind in types if kind == "string"]
    assert sum(map(len, columns.values())) > 15

    def texts(rows_of: Callable[[str], Sequence[Sequence[str]]]) -> set[tuple[str, str, str]]:
        return {
            (view, column, row[number])
            for view, names in columns.items()
            if names
            for row in rows_of(f"select distinct {', '.join(names)} from {view}")
            for number, column in enumerate(names)
        }

    reader = connect(warehouse, SCHEMA)
    found = texts(lambda sql: reader.sql(sql).fetchall())
    assert found == texts(lambda sql: active_spark().sql(sql).collect())
    values = {value for *_, value in found}
    assert {LEFTWARD, HOSTILE_USER} < values
    assert any(value and value.endswith(AWKWARD.replace("\ud83c", "?")) for value in values)


def test_without_a_model_it_is_written_and_says_so(without_model: Written) -> None:
    assert without_model.status == 0
    text = Reader(without_model.html).text
    assert text.count("No model has been trained on this warehouse: run make train") == 2
    assert "none trained yet" in text
    assert "Churn rate by gender and plan" in text
    assert without_model.html.count('role="img"') > 15


def test_without_the_files_of_the_run_it_says_so(artifacts: Path, tmp_path: Path) -> None:
    found = data.read_model(tmp_path, RUN)
    assert RUN in found.problem and "--artifacts" in found.problem and not found.metrics
    assert not data.read_model(artifacts, RUN).problem
    old = tmp_path / RUN
    shutil.copytree(artifacts / RUN, old)
    (old / "metrics.json").write_text("{}")
    assert "run make train" in data.read_model(tmp_path, RUN).problem
    assert data.read_model(tmp_path, None).problem == data.NO_MODEL


def test_a_table_that_is_missing_is_named(project: Project) -> None:
    spark, target = active_spark(), target_of_report()
    tables = data.readable_tables(spark, target)
    assert {f"{SCHEMA}_ml.model_runs", f"{SCHEMA}_published.dim_users"} <= tables
    without = tables - {f"{SCHEMA}_published.weekly_kpis"}
    answer = data.ask(spark, target, "weekly_figures", without)
    assert answer.missing == f"{SCHEMA}_published.weekly_kpis" and answer.rows.empty
    shown = weekly.PAID.shown(data.Data("", "", {answer.name: answer}, data.Model()))
    assert shown.problem == f"There is no {SCHEMA}_published.weekly_kpis yet: run dbt build."


def test_a_log_of_one_day_has_a_report_that_says_what_is_missing(
    answers: dict[str, pd.DataFrame],
) -> None:
    period = answers["data_period"].astype(object)
    period = period.assign(last_complete_date=None, current_snapshot_date=None)
    none = {name: rows.iloc[:0] for name, rows in answers.items()} | {"data_period": period}
    found = {name: data.Answer(name, sql_of(name), rows) for name, rows in none.items()}
    read = data.Data("build_1", "local", found, data.read_model(ROOT, None))
    html = page.render(read, Assumptions(), datetime.now(timezone.utc))
    text = " ".join(Reader(html).text.split())
    for said in ("A log of one day has no snapshot yet.", "The log has no complete week yet.",
                 "No model has been trained on this warehouse", "Snapshot of –."):  # fmt: skip
        assert said in text


def test_nothing_published_is_one_sentence(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = write_report(tmp_path / "report.html", schema="never_built")
    assert found.status == 1
    assert not found.path.exists()
    said = capsys.readouterr().err
    assert "Nothing is published in never_built_published: run `dbt build`" in said


@pytest.mark.parametrize("out", ["file/report.html", "."])
def test_a_file_that_cannot_be_written_is_told_at_once(
    out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["--out", str(tmp_path / out)]) == 1
    assert "--out" in capsys.readouterr().err


@pytest.fixture
def nothing_read(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr("warehouse.session.spark_session", lambda *_: (None, None))
    monkeypatch.setattr("report.data.read", lambda *_: None)
    return monkeypatch


def test_a_process_that_dies_while_it_draws_leaves_no_draft(
    tmp_path: Path, nothing_read: pytest.MonkeyPatch
) -> None:
    nothing_read.setattr("report.page.render", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    out = tmp_path / "report.html"
    out.write_text("the report before")
    child = get_context("fork").Process(target=main, args=(["--out", str(out)],))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert out.read_text() == "the report before"


@pytest.mark.parametrize("error", [KeyError("a drawing"), OSError(28, "No space left on device")])
def test_an_error_leaves_no_draft(
    error: Exception,
    tmp_path: Path,
    nothing_read: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: Any, **__: Any) -> str:
        raise error

    is_full = isinstance(error, OSError)
    nothing_read.setattr("report.page.render", (lambda *_: "a page") if is_full else fail)
    nothing_read.setattr(Path, "replace", fail)
    arguments = ["--out", str(tmp_path / "report.html")]
    if is_full:
        assert main(arguments) == 1
        assert "No space left on device" in capsys.readouterr().err
    else:
        with pytest.raises(KeyError):
            main(arguments)
    assert list(tmp_path.iterdir()) == []


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, status, text in (
        (["--help"], 0, "python -m report --out"),
        (["--save-rate", "2"], 2, "'--save-rate': Input should be less than or equal to 1"),
        (["--contact-cost", "nan"], 2, "'--contact-cost': Input should be"),
        (["--saved-value", "inf"], 2, "'--saved-value': Input should be"),
    ):
        assert main(arguments) == status
        captured = capsys.readouterr()
        assert text in captured.out + captured.err


# --- zeros and nulls -----------------------------------------------------------------------------

DATES = [date(2018, 10, 1) + timedelta(day) for day in range(30)]
WEEKS = DATES[::7]
# of a column, what it may hold, by its name; the first value is zero or null, as Spark gives it
VALUES = {
    "correlation": (np.nan, 0.0, 0.4, -1.0),
    "reason": (None, "Only 3 users were scored."),
    "share|rate|^low$|^high$|hours": (np.nan, np.nan, 0.0, 0.5, 1.0),
    "mean|median|quartile|probability|expected": (0.0, 0.25, 40.0),
    "": (0, 0, 1, 12, 5000),
}


def each(**values: Sequence) -> list[dict[str, Any]]:
    """A row for each combination of the values."""
    return [dict(zip(values, row, strict=True)) for row in product(*values.values())]


# of each query, the keys of its rows; the value of each other column is drawn for itself
PERIOD = ("first_event", "last_event", "last_complete", "current_snapshot")
CORRELATED = ("is_churned_next_10_days", "is_paid", "tenure_days")
CHART = {"week_start_date": WEEKS[:1], "artist": ["Nulla"]}
ROWS = {
    "churn_by_month": each(month_start_date=[date(2018, 10, 1), date(2018, 11, 1)]),
    "churn_by_gender_and_level": each(gender=["F", "M", None], level=["free", "paid", None])[:-1],
    "map_of_states": each(state=["TX", "OH", "??"]),
    "map_of_areas": [{"metro_area": "Houston", "state": "TX"}, {"metro_area": "?", "state": None}],
    "distributions": [
        *each(kind=["lifetime"], is_churned=[True, False], bin_start=[0, 7, 140], bin_size=[7]),
        *each(kind=["listening"], is_churned=[True, False], bin_start=[0, 100], bin_size=[5]),
    ],
    "page_counts": each(is_churned=[True, False], page_category=["songs", "errors"]),
    "feature_correlations": [
        {"feature": one, "other_feature": other} for one, other in combinations(CORRELATED, 2)
    ],
    "missing_values": [
        {"mart": "dim_users", "column_name": "gender"},
        {"mart": "churn_features", "column_name": "tenure_days"},
    ],
    "daily_activity": each(kpi_date=DATES),
    "weekly_figures": each(week_start_date=WEEKS),
    "plan_changes_after_a_look": each(direction=["upgrade", "downgrade"]),
    "retention_cohorts": each(cohort_week_start_date=DATES[:15:7], weeks_since=[0, 1]),
    "retention_before_log": each(week_start_date=WEEKS, first_level=["free", "paid"]),
    "top_charts": [
        *each(kind=["artist"], chart_rank=[1, 2], song=[None], **CHART),
        *each(kind=["song"], chart_rank=[1], song=["NaN"], **CHART),
    ],
    "risk_by_decile": each(risk_decile=[1, 2]),
    "users_at_risk": [
        {
            **dict.fromkeys(["level", "state", "platform", "last_event_at"]),
            **dict.fromkeys(["reason_1", "reason_2", "reason_3"], "None."),
            "risk_rank": 1,
            "user_id": "[/x]",
            "snapshot_date": DATES[0],
        }
    ],
    "data_period": [dict.fromkeys(f"{name}_date" for name in PERIOD)],
    "shown_model": [],
    "model_figures": [],
}


def columns_of(sql: str) -> list[str]:
    return parse_one(re.sub("{{.*?}}", SCHEMA, sql), dialect="spark").named_selects


def values_of(column: str) -> Sequence:
    return next(values for pattern, values in VALUES.items() if re.search(pattern, column))


def made_up_answers(
    value: Callable[[Sequence], Any], rows: dict = ROWS, **more_sql: str
) -> data.Data:
    """An answer to each query, each value chosen among those of its column."""
    answers = {}
    for name, keys in rows.items():
        sql = more_sql.get(name) or data.QUERIES[name].read_text()
        filled = [{each: value(values_of(each)) for each in columns_of(sql)} | key for key in keys]
        answers[name] = data.Answer(name, "", pd.DataFrame(filled))
    return data.Data("build_1", "local", answers, data.Model())


def test_zeros_and_nulls_are_no_error_and_no_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    def specified(chart: Any, label: str) -> str:
        # Vega-Lite has no NaN; a null it leaves out
        return json.dumps(chart.to_dict(validate=False), allow_nan=False)

    assert ROWS.keys() == set(QUERIES)
    monkeypatch.setattr(svg, "draw", specified)
    monkeypatch.setattr(places, "outlines", dict)  # large, and always the same

    # nothing is made smaller that fails: a page takes a second
    @settings(max_examples=3, deadline=None, phases=[Phase.explicit, Phase.generate])
    @given(st.randoms())
    @example(None)
    def holds(source: random.Random | None) -> None:
        found = made_up_answers(source.choice if source else itemgetter(0))
        for part in (page.sections, page.tiles, page.risk_list):
            assert not re.search(r"\b(nan|inf)\b", repr(part(found))), part

    holds()


# --- figures -------------------------------------------------------------------------------------

RENDER = """
import pickle, sys
from datetime import datetime, timezone
from report import page, svg
svg.draw = lambda chart, label: label
read = pickle.load(sys.stdin.buffer)
print(page.render(read, read.assumed, datetime.now(timezone.utc)))
"""


def test_each_module_has_figures_with_a_place_of_their_own() -> None:
    folder = ROOT / "report" / "figures"
    names = {path.stem for path in folder.iterdir() if path.suffix in ("", ".py")}
    assert {module.__name__.split(".")[-1] for module in MODULES} == {
        name for name in names if not name.startswith("__")
    }
    for module in MODULES:
        assert any(figure in vars(module).values() for figure in FIGURES), module
    for what in ("id", "place", "title"):
        assert len({getattr(figure, what) for figure in FIGURES}) == len(FIGURES)
    assert {figure.place[0] for figure in FIGURES} == {*page.SECTIONS, "risk"}


def test_a_figure_comes_and_goes_with_its_files(
    project: Project, events: list[Event], tmp_path: Path
) -> None:
    """Without the map, and with the example of the documentation."""
    guide, name = ROOT / "docs" / "report.md", "users_by_platform"
    ((sql,), (module, test)) = (blocks(guide, language) for language in ("sql", "python"))
    answers = answers_of({name: sql.replace("{{ target.schema }}", SCHEMA)})
    of_test = {**globals(), "ROWS": dict(ROWS)}
    exec(test, of_test)
    of_test["test_each_user_has_one_device"](answers, events)

    leave_out = shutil.ignore_patterns("map", "__pycache__")
    shutil.copytree(ROOT / "report", tmp_path / "report", ignore=leave_out)
    for ending, text in (("sql", sql), ("py", module)):
        (tmp_path / "report" / "figures" / f"{name}.{ending}").write_text(text)
    found = made_up_answers(itemgetter(0), of_test["ROWS"], **{name: sql})
    known = {name: answer for name, answer in found.answers.items() if "map" not in name}
    html = subprocess.run(
        [sys.executable, "-c", RENDER],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        input=pickle.dumps(replace(found, answers=known)),
        stdout=subprocess.PIPE,
        check=True,
    ).stdout.decode()
    assert 'id="map"' not in html and "GeoNames" not in html and 'id="groups"' in html
    assert "0 of 0 users come with iPhone." in html


def test_figures_are_those_of_the_log(
    answers: dict[str, pd.DataFrame], events: list[Event], written: Written
) -> None:
    known = [event for event in events if event["userId"]]
    users = {event["userId"]: event for event in known}  # the last event of each
    churned = {e["userId"] for e in known if e["page"] == "Cancellation Confirmation"}
    assert churned
    period = answers["data_period"].iloc[0]
    assert (period.users, period.churned_users, period.events) == (
        len(users), len(churned), len(known)
    )  # fmt: skip
    groups = answers["churn_by_gender_and_level"]
    women = groups[(groups["gender"] == "F") & groups["level"].isna()].iloc[0]
    ids = {user for user, event in users.items() if event["gender"] == "F"}
    assert (women.users, women.churned_users) == (len(ids), len(ids & churned))
    states = answers["map_of_states"]
    assert states["users"].sum() == len(users) and states["churned_users"].sum() == len(churned)
    areas = answers["map_of_areas"]
    assert f"City {ATTACK}{AWKWARD_SHOWN}" in set(areas["metro_area"])
    songs = answers["page_counts"]
    songs = songs[songs["page_category"] == "songs"]
    assert songs["users"].sum() == len(users)

    text = " ".join(Reader(written.html).text.split())
    assert f"{len(churned)} have churned ({len(churned) / len(users):.1%})" in text
    top = answers["top_charts"]
    assert {*top["kind"]} == {"artist", "song"}
    artist = top[top["kind"] == "artist"].iloc[0]
    assert f"{artist.artist} was played most: {artist.plays:,} times" in text


def test_intervals_are_wilsons(answers: dict[str, pd.DataFrame]) -> None:
    names = {"active_users": "users", "churned_share": "churn_rate"}
    weekly = answers["weekly_figures"].rename(columns=names)
    nobody = weekly[weekly["users"] == 0]
    assert list(nobody["week_start_date"]) == [NOBODY[0].date()]
    assert nobody[["low", "high", "churn_rate"]].isna().all(axis=None)
    weekly = weekly.drop(nobody.index)
    for rows in (answers["churn_by_gender_and_level"], answers["map_of_states"], weekly):
        for row in rows.itertuples():
            expected = binomtest(row.churned_users, row.users).proportion_ci(method="wilson")
            assert (row.low, row.high) == pytest.approx((expected.low, expected.high), abs=1e-6)
            assert row.low - 1e-9 <= row.churn_rate <= row.high + 1e-9


def test_distributions_hold_every_user(answers: dict[str, pd.DataFrame]) -> None:
    users = active_spark().table(f"{SCHEMA}_published.dim_users").toPandas()
    minutes = users["listening_milliseconds"] / users["active_days"] / 60_000
    lifetime = (
        users["last_event_at"].dt.normalize() - users["registered_at"].dt.normalize()
    ).dt.days[users["last_event_at"] >= users["registered_at"]]
    both = answers["distributions"]
    for kind, values in (("listening", minutes), ("lifetime", lifetime)):
        rows = both[both["kind"] == kind]
        assert rows["users"].sum() == len(values)
        for churned, group in rows.groupby("is_churned"):
            assert group["share_of_group"].sum() == pytest.approx(1)
            expected = values[users["is_churned"] == churned].median()
            assert list(group["median"]) == pytest.approx([expected] * len(group))


def test_correlations_are_those_of_pandas(answers: dict[str, pd.DataFrame]) -> None:
    rows = answers["feature_correlations"]
    features = active_spark().table(f"{SCHEMA}_published.churn_features").toPandas()
    features = features[features["is_churned_next_10_days"].notna()]
    days = pd.to_datetime(features["snapshot_date"])
    features = features[(days.max() - days).dt.days % 10 == 0]
    names = sorted({*rows["feature"], *rows["other_feature"]})
    expected = features[names].astype(float).corr(method="spearman")
    assert len(rows) == len(names) * (len(names) - 1) / 2
    both = [expected.loc[row.feature, row.other_feature] for row in rows.itertuples()]
    assert list(rows["correlation"]) == pytest.approx(both, abs=1e-9, nan_ok=True)


def test_months_count_each_user_once_by_what_became_known(
    answers: dict[str, pd.DataFrame],
) -> None:
    features = active_spark().table(f"{SCHEMA}_published.churn_features").toPandas()
    today = answers["data_period"].iloc[0].current_snapshot_date
    features = features[features["snapshot_date"] <= today]
    month = pd.to_datetime(features["snapshot_date"]).dt.strftime("%Y-%m")
    for row in answers["churn_by_month"].itertuples():
        of_month = features[month == f"{row.month_start_date:%Y-%m}"]
        labels = of_month.groupby("user_id")["is_churned_next_10_days"].agg(
            lambda found: None if found.isna().all() else bool(found.dropna().any())
        )
        assert (row.churned_users, row.stayed_users, row.unknown_users) == (
            (labels == True).sum(),  # noqa: E712
            (labels == False).sum(),  # noqa: E712
            labels.isna().sum(),
        )


def test_findings_name_the_figures_of_their_rows(
    answers: dict[str, pd.DataFrame], written: Written
) -> None:
    text = " ".join(Reader(written.html).text.split())
    ratios = page_counts.ratios(answers["page_counts"])
    assert f"{ratios['ratio'].max():.2f} times as many" in text
    risk = answers["risk_by_decile"]
    assert f"{risk['expected_cancellations'].sum():.1f} of {risk['users'].sum()} users" in text
    first = answers["users_at_risk"].iloc[0]
    assert f"{first.churn_probability:.1%}" in text
    figures = answers["model_figures"]
    auc = figures[(figures["metric"] == "roc_auc") & figures["is_chosen"]]
    for row in auc.itertuples():
        assert f"{row.value:.3f} ({row.low:.3f} to {row.high:.3f})" in text


def test_every_figure_of_the_models_stands_beside_its_name(
    answers: dict[str, pd.DataFrame],
) -> None:
    rows = answers["model_figures"][answers["model_figures"]["cohort"] == "all"]
    chart = models_compared.draw(charts.with_dates_as_text(rows), 362).to_dict()
    shown = next(iter(chart["datasets"].values()))
    wanted = rows[rows["metric"] == "roc_auc"]
    assert {(row["name"].removesuffix(" (chosen)"), row["value"]) for row in shown} == {
        (model_name(row.model_name), row.value) for row in wanted.itertuples()
    }
    listed = models_compared.table(rows)
    for row in wanted.itertuples():
        cells = next(c for c in listed.rows if c[0] == model_name(row.model_name))
        column = listed.headings.index("ROC AUC")
        assert cells[column].startswith(f"{row.value:.3f}")
    chosen = next(c for c in listed.rows if c[0] == model_name("xgboost"))
    by_name = dict(zip(listed.headings, chosen, strict=True))
    assert "–" in by_name["Calibration slope"] and "–" in by_name["Calibration intercept"]
    assert "–" not in by_name["Calibration error"]


def test_profit_by_hand() -> None:
    # 1,000 users, 50 churners; the first tenth holds 20 of them
    points = [
        {"share": 0.1, "recall": 0.4, "precision": 0.2},
        {"share": 1.0, "recall": 1.0, "precision": 0.05},
    ]
    assumed = Assumptions(contact_cost=1, saved_value=60, save_rate=0.5)
    found = profit.profit_curve(points, assumed)
    assert list(found["profit"]) == pytest.approx([20 * 0.5 * 60 - 100, 50 * 0.5 * 60 - 1000])

    def sentence(assumed: Assumptions) -> str:
        rows = pd.DataFrame({"model_name": ["xgboost"], "is_chosen": [True]})
        return profit.finding(Curves(rows, {"curves": {"xgboost": points}}, assumed))

    assert sentence(assumed).endswith(
        "contacting the first 10% of the list pays most: 500 per 1,000 users on it."
    )
    nothing = sentence(replace(assumed, contact_cost=0, saved_value=0))
    assert nothing.endswith("contacting anybody by this list loses money.")


@pytest.mark.parametrize(
    ("slope", "text"),
    [
        ((0.7, 0.5, 0.9), "slope of all is 0.70 (0.50 to 0.90): too extreme."),
        ((1.3, 1.1, 1.5), "slope of all is 1.30 (1.10 to 1.50): not extreme enough."),
        ((1.0, 0.8, 1.2), "(0.80 to 1.20), no clear difference from 1, which is right."),
        (None, "was predicted to cancel at 20.0% and did at 15.0%."),
    ],
)
def test_calibration_in_words(slope: tuple | None, text: str) -> None:
    rows = pd.DataFrame(
        [("xgboost", True, "all", "calibration_slope", *slope)] if slope else [],
        columns=["model_name", "is_chosen", "cohort", "metric", "value", "low", "high"],
    ).astype({"is_chosen": bool})
    metrics = {"calibration": [{"probability": 0.2, "churn_rate": 0.15}]}
    assert calibration.finding(Curves(rows, metrics)).endswith(text)


def test_a_model_that_is_no_better_than_the_base_rate_is_not_trusted() -> None:
    def figures(chosen: float) -> pd.DataFrame:
        return pd.DataFrame(
            [("xgboost", True, chosen), ("base_rate", False, 0.2)],
            columns=["model_name", "is_chosen", "value"],
        ).assign(cohort="all", metric="log_loss")

    assert "do not use" in page.distrust(figures(0.2))
    assert page.distrust(figures(0.19)) == ""


@pytest.mark.parametrize(
    ("area", "state", "is_found"),
    [
        ("Boston-Cambridge-Newton", "MA", True),
        ("Winston-Salem", "NC", True),
        ("Louisville/Jefferson County", "KY", True),
        ("Urban Honolulu", "HI", True),
        ("St. Louis", "MO", True),
        ("Nashville-Davidson--Murfreesboro--Franklin", "TN", True),
        ("Boston", "TX", False),
        ("Fairbrook", "OH", False),
        ("", "OH", False),
        (ATTACK, "TX", False),
    ],
)
def test_places(area: str, state: str, is_found: bool) -> None:
    found = places.position(area, state)
    assert (found is not None) == is_found
    if found:
        assert 18 < found[0] < 72 and -180 < found[1] < -66


def test_the_build_is_the_newest_that_all_marts_have() -> None:
    def tags(published: int, **builds: int) -> dict[str, int]:
        return {"published": published, "main": 9, **builds}

    same = {"a": tags(1, build_1=1, build_2=1), "b": tags(2, build_1=1, build_2=2)}
    assert build_name(same) == "build_2"
    back = {"a": tags(1, build_1=1, build_2=1), "b": tags(1, build_1=1, build_2=2)}
    assert build_name(back) == "build_1"
    part = {"a": tags(1, build_1=1), "b": tags(2, build_2=2)}
    assert build_name(part).startswith("build_2, some marts")
    assert "no longer kept" in build_name({"a": tags(1)})


def test_a_build_that_is_published_meanwhile_is_read_from_the_start(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = iter([{"a": {"published": 1, f"build_{n}": 1}} for n in (1, 2, 2)])
    asked: list[str] = []
    monkeypatch.setattr(data, "published_versions", lambda *_: next(versions))

    def noted(_: Any, __: Any, name: str, ___: Any) -> data.Answer:
        asked.append(name)
        return data.Answer(name, "", pd.DataFrame({"model_run_id": [None]}))

    monkeypatch.setattr(data, "ask", noted)
    found = data.read(active_spark(), target_of_report(), tmp_path, lambda _: nullcontext())
    assert found.build == "build_2"
    assert sorted(asked) == sorted(QUERIES * 2)


def test_colours_have_contrast() -> None:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(one: str, other: str) -> float:
        high, low = sorted((luminance(one), luminance(other)), reverse=True)
        return (high + 0.05) / (low + 0.05)

    lights = [light for light, _ in svg.COLOURS.values()]
    assert len(set(lights)) == len(lights)
    for scheme in (0, 1):
        colour = {name: both[scheme] for name, both in svg.COLOURS.items()}
        for text in ("ink", "muted", "stayed"):
            for ground in ("paper", "empty"):
                assert contrast(colour[text], colour[ground]) >= 4.5, (text, ground, scheme)
        for mark in ("churned", "stayed"):
            assert contrast(colour[mark], colour["paper"]) >= 3, (mark, scheme)
        for ground in ("much0", "much1", "much2", "less2", "less1", "none", "more1", "more2"):
            assert contrast(colour["onlittle"], colour[ground]) >= 4.5, (ground, scheme)
        for ground in ("much3", "much4", "much5", "much6", "less3", "more3"):
            assert contrast(colour["onmuch"], colour[ground]) >= 4.5, (ground, scheme)


# --- in a browser --------------------------------------------------------------------------------


DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 360, "height": 740}


def chromium() -> str | None:
    """A Chromium or Chrome of this machine."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
    found = [os.environ.get("CHURN_CHROMIUM"), *(shutil.which(name) for name in names)]
    return next((path for path in found if path), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium of this machine."""
    path = chromium()
    if path is None:
        pytest.skip("no Chromium: apt-get install chromium, or set CHURN_CHROMIUM to its path")
    from playwright.sync_api import sync_playwright

    quiet = "--disable-background-networking --disable-component-update --disable-sync"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=path,
            args=["--no-sandbox", "--disable-gpu", "--no-first-run", *quiet.split()],
        )
        yield started
        started.close()


@contextmanager
def opened(browser: Any, report: Written, **options: Any) -> Iterator[Any]:
    """The page, from disk. Fails afterwards if it asked for anything or met an error."""
    context = browser.new_context(viewport=DESKTOP, **options)
    page = context.new_page()
    trouble: list[str] = []
    url = report.path.as_uri()
    page.on("console", lambda message: trouble.append(message.text))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("dialog", lambda dialog: (trouble.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda asked: asked.url in (url, "data:,") or trouble.append(asked.url))
    page.goto(url)
    yield page
    context.close()
    assert not trouble


@pytest.fixture(scope="module")
def tab(browser: Any, written: Written) -> Iterator[Any]:
    """The page, opened once for all questions, each of which lays it out as it needs it."""
    with opened(browser, written) as page:
        yield page


def laid_out(tab: Any, size: dict[str, int], **media: str) -> Any:
    """The tab at a size, on a light screen unless `media` says otherwise."""
    tab.set_viewport_size(size)
    tab.emulate_media(**({"media": "screen", "color_scheme": "light"} | media))
    return tab


def shoot(page: Any, name: str, full_page: bool = True) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png", full_page=full_page)


LAYOUTS = {"desktop": DESKTOP, "dark": DESKTOP, "phone": PHONE, "phone_dark": PHONE}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_it_renders(tab: Any, layout: str) -> None:
    is_dark = "dark" in layout
    page = laid_out(tab, LAYOUTS[layout], color_scheme="dark" if is_dark else "light")
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= LAYOUTS[layout]["width"]
    shown = page.locator("figure").evaluate_all(
        """figures => figures.map(figure => ({
            id: figure.id,
            drawings: [...figure.querySelectorAll('.chart')]
                .filter(chart => chart.getClientRects().length)
                .map(chart => [...chart.querySelectorAll('path, circle, line')]
                    .filter(mark => mark.getBoundingClientRect().width
                        || mark.getBoundingClientRect().height).length),
        }))"""
    )
    assert len(shown) >= 25
    for each in shown:
        # one drawing for this width, and marks in it
        assert len(each["drawings"]) == 1 and each["drawings"][0] > 3, each
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (max(map(int, re.findall(r"\d+", ground)[:3])) < 60) == is_dark
    colour = page.evaluate(
        """getComputedStyle(
            [...document.querySelectorAll('#deciles .chart')]
                .find(chart => chart.getClientRects().length)
                .querySelector('title').parentNode
        ).fill"""
    )
    expected = svg.COLOURS["stayed"][is_dark].lstrip("#")
    assert colour == f"rgb({', '.join(str(int(expected[i : i + 2], 16)) for i in (0, 2, 4))})"
    page.locator("details").evaluate_all("all => all.forEach(each => each.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("details").evaluate_all("all => all.forEach(each => each.open = false)")
    shoot(page, layout)


def test_it_prints(tab: Any) -> None:
    page = laid_out(tab, {"width": 720, "height": 900}, media="print", color_scheme="dark")
    ink = "getComputedStyle(document.documentElement).getPropertyValue('--ink')"
    assert page.evaluate(ink) == svg.COLOURS["ink"][0]
    assert not page.locator("nav").is_visible()
    assert not page.locator("#filters").is_visible()
    assert page.locator("#months .chart").first.is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 720
    shoot(page, "print")
    pdf = page.pdf(format="A4", print_background=True, path=SHOTS / "report.pdf")
    assert pdf.startswith(b"%PDF")


def visible_users(page: Any) -> list[str]:
    return page.locator("#users tbody tr:visible th").all_inner_texts()


def test_filters_work_by_keyboard(tab: Any, answers: dict[str, pd.DataFrame]) -> None:
    rows = answers["users_at_risk"]
    page = laid_out(tab, {"width": 1280, "height": 1600})
    page.reload()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.locator("#filter-text").focus()
    user_id = next(each for each in rows["user_id"] if len(each) == 6)  # a short one is in a date
    page.keyboard.type(user_id)
    wanted = rows[rows["user_id"].str.contains(user_id, regex=False)]
    assert user_id in visible_users(page)
    assert len(visible_users(page)) < len(rows)
    assert len(wanted) <= len(visible_users(page))
    page.keyboard.press("Control+A")
    page.keyboard.type("nobody has this")
    assert visible_users(page) == []
    assert page.locator("#shown").inner_text() == "No user fits these filters."
    page.keyboard.press("Control+A")
    page.keyboard.press("Delete")

    page.keyboard.press("Tab")  # plan
    assert page.evaluate("document.activeElement.id") == "filter-level"
    page.keyboard.press("f")
    free = list(rows[rows["level"] == "free"]["user_id"])[:25]
    assert visible_users(page) == free and free
    page.keyboard.press("Home")
    page.keyboard.press("Tab")  # state
    page.keyboard.press("T")
    assert visible_users(page) == list(rows[rows["state"] == "TX"]["user_id"])[:25]
    page.keyboard.press("Home")
    page.keyboard.press("Tab")  # minimum risk
    page.keyboard.type("20")
    likely = list(rows[rows["churn_probability"] >= 0.2]["user_id"])[:25]
    assert 0 < len(likely) < len(rows)
    assert visible_users(page) == likely
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # clear
    page.wait_for_function("document.getElementById('filter-risk').value === ''")
    page.wait_for_timeout(50)
    assert len(visible_users(page)) == min(25, len(rows))
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"

    user = page.locator("#users thead button", has_text="Risk")
    user.focus()
    page.keyboard.press("Enter")
    assert user.locator("..").get_attribute("aria-sort") == "descending"
    page.keyboard.press("Space")
    assert user.locator("..").get_attribute("aria-sort") == "ascending"
    lowest = rows.sort_values(["churn_probability", "risk_rank"])["user_id"]
    assert visible_users(page) == list(lowest)[:25]
    more = page.locator("#more-all")
    assert more.is_visible() == (len(rows) > 25)
    if len(rows) > 25:
        more.focus()
        page.keyboard.press("Enter")
    assert len(visible_users(page)) == len(rows)
    shoot(page, "filters", full_page=False)


def test_names_of_the_log_are_text(tab: Any, written: Written) -> None:
    page = laid_out(tab, DESKTOP)
    page.wait_for_timeout(200)
    assert page.evaluate("typeof hacked") == "undefined"
    assert page.locator("img, iframe, object, embed, [onerror], [onload]").count() == 0
    assert page.locator("script").count() == 1 and page.locator("style").count() == 1
    body = page.locator("body")
    text = body.evaluate("body => body.textContent")
    for name in (HOSTILE_USER, f"Reason {ATTACK}", *SHOWN_NAMES):
        assert name in text, name
    assert not set("\0\x01\x0b\x1b\x7f\x9b\ufdd0\ufffe\uffff\u202e\u2067") & set(written.html)
    labels = page.locator("svg[role=img]").evaluate_all(
        "all => all.map(each => each.getAttribute('aria-label'))"
    )
    assert any(ATTACK in label for label in labels)


def test_a_screen_reader_finds_its_way(tab: Any) -> None:
    page = laid_out(tab, DESKTOP)
    for landmark in ("header", "nav[aria-label]", "main", "footer"):
        assert page.locator(landmark).count() == 1
    assert page.evaluate("document.documentElement.lang") == "en"
    levels = page.locator("h1, h2, h3, h4").evaluate_all(
        "all => all.map(each => Number(each.tagName[1]))"
    )
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    figures = page.locator("figure").evaluate_all(
        """all => all.map(figure => [
            figure.querySelector('.finding').textContent,
            ...[...figure.querySelectorAll('svg[role=img]')]
                .map(drawing => drawing.getAttribute('aria-label')),
        ])"""
    )
    for finding, *labels in figures:
        assert finding.endswith((".", "!")) and labels and set(labels) == {finding}
    assert page.locator("table:not(:has(caption)), th:not([scope])").count() == 0
    unnamed = page.locator("input, select").evaluate_all("all => all.filter(e => !e.labels.length)")
    assert unnamed == []
    targets = page.locator("a[href^='#']").evaluate_all(
        "all => all.filter(a => !document.querySelector(a.getAttribute('href'))).length"
    )
    assert targets == 0
    ids = page.locator("[id]").evaluate_all("all => all.map(each => each.id)")
    assert len(ids) == len(set(ids))


def test_without_a_script_all_is_there(browser: Any, written: Written) -> None:
    with opened(browser, written, java_script_enabled=False) as page:
        rows = page.locator("#users tbody tr")
        assert rows.count() == page.locator("#users tbody tr:visible").count()
        assert not page.locator("#filters").is_visible()


def test_the_report_without_a_model_renders(browser: Any, without_model: Written) -> None:
    with opened(browser, without_model) as page:
        page.set_viewport_size(PHONE)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert page.locator("#model .problem").inner_text().startswith("No model has been trained")
        shoot(page, "phone_without_model")
