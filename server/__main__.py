"""Command line of the server: `python -m server start | stop | status`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from server import process
from server.process import KEYSTORE_PASSWORD, LOG_FILE, Options, Server
from warehouse.commands import Program
from warehouse.console import Console
from warehouse.session import PROJECT_DIR

DEFAULTS = Options()

app = Program(
    "python -m server",
    "Serve the tables to SQL clients: Thrift/JDBC and Spark Connect, from one Spark. Read-only, "
    "unless dbt is to build through it.",
    """Examples:
  python -m server start
  python -m server start --writable
  python -m server status
  python -m server stop
""",
)
main = app.main


@app.command(
    epilog="""Examples:
  python -m server start
  python -m server start --thrift-port 10001 --connect-port 15003
  python -m server start --writable    then: dbt build --target thrift
  python -m server start --host 0.0.0.0 --keystore server.p12 \\
      --ldap-url ldaps://ldap.example.com \\
      --ldap-base ou=people,dc=example,dc=com
"""
)
def start(
    host: Annotated[
        str,
        typer.Option(
            help="Address for Thrift clients. One that other machines reach needs --keystore and "
            "--ldap-url."
        ),
    ] = DEFAULTS.host,
    thrift_port: Annotated[
        int, typer.Option(metavar="PORT", help="For clients of Thrift and JDBC.")
    ] = DEFAULTS.thrift_port,
    connect_port: Annotated[
        int, typer.Option(metavar="PORT", help="For clients of Spark Connect.")
    ] = DEFAULTS.connect_port,
    keystore: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Certificate and key for TLS of Thrift, as PKCS12 or JKS. Its password is in "
            f"{KEYSTORE_PASSWORD}.",
        ),
    ] = DEFAULTS.keystore,
    ldap_url: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="LDAP server that knows the passwords, such as ldaps://ldap.example.com.",
        ),
    ] = DEFAULTS.ldap_url,
    ldap_base: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Where its users are, such as ou=people,dc=example,dc=com."
        ),
    ] = DEFAULTS.ldap_base,
    writable: Annotated[
        bool, typer.Option("--writable", help="For dbt: every client may change every table.")
    ] = False,
) -> None:
    """Start a server in the background, and wait for it."""
    options = Options(host, thrift_port, connect_port, writable, keystore, ldap_url, ldap_base)
    with Console(stderr=True).status("The server starts ..."):
        server = process.start(options)
    _show(server)


@app.command(epilog="Example:\n  python -m server stop")
def stop() -> None:
    """End the server."""
    stopped = process.stop()
    print(f"Stopped process {stopped.pid}." if stopped else "No server runs.")


@app.command(epilog="Example:\n  python -m server status")
def status() -> int:
    """Say whether a server runs, whether it answers, and where."""
    server = process.find()
    if server is None:
        print("No server runs. Start one: make server")
        return 1
    silent = process.answers(server)
    if silent:
        print(f"Process {server.pid} runs, but no answer of {' and '.join(silent)}: {LOG_FILE}.")
        return 1
    _show(server)
    return 0


def _show(server: Server) -> None:
    url = f"jdbc:hive2://{server.host}:{server.thrift_port}/churn_published"
    url += ";ssl=true" if server.has_tls else ""
    print(
        f"Serving {server.warehouse}, {'writable' if server.writable else 'read-only'} "
        f"(process {server.pid}, log {LOG_FILE.relative_to(PROJECT_DIR)})."
    )
    print(f"  Thrift/JDBC    {url}")
    print(f"  Spark Connect  sc://localhost:{server.connect_port}")


if __name__ == "__main__":
    sys.exit(main())
