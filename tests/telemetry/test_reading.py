"""Metrics of several processes as one scrape."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec
import pytest

from proxy.telemetry.exposition import Exposition
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.reading import Buckets, Reading, counted, merged, process_reading, reading
from tests.telemetry.exchanges import exchange
from tests.telemetry.test_exposition import LABELS, samples


def process(seconds, *, is_up=True, at=1.7e9, is_draining=False):
    """What one process sends, through the wire."""
    metrics = Metrics()
    metrics.record(exchange(seconds=seconds))
    metrics.provide_connections(lambda: {("downstream", "active"): 3})
    metrics.provide_store(SimpleNamespace(is_up=is_up))
    metrics.provide_draining(lambda: is_draining)
    metrics.reloaded(successful=is_up, at=at)
    return msgspec.msgpack.decode(msgspec.msgpack.encode(reading(metrics)), type=Reading)


def scrape(*processes):
    return b"".join(Exposition().pieces(merged(processes), is_openmetrics=False)).decode()


def value(text, start):
    lines = [line for line in text.splitlines() if line.startswith(start)]
    assert len(lines) == 1, lines
    return float(lines[0].split()[-1])


@pytest.fixture
def text():
    return scrape(process(0.2), process(0.2, is_up=False, at=1.6e9), process(3.0))


def test_counters_and_histograms_add_up(text):
    assert value(text, "weir_requests_total{") == 3
    assert value(text, 'weir_request_duration_seconds_bucket{le="0.25"}') == 2
    assert value(text, 'weir_request_duration_seconds_bucket{le="+Inf"}') == 3
    assert value(text, "weir_request_duration_seconds_sum") == pytest.approx(3.4)


def test_connections_and_processes_add_up(text):
    assert value(text, 'weir_connections{side="downstream",state="active"}') == 9
    assert value(text, "weir_workers") == 3


def test_what_is_well_is_well_in_all(text):
    assert value(text, "weir_store_up") == 0
    assert value(text, "weir_config_last_reload_successful") == 0
    assert value(scrape(process(1), process(1)), "weir_store_up") == 1


def test_one_that_drains_shows():
    """And does not look like two."""
    assert value(scrape(process(1), process(1, is_draining=True)), "weir_draining") == 1
    assert value(scrape(process(1, is_draining=True), process(1, is_draining=True)), "weir_draining") == 1


def test_process_that_serves_nothing_counts_its_memory_only():
    text = scrape(process(0.2), process_reading())

    assert value(text, "weir_workers") == 1
    assert value(text, "process_resident_memory_bytes") > 1.5 * value(
        scrape(process(0.2)), "process_resident_memory_bytes"
    )


def test_version_is_told_once(text):
    assert value(text, "weir_build_info") == 1


def test_every_family_is_there(text):
    names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}

    assert set(LABELS) <= names


def test_counts_of_who_ended_stay_and_its_gauges_go():
    before = process(0.2)
    text = scrape(counted(before), process(0.2))

    assert value(text, "weir_requests_total{") == 2
    assert value(text, 'weir_connections{side="downstream",state="active"}') == 3


def test_merging_twice_is_merging_at_once():
    """What the ended have counted is kept as one."""
    one, two, three = process(0.1), process(0.2), process(0.3)

    assert samples(scrape(merged([one, two]), three)) == samples(scrape(one, two, three))


def test_of_two_exemplars_of_a_bucket_the_younger_stays():
    """Whichever process has told it; those of other buckets stay."""
    name = "weir_request_duration_seconds"

    def told(**exemplars):
        places = {int(place[1:]): exemplar for place, exemplar in exemplars.items()}
        return Reading({}, {name: Buckets([0.1, 1.0], [1, 1, 0], 0.6, places)})

    old, young, other = ("a" * 32, 0.05, 100.0), ("b" * 32, 0.06, 200.0), ("c" * 32, 0.5, 50.0)

    for one, two in ((told(_0=old), told(_0=young, _1=other)), (told(_0=young, _1=other), told(_0=old))):
        assert merged([one, two]).spreads[name].exemplars == {0: young, 1: other}
