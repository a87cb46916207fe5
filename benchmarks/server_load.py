"""Many clients at once on the SQL server, while a build runs beside it and publishes.

The clients ask the questions of analyses/ over Thrift, one after the other, in random order. Beside
them, slow clients take a row at a time, and broken ones send noise, or leave in the middle of a
query. One more day of the log is built and published meanwhile. Exit status 1 when a client met an
error or the build was not published, never because of a time.

Example:
  python -m benchmarks.server_load --raw data/simulated --clients 20
"""

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

from pyhive import hive
from thrift.transport.TTransport import TTransportException

from benchmarks.dbt_runs import Raw, benchmark, figures_table, running_server
from benchmarks.one_more_day import cut_off_last_days
from server.process import Server
from warehouse.commands import program
from warehouse.console import Console

FAULTY_CLIENTS = 2  # of each kind
SECONDS_A_ROW = 0.05
ERRORS = (hive.Error, TTransportException, OSError)
IsOver = Callable[[], bool]


@dataclass
class Answers:
    """What the clients met: seconds of each query by the name of the question, and errors."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    slow_rows: int = 0
    broken_calls: int = 0


@program("python -m benchmarks.server_load", __doc__)
def main(raw: Raw, clients: int = 20, seconds: int = 120) -> int:
    """Command line of the benchmark; returns the exit status."""
    with benchmark() as bench:
        # all days but one are built and served; the clients come while the last day is built
        landing = bench.folder / "raw"
        bench.say("cutting the last day off the log")
        (day,) = cut_off_last_days(raw, 1, landing, bench.folder / "days")
        bench.dbt("building all days but the last", landing)
        bench.dbt("compiling the questions", landing, "compile", "--select", "path:analyses")
        compiled = (bench.folder / "target" / "compiled").rglob("analyses/*.sql")
        questions = {path.stem: path.read_text() for path in compiled}
        bench.say("starting the server")
        with running_server(bench.folder) as server:
            day.rename(landing / day.name)
            beside = f"{clients} clients, and a build beside them"
            met, output = load(
                server,
                questions,
                clients,
                seconds,
                lambda: bench.dbt(beside, landing, may_fail=True).usage.output,
            )
    show(met, output, clients, Console())
    return 1 if met.errors or "Published" not in output else 0


def load(
    server: Server, questions: dict[str, str], clients: int, seconds: int, build: Callable[[], str]
) -> tuple[Answers, str]:
    """All clients for some seconds, and at least until the build has ended; its output."""
    met, built = Answers(), threading.Event()
    deadline = time.monotonic() + seconds

    def is_over() -> bool:
        return time.monotonic() > deadline and built.is_set()

    def run(kind: str, client: Callable[..., None], *more: object) -> None:
        try:
            client(server, met, is_over, *more)
        except ERRORS as error:
            met.errors.append(f"{kind}{type(error).__name__}: {str(error)[:300]}")

    with ThreadPoolExecutor(clients + 2 * FAULTY_CLIENTS) as pool:
        running = [pool.submit(run, "", ask, questions) for _ in range(clients)]
        for _ in range(FAULTY_CLIENTS):
            running.append(pool.submit(run, "slow client: ", dawdle))
            running.append(pool.submit(run, "broken client: ", break_off))
        try:
            output = build()
        finally:
            built.set()
        for each in running:
            each.result()
    return met, output


def ask(server: Server, met: Answers, is_over: IsOver, questions: dict[str, str]) -> None:
    """One client: all questions in random order, again and again."""
    names = list(questions)
    with hive.connect(server.host, server.thrift_port) as connection:
        while not is_over():
            name = random.choice(names)
            began = time.monotonic()
            with connection.cursor() as cursor:
                cursor.execute(questions[name])
                if not cursor.fetchall():
                    met.errors.append(f"{name}: no row")
            met.seconds.setdefault(name, []).append(time.monotonic() - began)


def dawdle(server: Server, met: Answers, is_over: IsOver) -> None:
    """A slow client: one large answer, a row at a time."""
    with hive.connect(server.host, server.thrift_port) as connection:
        cursor = connection.cursor(arraysize=1)
        while not is_over():
            cursor.execute("select * from churn_published.fct_user_days")
            while not is_over() and cursor.fetchone():
                met.slow_rows += 1
                time.sleep(SECONDS_A_ROW)


def break_off(server: Server, met: Answers, is_over: IsOver) -> None:
    """A broken client: noise on both ports, and a query that nobody waits for."""
    query = "select * from churn_published.fct_user_days a cross join churn_published.dim_users b"
    while not is_over():
        for port in (server.thrift_port, server.connect_port):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as noise:
                noise.sendall(os.urandom(4096))
        connection = hive.connect(server.host, server.thrift_port)
        connection.cursor().execute(query, async_=True)
        connection._transport.close()  # as of a client that was killed
        met.broken_calls += 1
        time.sleep(1)


def show(met: Answers, output: str, clients: int, console: Console) -> None:
    """Print how many queries were answered, how long that took, what was published, and errors."""
    everything = [seconds for each in met.seconds.values() for seconds in each]
    title = f"{clients} clients: seconds of a query"
    table = figures_table(title, "question", "queries", "median", "p95", "longest")
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


if __name__ == "__main__":
    sys.exit(main())
