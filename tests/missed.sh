#!/bin/sh
# Coverage is not whole: tries the tests of what was missed once more, and reports again. Two ends may race for a line, and
# which one comes first is luck; a line that no test meets is missed again.
# usage: sh tests/missed.sh PYTHON [what pytest takes]
set -eu
python=$1
shift
tests=$("$python" - <<'END'
import json, subprocess, sys

asked = [sys.executable, "-m", "coverage", "json", "-q", "-o", "-", "--fail-under=0"]
files = json.loads(subprocess.run(asked, check=True, stdout=subprocess.PIPE).stdout)["files"]
missed = {path for path, found in files.items() if found["missing_lines"] or found["missing_branches"]}
folders = {"/".join(["tests", *path.split("/")[1:-1]]) for path in missed}
print(*sorted("tests/test_*.py" if folder == "tests" else folder for folder in folders))
END
)
echo "### Missed lines. Tried again: $tests" >&2
"$python" -m pytest "$@" $tests
"$python" -m coverage combine -q --append
exec "$python" -m coverage report
