"""What the benchmarks make of an event log, and how they end a command whose time is up."""

import io
import json
import os
import sys
from pathlib import Path

import pytest

from benchmarks import shuffles
from benchmarks.dbt_runs import BenchmarkError, Node, measured, shown_bytes, spark_events
from benchmarks.one_more_day import cut_off_last_days
from benchmarks.server_load import Answers
from benchmarks.server_load import show as show_load
from warehouse.console import Console


def operator(name: str, metric: int, *children: dict, text: str = "") -> dict:
    """A part of a plan."""
    counters = [{"accumulatorId": metric}]
    return {"nodeName": name, "simpleString": text, "metrics": counters, "children": [*children]}


SCAN = operator("BatchScan lake.churn_staging.base_events", 3)
BY_KEYS = "Exchange hashpartitioning(user_id#7, day#8L, 4), ENSURE_REQUIREMENTS, [id=9]"
PLAN = operator("Exchange", 1, operator("WholeStageCodegen (1)", 2, SCAN), text=BY_KEYS)


def task(stage: int, launched: int, finished: int, **figures: int) -> dict:
    """The end of a task; times in milliseconds."""
    return {
        "Event": "SparkListenerTaskEnd",
        "Stage ID": stage,
        "Stage Attempt ID": 0,
        "Task Info": {"Launch Time": launched, "Finish Time": finished},
        "Task Metrics": {
            "Executor CPU Time": figures.get("cpu", 0),
            "Disk Bytes Spilled": figures.get("spilled", 0),
            "Input Metrics": {"Bytes Read": 1, "Records Read": figures.get("read", 0)},
            "Shuffle Write Metrics": {
                "Shuffle Bytes Written": figures.get("shuffled", 0),
                "Shuffle Records Written": figures.get("rows", 0),
            },
        },
    }


def completed(stage: int, began: int, ended: int, metrics: tuple[int, ...] = ()) -> dict:
    return {
        "Event": "SparkListenerStageCompleted",
        "Stage Info": {
            "Stage ID": stage,
            "Stage Attempt ID": 0,
            "Submission Time": began,
            "Completion Time": ended,
            "Accumulables": [{"ID": number} for number in metrics],
        },
    }


EVENTS = [
    {"Event": "SparkListenerLogStart", "Spark Version": "4.1.1"},
    {"Event": "org.apache.spark.sql.execution.ui.SparkListenerSQLExecutionStart"}
    | {"sparkPlanInfo": PLAN},
    # before the first node
    task(0, 500, 600, shuffled=5, rows=1),
    completed(0, 500, 600),
    # of `narrow`, up to its last millisecond
    task(1, 1_000, 1_400, cpu=300_000_000, read=10, shuffled=100, rows=10),
    completed(1, 1_000, 1_400, (1, 2, 3)),
    task(2, 2_000, 2_100, read=4, shuffled=50, rows=4),
    completed(2, 2_000, 2_100),
    # of `wide`; of the second stage one task failed, and has no figures
    task(3, 3_000, 5_000, cpu=1_000_000_000, read=20, shuffled=900, rows=20, spilled=7),
    task(3, 3_000, 3_500, cpu=500_000_000, read=20, shuffled=100, rows=10),
    task(3, 3_000, 3_500, cpu=500_000_000),
    completed(3, 3_000, 5_000, (3,)),
    {**task(4, 5_000, 5_100), "Task Metrics": None},
    task(4, 5_100, 5_200, rows=1, shuffled=1),
    completed(4, 5_000, 5_200),
    # its result was there already
    completed(5, 5_300, 5_300),
    {"Event": "SparkListenerApplicationEnd"},
]
NODES = [
    Node("narrow", "model", "success", 1.0, 2.0),
    Node("wide", "model", "success", 2.5, 6.0),
    Node("a_view", "model", "success", 6.0, 6.5),
]


