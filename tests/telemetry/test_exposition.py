from __future__ import annotations

import subprocess
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from proxy import __version__, faults, is_compiled
from proxy.telemetry import exposition as module
from proxy.telemetry.exposition import PIECE_SAMPLES, Exposition
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.reading import Reading, reading
from tests.telemetry.exchanges import decision, exchange, limit, verdict

# The interface of the design: names and labels that dashboards and alerts are built on.
LABELS = {
    "weir_requests_total": {"method", "status", "source"},
    "weir_outcomes_total": {"outcome"},
    "weir_limit_keys": {"limit", "state"},
    "weir_limit_waiting": {"limit"},
    "weir_limit_in_flight": {"limit"},
    "weir_limit_waits_total": {"limit"},
    "weir_limit_waited_seconds_total": {"limit"},
    "weir_limit_shadow_waits_total": {"limit"},
    "weir_limit_shadow_waited_seconds_total": {"limit"},
    "weir_store_outages_total": set(),
    "weir_spans_total": {"result"},
    "weir_own_duration_seconds": set(),
    "weir_draining": set(),
    "weir_log_dropped_total": set(),
    "weir_request_duration_seconds": set(),
    "weir_upstream_duration_seconds": set(),
    "weir_limit_decisions_total": {"limit", "decision", "via"},
    "weir_refused_heads_total": {"reason"},
    "weir_crowded_out_total": {"held"},
    "weir_redactions_total": {"status"},
    "weir_leaks_total": {"status", "signature"},
    "weir_contract_violations_total": {"status", "rule"},
    "weir_upstream_failures_total": {"server", "reason"},
    "weir_upstream_servers": {"server", "state"},
    "weir_certificate_expiry_timestamp_seconds": {"setting"},
    "weir_certificate_failures_total": {"setting"},
    "weir_upstream_ejections_total": {"server"},
    "weir_upstream_waiting": set(),
    "weir_connections": {"side", "state"},
    "weir_store_up": set(),
    "weir_store_batch_size": set(),
    "weir_store_duration_seconds": set(),
    "weir_store_errors_total": {"reason"},
    "weir_access_log_dropped_total": set(),
    "weir_workers": set(),
    "weir_worker_restarts_total": set(),
    "weir_config_last_reload_successful": set(),
    "weir_config_last_reload_timestamp_seconds": set(),
    "weir_build_info": {"version", "compiled"},
}


@pytest.fixture
def metrics():
    """Something in every family."""
    metrics = Metrics()
    metrics.configure(["per-user"])
    metrics.record(exchange(seconds=0.25, upstream_seconds=0.2, decision=decision(verdict(limit()))))
    metrics.record(exchange(b"BREW", status=400, source="weir", fault=faults.BAD_HOST))
    metrics.count_redaction(500)
    metrics.count_leak(200, "php")
    metrics.count_violation(201, 'location "missing"\n')
    metrics.count_upstream_failure("http://127.0.0.1:9000", "connect_refused")
    metrics.count_ejection("http://127.0.0.1:9000")
    metrics.provide_servers(lambda: {("http://127.0.0.1:9000", "serving"): 2}, lambda: 5)
    metrics.provide_connections(lambda: {("downstream", "active"): 3, ("upstream", "idle"): 2})
    metrics.provide_store(SimpleNamespace(is_up=False))
    room = {"per-user": 2}
    metrics.provide_room(SimpleNamespace(waiting=room, waits=room, seconds=room))
    metrics.provide_slots(lambda: {"per-user": 3})
    metrics.provide_access_log(lambda: 7)
    metrics.provide_certificates(lambda: {"listen.tls.cert": 1.9e9})
    metrics.certificate_failures["listen.tls"] = 1
    metrics.watch_waits(["per-user"])
    metrics.provide_spans(lambda: {"exported": 5, "lost": 2})
    metrics.provide_crowded_out(lambda: {"unread_answer": 4, "unfinished_head": 0})
    metrics.store.batch_size.observe(16)
    metrics.store.seconds.observe(0.001)
    metrics.store.errors["timeout"] = 4
    metrics.reloaded(successful=True, at=1.7e9)
    metrics.reloaded(successful=False, at=1.8e9)
    return metrics


def scrape(metrics, *, is_openmetrics=False):
    return b"".join(Exposition().pieces(reading(metrics), is_openmetrics=is_openmetrics)).decode()


def samples(text, parse=parse_text):
    """Each sample by its name and labels."""
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in parse(text)
        for sample in family.samples
    }


def test_shows_every_family_of_the_interface_and_no_other(metrics):
    """Names and labels are a promise to dashboards."""
    found = {}
    for family in parse_text(scrape(metrics)):
        for sample in family.samples:
            if not sample.name.startswith("weir_"):
                continue
            name = sample.name
            if family.type == "histogram":
                name = name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum")
            found.setdefault(name, set()).update(set(sample.labels) - {"le"})

    assert found == LABELS


