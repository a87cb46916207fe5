"""Rows and bytes that each dbt model shuffles, and the slowest stages, by Spark's event log.

One `dbt build` of all models and seeds, without tests, in a warehouse of its own, on the default
target (CHURN_TARGET chooses another). Models are built one at a time, unlike in a usual build, so
that each stage belongs to the model that was being built as it began. Processor time is that of
the threads of Spark's tasks: no planning, and no threads of Comet's own. Bytes are those in shuffle
files, as compressed there; spilled are bytes on disk. Bytes read are left out: of Iceberg's Parquet
files Spark counts little more than the footers. Files are data files that are there after the
build. The table is written to benchmarks/results, too. Exit status 1 when a part failed,
never because of a time.

Examples:
  python -m benchmarks.shuffles --raw data/raw
  CHURN_TARGET=local python -m benchmarks.shuffles --raw data/raw
"""

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.dbt_runs import (
    BenchmarkError,
    Node,
    Raw,
    benchmark,
    busy_warning,
    bytes_in,
    default_target,
    log_spark_events,
    markdown_table,
    save_results,
    shown_bytes,
    spark_events,
)
from warehouse.commands import program

BETWEEN_NODES = "(hooks, between models)"
SLOWEST = 5
# of no interest in a list of what a stage does
PLAIN_OPERATORS = re.compile(
    r"WholeStageCodegen|InputAdapter|AdaptiveSparkPlan|\w*QueryStage|\w*Project$|\w*Filter$|"
    r"\w*ColumnarToRow|RowToColumnar|AQEShuffleRead|\w*Sort$"
)


@dataclass
class Stage:
    """One attempt of a stage, and the sums over its tasks; `started_at` in seconds since the epoch.

    `operators` are those of the query that ran in it, the first one first.
    """

    started_at: float = 0.0
    seconds: float = 0.0
    operators: list[str] = field(default_factory=list)
    task_seconds: list[float] = field(default_factory=list)
    cpu_seconds: float = 0.0
    input_rows: int = 0
    shuffled_bytes: int = 0
    shuffled_rows: int = 0
    spilled_bytes: int = 0


@dataclass(frozen=True)
class Row:
    """One model: wall seconds, data files, and the stages that ran for it.

    What ran outside of models has no seconds: who knows which of them were spent on it?
    """

    model: str
    seconds: float | None
    files: int
    stages: list[Stage]

    def total(self, figure: str) -> float:
        """Sum over the stages of one of their figures."""
        return sum(getattr(stage, figure) for stage in self.stages)


def read_stages(events: Iterable[dict]) -> list[Stage]:
    """The stages of an event log of Spark, in the order in which their tasks ended.

    A stage that was skipped, as its result was there already, has no tasks and is left out.
    """
    stages: dict[tuple[int, int], Stage] = {}
    metrics: dict[tuple[int, int], set[int]] = {}
    plans: list[tuple[str, list[int]]] = []
    for event in events:
        if plan := event.get("sparkPlanInfo"):
            plans += _operators(plan)
        elif event["Event"] == "SparkListenerTaskEnd":
            attempt = (event["Stage ID"], event["Stage Attempt ID"])
            _add_task(stages.setdefault(attempt, Stage()), event)
        elif event["Event"] == "SparkListenerStageCompleted":
            info = event["Stage Info"]
            attempt = (info["Stage ID"], info["Stage Attempt ID"])
            stage = stages.setdefault(attempt, Stage())
            stage.started_at = info["Submission Time"] / 1000
            stage.seconds = (info["Completion Time"] - info["Submission Time"]) / 1000
            metrics[attempt] = {each["ID"] for each in info["Accumulables"]}
    for attempt, counted in metrics.items():
        # the same plan is logged anew each time that Spark improves it
        names = (name for name, own in plans if counted.intersection(own))
        stages[attempt].operators = list(dict.fromkeys(names))
    return [stage for stage in stages.values() if stage.task_seconds]


def _add_task(stage: Stage, event: dict) -> None:
    times, figures = event["Task Info"], event.get("Task Metrics") or {}
    launched = times["Launch Time"] / 1000
    stage.started_at = min(stage.started_at or launched, launched)
    stage.task_seconds.append(times["Finish Time"] / 1000 - launched)
    stage.cpu_seconds += figures.get("Executor CPU Time", 0) / 1e9
    stage.spilled_bytes += figures.get("Disk Bytes Spilled", 0)
    read, written = figures.get("Input Metrics", {}), figures.get("Shuffle Write Metrics", {})
    stage.input_rows += read.get("Records Read", 0)
    stage.shuffled_bytes += written.get("Shuffle Bytes Written", 0)
    stage.shuffled_rows += written.get("Shuffle Records Written", 0)


def _operators(plan: dict) -> Iterator[tuple[str, list[int]]]:
    # name and metrics of each operator, the first to work first
    for child in plan["children"]:
        yield from _operators(child)
    if not PLAIN_OPERATORS.match(plan["nodeName"]):
        yield operator_name(plan), [metric["accumulatorId"] for metric in plan["metrics"]]


