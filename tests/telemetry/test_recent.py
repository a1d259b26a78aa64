from __future__ import annotations

import time

from proxy import faults
from proxy.faults import ABANDONED, FAULTED, REFUSED
from proxy.record import WEIR
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.recent import KEPT, TARGET_BYTES
from tests.telemetry.exchanges import exchange


def noted(*exchanges):
    """The metrics that have counted them."""
    metrics = Metrics()
    for each in exchanges:
        metrics.record(each)
    return metrics.recent


def faulted(**fields):
    return exchange(status=502, source=WEIR, outcome=FAULTED, fault=faults.CONNECT_REFUSED, **fields)


def test_keeps_what_was_replaced_and_what_went_wrong():
    """With the id that the client was given."""
    recent = noted(
        exchange(),
        exchange(status=500, redacted_status=500, request_id="one"),
        faulted(request_id="two"),
        exchange(status=400, source=WEIR, outcome=REFUSED, fault=faults.BAD_HOST, request_id="three"),
        exchange(status=0, outcome=ABANDONED, fault=faults.CLIENT_GONE, request_id="four"),
    )
    found = recent.since(0.0)

    assert [(each.request_id, each.kind, each.fault) for each in found] == [
        ("one", "redacted", None),
        ("two", "faulted", "connect_refused"),
        ("three", "refused", "bad_host"),
        ("four", "abandoned", "client_gone"),
    ]


def test_refusal_by_a_limit_is_not_among_them():
    """They are too many, and the top keys tell of them."""
    recent = noted(exchange(status=429, source=WEIR, outcome=REFUSED, fault=faults.LIMITED))

    assert recent.since(0.0) == []


def test_request_that_a_front_lets_pass_after_all_is_not_among_them():
    """It went as its client wished."""
    assert noted(exchange(fault=faults.BAD_FRONT)).since(0.0) == []


def test_flood_of_one_kind_leaves_the_others():
    """And takes no more memory than its share."""
    bad = [
        exchange(status=400, source=WEIR, outcome=REFUSED, fault=faults.BAD_HOST, started=n)
        for n in range(1000)
    ]
    recent = noted(exchange(status=500, redacted_status=500, request_id="one", started=1.0), *bad)
    found = recent.since(0.0)

    assert len(found) == KEPT + 1
    assert found[0].request_id == "one"


def test_tells_only_of_what_came_since():
    recent = noted(faulted(started=1.0, request_id="old"), faulted(started=10.0, request_id="new"))

    assert [each.request_id for each in recent.since(5.0)] == ["new"]


def test_target_is_short_and_holds_no_secret():
    (found,) = noted(faulted(target=b"/a?token=s3cr3t&b=" + b"x" * 10_000)).since(0.0)

    assert found.target.startswith("/a?token=***&b=xxx")
    assert len(found.target) <= TARGET_BYTES
    assert found.target.endswith("~")


def test_time_is_that_of_a_clock_on_the_wall():
    now = time.monotonic()
    (found,) = noted(faulted(started=now - 1, seconds=1.0)).since(0.0)

    assert abs(found.time - time.time()) < 5
    assert found.duration_ms == 1000.0
