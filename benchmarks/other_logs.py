"""What the mixture of types gains or loses against xgboost, on logs that differ.

Builds and trains on each log in a warehouse of its own, and prints the figures of the backtest with
their 95 % intervals:

  simulated   the simulator's usual users
  other mix   the same, but of the type that most users are, only every third stays
  price rise  paid accounts cancel more often from the middle of the log on
  podcasts    another product with other pages (examples/podcasts)

With --raw, the logs of folders of your own besides. A log without enough cancellations says so. The
table is written to benchmarks/results, too. Exit status 1 when a build failed, never because of a
figure.

Examples:
  python -m benchmarks.other_logs
  python -m benchmarks.other_logs --users 1000 --raw /path/to/logs
"""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.dbt_runs import (
    BenchmarkError,
    dbt_environment,
    measured,
    progress_line,
    run_dbt,
    save_results,
    temporary_work_folder,
)
from warehouse.commands import folder_option, program
from warehouse.console import Console

FIRST_DAY, LAST_DAY = "2018-10-01", "2018-12-01"
SEED = "7"
TOO_LITTLE_DATA, ALARM = 3, 4  # exit status of `ml train`
FIGURES = ("roc_auc", "pr_auc", "lift_at_10_percent", "log_loss")


@dataclass(frozen=True)
class Log:
    """A log to train on; `variables` are dbt's."""

    name: str
    folder: Path
    variables: dict[str, Any] = field(default_factory=dict)


def simulated(folder: Path, users: int, *options: str) -> Path:
    """A log of the simulator."""
    period = ("--start", FIRST_DAY, "--end", LAST_DAY, "--seed", SEED)
    command = [sys.executable, "-m", "simulator", "--users", str(users), *period, *options]
    measured([*command, "--out", str(folder)], dbt_environment(folder))
    return folder


def with_another_mix(log: Path, folder: Path) -> Path:
    """A copy of a simulated log with every third account only of its most frequent type."""
    with (log / "truth.csv").open(encoding="utf-8") as file:
        type_of = {row["userId"]: row["type"] for row in csv.DictReader(file)}
    (most, _), *_ = Counter(type_of.values()).most_common(1)
    of_most = sorted(user for user, kind in type_of.items() if kind == most)
    gone = {*of_most} - {*of_most[::3]}
    folder.mkdir()
    for file_of_log in sorted(log.glob("*.json")):
        with file_of_log.open(encoding="utf-8") as lines:
            kept = [line for line in lines if json.loads(line).get("userId") not in gone]
        (folder / file_of_log.name).write_text("".join(kept), encoding="utf-8")
    return folder


def logs(folder: Path, users: int, raw: list[Path]) -> Iterator[Log]:
    """The logs to train on, each made as it is asked for."""
    usual = simulated(folder / "simulated", users)
    yield Log("simulated", usual)
    yield Log("other mix", with_another_mix(usual, folder / "other_mix"))
    rise = simulated(folder / "price_rise", users, "--scenario", "price_rise")
    yield Log("price rise", rise)
    podcasts = folder / "podcasts"
    listeners = ("--listeners", str(users))
    make = [sys.executable, "-m", "examples.podcasts.make_log", "--out", str(podcasts), *listeners]
    measured(make, dbt_environment(folder))
    yield Log("podcasts", podcasts, {"product": "examples/podcasts/dbt"})
    for own in raw:
        yield Log(own.name, own)


def trained(log: Log, folder: Path) -> list[str]:
    """Cells of the table for one log."""
    run = run_dbt("build", [], folder, log.folder, variables=log.variables)
    if run.failed:
        raise BenchmarkError(f"{log.name}: {', '.join(run.failed)} failed")
    artifacts = folder / "artifacts"
    usage = measured(
        [sys.executable, "-m", "ml", "train", "--artifacts", str(artifacts)],
        dbt_environment(folder),
        accepted=(0, TOO_LITTLE_DATA, ALARM),
    )
    if usage.exit_status == TOO_LITTLE_DATA:
        return [log.name, usage.output.strip().splitlines()[-1]]
    (metrics_file,) = artifacts.glob("*/metrics.json")
    metrics = json.loads(metrics_file.read_text())
    losses = metrics["losses"]
    mixture = min(
        (name for name in losses if name.startswith("mixture")),
        key=lambda name: losses[name]["log_loss"],
    )
    size = metrics["cohorts"]["all"]
    cells = [log.name, f"{size['users']:,}", f"{size['churned_users']:,}", metrics["chosen"]]
    for figure in FIGURES:
        of_both = (metrics["figures"][name]["all"][figure] for name in (mixture, "xgboost"))
        cells += [f"{one['value']:.3f} ({one['low']:.3f} to {one['high']:.3f})" for one in of_both]
    return cells


def as_markdown(rows: list[list[str]]) -> str:
    """The table, two columns a figure."""
    head = ["log", "users", "cancel", "chosen"]
    for figure in FIGURES:
        name = figure.replace("_", " ")
        head += [f"{name}, mixture", f"{name}, xgboost"]
    lines = [head, ["---"] * len(head), *(row + [""] * (len(head) - len(row)) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@program("python -m benchmarks.other_logs", __doc__)
def main(
    users: Annotated[int, typer.Option(min=50, help="Accounts of each log that is made.")] = 500,
    raw: Annotated[
        list[Path] | None, folder_option("Folder of logs of your own; several are possible.", False)
    ] = None,
) -> None:
    """Command line of the benchmark."""
    console = Console()
    rows = []
    with temporary_work_folder(keep=False) as folder, progress_line(console) as progress:
        task = progress.add_task("make a log")
        for number, log in enumerate(logs(folder, users, raw or [])):
            progress.update(task, description=f"build and train: {log.name}")
            rows.append(trained(log, folder / str(number)))
    save_results("other_logs", f"# The mixture and xgboost on other logs\n\n{as_markdown(rows)}\n")


if __name__ == "__main__":
    sys.exit(main())
