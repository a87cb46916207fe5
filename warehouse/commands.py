"""What all commands share: the look of their help, an error in one sentence, the exit status."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from warehouse.errors import ProjectError

if TYPE_CHECKING:
    from warehouse.console import Console

# Options that several commands have; typer reads the types as the program runs.
Artifacts = Annotated[
    Path,
    typer.Option(file_okay=False, help="Folder of the trained models.", show_default="artifacts"),
]
Profiles = Annotated[
    Path | None,
    typer.Option(file_okay=False, help="Folder of profiles.yml.", show_default="the project's"),
]
Target = Annotated[
    str | None, typer.Option(help="Target of profiles.yml.", show_default="the profile's")
]
SETTINGS = {"help_option_names": ["--help", "-h"]}
Function = TypeVar("Function", bound=Callable[..., Any])
Main = Callable[..., int]


class Program(typer.Typer):
    """A command such as `python -m ml`, with or without commands of its own.

    Texts are wrapped, but for paragraphs with indented lines, such as examples.
    """

    def __init__(self, name: str, text: str = "", epilog: str = "") -> None:
        super().__init__(
            name=name,
            help=_kept(text),
            epilog=_kept(epilog),
            no_args_is_help=True,
            add_completion=False,
            pretty_exceptions_enable=False,
            rich_markup_mode=None,
            context_settings=SETTINGS,
        )

    def command(
        self,
        name: str | None = None,
        *,
        help: str | None = None,
        epilog: str | None = None,
        **settings: Any,
    ) -> Callable[[Function], Function]:
        """As typer's; `help` is the function's docstring by default, its first paragraph the short
        help, whole.
        """

        def add(function: Function) -> Function:
            text = _kept(help or inspect.getdoc(function) or "")
            short = text.partition("\n\n")[0]
            register = super(Program, self).command(
                name, help=text, short_help=short, epilog=_kept(epilog or ""), **settings
            )
            return register(function)

        return add

    def main(self, arguments: Sequence[str] | None = None) -> int:
        """Run a command; returns the exit status: what it returns, 2 for wrong usage, 130 if it is
        interrupted, or that of a ProjectError, which is told on standard error.
        """
        try:
            return self(arguments, prog_name=self.info.name, standalone_mode=False) or 0
        except typer.TyperException as error:
            text = error.format_message()
            if not text.startswith("Usage: "):  # the help, where no command is named
                context = getattr(error, "ctx", None)
                path = context.command_path if context else self.info.name
                text += f"{'' if text.endswith(('.', '?')) else '.'} See {path} --help."
            print(text, file=sys.stderr)
            return error.exit_code
        except ProjectError as error:
            from warehouse.console import Console

            Console(stderr=True).print(str(error), style="red", soft_wrap=True)
            return error.exit_status


def program(
    name: str, text: str = "", epilog: str = "", **settings: Any
) -> Callable[[Function], Main]:
    """Make `main` of a function with the options; its docstring is the help unless `text` is."""

    def make(function: Function) -> Main:
        app = Program(name)
        app.command(help=text, epilog=epilog, context_settings=SETTINGS | settings)(function)
        return app.main

    return make


def folder_option(help: str, default: str | bool = True) -> Any:
    """A folder that exists; `default` is what the help says where none is named."""
    return typer.Option(
        exists=True, file_okay=False, resolve_path=True, help=help, show_default=default
    )


def console(width: int = 110) -> Console:
    """Standard output; tables keep their shape, of `width` columns, in a file or a pipe."""
    # imported late, so that --help and usage errors answer at once
    from warehouse.console import Console

    return Console(width=None if sys.stdout.isatty() else width)


def _kept(text: str) -> str:
    # typer leaves a paragraph as it is that begins with a backspace
    return re.sub(r"^(?=\S.*\n +\S)", "\b\n", text.strip(), flags=re.M)
