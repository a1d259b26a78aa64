#!/bin/sh
# From an empty folder and an empty HOME to a Weir that serves: what a new user types, in this order, timed.
# usage: sh tests/deploy/from_nothing.sh WHEEL [PYTHON]
set -eu
wheel=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
python=${2:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/home" "$folder/work"
export HOME="$folder/home" PYTHONSAFEPATH=1 PIP_DISABLE_PIP_VERSION_CHECK=1
unset PYTHONPATH
cd "$folder/work"
begin=$(date +%s%N)
say() { echo "$(( ($(date +%s%N) - begin) / 1000000 )) ms: $1"; }

"$python" -m venv venv
venv/bin/pip install --quiet "$wheel"
say "installed, $(venv/bin/weir --version)"
venv/bin/weir demo --once --port 0 > tour
grep -q 429 tour
say "weir demo --once"
venv/bin/weir init > /dev/null
say "weir init"
venv/bin/weir check weir.yaml > /dev/null
say "weir check"
venv/bin/python - <<'PYTHON'
import re
from pathlib import Path

text = Path("weir.yaml").read_text()  # free ports, since others may use the usual ones
Path("weir.yaml").write_text(text.replace("0.0.0.0:8080", "127.0.0.1:0", 1).replace("127.0.0.1:9901", "127.0.0.1:0", 1))
PYTHON
venv/bin/weir run --config weir.yaml 2> log > /dev/null &
weir=$!
until grep -q '"event":"serving"' log; do
    kill -0 "$weir" || { cat log >&2; exit 1; }
    sleep 0.05
done
port=$(sed -n 's/.*"listen":\["127.0.0.1:\([0-9]*\)".*/\1/p' log)
venv/bin/python -c "
import http.client
connection = http.client.HTTPConnection('127.0.0.1', $port)
connection.request('GET', '/')
assert connection.getresponse().status == 502  # nobody is behind it; the answer is Weir's
"
say "weir run serves"
kill -TERM "$weir"
wait "$weir"
say "weir run has ended"
