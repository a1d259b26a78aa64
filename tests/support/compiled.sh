#!/bin/sh
# Makes an environment in which Weir was compiled ahead of time, for its tests and benchmarks.
# usage: sh tests/support/compiled.sh PYTHON FOLDER    PYTHON has what Weir, its tests and benchmarks need
set -eu
source=$(cd "$(dirname "$0")/../.." && pwd)
python=$1
folder=$2

wheel=$(sh "$source/deploy/wheel.sh" "$python")
rm -rf "$folder"
"$python" -m venv "$folder"
# Ours comes first, what it needs from where PYTHON has it; an editable Weir over there is not seen.
"$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$folder/others"
mv "$folder/others" "$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/others.pth"
"$folder/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-index "$source/$wheel"
# Isolated: neither the current folder nor PYTHONPATH puts the source before it.
"$folder/bin/python" -I -m proxy --version | grep -F '(compiled)'
