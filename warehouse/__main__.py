"""Commands of operators: `python -m warehouse status | compare | rollback | ...`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from warehouse.console import Console
from warehouse.errors import ProjectError

if TYPE_CHECKING:
    from warehouse.connection import Connection

app = typer.Typer(
    name="python -m warehouse",
    help="See what is published, roll back, maintain tables, query what is published.",
    epilog="""Examples:

- `python -m warehouse status`
- `python -m warehouse compare` what the next publication would change for readers
- `python -m warehouse rollback` readers go back to the previous build
- `python -m warehouse rollback <build> --tables` all tables go back too; then `dbt build`
- `python -m warehouse reload <file>` take back what was loaded from it; then `dbt build`

Exit status: 0 done, 1 a problem that the message explains, 2 wrong usage.
""",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

# typer reads these at run time, on Python 3.10, too
Target = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--target", help="Target of profiles.yml (default: the profile's)."),
]
Profiles = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(
        "--profiles-dir",
        help="Folder of profiles.yml (default: the project's).",
        file_okay=False,
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print what would be done, and change nothing.")
]
Wait = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(
        "--wait",
        min=0,
        metavar="SECONDS",
        help="How long to wait while another command is at work (default: wait_seconds of "
        "dbt_project.yml).",
    ),
]


def _date(text: str) -> Any:
    return typer.Option(metavar="DATE", formats=["%Y-%m-%d"], help=text)


@app.command(epilog="Example: `python -m warehouse status --target thrift`")
def status(target: Target = None, profiles_dir: Profiles = None) -> None:
    """Show which build readers see, which builds are kept, and which command is at work."""
    from warehouse.status import status as show

    with _connect(target, profiles_dir) as connection:
        show(connection, _console())


@app.command(
    epilog="""Examples:

- `python -m warehouse compare` what the next publication would change for readers
- `python -m warehouse compare build_20261124T101500Z_0a1b2c3d` what changed since that build
- `python -m warehouse compare <build> <later build> --mart dim_users`
"""
)
def compare(
    old: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(
            metavar="[BUILD]",
            help="Name of a build, or id of its invocation (default: what readers see).",
        ),
    ] = None,
    new: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(
            metavar="[LATER BUILD]", help="The other build (default: the tables as they are now)."
        ),
    ] = None,
    marts: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--mart", help="A mart. Repeat for several (default: all)."),
    ] = None,
    target: Target = None,
    profiles_dir: Profiles = None,
) -> None:
    """Show the rows added, removed and changed per mart and column, with examples."""
    from warehouse.compare import compare as show

    with _connect(target, profiles_dir) as connection:
        show(connection, old, new, marts or [], _console())


@app.command(
    epilog="""Examples:

