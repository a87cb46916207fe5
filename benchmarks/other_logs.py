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

import csv
import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.dbt_runs import Bench, benchmark, markdown_table, save_results
from warehouse.commands import folder_option, program

LAST_DAY, SEED = "2018-12-01", 7
TOO_LITTLE_DATA, ALARM = 3, 4  # exit status of `ml train`
FIGURES = ("roc_auc", "pr_auc", "lift_at_10_percent", "log_loss")


@dataclass(frozen=True)
class Log:
    """A log to train on; `variables` are dbt's."""

    name: str
    folder: Path
    variables: dict[str, Any] = field(default_factory=dict)


@program("python -m benchmarks.other_logs", __doc__)
def main(
    users: Annotated[int, typer.Option(min=50, help="Accounts of each log that is made.")] = 500,
    raw: Annotated[
        list[Path] | None, folder_option("Folder of logs of your own; several are possible.", False)
    ] = None,
) -> None:
    """Command line of the benchmark."""
    head = ["log", "users", "cancel", "chosen"]
    for figure in FIGURES:
        head += [f"{figure.replace('_', ' ')}, {model}" for model in ("mixture", "xgboost")]
    with benchmark() as bench:
        made = enumerate(logs(bench, users, raw or []))
        table = markdown_table(head, [trained(log, bench.at(str(number))) for number, log in made])
    save_results("other_logs", f"# The mixture and xgboost on other logs\n\n{table}\n")


def logs(bench: Bench, users: int, raw: list[Path]) -> Iterator[Log]:
    """The logs to train on, each made as it is asked for."""

    def simulated(name: str, *options: str) -> Path:
        return bench.simulate(bench.folder / name, users, LAST_DAY, *options, seed=SEED)

    bench.say("make a log")
    usual = simulated("simulated")
    yield Log("simulated", usual)
    yield Log("other mix", with_another_mix(usual, bench.folder / "other_mix"))
    yield Log("price rise", simulated("price_rise", "--scenario", "price_rise"))
    podcasts = bench.folder / "podcasts"
    options = ("--out", str(podcasts), "--listeners", str(users))
    bench.python("-m", "examples.podcasts.make_log", *options)
    yield Log("podcasts", podcasts, {"product": "examples/podcasts/dbt"})
    for own in raw:
        yield Log(own.name, own)


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


def trained(log: Log, bench: Bench) -> list[str]:
    """Cells of the table for one log."""
    bench.dbt(f"build and train: {log.name}", log.folder, variables=log.variables)
    artifacts = bench.folder / "artifacts"
    accepted = (0, TOO_LITTLE_DATA, ALARM)
    usage = bench.python("-m", "ml", "train", "--artifacts", str(artifacts), accepted=accepted)
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


if __name__ == "__main__":
    sys.exit(main())
