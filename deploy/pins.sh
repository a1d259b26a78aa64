#!/bin/sh
# Pins, by version and hash, what an image is built of and what a wheel is compiled with: deploy/constraints.txt and
# deploy/build-constraints.txt. Versions that are pinned stay, unless UPGRADE=1.
# usage: sh deploy/pins.sh PYTHON
set -eu
python=$(command -v "$1")
cd "$(dirname "$0")/.."
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
"$python" -m venv "$tools/venv"
"$tools/venv/bin/pip" install --quiet --disable-pip-version-check uv
grep -v -e '--hash' deploy/constraints.txt | tr -d '\\' > "$tools/old"
[ -z "${UPGRADE:-}" ] || : > "$tools/old"

compile() {
    "$tools/venv/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-header --no-annotate --constraint "$tools/old" "$@"
}
{
    echo "# What an image is built of, by version and hash: all that Weir needs at run time, and nothing else. Made by: make pins"
    compile pyproject.toml
} > "$tools/run"
"$python" -c '
import tomllib
build = tomllib.load(open("pyproject.toml", "rb"))
hook = build["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]
print("\n".join(build["build-system"]["requires"] + hook["dependencies"]))' > "$tools/build.in"
{
    echo "# What a compiled wheel is built with, by version and hash. Made by: make pins"
    compile pyproject.toml "$tools/build.in"
} > "$tools/build"
cp "$tools/run" deploy/constraints.txt
cp "$tools/build" deploy/build-constraints.txt
