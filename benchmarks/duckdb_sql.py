"""The SQL of all tables for DuckDB: what dbt compiled for Spark, translated by sqlglot.

What reads the raw files is written by hand, in duckdb_raw.sql. If DuckDB makes the same tables, the
engines agree. Whether the SQL is right is another question: tests/golden answers it.

`python -m benchmarks.duckdb_sql` prints the statements. It needs dbt, but no Spark.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from sqlglot import ErrorLevel, exp, parse_one
from sqlglot.generators.duckdb import DuckDBGenerator

from benchmarks.dbt_runs import PROJECT_DIR, dbt_environment, measured
from benchmarks.make_duckdb_tables import statements

RAW_SQL = Path(__file__).with_name("duckdb_raw.sql")


class SparkInDuckdb(DuckDBGenerator):
    """Writes Spark's SQL for DuckDB: here is what sqlglot does not translate, or not exactly."""

    # all timestamps are UTC
    TYPE_MAPPING: ClassVar = {**DuckDBGenerator.TYPE_MAPPING, exp.DType.TIMESTAMPTZ: "TIMESTAMP"}
    TRANSFORMS: ClassVar = {
        **DuckDBGenerator.TRANSFORMS,
        exp.Hint: lambda self, e: "",
        # a date, where DuckDB makes a timestamp
        exp.TsOrDsAdd: lambda self, e: (
            f"(CAST({self.sql(e, 'this')} AS DATE) + CAST({self.sql(e, 'expression')} AS INTEGER))"
        ),
        # all sequences of the models are of dates
        exp.GenerateSeries: lambda self, e: (
            f"CAST(GENERATE_SERIES({self.sql(e, 'start')}, {self.sql(e, 'end')}, INTERVAL 1 DAY) "
            "AS DATE[])"
        ),
        # DuckDB's count_if of nulls only is null
        exp.CountIf: lambda self, e: f"COUNT(*) FILTER (WHERE {self.sql(e, 'this')})",
        # cut to whole seconds, not rounded
        exp.UnixSeconds: lambda self, e: f"(EPOCH_MS({self.sql(e, 'this')}) // 1000)",
        # DuckDB's max_by and min_by pass over values that are null
        exp.ArgMax: lambda self, e: self.func("ARG_MAX_NULL", e.this, e.expression),
        exp.ArgMin: lambda self, e: self.func("ARG_MIN_NULL", e.this, e.expression),
    }

    def datetrunc_sql(self, expression: exp.DateTrunc) -> str:
        """A date, where DuckDB makes a timestamp."""
        return f"CAST({super().datetrunc_sql(expression)} AS DATE)"

    def aliases_sql(self, expression: exp.Aliases) -> str:
        """`stack(2, a, b, c, d) as (x, y)`: a list of structs, whose fields become columns."""
        stack, names = expression.this, [each.name for each in expression.expressions]
        if not isinstance(stack, exp.Stack):
            return super().aliases_sql(expression)
        values = [self.sql(value) for value in stack.expressions]
        rows = [values[first : first + len(names)] for first in range(0, len(values), len(names))]
        structs = (
            ", ".join(f"{name}: {value}" for name, value in zip(names, row, strict=True))
            for row in rows
        )
        return f"UNNEST([{{{'}, {'.join(structs)}}}], recursive := true)"

    def windowspec_sql(self, expression: exp.WindowSpec) -> str:
        """A range of numbers is one of days: the models order such windows by a date."""
        for side in ("start", "end"):
            bound = expression.args.get(side)
            if expression.text("kind").upper() == "RANGE" and isinstance(bound, exp.Literal):
                expression.set(side, exp.Interval(this=bound.copy(), unit=exp.var("DAY")))
        return super().windowspec_sql(expression)

    def substring_sql(self, expression: exp.Substring) -> str:
        """The name of a file without its folder: `file_path` in duckdb_raw.sql has none."""
        text = expression.this
        if isinstance(text, exp.Column) and text.table == "_metadata":
            return self.sql(text)
        return super().substring_sql(expression)


def translated(query: str, relations: Mapping[str, str]) -> str:
    """A query of Spark for DuckDB; `relations` maps Spark's names of tables to DuckDB's.

    Raises sqlglot's UnsupportedError for what has no translation.
    """
    tree = parse_one(query, dialect="spark")
    for table in tree.find_all(exp.Table):
        if table.db:
            relation = ".".join(part.name for part in table.parts)
            table.set("this", exp.to_identifier(relations[relation]))
            # else DuckDB could take it for a CTE of the same name
            table.set("db", exp.to_identifier("main"))
            table.set("catalog", None)
    return written(tree)


def written(tree: exp.Expr) -> str:
    """An expression of Spark as DuckDB's SQL."""
    return SparkInDuckdb(
        dialect="duckdb", pretty=True, comments=False, unsupported_level=ErrorLevel.RAISE
    ).generate(tree)


def create_statement(model: Mapping[str, Any], relations: Mapping[str, str]) -> str:
    """The statement for one model, with the columns and types of its contract, if it has one."""
    columns = "*"
    if model["contract"]["enforced"]:
        columns = ", ".join(
            f"cast({name} as {written(exp.DataType.build(column['data_type'], dialect='spark'))})"
            f" as {name}"
            for name, column in model["columns"].items()
        )
    kind = "view" if model["config"]["materialized"] == "view" else "table"
    query = translated(model["compiled_code"], relations)
    return f"create {kind} {model['name']} as\nselect {columns}\nfrom (\n{query}\n);\n"


def tables_of(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The models of dbt's manifest that are stored as tables."""
    return [
        node
        for node in manifest["nodes"].values()
        if node["resource_type"] == "model" and node["config"]["materialized"] == "tracked"
    ]


def tables_sql(manifest: Mapping[str, Any]) -> str:
    """Statements that make all tables, and the views they read, each after what it reads.

    `manifest` is dbt's, from `compiled_project` or from a first build. Later builds compile models
    that read only what changed.
    """
    raw = RAW_SQL.read_text(encoding="utf-8")
    made = {name for name, _ in statements(raw)}
    nodes, parts = manifest["nodes"], [raw]
    relations = {node["relation_name"]: node["name"] for node in nodes.values()} | {
        source["relation_name"]: f"{source['source_name']}_{source['name']}"
        for source in manifest["sources"].values()
    }

    def add(unique_id: str) -> None:
        node = nodes.get(unique_id)  # a source has none
        if node and node["name"] not in made:
            made.add(node["name"])
            for parent in node["depends_on"]["nodes"]:
                add(parent)
            parts.append(create_statement(node, relations))

    for table in tables_of(manifest):
        add(table["unique_id"])
    return "\n\n".join(parts)


def compiled_project(project: Path = PROJECT_DIR) -> dict[str, Any]:
    """dbt's manifest with the SQL of all models, as a first build runs it. Starts no Spark."""
    with TemporaryDirectory() as folder:
        measured(
            [
                *(sys.executable, "-m", "dbt.cli.main", "--log-path", folder),
                *("compile", "--select", "resource_type:model", "--target", "local"),
                *("--no-introspect", "--no-populate-cache", "--target-path", folder),
                *("--project-dir", str(project), "--profiles-dir", str(project)),
            ],
            dbt_environment(Path(folder)),
        )
        manifest: dict[str, Any] = json.loads((Path(folder) / "manifest.json").read_text("utf-8"))
        return manifest


if __name__ == "__main__":
    print(tables_sql(compiled_project()))
