"""What the tests need of dbt and Spark: run a command, read its tables, compare their rows."""

import contextlib
import io
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from dbt.cli.main import dbtRunner
from pyspark.sql import DataFrame, SparkSession

from warehouse.__main__ import main as operate
from warehouse.session import spark_session

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "data" / "sample"
BIN = Path(sys.executable).parent

# marts that are empty until `score` has written
OF_SCORES = (
    *("churn_risk", "model_health"),
    *(f"churn_score_{what}" for what in ("calibration", "drift", "outcomes", "recent_outcomes")),
)
# when a line was loaded, and what its file was before, is all that tells two builds of the same
# lines apart
LOAD_TIMES = ("loaded_at", "file_versions")
NO_UNIT_TESTS = ("--exclude-resource-type", "unit_test")
NO_TESTS = (*NO_UNIT_TESTS, "--exclude-resource-type", "test")
# lines, events, quarantine and ledger, with all tests that look at nothing else
STAGING = (
    *("--select", "+stg_events", "+stg_events_rejected", "+ingested_files"),
    *("--exclude", "events_are_conserved"),
)

# of commands in this process; a setting of the session would not last, as dbt-spark sets the
# profile's again at each statement
IN_ONE_PIECE = {"CHURN_SHUFFLE_PARTITIONS": "1"}

# Of the first build in a Java, the second compiler took a third of the processor time, and small
# builds are not quicker by it. The first one's code needs more room than Java gives it.
ONE_COMPILER = {"JDK_JAVA_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m"}

# the name of a folder with all that means something in a URI, in a pattern of file names or in SQL;
# below one like it Comet leaves the reading of tables to Spark
AWKWARD_NAME = "ware house #1?%20&+;='é"

# columns and sorted rows of every published view
Seen = dict[str, tuple[list[str], list[tuple]]]


@dataclass(frozen=True)
class Run:
    """A finished command: its exit status, and its standard output and error in one text."""

    status: int
    output: str

    def lines_with(self, pattern: str) -> list[str]:
        """The lines of the output in which the regular expression is found."""
        return [line for line in self.output.splitlines() if re.search(pattern, line)]

    @property
    def published_build(self) -> str:
        """Name of the build that it published; fails where it published none."""
        (name,) = re.findall(r"\bbuild_\w+", self.lines_with("Published")[0])
        return name

    def ok(self) -> "Run":
        """Itself; fails with the whole output where the command failed."""
        assert self.status == 0, self.output
        return self

    def failed(self, pattern: str, status: int = 1) -> "Run":
        """Itself; fails where the command had another exit status, or did not say such a thing."""
        assert self.status == status and self.lines_with(pattern), self.output
        return self


