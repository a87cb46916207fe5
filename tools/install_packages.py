"""Install the locked Python packages into .venv, with one line of progress.

Standard library only: it runs before anything is installed.
"""

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOG = ROOT / ".venv" / "pip.log"


def main() -> int:
    packages = sum("==" in line for line in (ROOT / "requirements.txt").read_text().splitlines())
    command = [".venv/bin/python", "-m", "pip", "install", "--disable-pip-version-check"]
    command += ["--require-hashes", "--requirement", "requirements.txt"]
    live = sys.stdout.isatty()
    print(f"Python packages: up to {packages}, about 850 MB to download ...", flush=True)
    began = time.monotonic()
    done = 0
    with LOG.open("w") as log:
        pip = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert pip.stdout
        for line in pip.stdout:
            log.write(line)
            done += line.startswith(("Collecting ", "Requirement already satisfied"))
            if live:
                print(f"\r\033[K  {done:3d}  {line.strip()[:70]}", end="", flush=True)
        status = pip.wait()
    if live:
        print("\r\033[K", end="")
    if status:
        tail = "".join(LOG.read_text().splitlines(keepends=True)[-15:])
        print(
            f"{tail}\npip failed; its whole output is in {LOG.relative_to(ROOT)}.", file=sys.stderr
        )
        print("Mend the cause (network, disk space) and run make setup again.", file=sys.stderr)
        return status
    print(f"Python packages: done in {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
