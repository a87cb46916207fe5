"""The main job from end to end: raw logs in, tested and published tables, churn scores out."""

from __future__ import annotations

import fnmatch
import importlib.util
import json
import os
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType
from rich.status import Status
from rich.table import Table
from rich.text import Text

from warehouse.commands import console, program
from warehouse.console import Console
from warehouse.errors import ProjectError
from warehouse.text import printable

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from warehouse.session import Target

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "demo"
WAREHOUSE = ROOT / "data" / "warehouse"  # of the project, not of the demo
SIMULATED = ROOT / "data" / "simulated"
# what a full refresh needs to know to leave nothing of the logs that the demo had before
FROM_NOTHING = {"landing_folder_moved": True, "drop_lines_of_vanished_files": True}
LOGS = ROOT / "logs"
LOG = LOGS / "demo.log"
LOG_FILES = [
    f"*.{kind}{packed}" for kind in ("json", "jsonl", "ndjson") for packed in ("", ".gz", ".bz2")
]
# targets of profiles.yml whose tables are in the folder CHURN_WAREHOUSE
TARGETS = ("comet", "local")
USERS = 500  # enough for a model that is better than none for certain
AT_RISK_SHOWN = 3
NAME_ONE = "Name a folder of logs: make demo RAW=<folder>."
PLAIN_TABLE: dict[str, Any] = {"box": None, "padding": (0, 2, 0, 0)}
AtRisk = list[tuple[str, str, str]]  # user, probability, reasons


class DemoError(ProjectError):
    """Says in one sentence what is wrong and what to do."""


