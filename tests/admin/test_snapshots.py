from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import faults
from proxy.admin.snapshots import OUTCOMES, Rates, Snapshots, milliseconds
from proxy.config.sections.limits import LimitSettings
from proxy.faults import FAULTED, REFUSED
from proxy.record import WEIR
from proxy.telemetry.histogram import Histogram
from proxy.telemetry.metrics import SECONDS, Metrics
from proxy.telemetry.reading import Buckets, Reading, reading
from proxy.telemetry.sights import Sights
from tests.telemetry.exchanges import decision, exchange, limit, verdict

NOTHING = Sights(0.0, [], [])


@pytest.fixture
def metrics():
    metrics = Metrics()
    metrics.configure(["per-user"])
    return metrics


def ticks(metrics, *batches, seconds=2.0, sights=NOTHING):
    """What is shown after each batch of exchanges, `seconds` apart."""
    snapshots = Snapshots()
    shown = []
    for number, batch in enumerate([(), *batches]):
        for each in batch:
            metrics.record(each)
        now = 100.0 + number * seconds
        shown.append(json.loads(snapshots.tick(reading(metrics), sights, {}, (now, 1.7e9 + now))))
    return shown


def refused():
    return exchange(
        status=429,
        source=WEIR,
        outcome=REFUSED,
        fault=faults.LIMITED,
        decision=decision(verdict(limit(), is_admitted=False)),
    )


def test_first_tick_has_no_rates(metrics):
    """There is nothing to compare with; what was counted before is no rate of now."""
    metrics.record(exchange())
    (first,) = ticks(metrics)

    assert first["point"][1:] == [None] * 12
    assert first["requests"] == 1


def test_rates_are_those_between_two_ticks(metrics):
    served = [exchange(decision=decision(verdict(limit()))) for _ in range(6)]
    broken = exchange(status=502, source=WEIR, outcome=FAULTED, fault=faults.CONNECT_REFUSED)
    replaced = exchange(status=500, redacted_status=500)
    *_, last = ticks(metrics, served, [*served, refused(), refused(), broken, replaced])

    rates = dict(zip(OUTCOMES, last["point"][1:6], strict=True))
    assert rates == {"served": 3.5, "refused": 1.0, "faulted": 0.5, "abandoned": 0.0, "tunnelled": 0.0}
    assert last["errors"] == {"upstream": 0.5, "weir": 0.5}
    assert last["point"][12] == 1.0
    assert last["limits"]["per-user"][:4] == [3.0, 1.0, 0.0, 0.0]


def test_shadow_refusals_are_a_rate_of_their_own(metrics):
    watched = exchange(decision=decision(verdict(limit(is_shadow=True), is_admitted=False)))
    *_, last = ticks(metrics, [watched, watched])

    assert last["limits"]["per-user"][:4] == [0.0, 0.0, 1.0, 0.0]


def test_percentiles_are_of_what_came_between(metrics):
    slow = [exchange(seconds=2.0, upstream_started=1000.1, upstream_seconds=1.8) for _ in range(10)]
    fast = [exchange(seconds=0.009, upstream_started=1000.0004, upstream_seconds=0.008) for _ in range(10)]
    *_, last = ticks(metrics, slow, fast)
    all50, all99, service50, service99, own50, own99 = last["point"][6:12]

    assert 5 < all50 < all99 <= 10
    assert 5 < service50 < service99 <= 10
    assert 0 < own50 < own99 <= 0.5


@given(st.lists(st.floats(0.0001, 139.0), min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.99]))
def test_percentile_is_in_the_bucket_of_the_true_one(values, part):
    histogram = Histogram(SECONDS)
    for value in values:
        histogram.observe(value)
    found = (milliseconds(Buckets(list(SECONDS), histogram.counts, histogram.total), part) or 0.0) / 1000
    true = sorted(values)[min(max(int(-(-len(values) * part // 1)) - 1, 0), len(values) - 1)]
    bounds = [0.0, *SECONDS]
    index = next(n for n, bound in enumerate(bounds) if true <= bound)

    assert bounds[index - 1] - 1e-6 <= found <= bounds[index] + 1e-6


def test_percentile_of_nothing_is_none():
    assert milliseconds(None, 0.5) is None
    assert milliseconds(Buckets([1.0], [0, 0], 0.0), 0.5) is None
    assert milliseconds(Buckets([1.0], [0, 3], 0.0), 0.5) == 1000.0


def test_history_and_what_went_wrong_are_there_for_who_comes_later(metrics):
    snapshots = Snapshots()
    metrics.record(exchange(status=500, redacted_status=500, request_id="one"))
    troubles = metrics.recent.since(0.0)
    for now in (100.0, 101.0):
        snapshots.tick(reading(metrics), Sights(now, [], troubles), {}, (now, now))
    hello = json.loads(snapshots.hello([LimitSettings(name="per-user", rate="15/s")], ["reset"]))

    assert [point[0] for point in hello["history"]] == [100.0, 101.0]
    assert [trouble["request_id"] for trouble in hello["troubles"]] == ["one"]
    assert hello["limits"][0]["rate"] == "15/s"
    assert hello["verbs"] == ["reset"]


def test_exchange_is_told_once_though_readings_overlap(metrics):
    """Two exchanges of one id are two: a client chooses it."""
    for started in (1.0, 2.0):
        metrics.record(exchange(status=500, redacted_status=500, request_id="same", started=started))
    sights = Sights(0.0, [], metrics.recent.since(0.0))
    first, second = ticks(metrics, (), sights=sights)

    assert len(first["troubles"]) == 2
    assert second["troubles"] == []


def test_series_that_appears_is_a_rate_from_nothing():
    rates = Rates(
        Reading({"weir_outcomes_total": {}}, {}), Reading({"weir_outcomes_total": {("served",): 4}}, {}), 2.0
    )

    assert rates.outcomes()[0] == 2.0
