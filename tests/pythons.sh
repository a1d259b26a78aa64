#!/bin/sh
# Runs the tests, or those that are named, on every other Python that is here: pyenv's and those of PATH. In environments of their own.
# usage: sh tests/pythons.sh [PYTEST ARGUMENTS]
set -eu
cd "$(dirname "$0")/.."
ran=""
for version in 3.12 3.13 3.14; do
    python=$(ls -d "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".*/bin/python 2>/dev/null | tail -n 1)
    python=${python:-$(command -v "python$version" || true)}
    [ -n "$python" ] || { echo "### Python $version is not here" >&2; continue; }
    venv=.venv/python$version
    [ -e "$venv/bin/pytest" ] || { "$python" -m venv "$venv" && "$venv/bin/pip" install --quiet --editable '.[dev]'; }
    echo "### Python $version"
    "$venv/bin/weir" demo --once --port 0 > /dev/null
    "$venv/bin/python" -m pytest "$@"
    ran="$ran $version"
done
echo "### ran on:$ran"
[ -n "$ran" ]
