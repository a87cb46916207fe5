"""The published marts as Parquet files with a manifest, for tools that read files.

    python -m warehouse export --out <folder>

Reads a warehouse on this machine without Spark or Java, and changes nothing in it. The export is
made in a folder beside its own and then renamed, so readers never see half of one.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import duckdb
from filelock import FileLock, Timeout

from warehouse.console import Console, steps
from warehouse.errors import ProjectError
from warehouse.published import (
    ROOT,
    SCHEMA,
    WAREHOUSE,
    Reader,
    described_marts,
    literal,
    open_reader,
)

DEFAULT_OUT = ROOT / "target" / "export"
MANIFEST = "manifest.json"
PART_BYTES = 512 * 1024**2  # a larger mart becomes a folder of parts, which tools read in parallel


def export(out: Path, marts: Sequence[str], console: Console) -> None:
    """Write marts (default: all) of one build. They replace an earlier export in this folder.

    Raises ProjectError where nothing is published, for a mart that is not there, for a folder that
    holds other files, and where files cannot be written.
    """
    out = out.resolve()
    reader = open_reader(WAREHOUSE, SCHEMA)
    chosen = described_marts(reader, marts)
    step = steps(console)
    written = []
    try:
        with draft_beside(out) as draft:
            for mart in chosen:
                with step(mart["name"]):
                    files = write(reader, mart["name"], draft)
                sums = {name: sum(file[name] for file in files) for name in ("rows", "bytes")}
                written.append({**mart, **sums, "files": files})
            manifest = {
                "build": reader.build,
                "published_at": reader.published_at and as_text(reader.published_at),
                "exported_at": as_text(datetime.now(timezone.utc)),
                "marts": written,
            }
            text = json.dumps(manifest, indent=2, ensure_ascii=False)
            (draft / MANIFEST).write_text(f"{text}\n", encoding="utf-8")
            put_in_place(draft, out)
    except (OSError, duckdb.Error) as error:
        problem = str(error).partition("\n")[0]
        raise ProjectError(f"Nothing was exported, {out} is as it was: {problem}") from error
    rows, size = (sum(mart[name] for mart in written) for name in ("rows", "bytes"))
    console.print(
        f"Exported {len(written)} mart{'s' * (len(written) > 1)} of "
        f"{reader.build or 'an unnamed build'} to {out}: {rows:,} rows, {size / 1e6:,.1f} MB.",
        soft_wrap=True,
    )


def write(reader: Reader, mart: str, folder: Path) -> list[dict[str, Any]]:
    """Write a mart as <mart>.parquet, or as a folder of parts; returns its files."""
    parts = folder / mart
    written = reader.connection.execute(
        f"copy (from {reader.schema}.{mart}) to {literal(str(parts))} (format parquet, compression "
        f"zstd, file_size_bytes {PART_BYTES}, filename_pattern 'part_{{i}}', return_stats)"
    ).fetchall()
    rows = {Path(row[0]): row[1] for row in written}
    if len(rows) == 1:
        (only,) = rows
        file = folder / f"{mart}.parquet"
        only.rename(file)
        parts.rmdir()
        rows = {file: rows[only]}
    return [
        {
            "path": str(path.relative_to(folder)),
            "rows": rows[path],
            "bytes": path.stat().st_size,
            "sha256": sha256(path),
        }
        for path in sorted(rows)
    ]


@contextmanager
def draft_beside(out: Path) -> Iterator[Path]:
    """An empty folder beside `out`, for one export at a time. It is gone at the end.

    Raises ProjectError where `out` is a file, or holds files that no export wrote.
    """
    draft = beside(out, "draft")
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(beside(out, "lock"), timeout=0):
            tidy(out)  # after an export that was killed
            refuse_what_is_no_export(out)
            draft.mkdir()
            try:
                yield draft
            finally:
                tidy(out)
    except Timeout as error:
        raise ProjectError(f"Another export to {out} is at work: wait for its end.") from error


def refuse_what_is_no_export(out: Path) -> None:
    """Raise ProjectError for a file, and for a folder with a file that its manifest does not list.

    The whole folder is replaced, so this keeps other people's files from being removed.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise ProjectError(f"{out} is a file: choose a folder.")
    known = {MANIFEST}
    try:
        manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
        known |= {file["path"] for mart in manifest["marts"] for file in mart["files"]}
    except (OSError, ValueError, LookupError, TypeError):
        known = set()
    for path in sorted(out.rglob("*")):
        name = str(path.relative_to(out))
        if name not in known and not (path.is_dir() and not path.is_symlink()):
            raise ProjectError(f"{out} holds {name}, which no export wrote: choose another folder.")


def put_in_place(draft: Path, out: Path) -> None:
    """Give the export its name. The one before moves aside."""
    refuse_what_is_no_export(out)  # a file may have arrived while the export was made
    if out.exists():
        out.rename(beside(out, "old"))
    draft.rename(out)


def tidy(out: Path) -> None:
    """Remove the draft and the old export. If no new one took its place, the old one comes back."""
    if beside(out, "old").exists() and not out.exists():
        beside(out, "old").rename(out)
    for name in ("draft", "old"):
        shutil.rmtree(beside(out, name), ignore_errors=True)


def beside(out: Path, name: str) -> Path:
    return out.with_name(f".{out.name}.{name}")


def sha256(path: Path) -> str:
    """Checksum of a file, which is read in pieces."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1024**2):
            found.update(piece)
    return found.hexdigest()


def as_text(moment: datetime) -> str:
    """A UTC time as in the manifest, to the second."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
