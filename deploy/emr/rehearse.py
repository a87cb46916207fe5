"""EMR rehearsed on this machine: a Spark cluster of processes, S3 and Glue by moto, and the steps
of the workflow submitted as EMR submits them, by a Python that has only the packages of a job. All
tables and views that the build made are compared with those of the target `local`.

Examples:
  python -m deploy.emr.rehearse                      build the sample
  python -m deploy.emr.rehearse --all                train, score, report, too
  python -m deploy.emr.rehearse --folder /tmp/emr    keep the logs there

It needs some 4 GB of memory. The jars (65 MB) are fetched once, into .venv.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Annotated, Any

import boto3
import pyspark
import typer

from deploy.emr import rows
from deploy.emr.job import PACKAGES, STEPS
from deploy.emr.pack import REQUIREMENTS, ROOT, pack_project
from server.process import free_port
from tools.setup_environment import install_jars
from warehouse.commands import folder_option, program
from warehouse.errors import ProjectError

SPARK = Path(pyspark.__file__).parent
SAMPLE = ROOT / "data" / "sample"
JARS = Path(sys.prefix) / "emr-jars"
JOB = ROOT / "deploy" / "emr" / "job.py"
BUCKET = "churn-rehearsal"
HOME = f"s3://{BUCKET}"
# Most code runs for seconds: it is compiled once, to the first level, with room for all of it.
JAVA = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m -XX:+UseSerialGC"
START_SECONDS, STEP_SECONDS = 180, 1800
ALL_STEPS = f"All steps ({', '.join(STEPS)}). A model needs some 230 users."
NEW_FOLDER = typer.Option(
    resolve_path=True,
    metavar="DIR",
    help="New, for logs and rows.",
    show_default="one that is removed",
)


class RehearsalError(ProjectError):
    """What failed, and where to read on."""


@dataclass
class Cluster:
    """Processes on loopback; each leads a group of its own, which its executors are part of."""

    folder: Path
    environment: dict[str, str]
    s3: str = ""
    master: str = ""
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, *command: str | Path, **variables: str) -> None:
        """Start a process that `stop` ends; its output goes to <name>.log."""
        with self.log(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment | variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def start_worker(self, name: str) -> None:
        """A machine more, of one core; what its tasks shuffle is in <name>/shuffle."""
        self.start(
            name,
            *(SPARK / "bin" / "spark-class", "org.apache.spark.deploy.worker.Worker"),
            *("--host", "127.0.0.1", "--port", "0", "--webui-port", "0"),
            *("--cores", "1", "--memory", "1g", "--work-dir", self.folder / name, self.master),
            SPARK_LOCAL_DIRS=str(self.folder / name / "shuffle"),
        )

    def stop(self, name: str) -> None:
        """End a process and its executors, at once, as a machine that is lost."""
        process = self.processes.pop(name)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def run(self, name: str, *command: str | Path, **variables: str) -> None:
        """Run a process to its end; raise RehearsalError where it fails."""
        self.start(name, *command, **variables)
        self.finish(name)

    def finish(self, name: str) -> None:
        """Wait for the end of a process; raise RehearsalError where it fails."""
        status = self.processes[name].wait(STEP_SECONDS)
        del self.processes[name]
        if status:
            last = self.log(name).read_text(errors="replace").splitlines()[-20:]
            raise RehearsalError(
                "\n".join([*last, f"{name} ended with status {status}: {self.log(name)}"])
            )

    def log(self, name: str) -> Path:
        """What a process printed."""
        return self.folder / f"{name}.log"

    def job(self, script: str | Path, *arguments: str | Path) -> list[str | Path]:
        """The command that runs a script with the packed project, as EMR does."""
        jars = ":".join(str(jar) for jar in sorted(JARS.glob("*.jar")))
        # what EMR has by itself: its file system for S3, Glue, and Hive's catalog in Glue
        settings = {
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.ui.enabled": "false",
            "spark.driver.extraClassPath": jars,
            "spark.executor.extraClassPath": jars,
            "spark.driver.extraJavaOptions": f"{JAVA} -Dderby.stream.error.file={os.devnull}",
            "spark.executor.extraJavaOptions": JAVA,
            "spark.executorEnv.PYTHONPATH": f"{self.folder / PACKAGES}",
            "spark.sql.catalog.lake.s3.endpoint": self.s3,
            "spark.sql.catalog.lake.s3.path-style-access": "true",
            "spark.sql.catalog.lake.glue.endpoint": self.s3,
            "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
            "spark.hadoop.fs.s3a.endpoint": self.s3,
            "spark.hadoop.fs.s3a.path.style.access": "true",
            "spark.hadoop.javax.jdo.option.ConnectionURL": (
                f"jdbc:derby:;databaseName={self.folder}/hive;create=true"
            ),
            "spark.sql.warehouse.dir": f"{self.folder}/hive_tables",
        }
        return [
            *(SPARK / "bin" / "spark-submit", "--master", self.master, "--deploy-mode", "client"),
            *("--driver-memory", "1g", "--executor-memory", "1g", "--executor-cores", "1"),
            *(part for item in settings.items() for part in ("--conf", "=".join(item))),
            *("--py-files", f"{HOME}/code/churn.zip", script, *arguments),
        ]

    def step(self, *steps: str) -> list[str | Path]:
        """The command that runs steps of the workflow, and options of theirs."""
        return self.job(f"{HOME}/code/{JOB.name}", *steps, "--home", HOME)


def make_python(folder: Path) -> Path:
    """A Python that has what a job on EMR has; returns its path.

    Its packages are those of deploy/emr/requirements.txt, in a folder beside it. pyspark is not
    among them: Spark brings it as a zip without the metadata of a package.
    """
    venv.create(folder / "python", symlinks=True)
    packages = folder / PACKAGES
    packages.mkdir()
    for name in re.findall(r"^([\w.-]+)==", REQUIREMENTS.read_text(), re.MULTILINE):
        try:
            found = distribution(name)
        except PackageNotFoundError:
            found = distribution(name.removesuffix("-cpu"))  # xgboost, where this is no Linux
        for part in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            if not (packages / part).exists():  # several packages share the folder dbt
                (packages / part).symlink_to(str(found.locate_file(part)))
    return folder / "python" / "bin" / "python"


@contextmanager
def cluster(folder: Path, workers: Sequence[str] = ("worker-1", "worker-2")) -> Iterator[Cluster]:
    """S3, Glue, a master and workers, all of them gone in the end; the project packed in S3.

    Raises RehearsalError where one does not start, SetupError where the jars cannot be had.
    """
    install_jars(ROOT / "deploy" / "emr" / "jars.txt", JARS)
    aws, spark = free_port(), free_port()
    python = str(make_python(folder))
    found = Cluster(
        folder,
        {
            **{name: each for name, each in os.environ.items() if name != "PYTHONPATH"},
            "SPARK_HOME": str(SPARK),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYSPARK_PYTHON": python,
            "PYSPARK_DRIVER_PYTHON": python,
            "SPARK_DAEMON_MEMORY": "256m",
            "SPARK_DAEMON_JAVA_OPTS": "-XX:TieredStopAtLevel=1",
            "AWS_ACCESS_KEY_ID": "rehearsal",
            "AWS_SECRET_ACCESS_KEY": "rehearsal",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{aws}",
            "AWS_EC2_METADATA_DISABLED": "true",
            "CHURN_SCHEMA": "churn",
            "CHURN_WAREHOUSE": f"{HOME}/warehouse",
            "CHURN_SHUFFLE_PARTITIONS": "2",
        },
        s3=f"http://127.0.0.1:{aws}",
        master=f"spark://127.0.0.1:{spark}",
    )
    try:
        found.start("aws", sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(aws))
        found.start(
            "master",
            *(SPARK / "bin" / "spark-class", "org.apache.spark.deploy.master.Master"),
            *("--host", "127.0.0.1", "--port", str(spark), "--webui-port", "0"),
        )
        for name, port in {"aws": aws, "master": spark}.items():
            wait_until_open(found, name, port)
        for name in workers:
            found.start_worker(name)
        bucket = s3(found)
        bucket.create_bucket(Bucket=BUCKET)
        packed = pack_project(folder / "churn.zip")
        for file in (packed, JOB):
            bucket.upload_file(str(file), BUCKET, f"code/{file.name}")
        yield found
    finally:
        for name in list(found.processes):
            found.stop(name)


def s3(found: Cluster) -> Any:
    """A client of the cluster's S3."""
    return boto3.client(
        "s3",
        endpoint_url=found.s3,
        region_name=found.environment["AWS_REGION"],
        aws_access_key_id="rehearsal",
        aws_secret_access_key="rehearsal",
    )


