"""Commands of operators: `python -m warehouse status | compare | rollback | ...`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from warehouse.commands import Profiles, Program, Target, console
from warehouse.errors import ProjectError
from warehouse.hand_over import run

if TYPE_CHECKING:
    from warehouse.connection import Connection

app = Program(
    "python -m warehouse",
    "See what is published, roll back, maintain tables, query what is published.",
    """Examples:
  python -m warehouse status
  python -m warehouse compare      what a publication would change
  python -m warehouse rollback     readers go back to what they saw before
  python -m warehouse rollback <build> --tables    then: dbt build
  python -m warehouse reload <file>                then: dbt build

Exit status: 0 done, 1 a problem that the message explains, 2 wrong usage.
""",
)
main = app.main

DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print what would be done, and change nothing.")
]
Wait = Annotated[
    int | None,
    typer.Option(
        min=0,
        metavar="SECONDS",
        help="How long to wait while another command is at work.",
        show_default="wait_seconds of dbt_project.yml",
    ),
]


@app.command(epilog="Example:\n  python -m warehouse status --target thrift")
def status(target: Target = None, profiles_dir: Profiles = None) -> None:
    """Show which build readers see, which builds are kept, and which command is at work."""
    from warehouse.status import status as show

    with _connect(target, profiles_dir) as connection:
        show(connection, console())


@app.command(epilog="Example:\n  python -m warehouse up --idle-minutes 120")
def up(
    target: Target = None,
    idle_minutes: Annotated[
        float,
        typer.Option(min=0.1, metavar="N", help="End it when no command came for so long."),
    ] = 30,
) -> None:
    """Start the engine: one Spark that stays warm, and runs the commands of this project.

    While it is up, `dbt`, `python -m ml`, `python -m report` and the commands here use it by
    themselves, one at a time. They see each edit of the project. With CHURN_ENGINE=off a command
    starts a Spark of its own, as all do without the engine.
    """
    from warehouse import engine

    with console().status("The engine starts ..."):
        started = engine.start(target, idle_minutes)
    _say(
        f"The engine is up (process {started.pid}, target {started.target}). It ends by "
        f"`make down`, or after {idle_minutes:g} minutes without a command."
    )


@app.command(epilog="Example:\n  python -m warehouse down")
def down() -> None:
    """End the engine, and the command that it runs."""
    from warehouse import engine

    running = engine.find()
    if running:
        running.stop()
    _say(f"The engine has ended (process {running.pid})." if running else "No engine is up.")


@app.command(
    epilog="""Examples:
  python -m warehouse compare    what the next publication would change
  python -m warehouse compare build_20261124T101500Z_0a1b2c3d    since then
  python -m warehouse compare <build> <later build> --mart dim_users
"""
)
def compare(
    old: Annotated[
        str | None,
        typer.Argument(
            metavar="BUILD",
            help="Name of a build, or id of its invocation.",
            show_default="what readers see",
        ),
    ] = None,
    new: Annotated[
        str | None,
        typer.Argument(
            metavar="LATER_BUILD", help="The other build.", show_default="the tables as they are"
        ),
    ] = None,
    marts: Annotated[
        list[str] | None,
        typer.Option(
            "--mart", metavar="MART", help="A mart. Repeat for several.", show_default="all"
        ),
    ] = None,
    target: Target = None,
    profiles_dir: Profiles = None,
) -> None:
    """Show the rows added, removed and changed per mart and column, with examples."""
    from warehouse.compare import compare as show

    with _connect(target, profiles_dir) as connection:
        show(connection, old, new, marts or [], console())


@app.command(
    epilog="""Examples:
  python -m warehouse rollback    to the build that readers saw before
  python -m warehouse rollback build_20261124T101500Z_0a1b2c3d
  python -m warehouse rollback 0a1b2c3d-0000-4000-8000-000000000000 --tables
