"""The Spark session and the schema names, from the dbt profile that `dbt build` uses."""

from __future__ import annotations

import os
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyspark.logger import PySparkLogger
from pyspark.sql import SparkSession

from warehouse.errors import ProjectError

PROJECT_DIR = Path(__file__).resolve().parent.parent
LOG_FILE = PROJECT_DIR / "logs" / "commands.log"


@dataclass(frozen=True)
class Target:
    """One rendered target of profiles.yml.

    `schema` is the profile's schema ('churn'); dbt appends a suffix per folder:
    `published` is what is read, `ml` what the ML step writes. Where it names a catalog
    ('spark_catalog.churn'), that is where views are; tables are in the default catalog.
    `address` is host, port and user of a target of method `thrift`.
    """

    name: str
    schema: str
    settings: dict[str, str]
    method: str = "session"
    address: tuple[str, int, str] = ("", 0, "")

    @property
    def is_driver(self) -> bool:
        """Whether this process is Spark's driver; on a cluster, one of many machines."""
        return self.method == "session" and "spark.remote" not in self.settings

    @property
    def is_embedded(self) -> bool:
        """Whether all of Spark is in this process, its own catalog, too."""
        catalog = self.settings.get("spark.sql.catalogImplementation")
        return self.is_driver and catalog == "in-memory"

    @property
    def published(self) -> str:
        """Schema of the published views, which are all that readers need."""
        return f"{self.schema}_published"

    @property
    def marts(self) -> str:
        """Schema of the tables behind the published views."""
        return f"{self._tables}_marts"

    @property
    def staging(self) -> str:
        """Schema of the tables that the marts are made from."""
        return f"{self._tables}_staging"

    @property
    def audit(self) -> str:
        """Schema of what is known of runs and publications, and of the lock."""
        return f"{self._tables}_audit"

    @property
    def ml(self) -> str:
        """Schema of the tables that the ML step writes."""
        return f"{self._tables}_ml"

    @property
    def _tables(self) -> str:
        return self.schema.rpartition(".")[2]


def load_target(
    target: str | None = None, profiles_dir: str | os.PathLike[str] | None = None
) -> Target:
    """Render one target of profiles.yml with dbt's own code.

    `target` defaults to DBT_TARGET, then to the profile's default; `profiles_dir` to
    DBT_PROFILES_DIR, then to the project's folder.

    Raises ProjectError when the profile is missing or does not render, or names no such target.
    """
    from dbt.config.profile import Profile
    from dbt.config.renderer import ProfileRenderer
    from dbt.flags import set_from_args
    from dbt_common.context import set_invocation_context
    from dbt_common.exceptions import DbtBaseException

    folder = Path(profiles_dir or os.environ.get("DBT_PROFILES_DIR") or PROJECT_DIR).resolve()
    if not (folder / "profiles.yml").is_file():
        raise ProjectError(f"No profiles.yml in {folder}: name its folder with --profiles-dir.")
    try:
        set_invocation_context(os.environ)
        # profiles.yml may read flags.PROFILES_DIR, which dbt keeps as a global
        set_from_args(Namespace(PROFILES_DIR=str(folder), PROJECT_DIR=str(PROJECT_DIR)), None)
        wanted = target or os.environ.get("DBT_TARGET")
        profile = Profile.render(
            ProfileRenderer({}), project_settings()["profile"], target_override=wanted
        )
    except DbtBaseException as error:
        raise ProjectError(f"{folder / 'profiles.yml'}: {' '.join(str(error).split())}") from error
    credentials: Any = profile.credentials
    return Target(
        name=profile.target_name,
        schema=credentials.schema,
        settings=dict(credentials.server_side_parameters),
        method=str(credentials.method),
        address=(credentials.host, credentials.port, credentials.user or ""),
    )


def project_settings() -> dict[str, Any]:
    """What dbt_project.yml says."""
    import yaml

    return yaml.safe_load((PROJECT_DIR / "dbt_project.yml").read_text(encoding="utf-8"))


def spark_session(
    target: str | None = None, profiles_dir: str | os.PathLike[str] | None = None
) -> tuple[SparkSession, Target]:
    """Start (or reuse) the Spark session of a dbt target; returns it with the rendered target.

    Spark's own messages go to logs/commands.log, so that a command prints results only.

    Raises ProjectError as `load_target` does, for a target that is not of method `session`, when
    Spark does not start, and when this process already runs a session on another warehouse.
    """
    rendered = load_target(target, profiles_dir)
    if rendered.method != "session":
        raise ProjectError(
            f"Target '{rendered.name}' connects by '{rendered.method}', and this command runs only "
            "on targets of method 'session' (Spark in this process; under spark-submit on a "
            "cluster): choose one with --target."
        )
    # workers must run the environment's own python, not the system's
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    # a Spark of the shell lacks the jars; under spark-submit, Java runs already
    if "PYSPARK_GATEWAY_PORT" not in os.environ:
        os.environ.pop("SPARK_HOME", None)
    _refuse_other_warehouse(rendered)
    make_warehouse_folder(rendered.settings)
    builder = SparkSession.builder
    for key, value in rendered.settings.items():
        builder = builder.config(key, value)
    # bounded results reach pandas as columns, not row by row
    builder = builder.config("spark.sql.execution.arrow.pyspark.enabled", "true")
    log_file = _writable(LOG_FILE)
    # commands say an error in one sentence: these write it to the console as well, as JSON
    for name in ("SQLQueryContextLogger", "DataFrameQueryContextLogger"):
        PySparkLogger.getLogger(name).disabled = True
    with _stderr_to(log_file):
        try:
            spark = builder.getOrCreate()
        except Exception as error:
            first_line = str(error).partition("\n")[0]
            raise ProjectError(
                f"Spark did not start: {type(error).__name__}: {first_line} "
                f"(its messages: {log_file})."
            ) from error
    return spark, rendered


def make_warehouse_folder(settings: dict[str, str]) -> None:
    """Make the folder of a warehouse on this machine: SQLite makes its file, but not the folder.

    Raises ProjectError where it cannot be made.
    """
    warehouse = settings.get("spark.sql.catalog.lake.warehouse")
    if not warehouse or "://" in warehouse:
        return
    try:
        Path(warehouse).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ProjectError(f"The warehouse's folder cannot be made: {error}.") from error


def _refuse_other_warehouse(rendered: Target) -> None:
    running = SparkSession.getActiveSession()
    if running is None:
        return
    for key, value in rendered.settings.items():
        if key.startswith("spark.sql.catalog.") and running.conf.get(key, None) != value:
            raise ProjectError(
                f"This process already runs a Spark session with another '{key}': stop it first."
            )


def _writable(path: Path) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()
    except OSError:
        return Path(tempfile.gettempdir()) / f"churn_spark_{os.getpid()}.log"
    return path


@contextmanager
def _stderr_to(path: Path) -> Iterator[None]:
    # The JVM and its Python workers inherit the file descriptor at launch and keep it.
    sys.stderr.flush()
    saved = os.dup(2)
    with path.open("ab") as log:
        os.dup2(log.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)
