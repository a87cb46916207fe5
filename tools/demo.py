"""The main job from end to end: raw logs in, tested and published tables, churn scores out."""

from __future__ import annotations

import argparse
import fnmatch
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table
from rich.text import Text

from warehouse.console import Console
from warehouse.text import printable

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "demo"
WAREHOUSE = ROOT / "data" / "warehouse"  # of the project, not of the demo
SIMULATED = ROOT / "data" / "simulated"
# what a full refresh needs to know to leave nothing of the logs that the demo had before
FROM_NOTHING = {"landing_folder_moved": True, "drop_lines_of_vanished_files": True}
LOGS = ROOT / "logs"
LOG_FILES = [
    f"*.{kind}{packed}" for kind in ("json", "jsonl", "ndjson") for packed in ("", ".gz", ".bz2")
]
NO_MODEL = (3, 4)  # exit status of `python -m ml`: too little data, or an alarm speaks against it
# targets of profiles.yml whose tables are in the folder CHURN_WAREHOUSE
TARGETS = ("local", "comet")
AT_RISK_SHOWN = 5


class DemoError(Exception):
    """Says in one sentence what is wrong and what to do."""


@dataclass
class Step:
    """One command of the job."""

    name: str
    command: list[str]
    shows_output: bool = False
    seconds: float = 0.0

    @property
    def log(self) -> Path:
        return LOGS / f"demo-{self.name}.log"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.demo",
        description="Build all tables from a folder of Sparkify logs, train the churn model and "
        "score today's users. Rebuilds from nothing; the folder is only read. Without one, the "
        "log of some 225 users over 62 days is made first. Tables and models are in a folder of "
        "the demo's own: no other warehouse is touched, not even one that CHURN_WAREHOUSE names, "
        "nor data/raw.",
        epilog="example: python -m tools.demo --raw ~/logs/sparkify",
    )
    parser.add_argument(
        "--raw",
        help=f"folder of logs ({', '.join(LOG_FILES)}), searched with its subfolders "
        "(default: data/simulated, which is made)",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=DEMO,
        help="folder of the demo's warehouse, models and dbt files (default: demo, in the project)",
    )
    options = parser.parse_args(arguments)
    console = Console()
    try:
        demo = own_folder(options.folder)
        done = []
        if options.raw is None and not SIMULATED.exists():
            simulate = Step(
                "simulate",
                [
                    *(sys.executable, "-m", "simulator", "--users", "230", "--seed", "1"),
                    *("--start", "2018-10-01", "--end", "2018-12-01", "--out", str(SIMULATED)),
                ],
            )
            done.append(simulate)
            if status := execute(simulate, console):
                return status
        raw = SIMULATED if options.raw is None else named_folder(options.raw).resolve()
        console.print(check_folder(raw), soft_wrap=True)
        return run(raw, demo, done, console)
    except DemoError as error:
        Console(stderr=True).print(str(error), style="red", soft_wrap=True)
        return 1
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
        raise DemoError(
            "The name of the folder is empty. Name a folder of logs: make demo RAW=<folder>."
        )
    return Path(text).expanduser()


def check_folder(folder: Path) -> str:
    """Say how many logs `folder` holds; raise DemoError where it holds none."""
    looked_for = f"{', '.join(LOG_FILES)}, in it and its subfolders"
    if not folder.exists():
        raise DemoError(
            f"There is no folder {folder}. Name a folder of logs: make demo RAW=<folder>."
        )
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
        zstd = any(path.suffix == ".zst" for path in files)
        raise DemoError(
            f"The folder {folder} holds {found} (looked for {looked_for})."
            + (" Spark cannot read .zst files here: unpack them with `zstd -d`." if zstd else "")
        )
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