class Progress:
    """A line for each step: what it is at, then what came of it. What it prints goes to a log."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.began = time.monotonic()
        LOGS.mkdir(exist_ok=True)
        LOG.unlink(missing_ok=True)

    @contextmanager
    def step(self, name: str) -> Iterator[Log]:
        """Run one step, which may set `said` of what it is given: what came of it."""
        began = time.monotonic()
        label = Text(f"  {name:<9}", style="bold")
        if not self.console.is_terminal:
            self.console.print(Text.assemble(label, "..."))
        with LOG.open("a", encoding="utf-8") as file, self.console.status(label) as status:
            log = Log(file, lambda text: status.update(Text.assemble(label, text[:60])))
            yield log
        seconds = f"{time.monotonic() - began:5.0f} s"
        self.console.print(Text.assemble(label, f"{seconds}   {log.said}"))


class Log(Console):
    """The console of a step: a file, and what runs now to the screen."""

    def __init__(self, file: Any, show: Callable[[str], None]) -> None:
        super().__init__(file=file, width=110)
        self.show = show
        self.said = ""

    def status(self, status: RenderableType, **settings: Any) -> Status:
        self.show(str(status))
        return super().status(status, **settings)


@program("python -m tools.demo", epilog="Example:\n  python -m tools.demo --raw ~/logs/sparkify")
def main(
    raw: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help=f"Folder of logs ({', '.join(LOG_FILES)}), searched with its subfolders.",
            show_default="data/simulated, which is made",
        ),
    ] = None,
    folder: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            help="Folder of the demo's warehouse, models and dbt files.",
            show_default="demo",
        ),
    ] = DEMO,
) -> int:
    """Build all tables from a folder of Sparkify logs, train the churn model and score today's
    users.

    Rebuilds from nothing; the folder is only read. Without one, the log of some 500 users over 62
    days is made first. Tables, models and the report are in a folder of the demo's own: no other
    warehouse is touched, not even one that CHURN_WAREHOUSE names, nor data/raw.
    """
    screen = console(80)
    try:
        demo = own_folder(folder)
        progress = Progress(screen)
        if raw is None and not SIMULATED.exists():
            simulate(progress)
        logs = SIMULATED if raw is None else named_folder(raw).resolve()
        screen.print(check_folder(logs), soft_wrap=True)
        run(logs, demo, progress)
        return 0
    except KeyboardInterrupt:
        Console(stderr=True).print("Stopped. What was published before stays as it was.")
        return 130


def own_folder(folder: Path) -> Path:
    """Let all that this process starts work in `folder`; returns its whole path.

    Raises DemoError where that is the project's, and for a target whose tables are elsewhere.
    """
    target = os.environ.get("CHURN_TARGET") or TARGETS[0]
    if target not in TARGETS:
        raise DemoError(
            f"The tables of CHURN_TARGET={target} are in no folder of the demo's: unset "
            f"CHURN_TARGET, or choose one of {', '.join(TARGETS)}."
        )
    for name in ("DBT_TARGET", "DBT_PROFILES_DIR", "DBT_PROJECT_DIR"):
        os.environ.pop(name, None)
    folder = folder.expanduser().resolve()
    if folder / "warehouse" == WAREHOUSE:
        raise DemoError(f"{folder} has the project's own warehouse: choose another --folder.")
    os.environ["CHURN_WAREHOUSE"] = str(folder / "warehouse")
    os.environ["DBT_TARGET_PATH"] = str(folder / "target")
    return folder


# --- input


def named_folder(text: str) -> Path:
    """The folder of --raw; raise DemoError where nothing is named."""
    if not text.strip():
        raise DemoError(f"The name of the folder is empty. {NAME_ONE}")
    return Path(text).expanduser()


def check_folder(folder: Path) -> str:
    """Say how many logs `folder` holds; raise DemoError where it holds none."""
    looked_for = f"{', '.join(LOG_FILES)}, in it and its subfolders"
    if not folder.exists():
        raise DemoError(f"There is no folder {folder}. {NAME_ONE}")
    if not folder.is_dir():
        raise DemoError(
            f"{folder} is a file. Name the folder that holds it: make demo RAW=<folder>."
        )
    if WAREHOUSE.is_relative_to(folder.resolve()):
        raise DemoError(
            f"{folder} holds the warehouse of this project as well. Name one that holds logs only: "
            "make demo RAW=<folder>."
        )
    try:
        files = list(files_below(folder))
    except OSError as error:
        raise DemoError(f"{error.filename} cannot be read: {error.strerror}.") from error
    logs = [path for path in files if any(fnmatch.fnmatch(path.name, glob) for glob in LOG_FILES)]
    if not logs:
        found = f"{len(files)} file(s), none of them a log" if files else "no file"
        said = f"The folder {folder} holds {found} (looked for {looked_for})."
        if any(path.suffix == ".zst" for path in files):
            said += " Spark cannot read .zst files here: unpack them with `zstd -d`."
        raise DemoError(said)
    size = sum(path.stat().st_size for path in logs) / 1e6
    return f"{len(logs)} log files, {size:,.1f} MB, in {folder}"


def files_below(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """The files that Spark sees: links are followed, names with . or _ in front passed over.

    Raises DemoError where links lead in a circle.
    """
    here = folder.resolve()
    if here in above:
        raise DemoError(
            f"{folder} leads back to {here}, which it is in: remove the link, or Spark would read "
            "the same files again and again."
        )
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "_")):
            continue
        if path.is_dir():
            yield from files_below(path, (*above, here))
        elif path.is_file():
            yield path


# --- steps


def simulate(progress: Progress) -> None:
    """Write the log that is taken where none is named; DemoError where the disk refuses it."""
    from simulator.log_files import write_log
    from simulator.settings import Settings

    settings = Settings(users=USERS, start=date(2018, 10, 1), end=date(2018, 12, 1))
    with progress.step("simulate") as log:

        def show(what: str, done: int, total: int) -> None:
            log.show(f"{done:,} of {total:,} {what}")

        try:
            report = write_log(settings, SIMULATED, os.cpu_count() or 1, show)
        except OSError as error:
            said = f"The log was not written to {SIMULATED}: {error.strerror or error}."
            raise DemoError(said) from error
        log.said = f"{report.events:,} events, {report.bytes / 1e6:,.0f} MB"


def run(raw: Path, demo: Path, progress: Progress) -> None:
    """Build, train, score and report in this process, on one Spark; print what came of it.

    Raises ProjectError, with readers at what they saw, where a step fails.
    """
    # imported late, so that --help and wrong names answer at once
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    artifacts, page = demo / "artifacts", demo / "report.html"
    try:
        spark, target = build(raw, progress)
        model = train(spark, target, artifacts, progress)
        at_risk = score(spark, target, artifacts, progress) if model else []
        write_report(target, artifacts, page, progress)
        summary(spark, target, progress, model, at_risk)
    except (Py4JError, PySparkException) as error:
        first = str(error).strip().partition("\n")[0]
        raise DemoError(
            f"Spark failed: {type(error).__name__}: {first[:300]}. Its warnings: logs/spark.log."
        ) from error
    progress.console.print(next_commands(demo, raw, bool(model)), soft_wrap=True)
    progress.console.print(f"\nThe report: {shown(page)}", soft_wrap=True)


def build(raw: Path, progress: Progress) -> tuple[SparkSession, Target]:
    """`dbt build --full-refresh`; returns its session. A DemoError names what failed first."""
    from dbt.cli.main import dbtRunner

    from warehouse.session import spark_session

    done: Counter[str] = Counter()

    with progress.step("build") as log:
        log.show("start Spark")
        spark, target = spark_session()

        def follow(event: Any) -> None:
            if event.info.name == "NodeFinished":
                done["nodes"] += 1
                log.show(f"{done['nodes']} of models and tests: {event.data.node_info.node_name}")
            if event.info.level in ("info", "warn", "error"):
                log.print(event.info.msg)

        result: Any = dbtRunner(callbacks=[follow]).invoke(
            [
                *("build", "--full-refresh", "--log-level", "none", "--no-use-colors"),
                *("--project-dir", str(ROOT), "--profiles-dir", str(ROOT)),
                *("--vars", json.dumps({"raw_path": str(raw)} | FROM_NOTHING)),
            ]
        )
        if isinstance(result.exception, KeyboardInterrupt):  # dbt hands it on as a result
            raise result.exception
        if not result.success:
            raise DemoError(f"The build failed, readers see what they saw: {failure(result)}")
        built = Counter((one.node.resource_type.value, str(one.status)) for one in result.result)
        models, tests = built["model", "success"], built["test", "pass"]
        log.said = f"{models} models, {tests} tests passed, marts published"
    return spark, target


def failure(result: Any) -> str:
    """What failed first in a build, in one sentence with the file that says all."""
    failed = {"error", "fail", "runtime error"}
    if result.exception:
        said = str(result.exception)
    else:
        bad = (f"{one.node.name}: {one.message}" for one in result.result if one.status in failed)
        said = next(bad, "nothing was built")
    return f"{' '.join(said.split())[:400]} (all of it: {shown(LOG)}, logs/dbt.log)."


def train(spark: SparkSession, target: Target, artifacts: Path, progress: Progress) -> list[str]:
    """Train, and return what is to be said of the model; nothing where there is none."""
    from ml import Alarm, TooLittleData, store
    from ml.models import model_name
    from ml.train import train as train_model

    with progress.step("train") as log:
        try:
            run_id = train_model(spark, target, artifacts, log)
        except (TooLittleData, Alarm) as error:
            log.said = f"no user is scored. {error}"
            return []
        folder = store.run_folder(artifacts, run_id)
        metrics = store.read_json(folder / "metrics.json")
        log.said = model_name(metrics["chosen"])
    return about_model(metrics)


def about_model(metrics: dict[str, Any]) -> list[str]:
    """How good the model is, and whether it is better than no model for certain."""
    from ml.card import figure_text

    of_all = metrics["figures"][metrics["chosen"]]["all"]
    size = metrics["cohorts"]["all"]
    base = of_all["base_rate"]["value"]
    is_better = (of_all["pr_auc"]["low"] or 0) > base
    return [
        f"ROC AUC {figure_text(of_all['roc_auc'], 2)}, PR AUC {figure_text(of_all['pr_auc'], 2)} at"
        f" a base rate of {base:.2f}, lift of the top tenth"
        f" {figure_text(of_all['lift_at_10_percent'], 1)}: in brackets the"
        f" 95 % interval, on {size['users']:,} users of whom {size['churned_users']:,} cancel",
        "It is better than no model: all of the interval of PR AUC lies above the base rate."
        if is_better
        else "Not for certain better than no model: the interval of PR AUC holds the base rate, as"
        f" few users cancel ({size['churned_users']:,}). More users or days narrow it.",
    ]


def score(spark: SparkSession, target: Target, artifacts: Path, progress: Progress) -> AtRisk:
    """Score today's users; returns those most at risk."""
    from ml.reasons import told
    from ml.score import score as score_users

    with progress.step("score") as log:
        users = score_users(spark, target, artifacts, None, (None, None), log)
        log.said = f"{users:,} users"
        risk = spark.table(f"{target.published}.churn_risk").orderBy("risk_rank")
        at_risk = []
        for row in risk.limit(AT_RISK_SHOWN).collect():
            reasons = "; ".join(told([row.reason_1, row.reason_2, row.reason_3]))
            at_risk.append((str(row.user_id), f"{row.churn_probability:.1%}", reasons))
        return at_risk