"""
)
def rollback(
    build: Annotated[
        str | None,
        typer.Argument(
            metavar="BUILD",
            help="Name of a build, or id of its invocation.",
            show_default="the one seen before",
        ),
    ] = None,
    tables: Annotated[
        bool,
        typer.Option(
            "--tables",
            help="Set the tables back as well, except those that ml/ writes. The next `dbt build` "
            "loads again what came later.",
        ),
    ] = False,
    dry_run: DryRun = False,
    wait: Wait = None,
    target: Target = None,
    profiles_dir: Profiles = None,
) -> None:
    """Let readers see an earlier build. If interrupted, the next command finishes it."""
    from warehouse.publications import rollback as go_back

    with _connect(target, profiles_dir) as connection:
        go_back(connection, build, tables, dry_run, _say, wait)


@app.command(
    epilog="""Examples:
  python -m warehouse maintain --dry-run
  python -m warehouse maintain --keep-hours 24 --builds-kept 3
"""
)
def maintain(
    keep_hours: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="HOURS",
            help="Remove snapshots that no tag needs, and files that no snapshot needs, from this "
            "age on. Files stay for at least a day.",
        ),
    ] = 72,
    builds_kept: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="How many builds `rollback` can go back to.",
            show_default="builds_kept of dbt_project.yml",
        ),
    ] = None,
    dry_run: DryRun = False,
    wait: Wait = None,
    target: Target = None,
    profiles_dir: Profiles = None,
) -> None:
    """Compact small files, drop tags of old builds, expire snapshots, remove orphan files."""
    from warehouse.maintain import maintain as tidy

    with _connect(target, profiles_dir) as connection:
        tidy(connection, keep_hours, builds_kept, dry_run, _say, wait)


@app.command(epilog="Example:\n  python -m warehouse reload events-2018-10-01.json && dbt build")
def reload(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE", help="Names as in `ingested_files.source_file`."),
    ],
    dry_run: DryRun = False,
    wait: Wait = None,
    target: Target = None,
    profiles_dir: Profiles = None,
) -> None:
    """Take back what was loaded from files. The next build loads those that are still there.

    Readers see no difference until that build is published.
    """
    from warehouse.changes import reload as take_back

    with _connect(target, profiles_dir) as connection:
        take_back(connection, files, dry_run, _say, wait)


@app.command(epilog="Example:\n  python -m warehouse rebuild --first 2018-10-01 --last 2018-10-07")
def rebuild(
    first: Annotated[date, typer.Option(help="First UTC date, inclusive.")],
    last: Annotated[date, typer.Option(help="Last UTC date, inclusive.")],
    dry_run: DryRun = False,
    wait: Wait = None,
    target: Target = None,
    profiles_dir: Profiles = None,
) -> None:
    """Let the next build make all rows of these dates again, for example after a manual change."""
    from warehouse.changes import rebuild as mark

    with _connect(target, profiles_dir) as connection:
        mark(connection, first, last, dry_run, _say, wait)


@app.command(
    epilog="""Examples:
  python -m warehouse forget --user-file users.txt --dry-run
  python -m warehouse forget --user-file users.txt
"""
)
def forget(
    user_file: Annotated[
        Path,
        typer.Option(
            "--user-file",
            help="Ids as in `dim_users.user_id`, one per line. A file keeps them out of shell "
            "histories and process lists.",
            exists=True,
            dir_okay=False,
        ),
    ],
    variables: Annotated[
        str | None,
        typer.Option(
            "--vars",
            metavar="YAML",
            help="Vars of the `dbt build` that it runs, on the warehouse's own landing folder.",
        ),
    ] = None,
    dry_run: DryRun = False,
    wait: Wait = None,
    target: Target = None,
    profiles_dir: Profiles = None,
) -> None:
    """Erase users for good: their lines, all that was made from them, and all earlier builds.

    Runs `dbt build`, which must publish. After that no earlier build can be restored, queries that
    still read one fail, and loading the same raw files leaves these users out. If it was killed,
    run it again.
    """
    from warehouse.forget import dbt_build, variables_of_build
    from warehouse.forget import forget as erase

    with _connect(target, profiles_dir) as connection:
        of_build = variables_of_build(connection, variables)

        def build() -> bool:
            return dbt_build(target, profiles_dir, of_build)

        erase(connection, user_file, build, dry_run, _say, wait)


@app.command(
    epilog="""Examples:
  python -m warehouse unlock    shows which command is at work
  python -m warehouse unlock 0a1b2c3d-0000-4000-8000-000000000000
