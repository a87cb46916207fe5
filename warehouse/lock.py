"""One command at a time changes a warehouse: a lease that its holder renews while it works.

Who is at work is a table, because a catalog makes a table once: `<schema>_audit.running`, with
`invocation|command|process|host|since|until` as its comment. dbt takes the same lock
(macros/lock.sql).
"""

from __future__ import annotations

import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import astuple, dataclass, replace
from datetime import datetime, timezone

from warehouse.connection import Connection, SqlError
from warehouse.errors import ProjectError
from warehouse.session import project_settings

DBT_COMMANDS = ("build", "run", "test", "freshness", "seed")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Holder:
    """A command that holds the lock: Java's process and host, `until` in seconds of Spark's clock.

    An empty `until` is of a version of the project in which a process of its own had no lease.
    """

    invocation: str
    command: str
    process: str
    host: str
    since: str
    until: str

    def __str__(self) -> str:
        command = f"dbt {self.command}" if self.command in DBT_COMMANDS else self.command
        process = f"process {self.process} on {self.host.split('/')[0]}"
        lease = f", its lease lasts until {_utc(int(self.until))} UTC" if self.until else ""
        return f"{command} ({process}, since {self.since} UTC{lease})"


@contextmanager
def lock(connection: Connection, command: str, say: Say, wait: int | None = None) -> Iterator[None]:
    """Hold the lock for a block, which no other command may change the warehouse in.

    Waits for `wait` seconds (default: wait_seconds of dbt_project.yml) for another to end.

    Raises ProjectError, before anything is changed, where another command goes on for longer.
    """
    settings = project_settings()["vars"]
    seconds = settings["lease_seconds"]
    wait = settings["wait_seconds"] if wait is None else wait
    own = _take(connection, command, seconds, wait, say)
    done = threading.Event()
    renewing = threading.Thread(
        target=_keep, args=(connection, own, seconds, done), daemon=True, name="lease"
    )
    renewing.start()
    try:
        yield
    finally:
        done.set()
        renewing.join()
        if not connection.lost:
            release(connection, own.invocation)


def holder(connection: Connection) -> Holder | None:
    """Who has the lock, at work or not."""
    audit = connection.target.audit
    if f"{audit}.running" not in connection.tables(audit):
        return None
    # another process may have made it anew; a server that is read-only refuses, and has no need
    with suppress(SqlError):
        connection.execute(f"refresh table {audit}.running")
    try:
        shown = connection.rows(f"show table extended in {audit} like 'running'")
    except SqlError:
        if f"{audit}.running" in connection.tables(audit):
            raise
        return None
    comments = [re.search("Comment: (.*)", row[3]) for row in shown]
    for found in filter(None, comments):
        parts = found[1].strip().split("|")
        if len(parts) == 6:
            return Holder(*parts)
    return None


def is_at_work(connection: Connection, found: Holder) -> bool:
    """Whether a holder's lease lasts, and its process too where that can be told.

    A process of Spark may outlive its clients, and that of a cluster's driver is on a machine, or
    in a container, of its own: there the lease alone tells.
    """
    if found.until and _now(connection) > int(found.until):
        return False
    target = connection.target
    process, host = _this_process(connection)
    if found.host != host or (target.is_driver and not target.is_embedded):
        return True
    if found.process == process:
        return bool(found.until)
    alive = f"select java_method('java.lang.ProcessHandle', 'of', bigint({int(found.process)}))"
    return connection.rows(alive)[0][0] != "Optional.empty"


def release(connection: Connection, invocation: str) -> None:
    """Take the lock of an invocation away, and what is left of locks that were taken over."""
    found = holder(connection)
    if found and found.invocation == invocation:
        for table in connection.tables(connection.target.audit):
            if re.search(r"\.(running|ended_\w+)$", table):
                connection.execute(f"drop table if exists {table}")


def unlock(connection: Connection, invocation: str | None, dry_run: bool, say: Say) -> None:
    """Let others work where a command was killed; without its id, say who is at work.

    Raises ProjectError for an id that is not the holder's.
    """
    found = holder(connection)
    if invocation is None:
        say(f"At work: {found}. Its id: {found.invocation}" if found else "No command is at work.")
    elif found is None:
        raise ProjectError(f"No command is at work, so {invocation} holds no lock.")
    elif found.invocation != invocation:
        raise ProjectError(
            f"{invocation} does not hold the lock. {found} holds it; to take it away: "
            f"python -m warehouse unlock {found.invocation}"
        )
    elif dry_run:
        say(f"Would take the lock from {found}.")
    else:
        release(connection, invocation)
        say(f"{found} no longer holds the lock.")


def _take(connection: Connection, command: str, seconds: int, wait: int, say: Say) -> Holder:
    connection.execute(f"create schema if not exists {connection.target.audit}")
    own_id = str(uuid.uuid4())
    process, host = _this_process(connection)
    since = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
    began, has_said = time.monotonic(), False
    while True:
        own = Holder(own_id, command, process, host, since, str(_now(connection) + seconds))
        found = _claim(connection, own)
        if found == own:
            return own
        if found is None:
            continue  # it has just ended
        seconds_waited = time.monotonic() - began
        if not is_at_work(connection, found) and seconds_waited < wait + 60:
            _take_over(connection, found)
        elif seconds_waited < wait:
            if not has_said:
                say(f"Waiting up to {wait} s for {found}.")
                has_said = True
            time.sleep(1)
        else:
            raise ProjectError(
                f"{found} is at work on this warehouse. Nothing was changed. Try again when it has "
                f"ended. If it was killed: python -m warehouse unlock {found.invocation}"
            )


def _claim(connection: Connection, own: Holder) -> Holder | None:
    connection.execute(
        f"create table if not exists {connection.target.audit}.running (nothing int) using iceberg "
        f"comment '{_comment(own)}'"
    )
    return holder(connection)


def _take_over(connection: Connection, ended: Holder) -> None:
    # of two that see that it has ended, one can rename it
    audit = connection.target.audit
    if (holder(connection) or ended).invocation == ended.invocation:
        name = f"{audit}.ended_{re.sub(r'[^0-9a-z]', '_', ended.invocation)}"
        try:
            connection.execute(f"alter table {audit}.running rename to {name}")
        except SqlError:
            return


def _keep(connection: Connection, own: Holder, seconds: int, done: threading.Event) -> None:
    """Put the end of the lease off until `done`, or say in `connection.lost` that it is lost."""
    while not done.wait(seconds / 4):
        # as long as the lease lasts, another try may do
        with suppress(SqlError), closing(connection.another()) as other:
            found = holder(other)
            if found is None or found.invocation != own.invocation:
                connection.lost = (
                    "Another command took this warehouse over, so this one stopped: see "
                    "`python -m warehouse status`, and run it again."
                )
                return
            renewed = replace(own, until=str(_now(other) + seconds))
            other.execute(f"comment on table {other.target.audit}.running is '{_comment(renewed)}'")


def _comment(own: Holder) -> str:
    return "|".join(astuple(own))


def _this_process(connection: Connection) -> tuple[str, str]:
    ((process, host),) = connection.rows(
        "select java_method('java.lang.ProcessHandle', 'current'), "
        "java_method('java.net.InetAddress', 'getLocalHost')"
    )
    return process, host


def _now(connection: Connection) -> int:
    return connection.rows("select unix_timestamp()")[0][0]


def _utc(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
