"""One config as an exchange meets it."""

from __future__ import annotations

import hashlib

import pytest

from tests.rules.asked import LIMIT, charges_of, rules

PLAN = f"""
plans:
  - {{name: step-2, rate: 30/s, keys: ['sha256:{hashlib.sha256(b"ben").hexdigest()}']}}
limits: [{{name: a, rate: 15/s, key: 'header:X-Auth-Token', plans: [step-2]}}]
"""
CONNECTIONS = """
downstream:
  timeouts: {head: 1s, body: 2s, idle: 3s, tunnel: 4s}
  limits: {request_line: 5KiB, head: 6KiB, headers: 7, body: 8KiB, connections: 9, connections_per_address: 10,
           buffers: 11MiB}
  methods: [BREW]
  half_close: abort
forwarded: {trust: [10.0.0.0/8], ipv6_prefix: 56}
"""


def test_connection_knows_what_its_settings_say():
    known = rules(CONNECTIONS).connections

    assert (known.head_timeout, known.body_timeout, known.idle_timeout, known.tunnel_timeout) == (1, 2, 3, 4)
    assert (known.line_bytes, known.head_bytes, known.headers_max) == (5 * 1024, 6 * 1024, 7)
    assert (known.body_bytes, known.connections_max, known.connections_per_address) == (8 * 1024, 9, 10)
    assert known.buffer_bytes == 11 * 1024 * 1024
    assert {b"GET", b"BREW"} < known.methods
    assert known.aborts_half_closed
    assert known.ipv6_prefix == 56


def test_proxy_in_front_is_trusted_by_its_address():
    known = rules(CONNECTIONS).connections

    assert [known.is_trusted(peer) for peer in ("10.1.2.3", "192.0.2.7")] == [True, False]


def test_plans_are_told_as_text():
    """The figures of several workers would add up."""
    assert rules(PLAN).plans == [{"name": "step-2", "rate": "30/s", "burst": "30", "keys": "1"}]


def test_plan_of_a_key_is_that_of_its_file():
    (charge,) = charges_of(rules(PLAN), "X-Auth-Token: ben")

    assert charge.terms.plan == "step-2"


@pytest.mark.parametrize(("others", "is_same"), [("", True), ("store: {key_secret: another}\n", False)])
def test_partition_keys_hang_on_the_secret(others, is_same):
    """Whoever reads Redis must not be able to try out tokens."""
    keys = [charges_of(rules(LIMIT + text))[0].key for text in ("", others)]

    assert (keys[0] == keys[1]) is is_same