def run(raw: Path, demo: Path, done: list[Step], console: Console) -> int:
    """Run all steps after those done, and print what came of them; returns the exit status."""

    def ml(name: str, shows_output: bool = False) -> Step:
        command = [sys.executable, "-m", "ml", name, "--artifacts", str(demo / "artifacts")]
        return Step(name, command, shows_output)

    variables = {"raw_path": str(raw)} | FROM_NOTHING
    dbt = ["dbt", "--no-use-colors", "build", "--vars", json.dumps(variables)]
    build = Step("build", [*dbt, "--full-refresh"])
    train, score = ml("train", shows_output=True), ml("score")
    done.append(build)
    if status := execute(build, console):
        return status
    built = built_counts(demo)

    done.append(train)
    status = execute(train, console, allowed=NO_MODEL)
    if status in NO_MODEL:
        console.print("The tables are built. No user is scored.", style="yellow")
    elif status:
        return status
    else:
        done.append(score)
        if status := execute(score, console):
            return status
    summary(console, built, done, is_scored=score in done)
    console.print(next_commands(demo, raw, is_scored=score in done), soft_wrap=True)
    return 0


def execute(step: Step, console: Console, allowed: Sequence[int] = ()) -> int:
    """Run one step, its output to its log and its last line to the screen; returns its status.

    A status that is neither 0 nor one of `allowed` is reported with the end of the log.
    """
    LOGS.mkdir(exist_ok=True)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "COLUMNS": str(console.width),
        "PYTHONUNBUFFERED": "1",
    }
    environment.pop("SPARK_HOME", None)  # as make does: the steps' Spark is the environment's
    label = Text(step.name, style="bold")
    shown = shlex.join("python" if part == sys.executable else part for part in step.command)
    if not console.is_terminal:
        console.print(Text.assemble(label, f": {shown} ..."))
    began = time.monotonic()
    with step.log.open("w") as log, console.status(label) as status:
        process = subprocess.Popen(
            step.command,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        assert process.stdout
        for line in process.stdout:
            log.write(line)
            if text := line.strip():
                start = text[: max(20, console.width - 20)]
                status.update(Text.assemble(label, f"  {start}"))
        code = process.wait()
    step.seconds = time.monotonic() - began

    if code in (0, *allowed):
        if step.shows_output:
            console.print(step.log.read_text().rstrip())
        console.print(Text.assemble(label, f"  {step.seconds:,.0f} s"))
        return code
    errors = Console(stderr=True)
    errors.print(f"The step {step.name} failed: {shown}", style="red")
    errors.print(failure(step.log.read_text()), soft_wrap=True)
    errors.print(
        f"Whole output: {step.log.relative_to(ROOT)}; Spark's warnings: logs/spark.log\n"
        "Next: mend the cause, then run the demo again",
    )
    return code if code > 0 else 1


def failure(output: str) -> str:
    """The lines that say why: dbt's closing summary where there is one, else the last lines.

    Without times of day and without Spark's query plans, which fill the screen.
    """
    lines = [re.sub(r"^\d\d:\d\d:\d\d  ", "", line) for line in output.rstrip().splitlines()]
    lines = [line[:300] for line in lines if not re.match(r"\s*(\+- |:- |: +|'[A-Z]\w+ )", line)]
    for number, line in enumerate(lines):
        if "Completed with" in line or "Encountered an error" in line:
            return "\n".join(lines[number : number + 40])
    return "\n".join(lines[-20:])


# --- summary


def built_counts(demo: Path) -> Counter[tuple[str, str]]:
    """How many nodes of each kind ended how, from dbt's results of the last build."""
    results = json.loads((demo / "target" / "run_results.json").read_text())["results"]
    return Counter((result["unique_id"].split(".")[0], result["status"]) for result in results)


def summary(
    console: Console, built: Counter[tuple[str, str]], done: list[Step], is_scored: bool
) -> None:
    """Print what was built, where and how long it took."""
    tests = sum(n for (kind, _), n in built.items() if kind == "test")
    with console.status("reading what was built"):
        facts, at_risk = read_tables(console, is_scored)
    table = Table(show_header=False, box=None, padding=(0, 2), title="What is there now")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row(
        "built",
        f"{built['model', 'success']} models; {built['test', 'pass']} of {tests} tests passed",
    )
    for row in facts:
        table.add_row(*row)
    table.add_row("where", f"{os.environ['CHURN_WAREHOUSE']} (Iceberg; catalog in catalog.db)")
    table.add_row("time", ", ".join(f"{step.name} {step.seconds:,.0f} s" for step in done))
    console.print(table)
    if at_risk:
        console.print(risk_table(at_risk))


def next_commands(demo: Path, raw: Path, is_scored: bool) -> str:
    """Commands to copy: questions to the demo's tables, and how to go on with logs of one's own."""
    schema = f"{os.environ.get('CHURN_SCHEMA') or 'churn'}_published"
    view, order = ("churn_risk", "risk_rank") if is_scored else ("dim_users", "user_id")
    folder = demo.relative_to(ROOT) if demo.is_relative_to(ROOT) else demo
    in_demo = f"  CHURN_WAREHOUSE={shlex.quote(str(folder / 'warehouse'))}"
    lines = [
        "",
        "Next, in the folder of the project:",
        "  . .venv/bin/activate",
        f'{in_demo} dbt show --limit 5 --inline "select * from {schema}.{view} order by {order}"',
    ]
    if importlib.util.find_spec("duckdb"):
        lines.append(
            f"{in_demo} python -m warehouse query"
            f' "select level, count(*) as users from {schema}.dim_users group by level"'
        )
    artifacts, report = (shlex.quote(str(folder / name)) for name in ("artifacts", "report.html"))
    lines.append(f"{in_demo} python -m report --artifacts {artifacts} --out {report}")
    own = json.dumps({"raw_path": "/path/to/logs" if raw == SIMULATED else str(raw)})
    lines += [
        "Logs of your own go into data/warehouse, which the demo leaves alone. Each build",
        "loads the files that are new:",
        f"  dbt build --vars {shlex.quote(own)}",
    ]
    return "\n".join(lines)


def risk_table(at_risk: list[tuple[str, str, str]]) -> Table:
    """User, probability and reasons; the console takes ids and reasons for text."""
    risk = Table("user", "churn probability", "reasons", title="Users most at risk")
    for user, probability, reasons in at_risk:
        risk.add_row(printable(user), probability, printable(reasons))
    return risk


def read_tables(
    console: Console, is_scored: bool
) -> tuple[list[tuple[str, str]], list[tuple[str, str, str]]]:
    """Rows of the summary, and user, probability and reasons of the users most at risk.

    The summary is not worth a failure: what cannot be read is left out, with a line that says so.
    """
    from pyspark.errors import PySparkException

    from warehouse.errors import ProjectError
    from warehouse.session import spark_session

    try:
        spark, target = spark_session()
        schema = target.schema
        files = spark.sql(
            "select count(*) as files, sum(lines) as lines, sum(staged_events) as staged,"
            " sum(rejected_lines) as rejected, sum(duplicate_lines) as duplicates"
            f" from {schema}_staging.ingested_files"
        ).collect()[0]
        dim_users = spark.table(f"{schema}_published.dim_users")
        facts = [
            (
                "lines in",
                f"{files.lines:,} in {files.files:,} files: {files.staged:,} events staged,"
                f" {files.rejected:,} rejected, {files.duplicates:,} duplicates",
            ),
            ("users", f"{dim_users.count():,}"),
        ]
        at_risk = []
        if is_scored:
            risk = spark.table(f"{schema}_published.churn_risk").orderBy("risk_rank")
            facts.append(("scored", f"{risk.count():,} users"))
            at_risk = [
                (
                    str(row.user_id),
                    f"{row.churn_probability:.1%}",
                    "; ".join(filter(None, (row.reason_1, row.reason_2, row.reason_3))),
                )
                for row in risk.limit(AT_RISK_SHOWN).collect()
            ]
        schemas = [f"{schema}_{suffix}" for suffix in ("published", "marts", "staging", "ml")]
        facts.append(("schemas", f"{', '.join(schemas)}; analysts need {schemas[0]} alone"))
        return facts, at_risk
    except (ProjectError, PySparkException) as error:
        console.print(f"The tables could not be read back: {error}", style="yellow")
        return [], []


if __name__ == "__main__":
    sys.exit(main())
