"""Command line of the ML step: `python -m ml train | evaluate | score | runs | promote`."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ml import ARTIFACTS
from warehouse.commands import Artifacts, Profiles, Program, Target, console
from warehouse.hand_over import run

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from warehouse import session

app = Program(
    "python -m ml",
    "Train, evaluate and apply the churn model on the published features.",
    """Examples:
  python -m ml train           judge all candidates, fit the chosen one
  python -m ml score           score today's users with the model in use
  python -m ml evaluate        the model in use on days after its fit
  python -m ml explain 100468  what a user's score is made of
  python -m ml runs            what was trained, and which run is in use

Needs a `dbt build` that published; `evaluate` and `score` need a run of `train`, too.

Exit status: 0 done, 1 a problem that the message says how to mend, 2 wrong usage, 3 too little data
to train or evaluate, 4 an alarm speaks against the model, and no other one is in use.
""",
)
main = app.main

RunId = Annotated[
    str | None,
    typer.Option(
        "--run",
        metavar="ID",
        help="Model run, a folder of --artifacts.",
        show_default="the one in use",
    ),
]


@app.command(
    epilog="""Examples:
  python -m ml train
  python -m ml train --compare       also the classifiers of public notebooks
  python -m ml train --leak          how good the popular way looks, and why
  python -m ml train --mlflow        keep the run in MLflow, too
  python -m ml train --target emr    the Spark settings of another dbt target
"""
)
def train(
    max_rows: Annotated[
        int, typer.Option(min=1, metavar="N", help="Bound on the rows that are read.")
    ] = 100_000,
    replicates: Annotated[
        int, typer.Option(min=1, metavar="N", help="Bootstrap replicates for the intervals.")
    ] = 200,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare",
            help="Judge the classifiers of public notebooks, too. None of them is chosen.",
        ),
    ] = False,
    leak: Annotated[
        bool,
        typer.Option(
            "--leak",
            help="Train nothing. Show how good the popular way looks, of whole histories, and why "
            "it is worth nothing.",
        ),
    ] = False,
    mlflow: Annotated[
        bool,
        typer.Option(
            "--mlflow",
            help="Give the run to MLflow, too, where MLFLOW_TRACKING_URI says, else to a SQLite "
            "file in --artifacts.",
        ),
    ] = False,
    artifacts: Artifacts = ARTIFACTS,
    target: Target = None,
    profiles_dir: Profiles = None,
) -> None:
    """Judge all candidates in a backtest, fit the one that is chosen on all, and say so."""
    # imported late, so that --help and usage errors answer at once
    from ml import card, tracking
    from ml.leak import show_leak
    from ml.train import train as train_model

    if mlflow:
        tracking.assert_installed()
    spark, found = _spark(target, profiles_dir)
    if leak:
        show_leak(spark, found, card.auc_in_use(artifacts), max_rows, console())
        return
    run_id = train_model(spark, found, artifacts, console(), max_rows, replicates, compare)
    if mlflow:
        version = tracking.log_run(artifacts, run_id)
        console().print(f"In MLflow: version {version} of the model {tracking.NAME}.")
    console().print("Next: python -m ml score")


@app.command(
    epilog="""Examples:
  python -m ml evaluate
  python -m ml evaluate --first 2019-03-01    on snapshots since then
"""
)
def evaluate(
    run: RunId = None,
    first: Annotated[
        date | None, typer.Option(help="First snapshot.", show_default="the first after its fit")
    ] = None,
    last: Annotated[
        date | None,
        typer.Option(help="Last snapshot.", show_default="the last with a known outcome"),
    ] = None,
    artifacts: Artifacts = ARTIFACTS,
    target: Target = None,
    profiles_dir: Profiles = None,
) -> None:
    """Show figures of a model on snapshots after its fit."""
    from ml import store
    from ml.evaluate import evaluate as show

    store.run_folder(artifacts, run)
    show(*_spark(target, profiles_dir), artifacts, run, (first, last), console())


@app.command(
    epilog="""Examples:
  python -m ml score
  python -m ml score --first 2019-02-01
      all snapshots since then, which readers do not see
"""
)
def score(
    run: RunId = None,
    first: Annotated[
        date | None,
        typer.Option(help="First snapshot.", show_default="today; with --last, the first there is"),
    ] = None,
    last: Annotated[date | None, typer.Option(help="Last snapshot.", show_default="today")] = None,
    artifacts: Artifacts = ARTIFACTS,
    target: Target = None,
    profiles_dir: Profiles = None,
) -> None:
    """Write today's churn probabilities and reasons, and show them to readers."""
    from ml import store
    from ml.score import score as score_users

    store.run_folder(artifacts, run)
    score_users(*_spark(target, profiles_dir), artifacts, run, (first, last), console())


@app.command(epilog="Example:\n  python -m ml explain 100468")
def explain(
    user: Annotated[str, typer.Argument(metavar="USER", help="Its user_id, as in churn_risk.")],
    target: Target = None,
    profiles_dir: Profiles = None,
) -> None:
    """Show what the score of a user that readers see is made of."""
    from ml.score import explain as show

    show(*_spark(target, profiles_dir), user, console())


@app.command(epilog="Example:\n  python -m ml runs")
def runs(artifacts: Artifacts = ARTIFACTS) -> None:
    """Show what was trained, with its figures, and which run is in use."""
    from ml import card

    card.print_runs(console(), artifacts)


@app.command(epilog="Example:\n  python -m ml promote <run> && python -m ml score")
def promote(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Model run, a folder of --artifacts.")],
    artifacts: Artifacts = ARTIFACTS,
) -> None:
    """Put a run in use, for `evaluate` and `score`."""
    from ml import store

    store.read_run(store.run_folder(artifacts, run))
    store.put_in_use(artifacts, run)
    console().print(f"Run {run} is in use. Show its scores: python -m ml score")


def _spark(target: str | None, profiles_dir: Path | None) -> tuple[SparkSession, session.Target]:
    from warehouse.console import steps
    from warehouse.session import spark_session

    with steps(console())("start Spark"):
        return spark_session(target, profiles_dir)


if __name__ == "__main__":
    sys.exit(run("ml", main))
