"""What README, CONTRIBUTING, AGENTS and docs/ tell people to run exists; the pages' own checks."""

import functools
import importlib
import importlib.util
import itertools
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import click
import pytest
import yaml
from dbt.cli.main import cli
from sqlglot import exp, parse_one
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.qualify import qualify

from tests.conftest import RunMain
from tests.pages import PAGES, blocks, commands, words_of
from tests.warehouse import ROOT, run_process
from tools import check_words

# programs of other projects, and of the shell
OTHERS = {
    *("beeline", "cd", "export", "git", "pre-commit", "sh", "touch", "uv", "."),
    *("airflow", "dagster", "dbt-ol"),
}
# of whoever runs the command, or shown elsewhere: such a command is not run here
NOT_HERE = re.compile(
    r"<|/path/to|thrift|connect|users\.txt|reload|mcp|--full-refresh|--vars|\.\.\.|unit|--sql"
)
VARS = {*yaml.safe_load((ROOT / "dbt_project.yml").read_text())["vars"], "product"}
TARGETS = re.findall(r"^    (\w+):", (ROOT / "profiles.yml").read_text(), re.M)
MARKS = re.findall(r'^    "(\w+):', (ROOT / "pyproject.toml").read_text(), re.M)
NODES = {
    path.stem
    for folder in ("models", "analyses", "report", "seeds", "tests")
    for path in (ROOT / folder).rglob("*.*")
    if path.suffix in (".sql", ".csv")
}


HelpOf = Callable[..., str]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture
def help_of(monkeypatch: pytest.MonkeyPatch, run_main: RunMain) -> HelpOf:
    """The help of a module, or of one of its commands."""
    monkeypatch.setenv("COLUMNS", "300")

    @functools.cache
    def ask(module: str, *command: str) -> str:
        return run_main(importlib.import_module(module).main, *command, "--help").ok().output

    return ask


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=name_of)
def test_commands_of_a_page_exist(page: Path, help_of: HelpOf) -> None:
    command = ""
    try:
        for command in commands(page):
            check_command(words_of(command), help_of)
    except (AssertionError, click.UsageError, SqlglotError) as error:
        raise AssertionError(f"{name_of(page)}: {command}\n{error}") from error


def check_command(words: list[str], help_of: HelpOf) -> None:
    """Raise an error for a program, target, option, model or column that is not there."""
    if not words:
        return
    program, *arguments = words
    if program == "make":
        done = run_process(shutil.which("make") or "make", "--dry-run", *arguments)
        assert done.status == 0, done.output
        for line in done.output.splitlines():
            if re.match(r"(CHURN_\w+=\S+ )*(python|dbt|pytest) ", line):
                check_command(words_of(line), help_of)
    elif program in ("python", "python3"):
        check_module(arguments, help_of)
    elif program == "dbt":
        check_dbt(arguments)
    elif program == "pytest":
        check_pytest(arguments)
    else:
        known = program.rpartition("/")[2] in OTHERS or shutil.which(program)
        assert known, f"there is no program {program}"


def check_module(arguments: list[str], help_of: HelpOf) -> None:
    assert arguments[0] == "-m", "only modules are commands"
    _, name, *rest = arguments
    found = importlib.util.find_spec(name)
    assert found, f"there is no module {name}"
    if not rest:
        return
    module = f"{name}.__main__" if found.submodule_search_locations else name
    command = re.findall(r"^[a-z][a-z-]*$", rest[0])
    shown = help_of(module, *command)
    for option in (word.partition("=")[0] for word in rest if word.startswith("--")):
        assert re.search(rf"(?<![\w-]){option}(?![\w-])", shown), f"no option {option}"


def check_dbt(arguments: list[str]) -> None:
    group: click.Command = cli
    context = cli.make_context("dbt", list(arguments), resilient_parsing=False)
    while isinstance(group, click.Group):
        rest = [*context._protected_args, *context.args]
        name, group, rest = group.resolve_command(context, rest)
        assert group and name
        context = group.make_context(name, rest, parent=context)
    given = context.params
    for chosen in (*(given.get("select") or ()), *(given.get("exclude") or ())):
        for part in re.split(r"[ ,]", " ".join(chosen) if isinstance(chosen, tuple) else chosen):
            check_selector(part.strip("+@"))
    assert {*(given.get("vars") or {})} <= VARS, f"unknown vars in {given['vars']}"
    target = given.get("target")
    assert target is None or target in TARGETS, f"there is no target {target}"
    if given.get("inline"):
        check_sql(given["inline"])


def check_selector(chosen: str) -> None:
    method, colon, value = chosen.rpartition(":")
    if chosen.startswith("<") or method == "test_type":
        return
    if method == "path":
        assert (ROOT / value).exists(), f"there is no {value}"
    else:
        assert not colon, f"not checked here: {chosen}"
        assert chosen in NODES, f"there is no model {chosen}"


def check_pytest(arguments: list[str]) -> None:
    for option, value in itertools.pairwise([*arguments, ""]):
        if option.startswith("tests/"):
            assert (ROOT / option).exists(), f"there is no {option}"
        if option == "-m":
            assert {*re.findall(r"\w+", value)} <= {*MARKS, "not", "and", "or"}, value


# --- SQL


