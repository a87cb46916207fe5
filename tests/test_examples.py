"""Airflow, Dagster and OpenLineage, each in an environment of its own, as the documentation says.

All share a copy of the project and its warehouse. Each run finds one more day of logs.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from deploy.emr.pack import pack_project
from tests.pages import blocks, shell_lines
from tests.warehouse import BIN, ROOT, Run, run_process, user_environment
from tools.install_packages import settings_for_uv

EXAMPLES = ROOT / "examples"
ORCHESTRATION = ROOT / "docs" / "orchestration.md"
PAGES = {
    "airflow": ORCHESTRATION,
    "dagster": ORCHESTRATION,
    "openlineage": ROOT / "docs" / "operations.md",
}
DAY = ["dbt build", "python -m ml score", "python -m report"]
TRAIN = "python -m ml train"
# what none of the examples may need of the shell
OF_PROJECT = re.compile(r"CHURN_(WAREHOUSE|SCHEMA|TARGET)|DBT_|PYTHON|PYSPARK|VIRTUAL_ENV")

DAGS = """
import json
from airflow.dag_processing.dagbag import DagBag
bag = DagBag()
dags = {
    dag.dag_id: {
        "schedule": dag.schedule,
        "max_active_runs": dag.max_active_runs,
        "tasks": {
            task.task_id: [
                task.bash_command.partition("activate && ")[2], task.retries,
                task.execution_timeout.total_seconds(), sorted(task.upstream_task_ids),
                task.skip_on_exit_code,
            ]
            for task in dag.tasks
        },
    }
    for dag in bag.dags.values()
}
print("found:", json.dumps([bag.import_errors, dags]))
"""
ASSETS = """
import json, sys
sys.path.insert(0, "examples/dagster")
from definitions import defs
graph = defs.resolve_asset_graph()
names = lambda keys: sorted(key.to_user_string() for key in keys)
parents = {
    key.to_user_string(): names(graph.get(key).parent_keys)
    for key in graph.materializable_asset_keys
}
jobs = {
    schedule.job_name: [
        schedule.cron_schedule,
        sorted(node.name for node in defs.resolve_job_def(schedule.job_name).nodes),
    ]
    for schedule in defs.schedules
}
print("found:", json.dumps([parents, jobs]))
"""


class Example:
    """The shell of a page, in the project's folder; tests replace the page's last command."""

    def __init__(self, name: str, project: Path) -> None:
        (block,) = [block for block in blocks(PAGES[name], "sh") if f"venvs/{name}" in block]
        lines = [line.replace("~", str(project.parent)) for line in shell_lines(block)]
        self.project, self.last = project, lines.pop()
        self.context = [line for line in lines if line.startswith(("export ", ". "))]
        install = [line for line in lines if line not in self.context]
        self.shell = {k: v for k, v in user_environment().items() if not OF_PROJECT.match(k)}
        self.shell["AIRFLOW_HOME"] = str(project.parent / "airflow")
        if PAGES[name] == ORCHESTRATION:  # the other one is for the activated environment
            nowhere = {"JAVA_HOME": "/nowhere", "SPARK_HOME": "/nowhere"}
            folders = self.shell["PATH"].split(os.pathsep)
            path = os.pathsep.join(folder for folder in folders if Path(folder) != BIN)
            self.shell |= {**nowhere, "PATH": path}
        self.sh(*install, **settings_for_uv()).ok()

    def sh(self, *commands: str, **variables: str) -> Run:
        """Run commands, up to the first that fails."""
        done = subprocess.run(
            ["/bin/sh", "-ec", "\n".join(commands)],
            cwd=self.project,
            env={**self.shell, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=3000,
        )
        return Run(done.returncode, done.stdout)

    def run(self, command: str) -> Run:
        """Run a command in place of the page's last one."""
        return self.sh(*self.context, command)

    def python(self, code: str) -> Any:
        """What a Python program finds."""
        run = self.run(f"python - <<'end'\n{code}\nend").ok()
        return json.loads(run.lines_with("^found:")[0].removeprefix("found:"))

    def gets_logs(self, files: list[Path]) -> None:
        """Let files arrive in the landing folder."""
        for file in files:
            shutil.copy(file, self.project / "data" / "raw")


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A file for each day of a log on which a model can be trained."""
    folder = tmp_path_factory.mktemp("simulated") / "logs"
    options = "--users 200 --start 2018-10-01 --end 2018-11-25 --seed 1 --out".split()
    run_process("python", "-m", "simulator", *options, str(folder)).ok()
    return sorted(folder.glob("*.json"))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project without logs, which has the environment of this one."""
    folder = tmp_path_factory.mktemp("examples") / "project"
    shutil.unpack_archive(pack_project(folder.with_suffix(".zip")), folder)
    (folder / ".venv").symlink_to(BIN.parent)
    (folder / "data" / "raw").mkdir(parents=True)
    return folder


