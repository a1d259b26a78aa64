#!/bin/sh
# Installs the programs the tests start, or says what to install. Each line: the program, Debian's package of it.
# What is named as arguments is needed too, by packages of the same name.
set -eu
missing=""
need() { command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }
while read -r program package; do
    need "$program" "$package"
done <<PROGRAMS
redis-server redis-server
curl curl
wget wget
node nodejs
openssl openssl
logrotate logrotate
promtool prometheus
chromium chromium
nginx nginx
haproxy haproxy
caddy caddy
chromedriver chromium-driver
mmdebstrap mmdebstrap
valgrind valgrind
gcc gcc
PROGRAMS
for program in "$@"; do
    need "$program" "$program"
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    # RUNLEVEL=1: what comes with a service is installed, not started.
    apt-get update -qq &&
        RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing && exit 0
fi
echo "the tests need:$missing (Debian: apt-get install$missing)" >&2
exit 1
