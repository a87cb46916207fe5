"""Checks of the pages that people read: `python -m tools.check_words`, part of `make lint`.

Sentences are short, numbers have their leading zero, words are those of the field, links lead
somewhere, and the README stays short.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("*.md", "docs/**/*.md", "examples/**/*.md", ".github/**/*.md")
README_LINES = 150
WORDS_PER_SENTENCE = 18  # the most that the mean of a page may have; aim for 15
FENCE = re.compile(r"^ *```.*?^ *```", re.M | re.S)
LINK = re.compile(r"!?\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
NUMBER = re.compile(r"(?<![\w.)/*])\.\d+\b")
# private words, and the word that a reader knows
WORDS = {
    r"sittings?": "run",
    r"nobody": "anonymous visitor, no one",
    r"the look at": "the check of",
    r"no measure for": "left out of the averages",
    r"(?:project's|another|other) text": "code",
    r"processor seconds|processor time": "CPU seconds, CPU time",
    r"for want of": "because there is no",
    r"and what not": "and other cases",
    r"whoever|whosoever": "the command that, the reader who",
    r"somebody|everybody": "someone, everyone, a user",
    r"anew": "again",
    r"beforehand": "before",
}


def pages() -> list[Path]:
    """Every page of the project, in order."""
    return sorted({path for glob in PAGES for path in ROOT.glob(glob)})


def prose(text: str) -> str:
    """A page without code, tables, headings and the addresses of links: code is one word."""
    text = FENCE.sub("", re.sub(r"<!--.*?-->|\A---\n.*?\n---\n", "", text, flags=re.S))
    text = LINK.sub(r"\1", re.sub(r"`[^`]+`", "code", text))
    return "\n".join(line for line in text.splitlines() if not re.match(r"\s*(\||#|<)", line))


def sentences(text: str) -> Iterator[str]:
    """Sentences of prose: a paragraph or an item of a list ends one, too."""
    for block in re.split(r"\n\s*\n|\n\s*(?:[-*>]|\d+\.) ", "\n" + prose(text)):
        for sentence in re.split(r"(?<=[.!?])[*)\"]*\s+(?=[^a-z])", " ".join(block.split())):
            if re.search(r"\w", sentence):
                yield sentence


def words_per_sentence(text: str) -> tuple[int, int]:
    """Words, and sentences."""
    counts = [len(re.findall(r"\w[\w'.,/-]*", each)) for each in sentences(text)]
    return sum(counts), len(counts)


def anchors(text: str) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.+?)\s*$", FENCE.sub("", text), re.M):
        plain = LINK.sub(r"\1", heading).lower().replace(" ", "-")
        slug = re.sub(r"[^\w-]", "", plain)
        names = (slug, *(f"{slug}-{n}" for n in range(1, 99)))
        found.add(next(name for name in names if name not in found))
    return found


def problems(path: Path) -> Iterator[str]:
    """What is wrong with a page, each with its line where it has one."""
    text = path.read_text(encoding="utf-8")
    name = path.relative_to(ROOT)
    without_code = FENCE.sub(lambda block: "\n" * block[0].count("\n"), text)
    for number, line in enumerate(without_code.splitlines(), 1):
        line = re.sub(r"`[^`]*`", "", LINK.sub(r"\1", line))
        if found := NUMBER.search(line):
            yield f"{name}:{number}: {found[0]} needs a leading zero"
        for word, better in WORDS.items():
            if found := re.search(rf"\b(?:{word})\b", line, re.I):
                yield f"{name}:{number}: instead of '{found[0]}' write: {better}"
    for _, target in LINK.findall(without_code):
        file, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        linked = path.parent / file if file else path
        if not linked.exists():
            yield f"{name}: there is no {target}"
        elif anchor and anchor not in anchors(linked.read_text(encoding="utf-8")):
            yield f"{name}: {file or name} has no heading for #{anchor}"
    words, count = words_per_sentence(text)
    if count and words / count > WORDS_PER_SENTENCE:
        yield f"{name}: {words / count:.1f} words a sentence; {WORDS_PER_SENTENCE} are the most"
    if path == ROOT / "README.md" and text.count("\n") > README_LINES:
        yield f"{name}: {text.count(chr(10))} lines; {README_LINES} are the most"


def main() -> int:
    """Print what is wrong; returns the exit status."""
    found = [problem for path in pages() for problem in problems(path)]
    print(*found, sep="\n", end="\n" if found else "")
    counts = [words_per_sentence(path.read_text(encoding="utf-8")) for path in pages()]
    words, count = sum(words for words, _ in counts), sum(count for _, count in counts)
    print(f"{len(counts)} pages, {words:,} words of prose, {words / count:.1f} a sentence")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
