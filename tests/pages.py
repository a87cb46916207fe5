"""What the pages tell people to run: commands and SQL of README, CONTRIBUTING, AGENTS and docs/."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from tests.warehouse import ROOT

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "AGENTS.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
]
ASSIGNMENT = re.compile(r"[A-Z_]+=")
IN_PROSE = re.compile(r"`((?:[A-Z_]+=\S+ )?(?:make|dbt|python3?|pytest) [^`]+)`")


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", page.read_text(), re.M | re.S)


def shell_lines(block: str) -> Iterator[str]:
    """The commands of a block; one goes on while a quote is open or a line ends in a backslash."""
    lines: list[str] = []
    for line in block.splitlines():
        lines.append(line)
        try:
            words = shlex.split("\n".join(lines), comments=True)
        except ValueError:
            continue
        if words:
            yield "\n".join(lines)
        lines = []
    assert not lines, f"a quote is left open: {lines}"


def commands(page: Path) -> list[str]:
    """All commands of a page, those within sentences too."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.M | re.S)
    in_prose = [" ".join(found.split()) for found in IN_PROSE.findall(text)]
    return [line for block in blocks(page, "sh") for line in shell_lines(block)] + in_prose


def words_of(command: str) -> list[str]:
    """Program and arguments, without comments and variables that are set for the program alone."""
    words = shlex.split(command, comments=True)
    while words and ASSIGNMENT.match(words[0]):
        words.pop(0)
    return words
