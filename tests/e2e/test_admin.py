"""The admin plane: what operators, probes and scrapers see."""

from __future__ import annotations

import json
import re

import pytest

from tests.support.messages import answer, get, post
from tests.support.origin import answering
from tests.support.patience import until
from tests.support.weir import Metrics

SETTINGS = {"limits": [{"name": "per-user", "key": ["header:X-Auth-Token"], "rate": "3/m"}]}

FAMILIES = {
    "weir_requests_total": "counter",
    "weir_request_duration_seconds": "histogram",
    "weir_upstream_duration_seconds": "histogram",
    "weir_limit_decisions_total": "counter",
    "weir_store_up": "gauge",
    "weir_store_batch_size": "histogram",
    "weir_store_duration_seconds": "histogram",
    "weir_store_errors_total": "counter",
    "weir_redactions_total": "counter",
    "weir_contract_violations_total": "counter",
    "weir_upstream_failures_total": "counter",
    "weir_connections": "gauge",
    "weir_config_last_reload_successful": "gauge",
    "weir_config_last_reload_timestamp_seconds": "gauge",
    "weir_build_info": "gauge",
}


def user(name):
    return f"X-Auth-Token: {name}"


# --- /metrics ---


@pytest.mark.parametrize(("family", "kind"), FAMILIES.items())
async def test_every_promised_family_is_there(weir, family, kind):
    """Before anything has happened, too: a graph without data is not a graph without a metric."""
    text = weir.metrics().text

    assert re.search(rf"^# TYPE {family} {kind}$", text, re.MULTILINE)
    assert re.search(rf"^# HELP {family} \S", text, re.MULTILINE)


async def test_exposition_is_prometheus_text(weir):
    """Of the text format, and not to be cached."""
    reply = weir.admin("/metrics")

    assert reply.status == 200
    assert reply.headers["content-type"].startswith("text/plain; version=")
    assert "server" not in reply.headers