def operator_name(plan: dict) -> str:
    """An operator in a few words: what it scans, or by which columns it shuffles."""
    name, text = plan["nodeName"], plan["simpleString"]
    if "Scan" in name and " " in name:
        return f"scan {name.rsplit('.', 1)[-1].rsplit(' ', 1)[-1]}"
    if "Exchange" in name and (keys := re.search(r"(hash|range)partitioning\((.*), \d+\)", text)):
        columns = re.sub(r"#\d+L?|( ASC| DESC)? NULLS (FIRST|LAST)", "", keys[2])
        return f"{name} by {columns}"
    return name


def model_at(nodes: Sequence[Node], at: float) -> str:
    """Name of the node that was at work at a time in seconds since the epoch, if there was one."""
    return next((n.name for n in nodes if n.started_at <= at <= n.ended_at), BETWEEN_NODES)


def by_model(nodes: Sequence[Node], stages: Sequence[Stage], files: dict[str, int]) -> list[Row]:
    """One row per node, and one of what ran outside of them; most bytes shuffled first."""
    stages_of: dict[str, list[Stage]] = {node.name: [] for node in nodes}
    between: list[Stage] = []
    for stage in stages:
        stages_of.get(model_at(nodes, stage.started_at), between).append(stage)
    rows = [
        Row(node.name, node.seconds, files.get(node.name, 0), stages_of[node.name])
        for node in nodes
    ]
    rows.sort(key=lambda row: (-row.total("shuffled_bytes"), -row.total("cpu_seconds"), row.model))
    return [*rows, Row(BETWEEN_NODES, None, 0, between)]


def data_files(warehouse: Path) -> dict[str, int]:
    """Number of data files by table."""
    return {
        folder.parent.name: sum(1 for _ in folder.rglob("*.parquet"))
        for folder in warehouse.glob("*/*/data")
    }


def as_markdown(raw_bytes: int, rows: Sequence[Row], nodes: Sequence[Node], slowest: int) -> str:
    """The table of models, a row of sums, and the slowest stages."""
    every = [stage for row in rows for stage in row.stages]
    seconds = sum(row.seconds or 0.0 for row in rows)
    total = Row("all", seconds, sum(row.files for row in rows), every)
    models = [
        (
            row.model,
            "" if row.seconds is None else f"{row.seconds:.1f} s",
            f"{row.total('cpu_seconds'):.1f} s",
            f"{row.total('input_rows'):,}",
            shown_bytes(row.total("shuffled_bytes")),
            f"{row.total('shuffled_rows'):,}",
            shown_bytes(row.total("spilled_bytes")),
            row.files,
        )
        for row in [*rows, total]
    ]
    stages = []
    for stage in sorted(every, key=lambda stage: -stage.seconds)[:slowest]:
        longest, middle = max(stage.task_seconds), median(stage.task_seconds)
        model, tasks = model_at(nodes, stage.started_at), len(stage.task_seconds)
        what = ", ".join(stage.operators) or "no operator of a query"
        figures = (f"{longest:.2f} s", f"{longest / max(middle, 0.001):.1f}")
        stages.append((model, what, f"{stage.seconds:.1f} s", tasks, *figures))
    columns = ("wall", "tasks' processor", "rows read", "shuffled", "rows shuffled", "spilled")
    of_stages = ("what it does", "wall", "tasks", "slowest task", "slowest / median")
    parts = [
        f"{shown_bytes(raw_bytes)} of logs, target {default_target()}, one model at a time.",
        markdown_table(("model", *columns, "files"), models),
        f"The {slowest} slowest stages:",
        markdown_table(("model", *of_stages), stages),
    ]
    return "\n\n".join(parts) + "\n"


@program("python -m benchmarks.shuffles", __doc__)
def main(raw: Raw) -> None:
    """Command line of the benchmark."""
    with benchmark() as bench:
        events, warehouse = bench.folder / "events", bench.folder / "warehouse"
        log_spark_events(events)
        only_models = ("--resource-type", "model", "--resource-type", "seed")
        run = bench.dbt("dbt build", raw, "build", *only_models, "--threads", "1")
        bench.say("reading the event log")
        found = [stage for of_spark in spark_events(events) for stage in read_stages(of_spark)]
        if not found:
            raise BenchmarkError("Spark logged no stage: is the target one that dbt starts itself?")
        rows = by_model(run.nodes, found, data_files(warehouse))
    usage = run.usage
    markdown = as_markdown(bytes_in(raw), rows, run.nodes, SLOWEST) + (
        f"\nThe build: {usage.wall_seconds:.1f} s, processor {usage.cpu_seconds:.1f} s, "
        f"memory {usage.memory}.\n"
    )
    if warning := busy_warning([usage]):
        markdown += f"\n{warning}\n"
    save_results("shuffles", markdown)


if __name__ == "__main__":
    sys.exit(main())
