"""The structure of the project as one picture, made from the code: docs/structure.md.

Example:
  python -m tools.structure > docs/structure.md

An arrow leads from what is read to what reads it: Python packages by their imports, folders of
models by their refs.
"""

import ast
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import networkx as nx

from warehouse.commands import program

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {
    "warehouse": "profile, session, lock, operators' commands, readers",
    "ml": "features, mixture, training, scores",
    "report": "one HTML file",
    "server": "read-only SQL server",
    "simulator": "logs with known truth",
    "tools": "set-up, demo, checks",
    "benchmarks": "time, memory, equality",
    "deploy": "Amazon EMR",
}
LAYERS = {
    "staging": "each line once: events, quarantine, ledger, calendar",
    "intermediate": "parts of sessions, songs of users",
    "marts/core": "events, sessions, user-days, users",
    "intermediate/churn": "transitions and running totals",
    "intermediate/findings": "what looks wrong in the log",
    "marts/engagement": "figures of dates and weeks, charts, retention",
    "marts/churn": "features, scores, health of the model",
}
Edges = set[tuple[str, str]]


def imports(root: Path = ROOT) -> Edges:
    """Pairs of packages: what is imported, and by which."""
    edges = set()
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    names = [node.module]
                elif isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                else:
                    continue
                edges |= {(name.partition(".")[0], package) for name in names}
    return {(read, by) for read, by in edges if read in PACKAGES and read != by}


def refs(root: Path = ROOT) -> Edges:
    """Pairs of folders of models: what is read, and by which."""
    paths = {path.stem: path for path in (root / "models").rglob("*.sql")}
    folder = {name: _layer(path.relative_to(root / "models")) for name, path in paths.items()}
    edges = {
        (folder[name], folder[reader])
        for reader, path in paths.items()
        for name in re.findall(r"\bref\('(\w+)'\)", path.read_text(encoding="utf-8"))
        if name in folder
    }
    return {(read, by) for read, by in edges if read != by}


def _layer(path: Path) -> str:
    return max((layer for layer in LAYERS if path.is_relative_to(layer)), key=len)


def necessary(edges: Edges) -> Edges:
    """The edges without those that follow from others; NetworkXError where they form a circle."""
    return {*nx.transitive_reduction(nx.DiGraph(sorted(edges))).edges}


def picture(names: Mapping[str, str], edges: Edges) -> str:
    """A flowchart in Mermaid's language."""
    lines = [f'    {_id(name)}["{name}<br/>{what}"]' for name, what in names.items()]
    lines += [f"    {_id(read)} --> {_id(by)}" for read, by in sorted(necessary(edges))]
    return "\n".join(["```mermaid", "flowchart LR", *lines, "```"])


def _id(name: str) -> str:
    return name.replace("/", "_")


def page() -> str:
    """The text of docs/structure.md."""
    return f"""# Structure

Both pictures are made from the code: `python -m tools.structure > docs/structure.md`. A test
compares them. An arrow leads from what is read to what reads it. An arrow that follows from others
is left out.

## Models

{picture(LAYERS, refs())}

Nothing flows back, except scores: the model step writes them, and the marts of churn show them.

## Python

{picture(PACKAGES, imports())}

`warehouse` imports nothing else of the project, and `simulator` imports nothing of the product.
"""


@program("python -m tools.structure", __doc__)
def main() -> None:
    """Print the page."""
    print(page(), end="")


if __name__ == "__main__":
    sys.exit(main())
