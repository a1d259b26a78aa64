#!/bin/sh
# Builds the image by buildah, on a base of Debian's packages, since a registry may not be at hand, and unpacks it into FOLDER/root
# with its settings in FOLDER/config.json. The wheel is the one of `make wheel`: it is compiled once.
# usage: sh tests/deploy/image.sh PYTHON FOLDER    as root; PYTHON has the project's dev requirements
set -eu
cd "$(dirname "$0")/../.."
wheel=$(sh deploy/wheel.sh "$1")
mkdir -p "$2"
folder=$(cd "$2" && pwd)
buildah() { command buildah --storage-driver vfs --root "$folder/store" --runroot "$folder/run" "$@"; }

if [ ! -s "$folder/base.tar" ]; then
    mmdebstrap --quiet --variant=minbase \
        --include=python3,python3-venv,python3-pip,python3-dev,gcc,libc6-dev,ca-certificates bookworm "$folder/base.new"
    mv "$folder/base.new" "$folder/base.tar"
fi
base=$(buildah from scratch)
buildah add --quiet "$base" "$folder/base.tar" / >/dev/null
root=$(buildah mount "$base")
ln -sf python3 "$root/usr/bin/python"
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt" # those this machine trusts
buildah umount "$base" >/dev/null
buildah commit --quiet --rm "$base" localhost/weir-base >/dev/null

mkdir -p "$folder/wheels"
cp "$wheel" "$folder/wheels/"
buildah bud --quiet --isolation chroot --format docker --pull-never --network host \
    --build-arg BASE=localhost/weir-base --build-context "wheels=$folder/wheels" \
    --build-arg VERSION=of-a-test --tag weir . >&2

image=$(buildah from --pull-never localhost/weir)
rm -rf "$folder/root"
cp -a "$(buildah mount "$image")" "$folder/root"
buildah umount "$image" >/dev/null
buildah inspect --type image localhost/weir > "$folder/config.json"
rm -rf "$folder/store" "$folder/run" "$folder/wheels"
