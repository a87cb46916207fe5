"""Time and memory of a whole `dbt build`, every model and data test, in a warehouse of its own.

Prints wall seconds, peak resident memory, the number of nodes, the time before the first node and
the five slowest nodes. Unit tests are left out: they test the SQL, not the data. Exit status 1 when
a model or test fails, 2 when dbt does not start; never because of a time.

Examples:
  python -m benchmarks.build_time --raw data/raw --repeat 3
  CHURN_TARGET=local python -m benchmarks.build_time --raw data/raw
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from benchmarks.dbt_runs import (
    BenchmarkError,
    DbtRun,
    Raw,
    busy_warning,
    default_target,
    progress_line,
    run_dbt,
    shown_memory,
    temporary_work_folder,
)
from warehouse.commands import program
from warehouse.console import Console

SLOWEST = 5


def time_builds(raw_folder: Path, repeat: int, console: Console) -> list[DbtRun]:
    """Build `repeat` times, each in a new warehouse."""
    runs = []
    with progress_line(console) as progress:
        task = progress.add_task("")
        for number in range(1, repeat + 1):
            label = f"build {number} of {repeat}"
            progress.update(task, description=label)

            def show_node(text: str, label: str = label) -> None:
                progress.update(task, description=f"{label}: node {text}")

            with temporary_work_folder(keep=False) as folder:
                runs.append(
                    run_dbt(
                        "build",
                        ["--full-refresh"],
                        folder,
                        raw_folder,
                        show_node,
                    )
                )
    return runs


def show(runs: Sequence[DbtRun], console: Console) -> None:
    """Print the figures; with several builds the slowest nodes are those of the median one."""
    walls = [run.usage.wall_seconds for run in runs]
    middle = sorted(runs, key=lambda run: run.usage.wall_seconds)[(len(runs) - 1) // 2]
    memory = max(run.usage.peak_bytes for run in runs)

    figures = Table(title=f"dbt build, target {default_target()}", show_header=False)
    figures.add_row(
        "wall time",
        f"{statistics.median(walls):.1f} s"
        + (f"  (of {len(walls)}: {min(walls):.1f} to {max(walls):.1f} s)" if walls[1:] else ""),
    )
    figures.add_row("processor time", f"{middle.usage.cpu_seconds:.1f} s")
    figures.add_row("peak memory", f"{shown_memory(memory)}  (resident, dbt + JVM + workers)")
    figures.add_row(
        "before the first node", f"{middle.seconds_before_first_node:.1f} s  (Python, JVM, hook)"
    )
    figures.add_row("models", str(middle.count("model")))
    figures.add_row("data tests", str(middle.count("test")))
    console.print(figures)

    slowest = Table(title=f"The {SLOWEST} slowest nodes")
    slowest.add_column("node", overflow="fold")
    slowest.add_column("type")
    slowest.add_column("seconds", justify="right")
    for node in middle.nodes[:SLOWEST]:
        slowest.add_row(node.name, node.resource_type, f"{node.seconds:.1f}")
    console.print(slowest)
    if warning := busy_warning([run.usage for run in runs]):
        console.print(warning, style="yellow")
    if failed := sorted({name for run in runs for name in run.failed}):
        console.print(f"Failed or skipped: {', '.join(failed)}", style="red")


@program("python -m benchmarks.build_time", __doc__)
def main(
    raw: Raw,
    repeat: Annotated[int, typer.Option(min=1, help="Number of builds.")] = 1,
) -> int:
    """Command line of the benchmark; returns the exit status."""
    console = Console()
    try:
        runs = time_builds(raw, repeat, console)
    except BenchmarkError as error:
        error.exit_status = 2
        raise
    show(runs, console)
    return 1 if any(run.failed for run in runs) else 0


if __name__ == "__main__":
    sys.exit(main())
