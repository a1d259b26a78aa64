from __future__ import annotations

from http import HTTPStatus
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import faults
from proxy.record import WEIR, Trace
from proxy.telemetry.metrics import Metrics, word_of
from proxy.telemetry.safe_text import METHODS
from tests.telemetry.exchanges import decision, exchange, limit, verdict


def test_counts_a_request_by_method_status_and_source():
    """Two alike are two; another status is another series."""
    metrics = Metrics()
    metrics.record(exchange())
    metrics.record(exchange())
    metrics.record(exchange(b"POST", status=429, source=WEIR))

    assert metrics.requests == {(b"GET", 200, "upstream"): 2, (b"POST", 429, "weir"): 1}


@given(st.lists(st.binary(max_size=8), max_size=50))
def test_keeps_one_series_for_all_methods_that_http_does_not_know(methods):
    """A client that invents methods makes no new series."""
    metrics = Metrics()
    for method in methods:
        metrics.record(exchange(method))

    assert {method for method, _, _ in metrics.requests} <= METHODS | {b"other"}
    assert sum(metrics.requests.values()) == len(methods)


def test_keeps_one_series_for_the_statuses_of_a_class_that_nobody_registered():
    """A service may answer with whatever status its client asks for."""
    metrics = Metrics()
    for status in range(100, 600):
        metrics.record(exchange(status=status))
        metrics.count_redaction(status)
        metrics.count_leak(status, "sql")
        metrics.count_violation(status, "body")
    metrics.record(exchange(status=0))

    known = {int(status) for status in HTTPStatus} | {"1xx", "2xx", "3xx", "4xx", "5xx"}
    assert {status for _, status, _ in metrics.requests} == known | {0}
    assert sum(metrics.requests.values()) == 501
    assert metrics.requests[b"GET", 503, "upstream"] == 1
    assert set(metrics.redactions) == {status for status, _ in metrics.leaks} == known
    assert {status for status, _ in metrics.contract_violations} == known


def test_takes_the_durations_of_an_exchange():
    """Both clocks: the client's wait and the server's part of it."""
    metrics = Metrics()
    metrics.record(exchange(seconds=0.25, upstream_seconds=0.2))

    assert metrics.request_seconds.total == 0.25
    assert sum(metrics.request_seconds.counts) == 1
    assert metrics.upstream_seconds.total == 0.2


def test_leaves_out_a_server_that_was_not_asked():
    """A refusal does not make the upstream look fast."""
    metrics = Metrics()
    metrics.record(exchange(status=429, source=WEIR))

    assert sum(metrics.upstream_seconds.counts) == 0


def test_leaves_a_tunnels_life_out_of_the_durations():
    """A WebSocket of an hour is counted as a request, not as a slow one."""
    metrics = Metrics()
    metrics.record(exchange(status=101, seconds=3600.0))

    assert metrics.requests == {(b"GET", 101, "upstream"): 1}
    assert sum(metrics.request_seconds.counts) == 0


def test_counts_what_each_limit_said():
    """One request, four limits, four words."""
    metrics = Metrics()
    said = decision(
        verdict(limit("per-user")),
        verdict(limit("search"), is_admitted=False),
        verdict(limit("candidate", is_shadow=True), is_admitted=False),
        via="denial_cache",
    )
    metrics.record(exchange(decision=said, exempt=(limit("per-address"),)))

    assert metrics.decisions == {
        ("per-user", "admitted", "denial_cache"): 1,
        ("search", "refused", "denial_cache"): 1,
        ("candidate", "shadow_refused", "denial_cache"): 1,
        ("per-address", "exempt", "local"): 1,
    }


def test_counts_an_exempt_request_that_no_limit_was_asked_about():
    """Exempt from all of them: there is no decision."""
    metrics = Metrics()
    metrics.record(exchange(decision=None, exempt=(limit(),)))
    metrics.record(exchange(decision=None, exempt=(limit(),)))

    assert metrics.decisions == {("per-user", "exempt", "local"): 2}


def test_counts_a_request_refused_at_the_door():
    """By its reason in the fault table; a refusal by a limit is not one of them."""
    metrics = Metrics()
    metrics.record(exchange(b"", b"", status=400, source=WEIR, fault=faults.BAD_HOST))
    metrics.record(exchange(status=429, source=WEIR, fault=faults.LIMITED))

    assert metrics.refused_heads["bad_host"] == 1
    assert sum(metrics.refused_heads.values()) == 1
    assert metrics.requests[b"other", 400, "weir"] == 1


def test_sums_up_each_limit_whatever_the_way():
    """/status shows one number for each word; a limit nobody asked is there with zeros, a removed one is not."""
    metrics = Metrics()
    for via in ("store", "denial_cache", "local"):
        metrics.record(exchange(decision=decision(verdict(limit(), is_admitted=False), via=via)))
    metrics.record(exchange(decision=decision(verdict(limit()), verdict(limit("removed")))))

    counts = metrics.limit_counts(["per-user", "new"])
    assert counts == {
        "per-user": {"admitted": 1, "refused": 3, "shadow_refused": 0, "exempt": 0},
        "new": {"admitted": 0, "refused": 0, "shadow_refused": 0, "exempt": 0},
    }


def test_keeps_what_is_counted_when_the_config_changes():
    """A reload shows new limits from zero and takes nothing away."""
    metrics = Metrics()
    metrics.record(exchange(decision=decision(verdict(limit()))))
    metrics.record(exchange(decision=decision(verdict(limit(), is_admitted=False))))
    metrics.configure(["per-user", "new"])

    assert metrics.decisions == {
        ("per-user", "admitted", "store"): 1,
        ("per-user", "refused", "store"): 1,
        ("new", "admitted", "store"): 0,
        ("new", "refused", "store"): 0,
    }


def test_keeps_the_time_of_the_config_in_force_when_a_reload_fails():
    """The gauge falls to 0, the timestamp stays with the config that still serves."""
    metrics = Metrics()
    metrics.reloaded(successful=True, at=100.0)
    metrics.reloaded(successful=False, at=200.0)

    assert not metrics.is_reload_successful
    assert metrics.reload_time == 100.0


def test_counts_each_outage_of_the_store_once():
    """One that is over before the next scrape is seen all the same."""
    metrics = Metrics()
    store = SimpleNamespace(is_up=True)
    metrics.provide_store(store)
    for is_up in (True, False, False, True, False, True):
        store.is_up = is_up
        metrics.watch_store()

    assert metrics.store_outages == 2


def test_example_of_a_duration_is_one_that_is_traced_and_no_tunnel():
    """A tunnel lives as long as its ends like; its duration is not counted either."""
    metrics = Metrics()
    trace = Trace("4bf92f3577b34da6a3ce929d0e0e4736", "", {}, b"http")
    metrics.note_exemplar(exchange())
    metrics.note_exemplar(exchange(trace=trace, status=101))
    before = dict(metrics.exemplars)
    metrics.note_exemplar(exchange(trace=trace))

    assert before == {}
    assert [each[0] for each in metrics.exemplars.values()] == [trace.trace_id]


@pytest.mark.parametrize(
    ("is_admitted", "is_shadow", "word"),
    [(True, False, "admitted"), (False, False, "refused"), (False, True, "shadow_refused")],
)
def test_word_of_a_limit_is_its_verdict(is_admitted, is_shadow, word):
    assert word_of(verdict(limit(is_shadow=is_shadow), is_admitted=is_admitted)) == word
