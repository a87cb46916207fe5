"""Serve the tables to SQL clients: Thrift/JDBC and Spark Connect, from one Spark; read-only, unless
dbt is to build through it.

examples:
  python -m server start
  python -m server start --thrift-port 10001 --connect-port 15003
  python -m server start --writable      # then: dbt build --target thrift, or connect
  python -m server start --host 0.0.0.0 --keystore server.p12 \
      --ldap-url ldaps://ldap.example.com --ldap-base ou=people,dc=example,dc=com
  python -m server status
  python -m server stop
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from server.process import (
    KEYSTORE_PASSWORD,
    LOG_FILE,
    Options,
    Server,
    ServerError,
    answers,
    find,
    start,
    stop,
)
from warehouse.console import Console
from warehouse.session import PROJECT_DIR


def main(arguments: list[str] | None = None) -> int:
    """Command line of the server; returns the exit status."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        if given.command == "start":
            return _start(given)
        if given.command == "stop":
            stopped = stop()
            print(f"Stopped process {stopped.pid}." if stopped else "No server runs.")
            return 0
        return _status()
    except ServerError as error:
        print(error, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m server",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    starting = commands.add_parser("start", help="start one in the background, and wait for it")
    commands.add_parser("stop", help="end it")
    commands.add_parser("status", help="does one run, does it answer, where")
    defaults = Options()
    starting.add_argument(
        "--host",
        default=defaults.host,
        help="address for Thrift clients (default: %(default)s); one that other machines reach "
        "needs --keystore and --ldap-url",
    )
    starting.add_argument("--thrift-port", type=int, default=defaults.thrift_port)
    starting.add_argument("--connect-port", type=int, default=defaults.connect_port)
    starting.add_argument(
        "--keystore",
        type=Path,
        default=defaults.keystore,
        help="certificate and key for TLS of Thrift, as PKCS12 or JKS; its password is in "
        f"{KEYSTORE_PASSWORD}",
    )
    starting.add_argument(
        "--ldap-url",
        default=defaults.ldap_url,
        help="LDAP server that knows the passwords, such as ldaps://ldap.example.com",
    )
    starting.add_argument(
        "--ldap-base",
        default=defaults.ldap_base,
        help="where its users are, such as ou=people,dc=example,dc=com",
    )
    starting.add_argument(
        "--writable", action="store_true", help="for dbt: every client may change every table"
    )
    return parser


def _start(given: argparse.Namespace) -> int:
    options = Options(
        host=given.host,
        thrift_port=given.thrift_port,
        connect_port=given.connect_port,
        writable=given.writable,
        keystore=given.keystore,
        ldap_url=given.ldap_url,
        ldap_base=given.ldap_base,
    )
    with Console(stderr=True).status("The server starts ..."):
        server = start(options)
    _show(server)
    return 0


def _status() -> int:
    server = find()
    if server is None:
        print("No server runs. Start one: make server")
        return 1
    silent = answers(server)
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