async def test_openmetrics_is_served_when_asked_for(weir):
    """Prometheus asks for it."""
    reply = weir.admin("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})

    assert reply.headers["content-type"].startswith("application/openmetrics-text")
    assert reply.body.endswith(b"# EOF\n")


async def test_exchanges_are_counted(weir, origin, ask):
    """By method, status and source; durations by count; redactions and violations by status."""
    replies = {b"/201": answer(201), b"/500": answer(500)}
    origin.script = answering(lambda request: replies.get(request.target, answer()))
    before = weir.metrics()
    requests = [
        get(user("m")),
        post(b"x", user("m"), target="/201"),
        get(user("m"), target="/500"),
        get(user("m")),
        b"BAD\r\n\r\n",
    ]
    seen = [(await ask(weir, request)).status for request in requests]

    def more(name, **labels):
        return weir.metrics().total(name, **labels) - before.total(name, **labels)

    await until(lambda: more("weir_requests_total") == 5, "five exchanges are counted")
    assert seen == [200, 201, 500, 429, 400]
    assert more("weir_requests_total", method="GET", status="200", source="upstream") == 1
    assert more("weir_requests_total", method="POST", status="201", source="upstream") == 1
    assert more("weir_requests_total", method="GET", status="500", source="upstream") == 1
    assert more("weir_requests_total", method="GET", status="429", source="weir") == 1
    assert more("weir_requests_total", status="400", source="weir") == 1
    assert more("weir_request_duration_seconds_count") == 5
    assert more("weir_upstream_duration_seconds_count") == 3
    assert more("weir_redactions_total", status="500") == 1
    assert more("weir_contract_violations_total", status="201") == 2
    assert more("weir_limit_decisions_total", limit="per-user", decision="admitted", via="store") == 3


async def test_traffic_adds_no_series(weir, origin, ask):
    """Labels come from the config and from tables, never from what clients send."""
    await ask(weir, get(user("a"), method="PROPFIND"))
    before = series(weir.metrics())
    for number in range(30):
        request = get(
            user(f"u{number}"),
            f"X-{number}: y",
            f"User-Agent: {number}",
            target=f"/path/{number}?q={number}",
            method="PROPFIND",
        )
        await ask(weir, request)

    assert series(weir.metrics()) == before


def series(metrics: Metrics) -> set[str]:
    return {line.rpartition(" ")[0] for line in metrics.text.splitlines() if line.startswith("weir_")}


async def test_connections_are_gauged(weir, origin, connect):
    """On both sides, by what they do."""
    await until(lambda: weir.metrics().total("weir_connections", side="downstream") == 0, "no client is left")
    wires = [await connect(weir) for _ in range(3)]
    await wires[0].send(get(user("c")))
    await wires[0].response()
    await until(lambda: gauge(weir, "downstream", "idle") == 3, "three idle clients")
    assert gauge(weir, "upstream", "idle") == 1
    await wires[0].send(post(b"x" * 100, user("c"))[:-50])
    await until(lambda: gauge(weir, "downstream", "active") == 1, "an active client")
    assert gauge(weir, "downstream", "idle") == 2
    assert gauge(weir, "upstream", "active") == 1
    for wire in wires:
        wire.close()
    await until(
        lambda: gauge(weir, "downstream", "idle") + gauge(weir, "downstream", "active") == 0, "none is left"
    )


def gauge(weir, side, state):
    return weir.metrics().total("weir_connections", side=side, state=state)


# --- probes ---


async def test_probes_say_yes(weir):
    """Without an origin: a service that is down does not make Weir unready or unwell."""
    assert weir.admin("/healthz").status == 200
    assert weir.admin("/readyz").status == 200
    assert weir.admin("/readyz").json()["ready"] is True


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_admin_is_for_reading(weir, method):
    """Nothing can be changed by it."""
    for path in ("/metrics", "/healthz", "/readyz", "/status"):
        reply = weir.admin(path, method)
        assert reply.status == 405
        assert "GET" in reply.headers["allow"]


async def test_unknown_page_is_a_small_404(weir):
    """As JSON, without a server's name."""
    reply = weir.admin("/nowhere")

    assert reply.status == 404
    assert reply.json()["status"] == 404
    assert "server" not in reply.headers


async def test_admin_pages_are_not_on_the_data_plane(weir, origin, ask):
    """There they are the service's paths like any other."""
    for path in ("/metrics", "/healthz", "/readyz", "/status"):
        response = await ask(weir, get(user(path), target=path))
        assert response.body == b"ok"
    assert len(origin.requests) == 4


# --- /status ---


async def test_status_sums_up(weir, origin, ask):
    """Version, config and its hash, limits with their counts, upstream, connections, store."""
    for _ in range(5):
        await ask(weir, get(user("status")))
    status = weir.admin("/status").json()

    assert status["version"]
    assert status["uptime"] > 0
    assert status["config"]["file"] == str(weir.config)
    assert len(status["config"]["hash"]) >= 8
    assert status["limits"]["per-user"]["admitted"] >= 3
    assert status["limits"]["per-user"]["refused"] >= 2
    assert str(weir.settings["upstream"]["servers"][0]).removeprefix("http://") in json.dumps(
        status["upstream"]
    )
    assert status["connections"]
    assert status["store"]


async def test_config_hash_is_of_the_content(start_weir):
    """Two processes with the same settings agree, so that one can see who has which."""
    first, second = start_weir(), start_weir()
    second.write_config({name: first.settings[name] for name in ("listen", "admin", "upstream")})
    await until(lambda: hash_of(first) == hash_of(second), "the same settings have the same hash")
    second.write_config({"log": {"level": "debug"}})
    await until(lambda: hash_of(first) != hash_of(second), "other settings have another")


def hash_of(weir):
    return weir.admin("/status").json()["config"]["hash"]


# --- the token ---


@pytest.fixture
def guarded(start_weir):
    return start_weir({"admin": {"token": "s3cret-t0ken"}})


async def test_token_is_asked_for(guarded):
    """On everything but the probes."""
    for path in ("/metrics", "/status", "/nowhere"):
        reply = guarded.admin(path)
        assert reply.status == 401
        assert reply.headers["www-authenticate"].startswith("Bearer")
        assert b"weir_" not in reply.body
    assert guarded.admin("/healthz").status == 200
    assert guarded.admin("/readyz").status == 200


@pytest.mark.parametrize("given", ["Bearer s3cret-t0ken", "bearer s3cret-t0ken"])
async def test_token_opens(guarded, given):
    """The scheme has no case."""
    for path in ("/metrics", "/status"):
        assert guarded.admin(path, headers={"Authorization": given}).status == 200


@pytest.mark.parametrize(
    "given",
    [
        "Bearer wrong",
        "Bearer",
        "Basic s3cret-t0ken",
        "s3cret-t0ken",
        "Bearer s3cret-t0ken2",
        "Bearer s3cret-t0ke",
        "Bearer \xe9",
    ],
)
async def test_wrong_token_does_not_open(guarded, given):
    """Nor does anything like it."""
    assert guarded.admin("/status", headers={"Authorization": given}).status == 401


async def test_token_is_never_shown(guarded):
    """Neither by /status nor in the log."""
    status = guarded.admin("/status", headers={"Authorization": "Bearer s3cret-t0ken"})

    assert b"s3cret" not in status.body
    assert "s3cret" not in guarded.log_text()
