"""The look of the simulator's commands: that of warehouse/commands.py, which it does not import."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence

import typer

Main = Callable[..., int]


def program(name: str, epilog: str) -> Callable[[Main], Main]:
    """Make `main` of a function that has the options, a docstring for the help, and an exit status.

    It returns the exit status, which is 2 after one sentence about wrong arguments.
    """
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    # typer leaves a paragraph as it is that begins with a backspace
    kept = re.sub(r"^(?=\S.*\n +\S)", "\b\n", epilog.strip(), flags=re.M)
    command = app.command(epilog=kept, context_settings={"help_option_names": ["--help", "-h"]})

    def main(arguments: Sequence[str] | None = None) -> int:
        try:
            return app(arguments, prog_name=name, standalone_mode=False)
        except typer.TyperException as error:
            print(f"{error.format_message().rstrip('.')}. See {name} --help.", file=sys.stderr)
            return error.exit_code

    def make(function: Main) -> Main:
        command(function)
        return main

    return make
