"""Steps of the workflow, in the driver of a Spark job: EMR submits this file as it is.

The submission puts the packed project (churn.zip) among --py-files and, on EMR, the packages
(environment.tar.gz) into the folder `environment` of each machine. Exit status 0: done, and in the
case of `build` published, or nothing was new.
"""

import argparse
import json
import os
import site
import sys
import tempfile
import zipfile
from pathlib import Path

STEPS = {
    "build": "dbt build of <home>/raw, and publish",
    "train": "python -m ml train, to <home>/artifacts",
    "score": "python -m ml score: users at risk",
    "report": "python -m report, to <home>/report.html",
}
TARGET = "emr"
PACKAGES = "environment"
PROJECT = "churn.zip"


def main(arguments: list[str] | None = None) -> int:
    """Run the steps, up to the first that fails; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="job.py",
        description=__doc__,
        epilog="steps:\n" + "\n".join(f"  {step:<7} {what}" for step, what in STEPS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("steps", nargs="+", choices=STEPS, metavar="step", help="see below")
    parser.add_argument("--home", required=True, help="s3://<bucket>, or a prefix of it")
    for name in ("--max-rows", "--replicates"):
        parser.add_argument(name, help="of train: see python -m ml train --help")
    options = parser.parse_args(arguments)
    open_project()
    bounds = {"--max-rows": options.max_rows, "--replicates": options.replicates}
    training = [part for item in bounds.items() if item[1] for part in item]
    for step in options.steps:
        status = run_step(step, options.home.rstrip("/"), training)
        if status:
            return status
    return 0


def run_step(step: str, home: str, training: list[str]) -> int:
    """Run one step; returns the exit status."""
    if step == "build":
        return build_tables(f"{home}/raw")
    with tempfile.TemporaryDirectory() as folder:
        return use_model(step, home, Path(folder), training if step == "train" else [])


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


def build_tables(raw: str) -> int:
    """`dbt build`."""
    from dbt.cli.main import dbtRunner

    variables = json.dumps({"raw_path": raw})
    result = dbtRunner().invoke(["--no-use-colors", "build", "--vars", variables])
    return 0 if result.success else 1


def use_model(step: str, home: str, folder: Path, options: list[str]) -> int:
    """Train, score or report, with the models of earlier steps in `folder`; keep what it wrote."""
    from pyarrow import fs

    from ml.__main__ import main as ml
    from ml.store import IN_USE, runs
    from report.__main__ import main as report

    # Arrow does not look for it itself, as AWS's libraries do
    s3 = fs.S3FileSystem(endpoint_override=os.environ.get("AWS_ENDPOINT_URL"))
    disk = fs.LocalFileSystem()
    models, page = folder / "artifacts", folder / "report.html"
    stored = home.removeprefix("s3://")
    models.mkdir()
    if s3.get_file_info(f"{stored}/artifacts/{IN_USE}").is_file:
        fs.copy_files(f"{stored}/artifacts", str(models), s3, disk)
    if step == "report":
        status = report(["--artifacts", str(models), "--out", str(page)])
        if status == 0:
            fs.copy_files(str(page), f"{stored}/report.html", disk, s3)
        return status
    earlier = runs(models)
    status = ml([step, "--artifacts", str(models), *options])
    if status == 0 and step == "train":
        # the pointer last, so that it never names a run that is not all there
        for run in set(runs(models)).difference(earlier):
            fs.copy_files(str(models / run), f"{stored}/artifacts/{run}", disk, s3)
        fs.copy_files(str(models / IN_USE), f"{stored}/artifacts/{IN_USE}", disk, s3)
    return status


if __name__ == "__main__":
    sys.exit(main())
