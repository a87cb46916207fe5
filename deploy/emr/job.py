"""One step of the workflow, in the driver of a Spark job: EMR submits this file as it is.

The submission puts the packed project (churn.zip) among --py-files and, on EMR, the packages
(environment.tar.gz) into the folder `environment` of each machine. Exit status 0: done, and in the
case of `build` published, or nothing was new.
"""

from __future__ import annotations

import argparse
import json
import os
import site
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

TARGET = "emr"
PACKAGES = "environment"
PROJECT = "churn.zip"


def main(arguments: list[str] | None = None) -> int:
    """Run one step; returns the exit status."""
    parser = argparse.ArgumentParser(prog="job.py", description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    build = steps.add_parser("build", help="dbt build, and publish")
    build.add_argument("--raw", required=True, help="landing folder, s3://<bucket>/<prefix>")
    build.add_argument("--select", nargs="*", default=[], help="these models only")
    for name, what in {
        "train": "python -m ml train",
        "score": "python -m ml score",
        "report": "python -m report, to <home>/report.html",
    }.items():
        step = steps.add_parser(name, help=what)
        step.add_argument("--home", required=True, help="of artifacts/, s3://<bucket>/<prefix>")
    options = parser.parse_args(arguments)
    open_project()
    if options.step == "build":
        return build_tables(options.raw, options.select)
    with tempfile.TemporaryDirectory() as folder:
        return use_model(options.step, options.home, Path(folder))


def open_project() -> None:
    """Make the packed project this process's folder, and its packages importable."""
    if Path(PACKAGES).is_dir():
        site.addsitedir(str(Path(PACKAGES).resolve()))
    packed = next(path for path in sys.path if path.endswith(f"/{PROJECT}"))
    folder = tempfile.mkdtemp(prefix="churn_")
    zipfile.ZipFile(packed).extractall(folder)
    sys.path.insert(0, folder)
    os.chdir(folder)
    os.environ["DBT_PROFILES_DIR"] = folder
    os.environ["DBT_TARGET"] = TARGET


def build_tables(raw: str, select: list[str]) -> int:
    """`dbt build` without unit tests, which look at the text of the project only."""
    from dbt.cli.main import dbtRunner

    refused = []

    def listen(event: Any) -> None:
        message = event.info.msg
        # dbt itself takes a build that left something out for a success
        if message.startswith("Not published:"):
            refused.append(message)

    result = dbtRunner(callbacks=[listen]).invoke(
        [
            *("--no-use-colors", "build", "--exclude-resource-type", "unit_test"),
            *("--vars", json.dumps({"raw_path": raw})),
            *(("--select", *select) if select else ()),
        ]
    )
    return 0 if result.success and not refused else 1


def use_model(step: str, home: str, folder: Path) -> int:
    """Train, score or report, with the models of earlier steps in `folder`; keep what it wrote."""
    from pyarrow import fs

    from ml.__main__ import main as ml
    from report.__main__ import main as report

    # Arrow does not look for it itself, as AWS's libraries do
    s3 = fs.S3FileSystem(endpoint_override=os.environ.get("AWS_ENDPOINT_URL"))
    disk = fs.LocalFileSystem()
    models, page = folder / "artifacts", folder / "report.html"
    stored = home.removeprefix("s3://").rstrip("/")
    models.mkdir()
    if s3.get_file_info(f"{stored}/artifacts/latest").is_file:
        fs.copy_files(f"{stored}/artifacts", str(models), s3, disk)
    if step == "report":
        status = report(["--artifacts", str(models), "--out", str(page)])
        if status == 0:
            fs.copy_files(str(page), f"{stored}/report.html", disk, s3)
        return status
    status = ml([step, "--artifacts", str(models)])
    if status == 0 and step == "train":
        run = (models / "latest").read_text().strip()
        fs.copy_files(str(models / run), f"{stored}/artifacts/{run}", disk, s3)
        # last, so that it never names a run that is not all there
        fs.copy_files(str(models / "latest"), f"{stored}/artifacts/latest", disk, s3)
    return status


if __name__ == "__main__":
    sys.exit(main())