@dataclass
class Project:
    """The dbt project at `root`, with its tables in schemas that begin with `schema`.

    All projects of a test session share one warehouse, and commands run in this process: a warm
    Spark builds three times as fast as a new one. `fresh=True` starts a process as users do.
    """

    schema: str
    raw: Path
    folder: Path
    root: Path = ROOT

    def build(self, *arguments: str, **options: Any) -> Run:
        """`dbt build` without the unit tests, which look at no table."""
        return self.dbt("build", *NO_UNIT_TESTS, *arguments, **options)

    def operate(self, *arguments: str, fresh: bool = False) -> Run:
        """`python -m warehouse`, to its end."""
        of_project = {
            "CHURN_SCHEMA": self.schema,
            "DBT_TARGET_PATH": str(self.folder / "target"),
        }
        if fresh:
            run = run_process(sys.executable, "-m", "warehouse", *arguments, **of_project)
            self.refresh()
            return run
        active_spark()
        output = io.StringIO()
        with (
            environment({**of_project, **IN_ONE_PIECE}),
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(output),
        ):
            status = operate(arguments)
        return Run(status, output.getvalue())

    def command(self, *arguments: str, **variables: Any) -> list[str]:
        """Arguments of a dbt command; `variables` go into --vars beside `raw_path`."""
        return [
            *("--no-use-colors", "--log-path", str(self.folder / "logs"), *arguments),
            *("--target-path", str(self.folder / "target")),
            *("--vars", json.dumps({"raw_path": str(self.raw), **variables})),
        ]

    def dbt(self, *arguments: str, fresh: bool = False, **variables: Any) -> Run:
        """One dbt command, to its end."""
        command = self.command(*arguments, **variables)
        if fresh:
            run = run_process("dbt", *command, cwd=self.root, CHURN_SCHEMA=self.schema)
            self.refresh()
            return run
        active_spark()
        output = io.StringIO()
        with (
            environment({"CHURN_SCHEMA": self.schema, **IN_ONE_PIECE}),
            working_directory(self.root),
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(output),
        ):
            # a log of every statement costs a twentieth of the time of a build
            result = dbtRunner().invoke([*command, "--log-level-file", "none"])
        return Run(0 if result.success else 2 if result.exception else 1, output.getvalue())

    def questions(self) -> dict[str, str]:
        """SQL of each analysis by its name, as `dbt compile` leaves it for a client."""
        self.dbt("compile", "--select", "path:analyses").ok()
        compiled = self.folder / "target" / "compiled" / "churn_at_scale" / "analyses"
        return {path.stem: path.read_text() for path in sorted(compiled.glob("*.sql"))}

    # --- tables

    def nodes(self) -> dict[str, dict[str, Any]]:
        """Models and seeds of the last command by name, as in dbt's manifest."""
        manifest = json.loads((self.folder / "target" / "manifest.json").read_text())
        return {
            node["name"]: node
            for node in manifest["nodes"].values()
            if node["resource_type"] in ("model", "seed")
        }

    def tables(self) -> list[str]:
        """Names of all models that are stored."""
        return sorted(
            name
            for name, node in self.nodes().items()
            if node["config"]["materialized"] == "tracked"
        )

    def marts(self) -> list[str]:
        """Names of the models that are published."""
        return sorted(
            name for name, node in self.nodes().items() if node["schema"] == f"{self.schema}_marts"
        )

    def relation(self, name: str) -> str:
        """Schema and name of a model or seed."""
        node = self.nodes()[name]
        return f"{node['schema']}.{node['alias']}"

    def table(self, name: str, version: int | None = None) -> DataFrame:
        """The rows of a model or seed, of now or of an Iceberg snapshot."""
        return rows_of(self.relation(name), version)

    def data_files(self, name: str, version: int | None = None) -> DataFrame:
        """`file_path`, `partition` and more of each data file of a model."""
        return rows_of(f"{self.relation(name)}.files", version)

    def source(self, name: str) -> DataFrame:
        """The rows of a source table, such as `audit.model_builds`, as it is now."""
        relation = f"{self.schema}_{name}"
        active_spark().sql(f"refresh table {relation}")
        return active_spark().table(relation)

    def versions(self) -> dict[str, int]:
        """Current Iceberg snapshot of every table that is built."""
        spark = active_spark()
        relations = {name: self.relation(name) for name in self.tables()}
        current = "select snapshot_id from {}.refs where name = 'main'"
        return {
            name: spark.sql(current.format(relation)).first()[0]
            for name, relation in relations.items()
            if spark.catalog.tableExists(relation)
        }

    def published(self) -> Seen:
        """What readers see."""
        spark = active_spark()
        schema = f"{self.schema}_published"
        if not spark.sql(f"show schemas like '{schema}'").count():
            return {}
        seen = {}
        for row in spark.sql(f"show views in {schema}").where("not isTemporary").collect():
            view = spark.table(f"{schema}.{row.viewName}")
            seen[row.viewName] = (view.columns, sorted(map(tuple, view.collect()), key=repr))
        return seen

    def refresh(self) -> None:
        """Forget what the session knows of tables that another process has changed."""
        spark = active_spark()
        for schema in spark.sql(f"show schemas like '{self.schema}_*'").collect():
            for table in spark.sql(f"show tables in {schema[0]}").collect():
                spark.sql(f"refresh table {schema[0]}.{table.tableName}")


def active_spark() -> SparkSession:
    """The Spark session of the dbt profile, on the warehouse of CHURN_WAREHOUSE.

    It interprets queries, cuts no shuffle up and keeps to the first plan: on the logs of tests, all
    else costs more. Commands in a process of their own, such as the build of the sample, run what
    users run.
    """
    # Java keeps the umask that it starts with; test_readers looks at the rights of what is built
    with environment({**IN_ONE_PIECE, **ONE_COMPILER}), umask(0o077):
        spark = spark_session(profiles_dir=ROOT)[0]
    spark.conf.set("spark.sql.adaptive.enabled", "false")
    spark.conf.set("spark.sql.codegen.wholeStage", "false")
    spark.conf.set("spark.sql.codegen.factoryMode", "NO_CODEGEN")
    return spark