@pytest.fixture(scope="module")
def openlineage(project: Path) -> Example:
    return Example("openlineage", project)


@pytest.fixture(scope="module")
def airflow(project: Path) -> Example:
    example = Example("airflow", project)
    example.run("airflow db migrate").ok()
    return example


@pytest.fixture(scope="module")
def dagster(project: Path) -> Example:
    return Example("dagster", project)


@pytest.fixture(scope="module")
def lineage(openlineage: Example, logs: list[Path]) -> list[dict[str, Any]]:
    """Events of the first build, which all later runs need."""
    openlineage.gets_logs(logs[:-2])
    assert openlineage.run(openlineage.last).ok().published_build
    return events_of(openlineage)


@pytest.fixture(scope="module")
def trained(lineage: list[dict[str, Any]], airflow: Example) -> None:
    run_dag(airflow, "churn_training")


def events_of(openlineage: Example) -> list[dict[str, Any]]:
    """Lineage events since they were last asked for, oldest first."""
    file = openlineage.project / "target" / "lineage.jsonl"
    events = [json.loads(line) for line in file.read_text().splitlines()]
    file.unlink()
    return events


def run_dag(airflow: Example, name: str) -> Run:
    """Run a DAG once, at once; fails where a task does."""
    run = airflow.run(f"airflow dags test {name}").ok()
    assert run.lines_with(f"DagRun Finished: dag_id={name}, .* state=success"), run.output
    return run


# --- what needs no packages


def test_each_example_is_on_its_page_and_has_versions() -> None:
    for name, page in PAGES.items():
        files = sorted((EXAMPLES / name).iterdir())
        for file in files:
            if file.suffix == ".py":
                assert f"(../{file.relative_to(ROOT)})" in page.read_text()
        wanted, locked = [
            {line.split("==")[0] for line in file.read_text().splitlines() if "==" in line}
            for file in files
            if file.name.startswith("requirements")
        ]
        assert wanted and wanted <= locked
        lines = (EXAMPLES / name / "requirements.txt").read_text().splitlines()
        assert [line for line in lines if not re.match(r"[\w.-]+(\[.+\])?==", line)] == []
    assert "(orchestration.md)" in (ROOT / "docs" / "index.md").read_text()
    assert "(orchestration.md)" in PAGES["openlineage"].read_text()


def test_commands_of_the_examples_exist() -> None:
    dag = (EXAMPLES / "airflow" / "churn.py").read_text()
    definitions = (EXAMPLES / "dagster" / "definitions.py").read_text()
    found = {*re.findall(r'task\("\w+", "(.+?)"', dag)}
    for program, pattern in {
        "python -m": r"^    run\((.+)\)",
        "dbt": r"command = \[(.+)\]",
    }.items():
        for words in re.findall(pattern, definitions, re.M):
            found.add(" ".join([program, *re.findall(r'"(.+?)"', words)]))
    assert {*DAY, TRAIN} <= found and len(found) == 5
    for command in found:
        run_process(*command.split(), "--help").ok()


# --- in their environments