@pytest.fixture
def log(tmp_path: Path) -> list[dict]:
    event_log = tmp_path / "eventlog_v2_local-1"
    event_log.mkdir()
    lines = [json.dumps(event) + "\n" for event in EVENTS]
    (event_log / "events_2_local-1").write_text("".join(lines[3:9]))
    (event_log / "events_10_local-1").write_text("".join([*lines[9:], '{"Event": "half a li']))
    (event_log / "events_1_local-1").write_text("".join(lines[:3]))
    (logged,) = spark_events(tmp_path)
    return list(logged)


@pytest.fixture
def stages(log: list[dict]) -> list[shuffles.Stage]:
    return shuffles.read_stages(log)


@pytest.fixture
def rows(stages: list[shuffles.Stage]) -> list[shuffles.Row]:
    return shuffles.by_model(NODES, stages, {"narrow": 3})


def test_stages_are_sums_over_their_tasks(stages: list[shuffles.Stage]) -> None:
    assert [stage.shuffled_bytes for stage in stages] == [5, 100, 50, 1_000, 1]
    wide = stages[3]
    assert (wide.input_rows, wide.shuffled_rows, wide.spilled_bytes) == (40, 30, 7)
    assert (wide.seconds, wide.cpu_seconds) == (2.0, 2.0)
    assert wide.task_seconds == [2.0, 0.5, 0.5]


def test_stages_name_the_operators_that_ran_in_them(stages: list[shuffles.Stage]) -> None:
    assert stages[1].operators == ["scan base_events", "Exchange by user_id, day"]
    assert stages[3].operators == ["scan base_events"]
    assert stages[0].operators == []


def test_operator_names() -> None:
    def name(node_name: str, text: str = "") -> str:
        return shuffles.operator_name(operator(node_name, 1, text=text))

    assert name("Scan json spark_catalog.default.raw_events") == "scan raw_events"
    text = "CometExchange hashpartitioning(a#1, 4), X"
    assert name("CometExchange", text) == "CometExchange by a"
    text = "Exchange rangepartitioning(day#1 ASC NULLS FIRST, n#2L DESC NULLS LAST, 4), X"
    assert name("Exchange", text) == "Exchange by day, n"
    assert name("Exchange", "Exchange SinglePartition, X") == "Exchange"


def test_a_stage_belongs_to_the_node_at_work_when_it_began(rows: list[shuffles.Row]) -> None:
    assert [row.model for row in rows] == ["wide", "narrow", "a_view", shuffles.BETWEEN_NODES]
    assert [row.total("shuffled_bytes") for row in rows] == [1_001, 150, 0, 5]
    assert [row.total("shuffled_rows") for row in rows] == [31, 14, 0, 1]
    assert [row.files for row in rows] == [0, 3, 0, 0]
    assert [row.seconds for row in rows] == [3.5, 1.0, 0.5, None]


def test_the_tables_of_shuffles(rows: list[shuffles.Row]) -> None:
    table = shuffles.as_markdown(2_000_000, rows, NODES, slowest=1)
    assert "2.0 MB of logs" in table
    assert "| wide | 3.5 s | 2.0 s | 40 | 1.0 kB | 31 | 7 B | 0 |" in table
    assert "| all | 5.0 s | 2.3 s | 54 | 1.2 kB | 46 | 7 B | 3 |" in table
    assert table.endswith("| wide | scan base_events | 2.0 s | 3 | 2.00 s | 4.0 |\n")


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (2_500_000, "2.5 MB"), (3e12, "3000.0 GB")],
)
def test_bytes_in_words(count: float, shown: str) -> None:
    assert shown_bytes(count) == shown


def test_memory_and_time_are_those_of_all_that_a_command_started() -> None:
    child = (
        "import time; held = b'x' * 200_000_000; until = time.time() + 2\n"
        "while time.time() < until: pass"
    )
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    took = measured([sys.executable, "-c", program], dict(os.environ))
    assert 200e6 < took.peak_bytes < 400e6
    assert 0.2 < took.cpu_seconds <= took.wall_seconds
    assert took.others_cpu_seconds >= 0


