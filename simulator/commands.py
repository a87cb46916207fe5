"""The look of the simulator's commands: that of warehouse/commands.py, which it does not import."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence

import typer


def command(name: str, function: Callable[..., int], epilog: str) -> Callable[..., int]:
    """The `main` of a module: `function` has the options, and a docstring for the help.

    It returns the exit status, which is 2 after one sentence about wrong arguments.
    """
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    # typer leaves a paragraph as it is that begins with a backspace
    kept = re.sub(r"^(?=\S.*\n +\S)", "\b\n", epilog.strip(), flags=re.M)
    app.command(epilog=kept, context_settings={"help_option_names": ["--help", "-h"]})(function)

    def main(arguments: Sequence[str] | None = None) -> int:
        try:
            return app(arguments, prog_name=name, standalone_mode=False)
        except typer.TyperException as error:
            print(f"{error.format_message().rstrip('.')}. See {name} --help.", file=sys.stderr)
            return error.exit_code

    return main
