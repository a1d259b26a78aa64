"""A call to a collector that takes too long; tests/e2e/test_traces.py has collectors that trickle."""

from __future__ import annotations

from urllib3.connection import HTTPConnection

from proxy.telemetry.collectors import _Call
from tests.support.patience import until_now


def test_call_that_has_no_connection_yet_is_over_all_the_same():
    """As where a name is looked up: nothing is there that could be ended."""
    connection = HTTPConnection("127.0.0.1", 1)
    with _Call(connection, 0.001) as call:
        until_now(lambda: call.is_cut, "its time is over")

    assert connection.sock is None
