#!/bin/sh
# Makes .venv: Python packages, Java, the jars for Spark. `make setup` and `make demo` call it.
#   sh tools/setup.sh        what builds, the model and the report need
#   sh tools/setup.sh dev    what lint, tests and EMR need, too
# Run it again at any time: it goes on where it stopped.
set -eu
cd "$(dirname "$0")/.."

python=$(sh tools/preflight.sh)
unset PYTHONHOME PYTHONPATH SPARK_HOME

# Making it anew would empty the folder behind a link.
if [ -L .venv ]; then
    echo "Set-up stopped: .venv is a link. Remove it (rm .venv) and try again." >&2
    exit 1
fi

# An environment that another Python made, or that was moved or cut short, is made anew; what was
# downloaded for it is in the cache of uv or pip.
wanted=$("$python" -c 'import sys; print(sys.version_info[:2])')
if [ -e .venv/.installing ] ||
    [ "$(.venv/bin/python -c 'import sys, pip; print(sys.version_info[:2])' 2>/dev/null)" != "$wanted" ] ||
    ! grep -qF "$(pwd -P)/.venv" .venv/bin/pip 2>/dev/null; then
    "$python" -m venv --clear .venv
fi
if [ "${1:-}" = dev ]; then
    .venv/bin/python tools/install_packages.py requirements-dev.txt
else
    .venv/bin/python tools/install_packages.py requirements.txt
fi
.venv/bin/python -m tools.setup_environment
touch .venv/.ready
[ "${1:-}" != dev ] || touch .venv/.ready-dev
