"""Install the locked Python packages into .venv, with one line of progress.

uv does it, which a wheel brings; pip where uv cannot be had or fails. Standard library only: it
runs before anything is installed.
"""

import ast
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOG = ROOT / ".venv" / "packages.log"
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
UNFINISHED = LOG.with_name(".installing")
UV = Path(sys.executable).parent / "uv"
# What pip is told in its files, by `pip config` or by PIP_..., and uv by these.
SETTINGS_OF_PIP = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "proxy": "HTTPS_PROXY",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "keyring-provider": "UV_KEYRING_PROVIDER",
    "no-cache-dir": "UV_NO_CACHE",
}
LISTS = {"UV_INDEX": " ", "UV_FIND_LINKS": ",", "UV_INSECURE_HOST": " "}


def main(locks: list[str]) -> int:
    """Install all packages of the `locks`; returns the exit status."""
    began = time.monotonic()
    wanted = [argument for lock in locks for argument in ("--requirement", lock)]
    packages = {
        line.split()[0]
        for lock in locks
        for line in (ROOT / lock).read_text().splitlines()
        if "==" in line
    }
    print(f"Python packages: up to {len(packages)}, of {' and '.join(locks)} ...", flush=True)
    # pyspark comes as its source, which is made a wheel: without packing 400 MB of jars once more
    extra = LOG.with_name("build.cfg")
    extra.write_text("[bdist_wheel]\ncompression = stored\n")
    os.environ.setdefault("DIST_EXTRA_CONFIG", str(extra))
    LOG.unlink(missing_ok=True)
    # Killed from here on, a package may look installed and lack files: setup.sh looks for this.
    UNFINISHED.touch()
    bootstrap = [*PIP, "install", "--require-hashes", "--no-deps", "-r", "requirements-uv.txt"]
    locked = ["install", "--require-hashes", "--no-deps", *wanted]
    status = run(bootstrap) or run(
        [str(UV), "pip", *locked, "--python", sys.executable], settings_for_uv()
    )
    if status:
        print("uv cannot be had or failed, so pip does it ...", flush=True)
        status = run([*PIP, *locked])
    if status:
        tail = "".join(LOG.read_text().splitlines(keepends=True)[-15:])
        print(f"{tail}\nThe whole output is in {LOG.relative_to(ROOT)}.", file=sys.stderr)
        print("Mend the cause (network, disk space) and run make setup again.", file=sys.stderr)
        return status
    UNFINISHED.unlink()
    print(f"Python packages: done in {time.monotonic() - began:.0f} s")
    return 0


def run(command: list[str], settings: dict[str, str] | None = None) -> int:
    """Run one installer: its output to the log, its last line to a terminal."""
    live = sys.stdout.isatty()
    with LOG.open("a") as log:
        try:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **(settings or {})},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
        except OSError as error:
            log.write(f"{error}\n")
            return 1
        assert process.stdout
        for line in process.stdout:
            log.write(line)
            if live:
                print(f"\r\033[K  {line.strip()[:76]}", end="", flush=True)
        status = process.wait()
    if live:
        print("\r\033[K", end="", flush=True)
    return status


def settings_for_uv() -> dict[str, str]:
    """Environment of uv: what pip has been told, where uv has not been told itself."""
    shown = subprocess.run([*PIP, "config", "list"], capture_output=True, text=True).stdout
    told: dict[str, str] = {}
    for section in ("global", "install", ":env:"):  # the later the stronger, to pip
        for line in shown.splitlines():
            name, _, value = line.partition("=")
            if name.rpartition(".")[0] == section:
                told[name.rpartition(".")[2].replace("_", "-")] = str(ast.literal_eval(value))
    settings = {
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NO_PROGRESS": "1",
        # all indexes are asked, as pip does: hashes say which file is right
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_SYSTEM_CERTS": "true",
    }
    for name, variable in SETTINGS_OF_PIP.items():
        if name in told:
            value, between = told[name], LISTS.get(variable)
            settings[variable] = between.join(value.split()) if between else value
    if "UV_INDEX_URL" in os.environ:
        settings.pop("UV_DEFAULT_INDEX", None)
    return {name: value for name, value in settings.items() if name not in os.environ}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