@functools.cache
def schema() -> dict[str, dict[str, dict[str, str]]]:
    """Types of all columns, by schema and table, as in the yml files; int_ models have none."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for file in (ROOT / "models").rglob("*.yml"):
        content = yaml.safe_load(file.read_text())
        part = "churn_staging" if "staging" in file.parts else "churn_marts"
        tables = [(part, each) for each in content.get("models", [])]
        for source in content.get("sources", []):
            tables += [(f"churn_{source['name']}", each) for each in source["tables"]]
        for name, table in tables:
            if not table["name"].startswith("int_"):
                columns = {each["name"]: each["data_type"] for each in table["columns"]}
                found.setdefault(name, {})[table["name"]] = columns
    found["churn_published"] = found["churn_marts"]
    return found


def check_sql(sql: str) -> None:
    """Raise AssertionError for a table that is not there, or a column; of int_ models a table."""

    def named(reference: re.Match[str]) -> str:
        name = reference[1]
        return f"{next(part for part, tables in schema().items() if name in tables)}.{name}"

    if private := re.search(r"\bint_\w+", sql):
        check_selector(private[0])
        return
    sql = re.sub(r"\{\{ *ref\('(\w+)'\) *\}\}", named, sql)
    sql = re.sub(r"\{\{ *source\('(\w+)', '(\w+)'\) *\}\}", r"churn_\1.\2", sql)
    sql = sql.replace("{{ target.schema }}", "churn")
    tree = parse_one(sql, dialect="spark")
    for table in tree.find_all(exp.Table):
        # of Iceberg's metadata, the table it is about
        name, of = (table.name, table.db) if not table.catalog else (table.db, table.catalog)
        assert not of or name in schema().get(of, {}), f"there is no table {of}.{name}"
        if table.catalog:
            return
    qualify(tree, schema=schema(), dialect="spark")


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "sql")], ids=name_of)
def test_sql_of_a_page_names_tables_and_columns_that_exist(page: Path) -> None:
    for sql in blocks(page, "sql"):
        check_sql(sql)


def test_queries_of_a_page_name_tables_and_columns_that_exist() -> None:
    found = [words_of(command) for page in PAGES for command in commands(page)]
    queries = [words[4] for words in found if words[1:4] == ["-m", "warehouse", "query"]]
    assert len(queries) >= 2
    for sql in queries:
        check_sql(sql)


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("make no-such-target", "No rule"),
        ("make bench-build ARGS='--no-such-option'", "no option --no-such-option"),
        ("python -m no_such_module", "no module no_such_module"),
        ("python -m warehouse no-such-command", "No such command"),
        ("python -m ml no-such-command", "No such command"),
        ("python -m warehouse status --no-such-option", "no option --no-such-option"),
        ("dbt build --no-such-option", "No such option"),
        ("dbt no-such-command", "No such command"),
        ("dbt build --select no_such_model", "no model no_such_model"),
        ("dbt build --select path:nowhere", "no nowhere"),
        ("dbt build --vars '{no_such_var: 1}'", "unknown vars"),
        ("dbt build --target nowhere", "no target nowhere"),
        ('dbt show --inline "select nothing from churn_published.dim_users"', "nothing"),
        (
            "dbt show --inline \"select 1 from {{ source('audit', 'nothing') }}\"",
            "churn_audit.nothing",
        ),
        ("pytest tests/no_such_file.py", "no tests/no_such_file.py"),
        ("pytest -m no_such_mark", "no_such_mark"),
        ("no-such-program", "no program no-such-program"),
    ],
)
def test_what_does_not_exist_is_found(command: str, problem: str, help_of: HelpOf) -> None:
    with pytest.raises((AssertionError, click.UsageError, SqlglotError)) as found:
        check_command(words_of(command), help_of)
    assert problem in getattr(found.value, "message", str(found.value))


@pytest.mark.spark
@pytest.mark.thorough
@pytest.mark.nightly
def test_commands_that_need_only_a_warehouse_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of README, operations and SQL clients, in order, on the sample, built twice."""
    if (ROOT / "data" / "raw").resolve() != ROOT / "data" / "sample":
        pytest.skip("data/raw is not the sample")
    for name in ("CHURN_SCHEMA", "DBT_PROFILES_DIR"):
        monkeypatch.delenv(name, raising=False)
    pages = [ROOT / "README.md", ROOT / "docs" / "operations.md", ROOT / "docs" / "sql.md"]
    known = [command for page in pages for command in commands(page)]
    lines = [
        line
        for line in dict.fromkeys(known)
        if re.match(r"dbt (show|compile)|python -m warehouse ", line) and not NOT_HERE.search(line)
    ]
    rebuild = next(line for line in lines if "rebuild" in line)
    lines.remove(rebuild)
    assert len(lines) >= 9
    in_warehouse = {"CHURN_WAREHOUSE": str(tmp_path), "DBT_TARGET_PATH": str(tmp_path / "target")}
    for line in ("dbt build", rebuild, "dbt build", *lines):
        done = run_process("/bin/sh", "-c", line, **in_warehouse)
        assert done.status == 0, f"{line}\n{done.output}"


# --- the checks of words


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("A share of .5 is a half.", "leading zero"),
        ("| .755 |", "leading zero"),
        ("One sitting each.", "instead of 'sitting'"),
        ("See [there](no_such_page.md).", "there is no no_such_page.md"),
        ("See [there](#no-such-heading).", "no heading for #no-such-heading"),
        ("word " * 19 + ".", "19.0 words a sentence"),
    ],
)
def test_words_and_links_of_a_page_are_checked(
    text: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_words, "ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n\n{text}\n")
    (found,) = check_words.problems(page)
    assert problem in found


def test_what_is_right_is_no_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_words, "ROOT", tmp_path)
    page = tmp_path / "README.md"
    page.write_text(
        "# A `code` title, with more\n\n0.5 of `.5`, version 1.2.3, *.sql and .github.\n\n"
        "```sh\necho .5 sitting\n```\n\n- [top](#a-code-title-with-more)\n- [self](README.md)\n"
    )
    assert list(check_words.problems(page)) == []
    page.write_text("line\n\n" * 80)
    assert "150 are the most" in next(check_words.problems(page))


def test_pages_are_sound() -> None:
    run_process("python", "-m", "tools.check_words").ok()
