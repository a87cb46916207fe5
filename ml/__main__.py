"""Command line of the ML step: `python -m ml train | evaluate | score`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from rich.console import Console

from ml.errors import MlError

EPILOG = """examples:
  python -m ml train                         fit all models on the published features
  python -m ml score                         score today's users with the chosen model
  python -m ml evaluate                      repeat the test figures of the latest run
  python -m ml evaluate --first 2019-03-01   the same models on snapshots since then
  python -m ml train --target emr            with the Spark settings of another dbt target

Needs a `dbt build` that published. Exit status: 0 done, 1 a problem that the message says how to
mend, 2 wrong usage, 3 too little data to train or report on, 4 a feature leaks the label.
"""


def parser() -> argparse.ArgumentParser:
    """The argument parser, with examples."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--target", help="target of profiles.yml (default: the profile's)")
    common.add_argument(
        "--profiles-dir", type=Path, help="folder of profiles.yml (default: the project's)"
    )
    common.add_argument(
        "--artifacts",
        type=Path,
        help="folder of the trained models (default: artifacts/ of the project); on a cluster one "
        "that every node sees",
    )
    main_parser = argparse.ArgumentParser(
        prog="python -m ml",
        description="Train, evaluate and apply the churn model on the published features.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = main_parser.add_subparsers(dest="command", required=True, metavar="command")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            parents=[common],
            epilog=EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    train = command("train", "fit all models, choose one, write figures and a model card")
    train.add_argument(
        "--max-rows",
        type=_positive,
        default=100_000,
        help="bound on the rows of the fit and of the test, each (default: %(default)s)",
    )
    train.add_argument(
        "--replicates",
        type=_positive,
        default=200,
        help="bootstrap replicates for the intervals (default: %(default)s)",
    )
    evaluate = command("evaluate", "report on the test snapshots with the saved models")
    score = command("score", "write today's churn probabilities and reasons")
    for one in (evaluate, score):
        one.add_argument("--run", help="model run id (default: the latest)")
    evaluate.add_argument(
        "--first", type=_date, help="first snapshot date (default: of the test part)"
    )
    evaluate.add_argument(
        "--last", type=_date, help="last snapshot date (default: the last with a known outcome)"
    )
    return main_parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = parser().parse_args(arguments)
    # tables keep their shape in a file or a pipe
    console = Console(width=None if sys.stdout.isatty() else 110)
    try:
        _run(options, console)
    except MlError as error:
        Console(stderr=True).print(str(error), style="red", markup=False, soft_wrap=True)
        return error.exit_status
    return 0


def _run(options: argparse.Namespace, console: Console) -> None:
    # imported late, so that --help and usage errors answer at once
    from ml import store
    from ml.report import steps
    from ml.session import spark_session

    artifacts = options.artifacts or store.ARTIFACTS
    if options.command != "train":
        store.run_folder(artifacts, options.run)
    with steps(console)("start Spark"):
        spark, target = spark_session(options.target, options.profiles_dir)
    if options.command == "train":
        from ml.train import Settings, train

        settings = Settings(options.max_rows, options.max_rows, options.replicates)
        train(spark, target, artifacts, settings, console)
        console.print("Next: python -m ml score")
    elif options.command == "evaluate":
        from ml.backtest import backtest

        period = (options.first, options.last)
        backtest(spark, target, artifacts, options.run, period, console)
    else:
        from ml.score import score

        score(spark, target, artifacts, options.run, console)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def _date(text: str) -> date:
    return date.fromisoformat(text)


if __name__ == "__main__":
    sys.exit(main())
