#!/bin/sh
# Runs, against Weir compiled ahead of time, the tests that see it from outside and those of its pure parts. Others
# replace or subclass parts of it, which only the source allows.
# usage: sh tests/compiled.sh PYTHON    an interpreter that has what the tests need
set -eu
cd "$(dirname "$0")/.."
sh tests/support/compiled.sh "$1" .venv/compiled
PYTHONSAFEPATH=1 .venv/compiled/bin/python -m pytest --import-mode=append \
    tests/e2e tests/http1 tests/policy tests/contract tests/telemetry
