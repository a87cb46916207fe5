"""The export: what readers see, as files that say what they are, and never half of it."""

import hashlib
import json
from collections.abc import Iterator
from datetime import date, datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from tests.conftest import RunMain
from tests.lake import Lake
from tests.warehouse import Project, Run, active_spark, environment

pytest.importorskip("duckdb", reason="no duckdb for this Python in requirements.txt")
import duckdb
import pyarrow as pa
from filelock import FileLock

from warehouse import export as module
from warehouse.__main__ import main
from warehouse.console import Console
from warehouse.errors import ProjectError

USERS = {
    "user_id": ["7", "it's"],
    "last_event_at": [datetime(2018, 10, 1, 23, 30, 0, 123000, tzinfo=timezone.utc), None],
    "listening_milliseconds": [2**60, 0],
}


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lake]:
    """Two marts and one that is a view, of `build_1`; what the export reads."""
    lake = Lake(tmp_path / "ware house")
    lake.publish("build_1", dim_users=USERS, days={"day": [date(2018, 10, 1)]})
    described = {
        "user_id": ("string", "Never null."),
        "last_event_at": ("timestamptz", "UTC, of the last event."),
        "listening_milliseconds": ("long", "In all."),
    }
    lake.view("dim_users", "One row per user. Every user with an event.", described)
    users = "churn_published.dim_users"
    ranks = f"select user_id, row_number() over (order by user_id) as rank from {users}"
    described = {"user_id": ("string", ""), "rank": ("int", "1 on.")}
    lake.view("ranks", "One row per user.", described, sql=ranks)
    monkeypatch.setattr(module, "WAREHOUSE", lake.folder)
    yield lake
    lake.catalog.close()


@pytest.fixture
def out(lake: Lake, tmp_path: Path) -> Path:
    """The export of all marts of `build_1`, and nothing else beside the warehouse."""
    export(tmp_path / "export")
    return tmp_path / "export"


def export(out: Path, *marts: str) -> dict[str, Any]:
    """Export, and return the manifest; each of its files is as it says."""
    module.export(out, marts, Console(quiet=True))
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    files = [file for mart in manifest["marts"] for file in mart["files"]]
    listed = {"manifest.json", *(file["path"] for file in files)}
    assert listed == {name for name in files_of(out) if (out / name).is_file()}
    for file in files:
        content = (out / file["path"]).read_bytes()
        assert file["bytes"] == len(content)
        assert file["sha256"] == hashlib.sha256(content).hexdigest()
    return manifest


