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
    """

    name: str
    schema: str
    settings: dict[str, str]

    @property
    def published(self) -> str:
        """Schema of the published views, which are all that readers need."""
        return f"{self.schema}_published"

    @property
    def marts(self) -> str:
        """Schema of the tables behind the published views."""
        return f"{self._tables}_marts"

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

    Raises ProjectError when the profile is missing or does not render, names no such target, or the
    target is not of method `session`.
    """
    from dbt.config.profile import Profile, read_profile
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
        raw = read_profile(str(folder)).get(_profile_name(), {})
        name, fields = Profile.render_profile(raw, _profile_name(), wanted, ProfileRenderer({}))
        if fields.get("method") != "session":
            raise ProjectError(
                f"Target '{name}' connects by '{fields.get('method')}', and the ML step runs only "
                "on targets of method 'session' (Spark in this process; under spark-submit on a "
                "cluster): choose one with --target."
            )
        profile = Profile.render(ProfileRenderer({}), _profile_name(), target_override=wanted)
    except DbtBaseException as error:
        raise ProjectError(f"{folder / 'profiles.yml'}: {' '.join(str(error).split())}") from error
    credentials: Any = profile.credentials
    return Target(
        name=profile.target_name,
        schema=credentials.schema,
        settings=dict(credentials.server_side_parameters),
    )


def _profile_name() -> str:
    import yaml

    project_file = PROJECT_DIR / "dbt_project.yml"
    return yaml.safe_load(project_file.read_text(encoding="utf-8"))["profile"]


def spark_session(
    target: str | None = None, profiles_dir: str | os.PathLike[str] | None = None
) -> tuple[SparkSession, Target]:
    """Start (or reuse) the Spark session of a dbt target; returns it with the rendered target.

    Spark's own messages go to logs/commands.log, so that a command prints results only.

    Raises ProjectError as `load_target` does, when Spark does not start, and when this process
    already runs a session on another warehouse.
    """
    rendered = load_target(target, profiles_dir)
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
    warehouse = settings["spark.sql.catalog.lake.warehouse"]
    if "://" in warehouse:
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