@pytest.mark.thorough
@pytest.mark.nightly
def test_airflow_has_the_day_and_the_training(airflow: Example) -> None:
    errors, dags = airflow.python(DAGS)
    assert errors == {}
    build, score, report = DAY
    assert dags == {
        "churn_daily": {
            "schedule": "0 3 * * *",
            "max_active_runs": 1,
            "tasks": {
                "build": [build, 2, 10800, [], [99]],
                "score": [score, 2, 10800, ["build"], [99]],
                "report": [report, 2, 10800, ["score"], [99]],
            },
        },
        "churn_training": {
            "schedule": "0 12 * * SUN",
            "max_active_runs": 1,
            "tasks": {"train": [TRAIN, 2, 10800, [], [3]]},
        },
    }


@pytest.mark.thorough
@pytest.mark.nightly
def test_dagster_has_all_tables_as_one_step(dagster: Example) -> None:
    parents, jobs = dagster.python(ASSETS)
    tables = {path.stem: path for path in (ROOT / "models").rglob("*.sql")}
    tables |= {path.stem: path for path in (ROOT / "seeds").iterdir()}
    own = {"churn_model", "scores", "report"}
    assert {name.rpartition("/")[2] for name in parents} == {*tables, *own}
    of_dbt = sorted(parents.keys() - own)
    assert parents["churn_model"] == of_dbt
    assert parents["scores"] == sorted([*of_dbt, "churn_model"])
    assert parents["report"] == sorted([*of_dbt, "scores"])
    assert jobs == {
        "churn_daily": ["0 3 * * *", ["dbt_build", "report", "scores"]],
        "churn_training": ["0 12 * * SUN", ["churn_model"]],
    }


@pytest.mark.spark
@pytest.mark.thorough
@pytest.mark.nightly
def test_a_build_tells_which_table_is_made_from_which(lineage: list[dict[str, Any]]) -> None:
    made = {
        table["name"]: {parent["name"] for parent in event["inputs"]}
        for event in lineage
        if event["eventType"] == "COMPLETE"
        for table in event["outputs"]
    }
    assert {name.partition(".")[2] for name in made} == {
        path.stem for path in (ROOT / "models").rglob("*.sql")
    }
    assert made["churn_marts.fct_user_days"] == {"churn_staging.int_session_parts"}
    tables = [table for event in lineage for table in (*event["inputs"], *event["outputs"])]
    assert {table["namespace"] for table in tables} == {"spark://127.0.0.1:10000"}
    first, last = lineage[0], lineage[-1]
    assert (first["eventType"], last["eventType"]) == ("START", "COMPLETE")
    assert first["job"]["name"] == last["job"]["name"] == "dbt-run-churn_at_scale"


@pytest.mark.spark
@pytest.mark.thorough
@pytest.mark.nightly
def test_lineage_says_that_a_build_failed(
    lineage: list[dict[str, Any]], openlineage: Example
) -> None:
    failing = openlineage.project / "tests" / "always_fails.sql"
    failing.write_text("select 1 as message")
    run = openlineage.run(openlineage.last)
    failing.unlink()
    run.failed("Not published: always_fails failed")
    last = events_of(openlineage)[-1]
    assert (last["job"]["name"], last["eventType"]) == ("dbt-run-churn_at_scale", "FAIL")


@pytest.mark.spark
@pytest.mark.thorough
@pytest.mark.nightly
@pytest.mark.usefixtures("trained")
def test_airflow_runs_the_day(airflow: Example, logs: list[Path]) -> None:
    airflow.gets_logs([logs[-2]])
    run = run_dag(airflow, "churn_daily")
    report = airflow.project / "target" / "report.html"
    assert run.published_build in report.read_text()


@pytest.mark.spark
@pytest.mark.thorough
@pytest.mark.nightly
@pytest.mark.usefixtures("trained")
def test_dagster_runs_the_day(dagster: Example, logs: list[Path]) -> None:
    dagster.gets_logs([logs[-1]])
    definitions = "-f examples/dagster/definitions.py"
    assert definitions in dagster.last
    part = dagster.run(f"dagster asset materialize {definitions} --select marts/dim_users")
    assert part.status != 0 and part.lines_with("Only a whole build publishes: select all tables")
    run = dagster.run(f"dagster job execute {definitions} -j churn_daily").ok()
    report = dagster.project / "target" / "report.html"
    assert run.published_build in report.read_text()
