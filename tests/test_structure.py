"""Who may read whom: folders of models, and packages of Python."""

from tests.warehouse import ROOT
from tools import structure


def test_the_page_has_the_structure_of_the_code() -> None:
    page = (ROOT / "docs" / "structure.md").read_text(encoding="utf-8")
    assert page == structure.page(), "Run: python -m tools.structure > docs/structure.md"


def test_the_ground_floor_and_the_simulator_import_nothing_of_the_product() -> None:
    assert not {read for read, by in structure.imports() if by in ("warehouse", "simulator")}


def test_staging_reads_no_mart() -> None:
    assert not {read for read, by in structure.refs() if by == "staging"}