def files_of(folder: Path) -> dict[str, bytes]:
    """All below a folder, with what is in it."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
    }


def rows_of(path: Path) -> list[tuple]:
    return duckdb.connect().execute("from read_parquet(?)", [str(path)]).fetchall()


def test_the_files_are_what_readers_see_and_say_so(lake: Lake, tmp_path: Path) -> None:
    out = tmp_path / "new" / "export"
    manifest = export(out)
    assert (manifest["build"], manifest["published_at"]) == ("build_1", "2026-11-24T10:01:00Z")
    days, users, ranks = manifest["marts"]
    assert [each["name"] for each in manifest["marts"]] == ["days", "dim_users", "ranks"]
    assert (days["grain"], days["rows"]) == ("", 1)
    assert users["grain"] == "One row per user"
    assert users["description"] == "One row per user. Every user with an event."
    assert users["columns"][1] == {
        "name": "last_event_at",
        "type": "timestamp",
        "description": "UTC, of the last event.",
    }
    assert [each["type"] for each in users["columns"]] == ["varchar", "timestamp", "bigint"]
    assert sum(file["bytes"] for file in users["files"]) == users["bytes"]
    found = rows_of(out / "dim_users.parquet")
    at = USERS["last_event_at"][0].replace(tzinfo=None)
    assert found == [("7", at, 2**60), ("it's", None, 0)]
    # as in Spark an int, which DuckDB alone would make a bigint
    assert ranks["columns"][1] == {"name": "rank", "type": "integer", "description": "1 on."}
    assert rows_of(out / "ranks.parquet") == [("7", 1), ("it's", 2)]


def test_a_large_mart_is_a_folder_of_parts(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.publish(
        "build_2",
        many=pa.table({"number": range(300_000)}),
        none=pa.table({"n": pa.array([], pa.int64())}),
    )
    monkeypatch.setattr(module, "PART_BYTES", 100_000)
    many, none = export(tmp_path / "export", "many", "none")["marts"]
    assert len(many["files"]) > 1
    assert many["rows"] == sum(file["rows"] for file in many["files"]) == 300_000
    numbers = rows_of(tmp_path / "export" / "many" / "*.parquet")
    assert sorted(numbers) == [(number,) for number in range(300_000)]
    assert (none["rows"], [file["path"] for file in none["files"]]) == (0, ["none.parquet"])
    assert rows_of(tmp_path / "export" / "none.parquet") == []


def test_another_build_takes_the_place_of_the_whole_export(
    lake: Lake, out: Path, tmp_path: Path
) -> None:
    lake.publish("build_2", dim_users={**USERS, "listening_milliseconds": [1, 2]})
    manifest = export(out, "dim_users")
    assert manifest["build"] == "build_2"
    assert files_of(out).keys() == {"manifest.json", "dim_users.parquet"}
    assert [row[2] for row in rows_of(out / "dim_users.parquet")] == [1, 2]
    assert {path.name for path in tmp_path.iterdir()} == {"ware house", "export", ".export.lock"}


@pytest.mark.parametrize("moment", ["write", "sha256", "put_in_place"])
@pytest.mark.parametrize("error", [OSError("No space left"), duckdb.IOException("No space left")])
def test_an_export_that_fails_leaves_the_one_before(
    moment: str, error: Exception, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files_of(tmp_path)
    monkeypatch.setattr(module, moment, Mock(side_effect=error))
    with pytest.raises(ProjectError, match="Nothing was exported, .* is as it was: No space left"):
        export(out)
    assert files_of(tmp_path) == before


def test_a_second_rename_that_fails_gives_the_export_before_back(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files_of(tmp_path)
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if self.name == ".export.draft":
            raise OSError("no")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(ProjectError, match="Nothing was exported"):
        export(out)
    assert files_of(tmp_path) == before


def test_a_file_that_arrives_meanwhile_is_kept(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = module.write

    def write_while_a_file_arrives(*arguments: Any) -> Any:
        (out / "mine.txt").touch()
        return write(*arguments)

    monkeypatch.setattr(module, "write", write_while_a_file_arrives)
    with pytest.raises(ProjectError, match=r"holds mine\.txt"):
        export(out)
    assert (out / "mine.txt").is_file()
    assert (out / "manifest.json").is_file()


def test_what_a_killed_export_left_is_put_right(lake: Lake, tmp_path: Path) -> None:
    out = tmp_path / "export"
    export(out, "days")
    # killed between its two renames
    out.rename(tmp_path / ".export.old")
    (tmp_path / ".export.draft").mkdir()
    (tmp_path / ".export.draft" / "half.parquet").touch()
    (tmp_path / ".export.old" / "mine.txt").touch()
    with pytest.raises(ProjectError, match=r"holds mine\.txt"):
        export(out)
    assert files_of(out).keys() == {"days.parquet", "manifest.json", "mine.txt"}
    assert not (tmp_path / ".export.draft").exists()


@pytest.mark.parametrize(
    "files",
    [
        {"mine.txt": "a"},
        {"manifest.json": '{"nodes": {}}'},
        {"manifest.json": "no JSON"},
        {"manifest.json": '{"marts": [{"files": [{"path": "a.parquet"}]}]}', "b.parquet": "b"},
        {"manifest.json": '{"marts": []}', "folder/b.parquet": "b"},
    ],
)
def test_a_folder_with_other_files_is_refused(
    files: dict[str, str], lake: Lake, tmp_path: Path
) -> None:
    out = tmp_path / "export"
    for name, content in files.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(content)
    before = files_of(out)
    with pytest.raises(ProjectError, match=f"holds {[*files][-1]}, which no export wrote: choose"):
        export(out)
    assert files_of(out) == before


def test_an_empty_folder_and_a_link_are_taken_and_a_file_is_not(lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to("elsewhere")
    export(tmp_path / "link", "days")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "elsewhere" / "days.parquet").is_file()
    (tmp_path / "file").touch()
    with pytest.raises(ProjectError, match="is a file"):
        export(tmp_path / "file")


def test_one_export_at_a_time(lake: Lake, tmp_path: Path) -> None:
    with (
        FileLock(tmp_path / ".export.lock"),
        pytest.raises(ProjectError, match="Another export to .* is at work"),
    ):
        export(tmp_path / "export")
    export(tmp_path / "export")


def test_the_command_says_what_is_wrong(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_main: RunMain
) -> None:
    export = partial(run_main, main, "export", "--out", str(tmp_path / "export"))
    said = "There is no mart nope. Published are: days, dim_users, ranks.\n"
    assert export("--mart", "nope") == Run(1, said)
    run = export("--mart", "days", "--mart", "ranks").ok()
    assert "Exported 2 marts of build_1" in run.output
    for name, value, problem in (
        ("SCHEMA", "nowhere", "Nothing is published in nowhere_published: run `dbt build`"),
        ("WAREHOUSE", tmp_path, "No warehouse in"),
    ):
        monkeypatch.setattr(module, name, value)
        export().failed(problem)


def test_every_mart_of_the_sample_is_described_and_has_the_rows_that_spark_reads(
    sample: Project, warehouse: Path, tmp_path: Path
) -> None:
    with environment({"CHURN_WAREHOUSE": str(warehouse)}):
        run = sample.operate("export", "--out", str(tmp_path / "export"), fresh=True).ok()
    assert f"Exported {len(sample.marts())} marts of build_" in run.output
    manifest = json.loads((tmp_path / "export" / "manifest.json").read_text(encoding="utf-8"))
    assert [mart["name"] for mart in manifest["marts"]] == sample.marts()
    for mart in manifest["marts"]:
        view = active_spark().table(f"{sample.schema}_published.{mart['name']}")
        assert mart["rows"] == view.count()
        assert mart["grain"].startswith("One row ")
        assert [each["name"] for each in mart["columns"]] == view.columns
        assert all(each["description"] for each in mart["columns"])
