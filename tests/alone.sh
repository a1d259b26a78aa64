#!/bin/sh
# Tries once more what failed in the last run, one after the other on a machine that does nothing else, and says so.
# More than 40 failures are no accident of a busy machine, and a run that was cut short has not shown all: both stay failures.
# usage: sh tests/alone.sh EXIT_CODE PYTHON [what pytest takes]    the code of the run before
set -eu
code=$1
python=$2
shift 2
failed=$("$python" -c 'import json; print(len(json.load(open(".pytest_cache/v/cache/lastfailed"))))' || echo 0)
[ "$code" = 1 ] && [ "$failed" -ge 1 ] && [ "$failed" -le 40 ] || exit "$code"
echo "### $failed tests failed beside others. They are tried alone." >&2
exec "$python" -m pytest --last-failed --last-failed-no-failures none -v "$@"
