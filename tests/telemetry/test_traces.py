from __future__ import annotations

from proxy.telemetry.traces import Traces

TRACE = b"4bf92f3577b34da6a3ce929d0e0e4736"


class Nowhere:
    """A sink that is never offered anything here."""


def traces(share, chance=0.5):
    return Traces(share, Nowhere(), lambda: chance)


def test_share_decides_where_a_trace_begins():
    assert traces(0.6).begin({}, b"http") is not None
    assert traces(0.5).begin({}, b"http") is None
    assert traces(0.0, chance=0.0).begin({}, b"http") is None
    assert traces(1.0, chance=0.999).begin({}, b"http") is not None


def test_parent_decides_where_one_comes():
    sampled = {b"traceparent": b"00-%b-00f067aa0ba902b7-01" % TRACE}
    unsampled = {b"traceparent": b"00-%b-00f067aa0ba902b7-00" % TRACE}
    found = traces(0.0).begin(sampled, b"https")

    assert (found.trace_id, found.parent_id) == (TRACE.decode(), "00f067aa0ba902b7")
    assert traces(1.0).begin(unsampled, b"http") is None


def test_parent_that_means_nothing_is_none():
    found = traces(1.0).begin({b"traceparent": b"nonsense"}, b"http")

    assert found.parent_id == ""
    assert found.trace_id != TRACE.decode()


def test_ids_are_never_nothing():
    made = [traces(1.0).begin({}, b"http") for _ in range(100)]

    assert len({each.trace_id for each in made}) == 100
    assert all(int(each.server_id, 16) and int(each.upstream_id, 16) for each in made)