def write_report(target: Target, artifacts: Path, page: Path, progress: Progress) -> None:
    """Write the report beside the demo's tables."""
    from report.__main__ import write

    with progress.step("report") as log:
        write(page, log, target.name, None, artifacts)
        log.said = f"{page.stat().st_size / 1e6:.1f} MB"


# --- summary


def summary(
    spark: SparkSession, target: Target, progress: Progress, model: list[str], at_risk: AtRisk
) -> None:
    """Print what is there now, with the users most at risk."""
    files = spark.sql(
        "select count(*) as files, sum(lines) as lines, sum(staged_events) as staged,"
        " sum(rejected_lines) as rejected, sum(duplicate_lines) as duplicates"
        f" from {target.staging}.ingested_files"
    ).collect()[0]
    users = spark.table(f"{target.published}.dim_users").count()
    table = Table(show_header=False, **PLAIN_TABLE)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(
        "tables",
        f"{files.lines:,} lines of {files.files:,} files: {files.staged:,} events,"
        f" {files.rejected:,} rejected, {files.duplicates:,} duplicates; {users:,} users",
    )
    for name, text in zip(("model", ""), model, strict=False):
        table.add_row(name, text)
    table.add_row("where", f"{shown(Path(os.environ['CHURN_WAREHOUSE']))}, Iceberg tables")
    table.add_row("time", f"{time.monotonic() - progress.began:,.0f} s")
    progress.console.print()
    progress.console.print(table)
    if at_risk:
        progress.console.print()
        progress.console.print(risk_table(at_risk))


