#!/bin/sh
# valkey.sh FOLDER: puts Valkey 8 of Debian trixie there, 48 MB, unless it is there. It is run by the loader that comes with it.
set -eu
folder=$1
[ -x "$folder/usr/bin/valkey-server" ] && exit 0
rm -rf "$folder.new"
mkdir -p "$(dirname "$folder")"
mmdebstrap --quiet --variant=extract --include=valkey-server trixie "$folder.new"
rm -rf "$folder"
mv "$folder.new" "$folder"
