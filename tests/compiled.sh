#!/bin/sh
# Runs, against Weir compiled ahead of time, the tests that see it from outside and those of its pure parts. Others
# replace or subclass parts of it, which only the source allows; those that mostly wait would cost CI minutes.
# usage: sh tests/compiled.sh PYTHON    an interpreter that has what the tests need
set -eu
cd "$(dirname "$0")/.."
sh tests/support/compiled.sh "$1" .venv/compiled
unset PYTHONPATH
export PYTHONSAFEPATH=1  # the current folder, and that of the tests, would put the source before it
.venv/compiled/bin/python -m pytest -n "${JOBS:-6}" --dist worksteal --cache-clear --import-mode=append \
    tests/clients tests/http1 tests/policy tests/contract tests/telemetry tests/limiter/test_memory.py \
    tests/e2e/test_admin.py tests/e2e/test_contract.py tests/e2e/test_cost_304.py tests/e2e/test_descriptors.py tests/e2e/test_door.py tests/e2e/test_etags.py tests/e2e/test_failures*.py \
    tests/e2e/test_forwarding_*.py tests/e2e/test_limits.py tests/e2e/test_limits_keys.py \
    tests/e2e/test_proxy_protocol.py tests/e2e/test_redaction.py tests/e2e/test_reload.py tests/e2e/test_servers.py tests/e2e/test_store.py tests/e2e/test_tls.py tests/e2e/test_tls_upstream.py \
    tests/e2e/test_tunnel.py tests/e2e/test_workers.py \
    tests/e2e/test_lifecycle.py tests/e2e/test_plain_and_tls.py tests/e2e/test_probes.py tests/e2e/test_refused_uploads.py tests/e2e/test_timeouts.py \
    tests/e2e/test_tls_hostile.py tests/e2e/test_redaction_settings.py tests/e2e/test_memory.py \
    tests/admin/test_bounds.py tests/admin/test_probes.py tests/config/test_files.py tests/runtime/test_sockets.py tests/test_background.py \
    tests/limiter/test_neighbours.py tests/limiter/test_reply_bounds.py tests/limiter/test_wire.py || sh tests/alone.sh $? .venv/compiled/bin/python --import-mode=append