def run_process(program: str | Path, *arguments: str, cwd: Path = ROOT, **variables: str) -> Run:
    """Run a program of this environment as a user does; `variables` go into its environment."""
    process = subprocess.run(
        [BIN / program, *arguments],
        cwd=cwd,
        env=user_environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return Run(process.returncode, process.stdout)


def user_environment(**variables: str) -> dict[str, str]:
    """Variables of a shell in which this environment is active, and `variables`.

    Not those of a `make` that runs the tests, with what was said to it: a `make` of a test would
    take them for its own.
    """
    of_make = re.compile("MAKE|MFLAGS|ARGS$|RAW$")
    own = {name: value for name, value in os.environ.items() if not of_make.match(name)}
    return {**own, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", **variables}


def copy_of_project(folder: Path, small: bool = False) -> Path:
    """A copy of the dbt project to change at will; a small one has staging and the core marts.

    For tests of how a build is made and published: a third of the work of all marts.
    """
    for part in ("dbt_project.yml", "profiles.yml", "selectors.yml"):
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / part, folder / part)
    for part in ("models", "macros", "seeds", "tests"):
        shutil.copytree(
            ROOT / part, folder / part, ignore=shutil.ignore_patterns("*.py", "__pycache__", "data")
        )
    if small:
        keep_core_marts(folder)
    return folder


def keep_core_marts(root: Path) -> None:
    """Remove all other marts, and what needs them."""
    for area in ("marts/churn", "marts/engagement", "intermediate/churn"):
        shutil.rmtree(root / "models" / area)
    for properties in ("marts/_metrics.yml", "exposures.yml"):
        (root / "models" / properties).unlink()
    models = {path.stem for path in (root / "models").rglob("*.sql")}
    models |= {path.stem for path in (root / "seeds").iterdir()}
    for test in (root / "tests").glob("*.sql"):
        if not models.issuperset(re.findall(r"\bref\('(\w+)'\)", test.read_text())):
            test.unlink()


@contextlib.contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for a while."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def umask(mask: int) -> Iterator[None]:
    """Another umask for a while."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@contextlib.contextmanager
def working_directory(folder: Path) -> Iterator[None]:
    """Another working directory for a while (contextlib.chdir is new in Python 3.11)."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


# --- rows


def column_sum(seen: Seen, mart: str, column: str) -> int:
    """Sum of a column of a published view."""
    columns, rows = seen[mart]
    return sum(row[columns.index(column)] for row in rows)


def answers_of(queries: Mapping[str, str], ansi: bool = False) -> dict[str, pd.DataFrame]:
    """The answer to each query by its name; several at once, as most of a small one is planning."""
    spark = active_spark()
    with ansi_mode(spark, ansi), ThreadPoolExecutor(3) as pool:
        found = pool.map(lambda sql: spark.sql(sql).toPandas(), queries.values())
        return dict(zip(queries, found, strict=True))


@contextlib.contextmanager
def ansi_mode(spark: SparkSession, on: bool) -> Iterator[None]:
    """Spark's ANSI mode on or off for a while; the profile, so `active_spark` too, has it off."""
    spark.conf.set("spark.sql.ansi.enabled", str(on).lower())
    try:
        yield
    finally:
        spark.conf.set("spark.sql.ansi.enabled", "false")


def rows_of(relation: str, version: int | None = None) -> DataFrame:
    """The rows of a table or of its metadata, of now or of an Iceberg snapshot."""
    at = f" version as of {version}" if version else ""
    return active_spark().sql(f"select * from {relation}{at}")


def differences(
    left: DataFrame, right: DataFrame, leave_out: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Up to three rows, as text, that one has more often (surplus 1: left; -1: right).

    Compared in Python: for tables of a test, a Spark job less for each.
    """
    assert left.dtypes == right.dtypes
    columns = [f"`{name}`" for name in left.columns if name not in leave_out]
    surplus: Counter[tuple[str, ...]] = Counter(_rows(left.select(*columns)))
    surplus.subtract(_rows(right.select(*columns)))
    uneven = ((row, number) for row, number in surplus.items() if number)
    return [
        {**dict(zip(columns, row, strict=True)), "surplus": number}
        for row, number in itertools.islice(uneven, 3)
    ]


def _rows(frame: DataFrame) -> Iterator[tuple[str, ...]]:
    # as text: lists have no hash, and NaN is not equal to itself
    columns = (map(repr, column.to_pylist()) for column in frame.toArrow().columns)
    return zip(*columns, strict=True)


def assert_same_rows(
    left: DataFrame, right: DataFrame, what: str, leave_out: Sequence[str] = ()
) -> None:
    """Fail where a row is in one of the two only (surplus 1: left; -1: right)."""
    different = differences(left, right, leave_out)
    assert not different, f"{what} differs: {different}"


def assert_like_one_build(project: Project, whole: Project) -> None:
    """All tables of a project are those that another has from one build of the same files."""
    for name in project.tables():
        rows, expected = project.table(name), whole.table(name)
        if name == "base_files":  # has earlier versions of files, too
            rows = rows.join(expected, ["source_file", "file_bytes", "file_modified_at"], "semi")
            rows = rows.select(expected.columns)
        assert_same_rows(rows, expected, name, LOAD_TIMES)
