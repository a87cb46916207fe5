"""What operators ask the next build to do again: files to load, dates to build."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from warehouse.connection import Connection, is_one_of
from warehouse.errors import ProjectError
from warehouse.lock import Say
from warehouse.publications import at_work


def reload(
    connection: Connection, files: Sequence[str], dry_run: bool, say: Say, wait: int | None = None
) -> None:
    """Take back what was loaded from files; the next build loads what they hold by then.

    A kill on the way does no harm: run it again, or build.

    Raises ProjectError, before anything is changed, for a file that nothing was loaded from.
    """
    staging = connection.target.staging
    condition = is_one_of("source_file", files)
    with at_work(connection, "reload", dry_run, say, wait):
        found = connection.rows(
            f"select source_file, count(*) from {staging}.base_events where {condition} "
            "group by source_file"
        )
        lines: dict[str, int] = dict(found)
        unknown = [name for name in files if name not in lines]
        if unknown:
            raise ProjectError(
                f"Nothing was loaded from {', '.join(unknown)}, so nothing was changed. Loaded "
                f"files: select source_file from {staging}.ingested_files where lines > 0"
            )
        what = f"{sum(lines.values())} lines of {len(lines)} file(s)"
        if dry_run:
            say(f"Would take back {what}.")
            return
        for table in (f"{staging}.base_events", f"{staging}.base_files"):
            connection.execute(f"delete from {table} where {condition}")
        say(f"Took back {what}. Load them again: dbt build")


def rebuild(
    connection: Connection,
    first: date,
    last: date,
    dry_run: bool,
    say: Say,
    wait: int | None = None,
) -> None:
    """Write dates of base_events anew with their own rows: to the next build they have changed.

    Raises ProjectError, before anything is changed, where none of the dates has a line.
    """
    if first > last:
        raise ProjectError(f"--first {first} is after --last {last}.")
    events = f"{connection.target.staging}.base_events"
    condition = f"event_date between date '{first}' and date '{last}'"
    with at_work(connection, "rebuild", dry_run, say, wait):
        ((dates,),) = connection.rows(
            f"select count(distinct event_date) from {events} where {condition}"
        )
        if not dates:
            raise ProjectError(
                f"No date from {first} to {last} has a line, so nothing was changed."
            )
        if dry_run:
            say(f"Would mark {dates} date(s) from {first} to {last}.")
            return
        connection.execute(
            f"insert into {events} replace where {condition} "
            f"select * from {events} where {condition}"
        )
        say(f"Marked {dates} date(s). Build them again: dbt build")
