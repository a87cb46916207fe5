"""Time and memory of a whole `dbt build`, every model and data test, in a warehouse of its own.

Prints wall seconds, peak resident memory, the number of nodes, the time before the first node and
the five slowest nodes. Unit tests are left out: they test the SQL, not the data. Exit status 1 when
a model or test fails, 2 when dbt does not start; never because of a time.

Examples:
  python -m benchmarks.build_time --raw data/raw
  CHURN_TARGET=local python -m benchmarks.build_time --raw data/raw
"""

import sys

from rich.table import Table

from benchmarks.dbt_runs import DbtRun, Raw, benchmark, default_target, warn_if_busy
from warehouse.commands import program
from warehouse.console import Console

SLOWEST = 5


@program("python -m benchmarks.build_time", __doc__)
def main(raw: Raw) -> int:
    """Command line of the benchmark; returns the exit status."""
    with benchmark(status_of_errors=2) as bench:
        run = bench.dbt("build", raw, "build", "--full-refresh", may_fail=True)
    show(run)
    return 1 if run.failed else 0


def show(run: DbtRun) -> None:
    """Print the figures of a build, and its slowest nodes."""
    console, usage = Console(), run.usage
    before = run.first_start - usage.started_at
    figures = Table(title=f"dbt build, target {default_target()}", show_header=False)
    figures.add_row("wall time", f"{usage.wall_seconds:.1f} s")
    figures.add_row("processor time", f"{usage.cpu_seconds:.1f} s")
    figures.add_row("peak memory", f"{usage.memory}  (resident, dbt + JVM + workers)")
    figures.add_row("before the first node", f"{before:.1f} s  (Python, JVM, hook)")
    figures.add_row("models", str(run.count("model")))
    figures.add_row("data tests", str(run.count("test")))
    console.print(figures)

    slowest = Table(title=f"The {SLOWEST} slowest nodes")
    slowest.add_column("node", overflow="fold")
    slowest.add_column("type")
    slowest.add_column("seconds", justify="right")
    for node in run.nodes[:SLOWEST]:
        slowest.add_row(node.name, node.resource_type, f"{node.seconds:.1f}")
    console.print(slowest)
    warn_if_busy(console, [usage])
    if run.failed:
        console.print(f"Failed or skipped: {', '.join(sorted(run.failed))}", style="red")


if __name__ == "__main__":
    sys.exit(main())
