#!/bin/sh
# Installs the programs the tests start (redis-server, curl), or says what to install.
missing=""
for program in redis-server curl openssl; do
    command -v "$program" >/dev/null 2>&1 || missing="$missing $program"
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $missing && exit 0
fi
echo "the tests need:$missing (Debian: apt-get install$missing)" >&2
exit 1