- `python -m warehouse rollback` to the build before the one that readers see
- `python -m warehouse rollback build_20261124T101500Z_0a1b2c3d`
- `python -m warehouse rollback 0a1b2c3d-0000-4000-8000-000000000000 --tables --dry-run`
"""
)
def rollback(
    build: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(help="Name of a build, or id of its invocation (default: the one before)."),
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

- `python -m warehouse maintain --dry-run`
- `python -m warehouse maintain --keep-hours 24 --builds-kept 3`
"""
)
def maintain(
    keep_hours: Annotated[
        float,
        typer.Option(
            min=0,
            help="Remove snapshots that no tag needs, and files that no snapshot needs, from this "
            "age on. Files stay for at least a day.",
        ),
    ] = 72,
    builds_kept: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            min=1,
            help="How many builds `rollback` can go back to (default: builds_kept of "
            "dbt_project.yml).",
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


@app.command(
    epilog="Example: `python -m warehouse reload events-2018-10-01.json`, then `dbt build`"
)
def reload(
    files: Annotated[list[str], typer.Argument(help="Names as in `ingested_files.source_file`.")],
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


@app.command(
    epilog="Example: `python -m warehouse rebuild --first 2018-10-01 --last 2018-10-07`, then "
    "`dbt build`"
)
def rebuild(
    first: Annotated[datetime, _date("First UTC date, inclusive.")],
    last: Annotated[datetime, _date("Last UTC date, inclusive.")],
    dry_run: DryRun = False,
    wait: Wait = None,
    target: Target = None,
    profiles_dir: Profiles = None,
) -> None:
    """Let the next build make all rows of these dates again, for example after a manual change."""
    from warehouse.changes import rebuild as mark

    with _connect(target, profiles_dir) as connection:
        mark(connection, first.date(), last.date(), dry_run, _say, wait)


@app.command(
    epilog="""Examples:

- `python -m warehouse forget --user-file users.txt --dry-run`
- `python -m warehouse forget --user-file users.txt`
- `python -m warehouse forget --user-file users.txt --vars '{raw_path: /path/to/logs}'`
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
        Optional[str],  # noqa: UP045
        typer.Option("--vars", metavar="YAML", help="Vars of the `dbt build` that it runs."),
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
    from warehouse.forget import dbt_build
    from warehouse.forget import forget as erase

    def build() -> bool:
        return dbt_build(target, profiles_dir, variables)

    with _connect(target, profiles_dir) as connection:
        erase(connection, user_file, build, dry_run, _say, wait)


@app.command(
    epilog="""Examples:

- `python -m warehouse unlock` shows which command is at work
- `python -m warehouse unlock 0a1b2c3d-0000-4000-8000-000000000000`
"""
)
def unlock(
    invocation: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(help="Invocation id of the killed command, as other commands print it."),
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
    epilog="""Example: `python -m warehouse query "select * from churn_published.weekly_kpis"`"""
)
def query(
    sql: Annotated[str, typer.Argument(help="A query on the published views, in DuckDB's SQL.")],
) -> None:
    """Query the published marts without Spark or Java, in a warehouse on this machine."""
    with _duckdb():
        from warehouse.published import ask

        ask(sql)


@app.command(
    epilog="""Examples:

- `python -m warehouse metrics` lists them
- `python -m warehouse metrics churn_rate active_users --by metric_time__week`
- `python -m warehouse metrics churn_rate --by user__platform --sql` prints SQL for a Spark client
"""
)
def metrics(
    names: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(metavar="[METRIC]...", help="Names of metrics. Without one: list them all."),
    ] = None,
    by: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--by",
            help="A dimension: metric_time__day, metric_time__week, user__platform, ... Repeat for "
            "several.",
        ),
    ] = None,
    sql: Annotated[
        bool, typer.Option("--sql", help="Print the Spark SQL instead of running it.")
    ] = False,
) -> None:
    """Compute metrics from the published marts, without Spark or Java."""
    with _duckdb():
        from warehouse.metrics import answer

        answer(names or [], by or [], sql)


@app.command(
    epilog="""Examples:

- `python -m warehouse export` to `target/export`
- `python -m warehouse export --out /data/churn --mart dim_users --mart weekly_kpis`
"""
)
def export(
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Folder for exports alone (default: target/export)."),
    ] = None,
    marts: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--mart", help="A mart. Repeat for several (default: all)."),
    ] = None,
) -> None:
    """Write the published marts as Parquet files with a manifest, without Spark or Java."""
    with _duckdb():
        from warehouse.export import DEFAULT_OUT
        from warehouse.export import export as write

        write(out or DEFAULT_OUT, marts or [], _console())


@app.command(epilog="An MCP client starts it as `python -m warehouse mcp`: see docs/sql.md.")
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    try:
        app(arguments, prog_name="python -m warehouse")
    except SystemExit as end:
        return int(end.code or 0)
    except ProjectError as error:
        Console(stderr=True).print(str(error), style="red", soft_wrap=True)
        return error.exit_status
    return 0


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


def _console() -> Console:
    # tables keep their shape in a file or a pipe
    return Console(width=None if sys.stdout.isatty() else 110)


def _say(sentence: str) -> None:
    _console().print(sentence, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
