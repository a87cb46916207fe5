"""The server's own part of its JVM: the Scala sources in jvm/, compiled when they are first needed.

A fresh machine has no javac. Spark ships Scala's compiler among its jars.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Mapping
from pathlib import Path

from filelock import FileLock

from warehouse.errors import ProjectError

SOURCES = sorted((Path(__file__).resolve().parent / "jvm").glob("*.scala"))
PACKAGE = "org.apache.spark.sql.hive.thriftserver.churn"


def compiled_jar(folder: Path, environment: Mapping[str, str]) -> Path:
    """The jar in `folder`, made there unless it is of these sources and of this Spark's jars.

    `environment` is that of the process which compiles, with Java on its path. Takes some 10 s.

    Raises ProjectError where the sources do not compile.
    """
    import pyspark

    jars = Path(pyspark.__file__).parent / "jars"
    content = hashlib.sha256("\n".join(sorted(jar.name for jar in jars.glob("*.jar"))).encode())
    for source in SOURCES:
        content.update(source.read_bytes())
    folder.mkdir(parents=True, exist_ok=True)
    jar = folder / f"server-{content.hexdigest()[:16]}.jar"
    with FileLock(folder / "server.jar.lock"):
        if not jar.is_file():
            for old in folder.glob("server-*.jar"):
                old.unlink()
            half = jar.with_suffix(".half.jar")  # a kill leaves no half of a jar behind
            compiler = ["java", "-Xss8m", "-cp", f"{jars}/*", "scala.tools.nsc.Main", "-usejavacp"]
            run = subprocess.run(
                [*compiler, "-d", half, *SOURCES],
                env=dict(environment),
                capture_output=True,
                text=True,
            )
            if run.returncode:
                raise ProjectError(run.stderr or run.stdout)
            half.rename(jar)
    return jar
