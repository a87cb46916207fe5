"""Pack what a job needs: the project, and the packages that a release of EMR lacks."""

import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PARTS = (
    *("dbt_project.yml", "profiles.yml", "selectors.yml"),
    *("analyses", "examples", "macros", "ml", "models", "report", "seeds", "tests", "warehouse"),
)
# the Python tests stay here; a folder `warehouse` may have tables in it, of an earlier version
ONLY = {"tests": ".sql", "warehouse": ".py"}
REQUIREMENTS = ROOT / "deploy" / "emr" / "requirements.txt"
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "any")


def project_files() -> Iterator[Path]:
    """What dbt and the commands need, by its path in the project."""
    for part in PARTS:
        found = [ROOT / part] if (ROOT / part).is_file() else sorted((ROOT / part).rglob("*"))
        for path in found:
            is_left_out = part in ONLY and path.suffix != ONLY[part]
            if path.is_file() and not is_left_out and "__pycache__" not in path.parts:
                yield path.relative_to(ROOT)


def pack_project(archive: Path) -> Path:
    """A zip of the project; every machine has it among its Python paths."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in project_files():
            packed.write(ROOT / path, path)
    return archive


def pack_packages(archive: Path, folder: Path) -> Path:
    """A tar of the packages as wheels of Linux x86-64 and Python 3.11 have them, on any machine.

    Raises CalledProcessError where pip fails; its message is on the screen.
    """
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--no-deps"),
            *("--require-hashes", "--only-binary=:all:", "--implementation", "cp"),
            *("--python-version", "3.11", "--requirement", REQUIREMENTS, "--target", folder),
            *(f"--platform={platform}" for platform in PLATFORMS),
        ],
        check=True,
    )
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(folder, ".")
    return archive