def test_a_command_that_fails_is_an_error() -> None:
    took = measured([sys.executable, "-c", "print(1)"], dict(os.environ))
    assert (took.exit_status, took.output) == (0, "1")
    with pytest.raises(BenchmarkError, match="Exit status 3"):
        measured([sys.executable, "-c", "exit(3)"], dict(os.environ))


def test_the_last_days_of_a_log_are_cut_off(tmp_path: Path) -> None:
    day = 86_400_000
    raw, before, later = (tmp_path / name for name in ("raw", "before", "later"))
    raw.mkdir()
    # three full days, and a fourth of a single line
    lines = [f'{{"ts": {n * day + 5}, "n": {i}}}\n' for n in range(3) for i in range(4)]
    (raw / "b.json").write_text("".join(lines[::-2]) + "no timestamp\n")
    (raw / "a.json").write_text("".join(lines[::2]) + f'{{"ts": {3 * day}}}\n')
    cut = cut_off_last_days(raw, 2, before, later)
    assert {path.name: count for path, count in cut.items()} == {
        "1970-01-02.json": 4,
        "1970-01-03.json": 4,
    }
    assert list(cut) == sorted(cut)
    assert [sorted(path.read_text().splitlines(True)) for path in cut] == [lines[4:8], lines[8:]]
    left = [line for path in before.iterdir() for line in path.read_text().splitlines(True)]
    assert sorted(left) == sorted([*lines[:4], "no timestamp\n"])
    with pytest.raises(BenchmarkError, match="has 3 days: choose fewer"):
        cut_off_last_days(raw, 3, tmp_path / "x", tmp_path / "y")


@pytest.mark.parametrize(
    ("seconds", "errors"),
    [
        ({"a": [1.0, 2.0]}, ["FileNotFoundError: /data/[red]/x.csv", "a user [/] or [bold]"]),
        ({}, ["TTransportException: Could not connect to any of [('127.0.0.1', 10000)]"]),
    ],
    ids=["no markup", "errors only"],
)
def test_what_clients_met_is_shown_as_it_is(
    seconds: dict[str, list[float]], errors: list[str]
) -> None:
    console, published = Console(file=io.StringIO(), width=40), "Published 14 marts [in] x."
    show_load(Answers(seconds, errors), published, 20, console)
    assert {published, *errors} <= {*console.file.getvalue().splitlines()}


DUCKDB_TABLES = {
    "as it is": "(1, 'a', 1), (2, null, 1)",
    "other order, another time of loading": "(2, null, 5), (1, 'a', 6)",
    "another value": "(1, 'b', 1), (2, null, 1)",
    "values of two rows swapped": "(2, 'a', 1), (1, null, 1)",
    "a row twice": "(1, 'a', 1), (2, null, 1), (2, null, 1)",
}


@pytest.mark.parametrize(
    ("other", "differing"),
    [
        ("other order, another time of loading", []),
        ("another value", ["t", "the whole row"]),
        ("values of two rows swapped", ["the whole row"]),
        ("a row twice", ["n", "t", "the whole row"]),
    ],
)
def test_what_two_targets_made_is_compared_by_column_and_row(
    other: str, differing: list[str]
) -> None:
    duckdb = pytest.importorskip("duckdb")
    from benchmarks import compare_targets

    with duckdb.connect() as connection:
        sides = [
            compare_targets.hashes(
                connection, f"from (values {DUCKDB_TABLES[name]}) as rows (n, t, loaded_at)"
            )
            for name in ("as it is", other)
        ]
    comparison = compare_targets.compared("a_table", *sides)
    assert comparison.differing == differing
    assert comparison.is_equal == (not differing)


def test_a_column_of_one_target_and_a_missing_row_differ() -> None:
    pytest.importorskip("duckdb")
    from benchmarks import compare_targets

    rows = compare_targets.ROWS
    comparison = compare_targets.compared("a_table", {rows: 2, "n": 1}, {rows: 1, "n": 1, "t": 1})
    assert comparison.differing == ["t"] and comparison.rows == (2, 1)
    assert not comparison.is_equal
    assert not compare_targets.compared("a_table", {rows: 2}, {rows: 1}).is_equal
