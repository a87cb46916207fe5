"""Command line of the ML step: `python -m ml train | evaluate | score | runs | promote`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from warehouse.console import Console
from warehouse.errors import ProjectError

EPILOG = """examples:
  python -m ml train                         judge all candidates, fit the one that is chosen
  python -m ml train --compare               also judge the classifiers of public notebooks
  python -m ml train --leak                  how good the popular way looks, and why
  python -m ml score                         score today's users with the model in use
  python -m ml evaluate                      the model in use on days after its fit
  python -m ml evaluate --first 2019-03-01   the same on snapshots since then
  python -m ml score --first 2019-02-01      all snapshots since then, which readers do not see
  python -m ml explain 100468                what a user's score is made of
  python -m ml runs                          what was trained, and which run is in use
  python -m ml promote <run>                 put a run in use; then: python -m ml score
  python -m ml train --target emr            with the Spark settings of another dbt target

Needs a `dbt build` that published; `evaluate` and `score` need a run of `train`, too.
Exit status: 0 done, 1 a problem that the message says how to mend, 2 wrong usage, 3 too little data
to train or evaluate, 4 an alarm speaks against the model, and no other one is in use.
"""


def parser() -> argparse.ArgumentParser:
    """The argument parser, with examples."""
    files = argparse.ArgumentParser(add_help=False)
    files.add_argument(
        "--artifacts",
        type=Path,
        metavar="DIR",
        help="folder of the trained models (default: artifacts/ of the project)",
    )
    common = argparse.ArgumentParser(add_help=False, parents=[files])
    common.add_argument("--target", help="target of profiles.yml (default: the profile's)")
    common.add_argument(
        "--profiles-dir",
        type=Path,
        metavar="DIR",
        help="folder of profiles.yml (default: the project's)",
    )
    main_parser = argparse.ArgumentParser(
        prog="python -m ml",
        description="Train, evaluate and apply the churn model on the published features.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = main_parser.add_subparsers(dest="command", required=True, metavar="command")

    def command(
        name: str, text: str, parent: argparse.ArgumentParser = common
    ) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            parents=[parent],
            epilog=EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    train = command(
        "train", "judge all candidates in a backtest, fit the one that is chosen on all, and say so"
    )
    train.add_argument(
        "--max-rows",
        metavar="N",
        type=_positive,
        default=100_000,
        help="bound on the rows that are read (default: %(default)s)",
    )
    train.add_argument(
        "--replicates",
        metavar="N",
        type=_positive,
        default=200,
        help="bootstrap replicates for the intervals (default: %(default)s)",
    )
    train.add_argument(
        "--compare",
        action="store_true",
        help="judge the classifiers of public notebooks in the same backtest; none of them is "
        "chosen",
    )
    train.add_argument(
        "--leak",
        action="store_true",
        help="train nothing; show how good the popular way looks, of whole histories, and why it "
        "is worth nothing",
    )
    evaluate = command("evaluate", "figures of a model on snapshots after its fit")
    score = command(
        "score", "write today's churn probabilities and reasons, and show them to readers"
    )
    for one in (evaluate, score):
        one.add_argument(
            "--run",
            metavar="ID",
            help="model run, a folder of --artifacts (default: the one in use)",
        )
    for one, (first, last) in (
        (evaluate, ("the first after its fit", "the last with a known outcome")),
        (score, ("today; with --last, the first there is", "today")),
    ):
        one.add_argument(
            "--first", type=_date, metavar="DATE", help=f"first snapshot (default: {first})"
        )
        one.add_argument(
            "--last", type=_date, metavar="DATE", help=f"last snapshot (default: {last})"
        )
    explain = command("explain", "what the score of a user that readers see is made of")
    explain.add_argument("user", metavar="USER", help="user_id as in churn_risk")
    command("runs", "what was trained, with its figures, and which run is in use", files)
    promote = command("promote", "put a run in use, for evaluate and score", files)
    promote.add_argument("run", metavar="RUN", help="model run, a folder of --artifacts")
    return main_parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = parser().parse_args(arguments)
    # tables keep their shape in a file or a pipe
    console = Console(width=None if sys.stdout.isatty() else 110)
    try:
        _run(options, console)
    except ProjectError as error:
        Console(stderr=True).print(str(error), style="red", soft_wrap=True)
        return error.exit_status
    return 0


def _run(options: argparse.Namespace, console: Console) -> None:
    # imported late, so that --help and usage errors answer at once
    from ml import card, store
    from warehouse.console import steps
    from warehouse.session import spark_session

    artifacts = options.artifacts or store.ARTIFACTS
    if options.command == "runs":
        card.print_runs(console, artifacts)
        return
    if options.command == "promote":
        store.read_run(store.run_folder(artifacts, options.run))
        store.put_in_use(artifacts, options.run)
        console.print(f"Run {options.run} is in use. Show its scores: python -m ml score")
        return
    if options.command in ("evaluate", "score"):
        store.run_folder(artifacts, options.run)
    with steps(console)("start Spark"):
        spark, target = spark_session(options.target, options.profiles_dir)
    if options.command == "train" and options.leak:
        from ml.leak import show_leak

        honest = card.auc_in_use(artifacts)
        show_leak(spark, target, honest, options.max_rows, console)
    elif options.command == "train":
        from ml.train import Settings, train

        settings = Settings(options.max_rows, options.replicates, options.compare)
        train(spark, target, artifacts, settings, console)
        console.print("Next: python -m ml score")
    elif options.command == "evaluate":
        from ml.evaluate import evaluate

        evaluate(spark, target, artifacts, options.run, (options.first, options.last), console)
    else:
        from ml.score import explain, score

        if options.command == "explain":
            explain(spark, target, options.user, console)
        else:
            period = (options.first, options.last)
            score(spark, target, artifacts, options.run, period, console)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(text)


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not a date like 2019-03-01") from None


if __name__ == "__main__":
    sys.exit(main())
