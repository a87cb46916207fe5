"""Many clients at once on the SQL server, while a build runs beside it and publishes.

The clients ask the questions of analyses/ over Thrift, one after the other, in random order. Beside
them, slow clients take a row at a time, and broken ones send noise, or leave in the middle of a
query. One more day of the log is built and published meanwhile. Exit status 1 when a client met an
error or the build was not published, never because of a time.

Example:
  python -m benchmarks.server_load --raw data/simulated --clients 20
"""

from __future__ import annotations

import os
import random
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pyhive import hive
from rich.table import Table
from thrift.transport.TTransport import TTransportException

from benchmarks.dbt_runs import (
    Raw,
    progress_line,
    run_dbt,
    running_server,
    temporary_work_folder,
)
from benchmarks.one_more_day import cut_off_last_days
from server.process import Server
from warehouse.commands import program
from warehouse.console import Console

FAULTY_CLIENTS = 2  # of each kind
SECONDS_A_ROW = 0.05
ERRORS = (hive.Error, TTransportException, OSError)


@dataclass
class Answers:
    """What the clients met: seconds of each query by the name of the question, and errors."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    slow_rows: int = 0
    broken_calls: int = 0


def ask(
    server: Server, questions: dict[str, str], is_over: Callable[[], bool], met: Answers
) -> None:
    """One client: all questions in random order, again and again."""
    names = list(questions)
    try:
        with hive.connect(server.host, server.thrift_port) as connection:
            while not is_over():
                name = random.choice(names)
                began = time.monotonic()
                with connection.cursor() as cursor:
                    cursor.execute(questions[name])
                    if not cursor.fetchall():
                        met.errors.append(f"{name}: no row")
                met.seconds.setdefault(name, []).append(time.monotonic() - began)
    except ERRORS as error:
        met.errors.append(f"{type(error).__name__}: {str(error)[:300]}")


def dawdle(server: Server, is_over: Callable[[], bool], met: Answers) -> None:
    """A slow client: one large answer, a row at a time."""
    try:
        with hive.connect(server.host, server.thrift_port) as connection:
            cursor = connection.cursor(arraysize=1)
            while not is_over():
                cursor.execute("select * from churn_published.fct_user_days")
                while not is_over() and cursor.fetchone():
                    met.slow_rows += 1
                    time.sleep(SECONDS_A_ROW)
    except ERRORS as error:
        met.errors.append(f"slow client: {type(error).__name__}: {str(error)[:300]}")


def break_off(server: Server, is_over: Callable[[], bool], met: Answers) -> None:
    """A broken client: noise on both ports, and a query that nobody waits for."""
    query = "select * from churn_published.fct_user_days a cross join churn_published.dim_users b"
    while not is_over():
        for port in (server.thrift_port, server.connect_port):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as noise:
                noise.sendall(os.urandom(4096))
        try:
            connection = hive.connect(server.host, server.thrift_port)
            connection.cursor().execute(query, async_=True)
        except ERRORS as error:
            met.errors.append(f"broken client: {type(error).__name__}: {str(error)[:300]}")
            return
        connection._transport.close()  # as of a client that was killed
        met.broken_calls += 1
        time.sleep(1)


def load(
    server: Server, questions: dict[str, str], clients: int, seconds: int, build: Callable[[], str]
) -> tuple[Answers, str]:
    """All clients for some seconds, and at least until the build has ended; its last lines."""
    met = Answers()
    deadline = time.monotonic() + seconds
    built = threading.Event()

    def is_over() -> bool:
        return time.monotonic() > deadline and built.is_set()

    with ThreadPoolExecutor(clients + 2 * FAULTY_CLIENTS) as pool:
        running = [pool.submit(ask, server, questions, is_over, met) for _ in range(clients)]
        for client in (dawdle, break_off):
            running += [pool.submit(client, server, is_over, met) for _ in range(FAULTY_CLIENTS)]
        try:
            output = build()
        finally:
            built.set()
        for each in running:
            each.result()
    return met, output


def show(met: Answers, output: str, clients: int, console: Console) -> None:
    """Print how many queries were answered, how long that took, what was published, and errors."""
    everything = [seconds for each in met.seconds.values() for seconds in each]
    table = Table(title=f"{clients} clients: seconds of a query")
    for name in ("question", "queries", "median", "p95", "longest"):
        table.add_column(name, justify="left" if name == "question" else "right")
    for name, seconds in [*sorted(met.seconds.items()), ("all", everything)]:
        if not seconds:  # no query was answered
            continue
        p95 = statistics.quantiles(seconds, n=20)[-1] if len(seconds) > 1 else seconds[0]
        middle, longest = statistics.median(seconds), max(seconds)
        table.add_row(name, f"{len(seconds):,}", *(f"{s:.2f}" for s in (middle, p95, longest)))
    console.print(table)
    console.print(
        f"{met.slow_rows:,} rows went to slow clients, {met.broken_calls:,} times one broke off; "
        f"{len(met.errors)} errors."
    )
    for line in output.splitlines():
        if "Published" in line:
            console.print(line, soft_wrap=True)
    for error in sorted(set(met.errors)):
        console.print(error, style="red", soft_wrap=True)


@program("python -m benchmarks.server_load", __doc__)
def main(raw: Raw, clients: int = 20, seconds: int = 120) -> int:
    """Command line of the benchmark; returns the exit status."""
    console = Console()
    with temporary_work_folder(keep=False) as folder:
        met, output = measure(raw, folder, clients, seconds, console)
    show(met, output, clients, console)
    return 1 if met.errors or "Published" not in output else 0


def measure(
    raw: Path, folder: Path, clients: int, seconds: int, console: Console
) -> tuple[Answers, str]:
    """Build all days but one, serve them, and let the clients in while the last day is built."""
    landing = folder / "raw"
    with progress_line(console) as progress:
        task = progress.add_task("building all days but the last")
        (day,) = cut_off_last_days(raw, 1, landing, folder / "days")
        run_dbt("build", [], folder, landing).raise_if_failed("the build")
        questions_only = ["--select", "path:analyses"]
        run_dbt("compile", questions_only, folder, landing).raise_if_failed("the questions")
        compiled = (folder / "target" / "compiled").rglob("analyses/*.sql")
        questions = {path.stem: path.read_text() for path in compiled}
        progress.update(task, description="starting the server")
        with running_server(folder) as server:
            progress.update(task, description=f"{clients} clients, and a build beside them")
            day.rename(landing / day.name)
            return load(
                server,
                questions,
                clients,
                seconds,
                lambda: run_dbt("build", [], folder, landing).usage.output,
            )


if __name__ == "__main__":
    sys.exit(main())
