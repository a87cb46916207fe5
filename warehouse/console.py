"""What the commands print to: a terminal that takes data for text."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import rich.console
from rich.console import RenderableType
from rich.status import Status
from rich.text import Text

Step = Callable[[str], AbstractContextManager[None]]


class Console(rich.console.Console):
    """rich's Console without its markup, its emoji codes and its guesses of what to colour.

    A user id, a path or a test's name may hold brackets: to rich, `[/b]` is an error and `[b]` is
    not shown. What is to have a style is a `Text`, or has the argument `style`.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, "highlight": False, **settings})

    def status(self, status: RenderableType, **settings: Any) -> Status:
        """A spinner beside a text, which rich itself reads as markup whatever the console's."""
        return super().status(Text(status) if isinstance(status, str) else status, **settings)


def steps(console: Console) -> Step:
    """A context manager that shows what runs, and how long it took once it is done."""

    @contextmanager
    def step(text: str) -> Iterator[None]:
        start = time.monotonic()
        with console.status(f"{text} ..."):
            yield
        console.print(f"  {time.monotonic() - start:6.1f} s  {text}")

    return step
