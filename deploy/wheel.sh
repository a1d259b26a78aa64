#!/bin/sh
# Builds the compiled wheel of this machine's Python and platform into dist/, unless one newer than the source is there,
# and prints its path. Two builds of one commit have one hash. The release workflow builds the others the same way.
# usage: sh deploy/wheel.sh PYTHON    an interpreter that has the project's dev requirements
set -eu
python=$(command -v "$1") && python=$(cd "$(dirname "$python")" && pwd)/$(basename "$python")
cd "$(dirname "$0")/.."
export PATH="$(dirname "$python"):$PATH" PIP_DISABLE_PIP_VERSION_CHECK=1
export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 1580601600)}"

mkdir -p dist
exec 9>dist/.lock
flock 9
tag=$("$python" -c 'import sys; print("cp%d%d" % sys.version_info[:2])')
built() { find dist -maxdepth 1 -name "weir_proxy-*-$tag-$tag-*.whl" "$@"; }
wheel=$(built | head -n 1)
sources="proxy config/weir.yaml pyproject.toml hatch_build.py README.md LICENSE"
if [ -z "$wheel" ] || [ -n "$(find $sources -newer "$wheel" -not -path '*/__pycache__*' -type f | head -n 1)" ]; then
    rm -rf dist/raw
    built -delete
    {
        HATCH_BUILD_HOOKS_ENABLE=1 "$python" -m build --quiet --wheel --no-isolation --outdir dist/raw .
        "$python" -m auditwheel repair --wheel-dir dist dist/raw/*.whl
    } >&2 || { echo "no wheel was built; this Python needs: pip install --editable '.[dev]'" >&2; exit 1; }
    rm -r dist/raw
    wheel=$(built)
fi
echo "$wheel"