def upload_logs(found: Cluster, raw: Path) -> None:
    """Put a landing folder into S3."""
    client = s3(found)
    for path in sorted(path for path in raw.rglob("*") if path.is_file()):
        client.upload_file(str(path), BUCKET, f"raw/{path.relative_to(raw)}")


def wait_until_open(found: Cluster, name: str, port: int) -> None:
    """Return when a port of loopback takes connections."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and found.processes[name].poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.2)
    raise RehearsalError(f"{name} did not start; see {found.log(name)}")


def read_cluster(found: Cluster, folder: Path, *then: str) -> Path:
    """Write the rows of all that the cluster has built to a folder, then run steps, in one job."""
    job = found.job(rows.__file__, folder, *(*then, "--home", HOME) if then else ())
    found.run("rows", *job, PYTHONPATH=f"{ROOT}{os.pathsep}{found.folder / PACKAGES}")
    return folder


@program("python -m deploy.emr.rehearse", __doc__)
def main(
    raw: Annotated[Path, folder_option("Landing folder.", "data/sample")] = SAMPLE,
    all_steps: Annotated[bool, typer.Option("--all", help=ALL_STEPS)] = False,
    folder: Annotated[Path | None, NEW_FOLDER] = None,
) -> int:
    """Rehearse; returns the exit status."""
    # Hive's catalog of another rehearsal would name tables that this one's Glue does not have
    if folder and folder.exists() and any(folder.iterdir()):
        raise typer.BadParameter(f"--folder {folder} is not empty: name another, or empty it")
    # ended by another program, it still stops what it started
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory() as scratch:
        folder = folder or Path(scratch).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        return rehearse(folder, raw, list(STEPS) if all_steps else ["build"])


def rehearse(folder: Path, raw: Path, steps: Sequence[str]) -> int:
    """All steps, then the comparison; prints each with its seconds."""
    began = time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - began:5.0f} s  {what}", flush=True)

    with cluster(folder) as found:
        say(f"S3 and Glue ({found.s3}), master and 2 workers ({found.master}) run")
        upload_logs(found, raw)
        for step in steps:
            found.run(step, *found.step(step))
            say(f"{step}: done")
            if step == "build":
                there = read_cluster(found, folder / "emr")
                say("read what it made")
    say("all processes are stopped")
    here = read_local(folder, raw)
    say("the same with the target local")
    different = rows.differences(there, here)
    print(*different, sep="\n")
    counts = rows.count(there)
    verdict = "they differ" if different else "equal"
    say(f"{len(counts)} tables and views, {sum(counts.values()):,} rows: {verdict}")
    return 1 if different else 0


def read_local(folder: Path, raw: Path) -> Path:
    """Write the rows of the target `local` to a folder, of a warehouse of its own."""
    (folder / "warehouse").mkdir(exist_ok=True)
    variables = {"CHURN_WAREHOUSE": str(folder / "warehouse"), "DBT_TARGET": "local"}
    local = Cluster(folder, {**os.environ, **variables, "PYTHONPATH": str(ROOT)})
    local.run(
        "local",
        *(Path(sys.executable).parent / "dbt", "--no-use-colors", "build"),
        *("--project-dir", ROOT, "--profiles-dir", ROOT, "--target-path", folder / "target"),
        *("--vars", json.dumps({"raw_path": str(raw)})),
    )
    local.run("local", sys.executable, "-m", "deploy.emr.rows", folder / "local")
    return folder / "local"


if __name__ == "__main__":
    sys.exit(main())