def risk_table(at_risk: AtRisk) -> Table:
    """User, probability and reasons; the console takes ids and reasons for text."""
    risk = Table("user at risk", "churn in 10 days", "reasons", **PLAIN_TABLE)
    for user, probability, reasons in at_risk:
        risk.add_row(printable(user), probability, printable(reasons))
    return risk


def shown(path: Path) -> str:
    """A path as one types it in the folder of the project."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def next_commands(demo: Path, raw: Path, is_scored: bool) -> str:
    """Commands to copy: questions to the demo's tables, and how to go on with logs of one's own."""
    schema = f"{os.environ.get('CHURN_SCHEMA') or 'churn'}_published"
    view, order = ("churn_risk", "risk_rank") if is_scored else ("dim_users", "user_id")
    in_demo = f"  CHURN_WAREHOUSE={shlex.quote(shown(demo / 'warehouse'))}"
    lines = [
        "",
        "Next, in the folder of the project:",
        "  . .venv/bin/activate",
        f"{in_demo} dbt show --limit 5 --inline \\",
        f'    "select * from {schema}.{view} order by {order}"',
    ]
    if importlib.util.find_spec("duckdb"):
        lines.append(
            f"{in_demo} python -m warehouse query \\\n"
            f'    "select level, count(*) from {schema}.dim_users group by level"'
        )
    own = json.dumps({"raw_path": "/path/to/logs" if raw == SIMULATED else str(raw)})
    lines += [
        "Logs of your own get a warehouse of their own. Each build loads the new files:",
        f"  CHURN_WAREHOUSE=data/mine dbt build --vars {shlex.quote(own)}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
