"""EMR rehearsed: the steps as EMR submits them, on a Spark cluster of processes, S3 and Glue by
moto. While it builds, the cluster loses what clusters lose; the rows are those of a build here.

It takes minutes and jars that only EMR needs, so `make test` leaves it to `make test-cluster`. With
CHURN_FAULTS=3, that kills four workers in each of three more builds, at random moments that
CHURN_FAULTS_SEED repeats. `make rehearse-emr` has no fault.
"""

import os
import random
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.emr import rows
from deploy.emr.rehearse import BUCKET, HOME, Cluster, cluster, read_cluster, s3, upload_logs
from tests.conftest import MakeProject
from tests.make_log import make_log, write_log
from tests.warehouse import environment
from tools.setup_environment import SetupError

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.nightly]

BUILDS = int(os.environ.get("CHURN_FAULTS", "0"))
SEED = int(os.environ.get("CHURN_FAULTS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
MODELS, KILLS = 27, 4
STEP_SECONDS = 1200
# A second driver beside the first: its own core, as the first has those of the cluster, and its own
# Hive catalog, as Derby opens one for a single process (on EMR it is Glue).
BESIDE = (
    *("--master", "local[1]", "--conf"),
    "spark.hadoop.javax.jdo.option.ConnectionURL=jdbc:derby:memory:second;create=true",
)


@contextmanager
def rehearsal(folder: Path, raw: Path, *workers: str) -> Iterator[Cluster]:
    """A cluster, with logs in its landing folder; a skip where the jars cannot be had."""
    try:
        with cluster(folder, workers) as found:
            upload_logs(found, raw)
            yield found
    except SetupError as error:
        pytest.skip(f"no jars for S3 and Glue: {error}")


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log with enough users who cancel for a model, and few songs, as a build is to be short."""
    folder, events = tmp_path_factory.mktemp("raw"), []
    for number, event in enumerate(make_log(users=400, days=40, seed=8)):
        if event["page"] != "NextSong" or number % 12 == 0:
            events.append(event)
    write_log(events, folder)
    return folder


@pytest.fixture(scope="module")
def expected(raw: Path, make_project: MakeProject) -> Path:
    """Rows of the same log, built here."""
    project = make_project("rehearsal", raw=raw)
    project.build().ok()
    with environment({"CHURN_SCHEMA": project.schema}):
        rows.write(project.folder / "rows")
    return project.folder / "rows"


def wait_for_models(found: Cluster, count: int) -> None:
    """Return when the build has made so many models, in the middle of the next ones."""
    until = time.monotonic() + STEP_SECONDS
    while time.monotonic() < until:
        log = found.log("build").read_text(errors="replace")
        if len(re.findall(r"OK created .* model", log)) >= count:
            return
        assert found.processes["build"].poll() is None, log
        time.sleep(0.2)
    raise AssertionError(f"{count} models took more than {STEP_SECONDS} s")


def lose_shuffle_files(found: Cluster, worker: str) -> int:
    """Delete what the tasks of a worker have shuffled; returns the number of files."""
    files = [*(found.folder / worker / "shuffle").rglob("shuffle_*")]
    for file in files:
        file.unlink(missing_ok=True)
    return len(files)


def assert_same_tables(found: Cluster, expected: Path, *then: str) -> None:
    seen = read_cluster(found, found.folder / "rows", *then)
    assert rows.differences(seen, expected) == []
    assert len([name for name in rows.count(seen) if name.startswith("published.")]) == 19
    assert len(rows.count(seen)) > 25
    shutil.rmtree(seen)


def test_all_steps_are_right_though_workers_come_late_lose_files_and_die(
    raw: Path, expected: Path, tmp_path: Path
) -> None:
    with rehearsal(tmp_path, raw, "worker-1") as found:
        found.start("build", *found.step("build"))
        wait_for_models(found, 3)
        found.start_worker("worker-2")
        # the lock holds on Glue, too: the lease is in the comment of a table
        found.start("second", *found.job(*BESIDE, f"{HOME}/code/job.py", "build", "--home", HOME))
        assert found.processes["second"].wait(STEP_SECONDS) == 1
        second = found.log("second").read_text(errors="replace")
        assert "is at work on this warehouse" in second, second
        wait_for_models(found, 8)
        assert lose_shuffle_files(found, "worker-1") > 0
        wait_for_models(found, 14)
        found.stop("worker-1")
        found.finish("build")
        assert "Published 19 marts" in found.log("build").read_text()

        small = ("--max-rows", "1500", "--replicates", "5")
        assert_same_tables(found, expected, "train", "score", "report", *small)
        client = s3(found)
        run, page = (
            client.get_object(Bucket=BUCKET, Key=key)["Body"].read().decode().strip()
            for key in ("artifacts/in_use", "report.html")
        )
        assert f"on, model run {run}." in page  # said of the list of users at risk
        assert "No model has been trained" not in page


@pytest.mark.skipif(not BUILDS, reason="minutes for each build: CHURN_FAULTS=<builds>")
def test_workers_killed_at_random_moments(raw: Path, expected: Path, tmp_path: Path) -> None:
    draw = random.Random(SEED)
    for build in range(BUILDS):
        moments = [
            (models, draw.uniform(0, 3)) for models in sorted(draw.sample(range(MODELS), KILLS))
        ]
        print(
            f"seed {SEED}, build {build + 1}: models made, and seconds, before each kill: {moments}"
        )
        folder = tmp_path / str(build)
        folder.mkdir()
        with rehearsal(folder, raw, "worker-0", "worker-1") as found:
            found.start("build", *found.step("build"))
            for number, (models, seconds) in enumerate(moments):
                wait_for_models(found, models)
                time.sleep(seconds)
                found.stop(f"worker-{number}")
                found.start_worker(f"worker-{number + 2}")
            found.finish("build")
            assert_same_tables(found, expected)
