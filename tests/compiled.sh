#!/bin/sh
# Runs, against Weir compiled ahead of time, the tests that see it from outside and those of its pure parts. Others
# replace or subclass parts of it, which only the source allows. Those that mostly wait are left out, to save time.
# usage: sh tests/compiled.sh PYTHON    an interpreter that has what the tests need
set -eu
cd "$(dirname "$0")/.."
sh tests/support/compiled.sh "$1" .venv/compiled
unset PYTHONPATH
export PYTHONSAFEPATH=1  # the current folder, and that of the tests, would put the source before it
.venv/compiled/bin/python -m pytest --import-mode=append \
    --ignore=tests/e2e/test_limits_long_run.py --ignore=tests/e2e/test_httpbin.py --ignore=tests/e2e/test_start.py \
    --ignore=tests/e2e/test_reload_settings.py \
    tests/e2e tests/http1 tests/policy tests/contract tests/telemetry
