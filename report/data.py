"""What the report shows: the answers to its queries, and the stored files of one model run."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined
from pyspark.sql import SparkSession

from ml import store
from report.profit import Assumptions
from warehouse.errors import ProjectError
from warehouse.publications import build_shown, current_build
from warehouse.session import Target
from warehouse.text import printable

# by name: those of one figure lie beside it in `figures`, the others in `queries`
QUERIES = {path.stem: path for path in sorted(Path(__file__).resolve().parent.rglob("*.sql"))}
NO_MODEL = "No model has been trained on this warehouse: run make train, then make score."
AT_ONCE = 3  # queries
BUILD_NOT_KEPT = build_shown({}, "")  # what `status` says of a mart without a tag
PUBLISHED_BEFORE_ALL = ("churn_calendar", "dim_users")

Step = Callable[[str], AbstractContextManager[None]]


class ReportError(ProjectError):
    """There is nothing to report on; the message says what to do."""


@dataclass(frozen=True)
class Answer:
    """A query and what it gave.

    Attributes:
        name: file name without `.sql`.
        sql: the text that was run, to the letter.
        rows: one row per row of the result, its text printable; empty where a table is
            missing.
        missing: the table that the query needs and that is not there, else ''.
    """

    name: str
    sql: str
    rows: pd.DataFrame
    missing: str = ""

    @property
    def problem(self) -> str:
        """What to do where a table is missing, else ''."""
        return f"There is no {self.missing} yet: run dbt build." if self.missing else ""

    def first(self) -> Mapping[str, Any]:
        """The only row by column, empty where there is none."""
        return {} if self.rows.empty else self.rows.iloc[0].to_dict()


@dataclass(frozen=True)
class Model:
    """metrics.json of the model run that the report shows; empty where `problem` says why."""

    metrics: Mapping = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True)
class Data:
    """All that is shown, read from one published build."""

    build: str
    target: str
    answers: Mapping[str, Answer]
    model: Model
    assumed: Assumptions = field(default_factory=Assumptions)

    def __getitem__(self, name: str) -> Answer:
        return self.answers[name]


def query(name: str, target: Target) -> str:
    """The text of a query for the schemas of a target."""
    text = QUERIES[name].read_text(encoding="utf-8")
    environment = Environment(undefined=StrictUndefined, autoescape=False)  # SQL, not HTML
    return environment.from_string(text).render(target=target).strip()


def ask(spark: SparkSession, target: Target, name: str, tables: Collection[str]) -> Answer:
    """Run one query. Its rows are few by construction: groups of a fixed number, or a limit.

    Where it reads a table that is not among `tables`, it is not run, and the answer says so.
    """
    sql = query(name, target)
    schemas = "|".join(map(re.escape, (target.published, target.ml)))
    read_tables = re.findall(rf"(?<![\w.])(?:{schemas})\.\w+", sql)
    missing = next((table for table in read_tables if table not in tables), "")
    rows = pd.DataFrame() if missing else as_printable(spark.sql(sql).toPandas())
    return Answer(name, sql, rows, missing)


def as_printable(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with all text as a page and a drawing can take it."""
    texts = rows.select_dtypes("object")
    return rows.assign(**texts.map(lambda each: printable(each) if isinstance(each, str) else each))


def readable_tables(spark: SparkSession, target: Target) -> set[str]:
    """Names, with their schema, of the published views and of what the ML step writes.

    Raises ReportError when nothing is published.
    """
    found = {f"{target.published}.{view}" for view in _names(spark, target.published, "views")}
    if not {f"{target.published}.{view}" for view in PUBLISHED_BEFORE_ALL} <= found:
        raise ReportError(
            f"Nothing is published in {target.published}: run `dbt build` first. "
            "What `make demo` published is read with CHURN_WAREHOUSE=demo/warehouse."
        )
    return found | {f"{target.ml}.{table}" for table in _names(spark, target.ml, "tables")}


def published_versions(spark: SparkSession, target: Target) -> dict[str, dict[str, int]]:
    """Iceberg snapshot by tag, by mart, of everything that is published: metadata alone.

    A mart that is a view has no version of its own.
    """
    views, tables = _names(spark, target.published, "views"), _names(spark, target.marts, "tables")
    versions: dict[str, dict[str, int]] = {mart: {} for mart in sorted({*views} & {*tables})}
    selects = " union all ".join(
        f"select '{view}' as mart, name, snapshot_id from {target.marts}.{view}.refs"
        for view in versions
    )
    for row in spark.sql(selects).collect():
        versions[row["mart"]][row["name"]] = row["snapshot_id"]
    return versions


def _names(spark: SparkSession, schema: str, kind: str) -> list[str]:
    if not spark.catalog.databaseExists(schema):
        return []
    # temporary views are listed with those of every schema
    shown = spark.sql(f"show {kind} in {schema}").where("not isTemporary").collect()
    return [row["viewName" if kind == "views" else "tableName"] for row in shown]


def build_name(versions: Mapping[str, Mapping[str, int]]) -> str:
    """The newest build whose tag is on what is published of every mart, as `status` has it;
    where marts come from several builds (a build of a part), the newest of them, and says so."""
    if current := current_build(versions, None):
        return current
    shown = (build_shown(tags, "") for tags in versions.values() if "published" in tags)
    newest = max(shown, default=BUILD_NOT_KEPT)
    return newest if newest == BUILD_NOT_KEPT else f"{newest}, some marts of builds before"


def read_model(artifacts: Path, run_id: object) -> Model:
    """The stored files of a run; `run_id` null where no model was trained."""
    if not isinstance(run_id, str):
        return Model(problem=NO_MODEL)
    try:
        folder = store.run_folder(artifacts, run_id)
    except ProjectError:
        return Model(
            problem=f"The files of model run {run_id} are not in {artifacts}, so its curves cannot "
            "be drawn: name their folder with --artifacts, or run make train."
        )
    metrics = store.read_json(folder / "metrics.json")
    if {"curves", "strengths"} <= set(metrics):
        return Model(metrics)
    return Model(problem=f"Model run {run_id} was trained before curves were kept: run make train.")


def read(spark: SparkSession, target: Target, artifacts: Path, step: Step) -> Data:
    """Ask all queries of one published build; again, once, where a build is published meanwhile.

    Raises ReportError when nothing, or no event, is published.
    """
    # a session that remembers tables could see two builds for longer (docs/operations.md)
    catalog = spark.conf.get("spark.sql.defaultCatalog", "lake")
    spark.conf.set(f"spark.sql.catalog.{catalog}.cache-enabled", "false")
    tables = readable_tables(spark, target)
    versions = published_versions(spark, target)
    for _ in range(2):
        with step(f"ask {len(QUERIES)} questions"), ThreadPoolExecutor(AT_ONCE) as pool:
            # planning is most of a small query, and the work of one thread
            asked = pool.map(lambda name: ask(spark, target, name, tables), QUERIES)
            answers = dict(zip(QUERIES, asked, strict=True))
        before, versions = versions, published_versions(spark, target)
        if versions == before:
            break
    if answers["data_period"].rows.empty:
        raise ReportError(f"{target.published} holds no event: load logs and run `dbt build`.")
    shown = answers["shown_model"]
    run_id = shown.first().get("model_run_id")
    model = Model(problem=shown.problem) if shown.missing else read_model(artifacts, run_id)
    return Data(build_name(versions), target.name, answers, model)
