#!/bin/sh
# Makes .venv with everything the project needs: Python packages, Java, the jars for Spark.
# Run it again at any time: it goes on where it stopped. `make setup` calls it.
set -eu
cd "$(dirname "$0")/.."

python=$(sh tools/preflight.sh)
unset PYTHONHOME PYTHONPATH SPARK_HOME

# Making it anew would empty the folder behind a link.
if [ -L .venv ]; then
    echo "Set-up stopped: .venv is a link. Remove it (rm .venv) and try again." >&2
    exit 1
fi

# An environment that another Python made, or that was moved or cut short, is made anew.
wanted=$("$python" -c 'import sys; print(sys.version_info[:2])')
if [ "$(.venv/bin/python -c 'import sys, pip; print(sys.version_info[:2])' 2>/dev/null)" != "$wanted" ] ||
    ! grep -qF "$(pwd -P)/.venv" .venv/bin/pip 2>/dev/null; then
    "$python" -m venv --clear .venv
fi
"$python" tools/install_packages.py
.venv/bin/python tools/setup_environment.py
touch .venv/.ready
