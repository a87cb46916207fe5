"""target/sbom.json is CycloneDX, and lists all that set-up installs with its checksums."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.warehouse import ROOT
from tools.sbom import main


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("sbom") / "new" / "sbom.json"
    assert main(["--out", str(out)]) == 0
    return out.read_text()


def test_it_is_valid(text: str) -> None:
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(text) is None
    assert validator.validate_str(text.replace('"SHA-256"', '"SHA-0"', 1))


def test_it_has_every_locked_package_and_jar_with_its_checksums(text: str) -> None:
    expected: dict[str, set[str]] = {}
    for name in ("requirements.txt", "requirements-uv.txt"):
        for line in (ROOT / name).read_text().splitlines():
            if "==" in line:
                package, version = re.findall(r"^([\w-]+)(?:\[.*\])?==(\S+)", line)[0]
                files = expected.setdefault(f"pkg:pypi/{package}@{version}", set())
            files |= {*re.findall("--hash=sha256:([0-9a-f]{64})", line)}
    for line in (ROOT / "tools" / "jars.txt").read_text().splitlines()[1:]:
        coordinate, jar, checksum = line.split()
        group, name, version = coordinate.split(":")
        assert jar == f"{name}-{version}.jar"
        expected[f"pkg:maven/{group}/{name}@{version}"] = {checksum}
    assert len(expected) > 100
    assert {purl for purl, files in expected.items() if not files} == set()
    components = json.loads(text)["components"]
    assert {each["purl"]: checksums(each) for each in components} == expected


def checksums(component: dict[str, Any]) -> set[str]:
    of_files = [each["hashes"] for each in component.get("externalReferences", [])]
    hashes = [*component.get("hashes", []), *(one for each in of_files for one in each)]
    assert {each["alg"] for each in hashes} == {"SHA-256"}
    return {each["content"] for each in hashes}
