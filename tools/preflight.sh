#!/bin/sh
# Is everything here that set-up needs? Prints the Python to use, or names what is missing with the
# command that mends it. Takes less than a second and changes nothing.
#   PYTHON=/path/to/python3.12 sh tools/preflight.sh     to choose the Python yourself

install_command() {  # <apt package> <dnf package> <brew package> <apk package>
    if command -v apt-get; then echo "apt-get install $1"
    elif command -v dnf; then echo "dnf install $2"
    elif command -v brew; then echo "brew install $3"
    elif command -v apk; then echo "apk add $4"
    else echo "install $1 with the package manager of this machine"
    fi 2>/dev/null | tail -n 1
}

problems=0
problem() {  # <what is wrong> <command that mends it>
    problems=$((problems + 1))
    printf 'Set-up cannot start: %s\n    mend it with: %s\n' "$1" "$2" >&2
}

# make and git bring the project here, bash starts Spark.
for tool in make git bash; do
    command -v "$tool" >/dev/null 2>&1 ||
        problem "$tool is missing." "$(install_command "$tool" "$tool" "$tool" "$tool")"
done

# Prints "ok 3.11", "venv 3.11" (a module that makes environments is missing) or "old 3.8".
about_python() {
    "$1" -c '
import sys
version = "%d.%d" % sys.version_info[:2]
if not (3, 10) <= sys.version_info[:2] <= (3, 13):
    print("old " + version)
else:
    try:
        import ensurepip, venv
        print("ok " + version)
    except ImportError:
        print("venv " + version)
' 2>/dev/null
}

python=
no_venv=
unfit=
if [ -n "$PYTHON" ]; then candidates=$PYTHON
else candidates='python3 python3.13 python3.12 python3.11 python3.10'
fi
old_ifs=$IFS
[ -z "$PYTHON" ] || IFS=  # a path may hold spaces
for candidate in $candidates; do
    about=$(about_python "$candidate") || continue
    case $about in
        ok*) python=$candidate; break ;;
        venv*) no_venv=${no_venv:-${about#venv }} ;;
        *) unfit="${unfit:+$unfit, }${about#old }" ;;
    esac
done
IFS=$old_ifs

if [ -z "$python" ]; then
    if [ -n "$no_venv" ]; then
        problem "Python $no_venv is here, its module for environments (venv, ensurepip) is not." \
            "$(install_command "python$no_venv-venv" python3-libs "python@$no_venv" python3)"
    else
        if [ -n "$PYTHON" ] && [ -z "$unfit" ]; then found="PYTHON=$PYTHON does not start."
        else found="found ${unfit:-none}."
        fi
        problem "Python 3.10 to 3.13 is needed, $found" \
            "$(install_command 'python3 python3-venv' python3.12 python@3.12 python3), or name one with: make setup PYTHON=<path>"
    fi
fi

[ "$problems" -eq 0 ] || exit 1
printf '%s\n' "$python"