@pytest.mark.parametrize(
    ("is_openmetrics", "parse"),
    [(False, parse_text), (True, parse_openmetrics)],
    ids=["text", "openmetrics"],
)
def test_says_the_same_in_both_formats(metrics, is_openmetrics, parse):
    """Read back by the parser of each format, which is strict for OpenMetrics."""
    found = samples(scrape(metrics, is_openmetrics=is_openmetrics), parse)

    ours = {
        ("weir_requests_total", ("method", "GET"), ("source", "upstream"), ("status", "200")): 1,
        ("weir_requests_total", ("method", "other"), ("source", "weir"), ("status", "400")): 1,
        ("weir_limit_decisions_total", ("decision", "admitted"), ("limit", "per-user"), ("via", "store")): 1,
        ("weir_limit_decisions_total", ("decision", "refused"), ("limit", "per-user"), ("via", "store")): 0,
        ("weir_refused_heads_total", ("reason", "bad_host")): 1,
        ("weir_redactions_total", ("status", "500")): 1,
        ("weir_leaks_total", ("signature", "php"), ("status", "200")): 1,
        ("weir_contract_violations_total", ("rule", 'location "missing"\n'), ("status", "201")): 1,
        (
            "weir_upstream_failures_total",
            ("reason", "connect_refused"),
            ("server", "http://127.0.0.1:9000"),
        ): 1,
        ("weir_connections", ("side", "downstream"), ("state", "active")): 3,
        ("weir_connections", ("side", "upstream"), ("state", "idle")): 2,
        ("weir_store_up",): 0,
        ("weir_store_errors_total", ("reason", "timeout")): 4,
        ("weir_store_batch_size_sum",): 16,
        ("weir_store_duration_seconds_count",): 1,
        ("weir_access_log_dropped_total",): 7,
        ("weir_config_last_reload_successful",): 0,
        ("weir_config_last_reload_timestamp_seconds",): 1.7e9,
        ("weir_build_info", ("compiled", str(is_compiled()).lower()), ("version", __version__)): 1,
    }
    assert found.items() >= ours.items()
    assert any(name == "process_resident_memory_bytes" for name, *_ in found)
    assert any(name == "python_info" for name, *_ in found)


def test_histogram_counts_run_up_to_all(metrics):
    """A quarter of a second is in every bucket from 0.25 on."""
    metrics.record(exchange(seconds=1000.0))
    found = samples(scrape(metrics))

    name = "weir_request_duration_seconds"
    assert found[f"{name}_bucket", ("le", "0.1")] == 0
    assert found[f"{name}_bucket", ("le", "0.25")] == 2
    assert found[f"{name}_bucket", ("le", "140.0")] == 2
    assert found[f"{name}_bucket", ("le", "+Inf")] == 3
    assert found[f"{name}_count",] == 3
    assert found[f"{name}_sum",] == 1000.5


def test_store_is_up_where_nobody_says_otherwise():
    """The memory store has nothing that could be down."""
    found = samples(scrape(Metrics()))

    assert found["weir_store_up",] == 1


def test_heads_of_samples_are_remembered_in_bounds(metrics, monkeypatch):
    """Whatever was forgotten is written as before."""
    found = reading(metrics)
    whole = list(Exposition().pieces(found, is_openmetrics=False))
    monkeypatch.setattr(module, "HEADS_MAX", 3)
    forgetful = Exposition()

    assert list(forgetful.pieces(found, is_openmetrics=False)) == whole
    assert 0 < len(forgetful._heads) <= 3


def test_promtool_finds_nothing_to_say(metrics):
    """Prometheus's own linter."""
    text = scrape(metrics)
    lint = subprocess.run(
        ["promtool", "check", "metrics"], input=text.encode(), capture_output=True, timeout=30
    )

    assert (lint.returncode, lint.stdout, lint.stderr) == (0, b"", b"")


ANYTHING = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(st.dictionaries(st.tuples(ANYTHING, st.sampled_from(["serving"])), st.integers(0, 2**53), max_size=9))
def test_any_name_comes_back_as_it_was(table):
    """A parser reads what was written, whatever is in a label; names come from the config."""
    text = b"".join(
        Exposition().pieces(Reading({"weir_upstream_servers": table}, {}), is_openmetrics=False)
    ).decode()

    assert samples(text) == {
        ("weir_upstream_servers", ("server", server), ("state", state)): count
        for (server, state), count in table.items()
    }


@pytest.mark.parametrize("number", [0, 3, 2**53, 0.25, 1e-7, 1.7e9, 1e300, float("inf"), float("-inf")])
def test_any_number_comes_back_as_it_was(number):
    text = b"".join(
        Exposition().pieces(Reading({"weir_workers": {(): number}}, {}), is_openmetrics=True)
    ).decode()

    assert samples(text, parse_openmetrics) == {("weir_workers",): number}


def test_piece_is_never_long():
    """500 limits with all they can say: between two pieces the loop turns."""
    metrics = Metrics()
    metrics.configure(f"limit-{number}" for number in range(500))
    pieces = list(Exposition().pieces(reading(metrics), is_openmetrics=False))

    assert max(piece.count(b"\n") for piece in pieces) == PIECE_SAMPLES
    found = [key for key in samples(b"".join(pieces).decode()) if key[0] == "weir_limit_decisions_total"]
    assert len(found) == 1000