"""
)
def unlock(
    invocation: Annotated[
        str | None,
        typer.Argument(
            metavar="INVOCATION", help="Id of the killed command, as other commands print it."
        ),
    ] = None,
    dry_run: DryRun = False,
    target: Target = None,
    profiles_dir: Profiles = None,
) -> None:
    """Release the lock of a killed command before its lease ends."""
    from warehouse.lock import unlock as free

    # the first build may be the one that was killed
    with _connect(target, profiles_dir, is_built=False) as connection:
        free(connection, invocation, dry_run, _say)


@app.command(
    epilog="""Example:
  python -m warehouse query "select * from churn_published.weekly_kpis"
"""
)
def query(
    sql: Annotated[
        str,
        typer.Argument(metavar="SQL", help="A query on the published views, in DuckDB's SQL."),
    ],
) -> None:
    """Query the published marts without Spark or Java, in a warehouse on this machine."""
    with _duckdb():
        from warehouse.published import ask

        ask(sql)


@app.command(
    epilog="""Examples:
  python -m warehouse metrics    lists them
  python -m warehouse metrics churn_rate active_users --by metric_time__week
  python -m warehouse metrics churn_rate --by user__platform --sql
"""
)
def metrics(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="METRIC", help="Names of metrics. Without one: list them all."),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by",
            metavar="DIMENSION",
            help="A dimension: metric_time__day, metric_time__week, user__platform, ... Repeat for "
            "several.",
        ),
    ] = None,
    sql: Annotated[
        bool,
        typer.Option("--sql", help="Print the SQL, for a Spark client, instead of running it."),
    ] = False,
) -> None:
    """Compute metrics from the published marts, without Spark or Java."""
    with _duckdb():
        from warehouse.metrics import answer

        answer(names or [], by or [], sql)


@app.command(
    epilog="""Examples:
  python -m warehouse export    to target/export
  python -m warehouse export --out /data/churn --mart dim_users
"""
)
def export(
    out: Annotated[
        Path | None, typer.Option(help="Folder for exports alone.", show_default="target/export")
    ] = None,
    marts: Annotated[
        list[str] | None,
        typer.Option(
            "--mart", metavar="MART", help="A mart. Repeat for several.", show_default="all"
        ),
    ] = None,
) -> None:
    """Write the published marts as Parquet files with a manifest, without Spark or Java."""
    with _duckdb():
        from warehouse.export import DEFAULT_OUT
        from warehouse.export import export as write

        write(out or DEFAULT_OUT, marts or [], console())


@app.command(
    epilog="""Example, as an MCP client starts it (docs/sql.md):
  python -m warehouse mcp --seconds 10
"""
)
def mcp(
    seconds: Annotated[float, typer.Option(min=1, help="A query ends after this time.")] = 30,
) -> None:
    """Let an assistant ask about the published marts and metrics: a read-only MCP server."""
    with _duckdb():
        try:
            from warehouse.mcp_server import serve
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in ("mcp", "mcp_types"):
                raise
            raise ProjectError(
                "The MCP server needs the package mcp: run `uv pip install 'mcp==2.*'`."
            ) from error

        serve(seconds)


def _connect(
    target: str | None, profiles_dir: Path | None, is_built: bool = True
) -> AbstractContextManager[Connection]:
    # imported late, so that --help and usage errors answer at once
    from warehouse.connection import connect

    return connect(target, profiles_dir, is_built)


@contextmanager
def _duckdb() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "duckdb":
            raise
        raise ProjectError(
            "DuckDB 2 has no package for this Python: set the project up with Python 3.11 or later."
        ) from error


def _say(sentence: str) -> None:
    console().print(sentence, soft_wrap=True)


if __name__ == "__main__":
    # the others need no Spark
    needs_spark = {*sys.argv} & {"status", "compare", "rollback", "maintain", "reload", "rebuild"}
    needs_spark |= {*sys.argv} & {"forget", "unlock"}
    sys.exit(run("warehouse", main) if needs_spark else main())
