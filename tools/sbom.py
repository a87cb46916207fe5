"""Write what set-up installs as CycloneDX JSON: the locked packages, and the jars for Spark.

    python -m tools.sbom    # target/sbom.json

Versions and checksums are those that set-up checks: of requirements*.txt and tools/jars.txt.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from cyclonedx.model import (
    ExternalReference,
    ExternalReferenceType,
    HashAlgorithm,
    HashType,
    Property,
    XsUri,
)
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement

from warehouse.commands import program

ROOT = Path(__file__).resolve().parent.parent
LOCKS = (ROOT / "requirements.txt", ROOT / "requirements-uv.txt")
JARS = ROOT / "tools" / "jars.txt"


@program("python -m tools.sbom", epilog="Example:\n  python -m tools.sbom --out sbom.json")
def main(
    out: Annotated[
        Path, typer.Option(dir_okay=False, help="File to write.", show_default="target/sbom.json")
    ] = ROOT / "target" / "sbom.json",
) -> None:
    """Write what set-up installs, packages and jars, as CycloneDX JSON."""
    found = sbom()
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(JsonV1Dot6(found).output_as_string(indent=2) + "\n", encoding="utf-8")
    print(f"{len(found.components)} packages and jars: {out}")


def sbom() -> Bom:
    """The project, and each locked package and jar as a component."""
    (version,) = re.findall(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.M)
    bom = Bom(components=[*(one for lock in LOCKS for one in packages(lock)), *jars(JARS)])
    project = Component(
        name="churn-at-scale",
        version=version,
        type=ComponentType.APPLICATION,
        bom_ref="churn-at-scale",
    )
    bom.metadata.component = project
    bom.register_dependency(project, bom.components)
    return bom


def packages(lock: Path) -> Iterator[Component]:
    """Of each pinned version one component, with the checksums of all its files.

    A package that is locked for several Pythons is there once for each, with its marker.
    """
    for entry in re.findall(r"^[\w.-]+.*?(?=^[^\s]|\Z)", lock.read_text(), re.M | re.S):
        pinned = Requirement(entry.partition("\\\n")[0])
        (version,) = (each.version for each in pinned.specifier)
        purl = PackageURL("pypi", None, pinned.name, version)
        files = ExternalReference(
            type=ExternalReferenceType.DISTRIBUTION,
            url=XsUri(str(purl)),
            hashes=[sha256(each) for each in re.findall(r"--hash=sha256:(\w+)", entry)],
        )
        marker = [Property(name="marker", value=str(pinned.marker))] if pinned.marker else []
        yield Component(
            name=purl.name,
            version=version,
            purl=purl,
            bom_ref=str(purl),
            external_references=[files],
            properties=marker,
        )


def jars(listed: Path) -> Iterator[Component]:
    """Of each jar that set-up puts beside Spark's own one component, with its checksum."""
    for line in listed.read_text().splitlines():
        if line and not line.startswith("#"):
            coordinate, _, checksum = line.split()
            group, name, version = coordinate.split(":")
            purl = PackageURL("maven", group, name, version)
            yield Component(
                group=group,
                name=name,
                version=version,
                purl=purl,
                bom_ref=str(purl),
                hashes=[sha256(checksum)],
            )


def sha256(content: str) -> HashType:
    return HashType(alg=HashAlgorithm.SHA_256, content=content)


if __name__ == "__main__":
    sys.exit(main())
