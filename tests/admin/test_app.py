from __future__ import annotations

import asyncio
import json
import logging
from ipaddress import ip_address

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from proxy import __version__
from proxy.admin.app import admin_app
from proxy.admin.sources import AdminSources
from proxy.config.sections.front import AdminSettings
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.reading import reading
from tests.telemetry.exchanges import exchange

TOKEN = "s3cr3t-token"
PATHS = ("/metrics", "/healthz", "/readyz", "/status")


class Now:
    """What the sources say; the tests change it between two requests."""

    def __init__(self):
        self.metrics = Metrics()
        self.is_ready = True
        self.details = {"draining": False, "store": {"up": True}}
        self.status = {"uptime": 12.5, "limits": {"per-user": {"admitted": 3, "refused": 1}}}

    def sources(self, token=None):
        self.settings = AdminSettings(token=token)
        return AdminSources(
            lambda: reading(self.metrics),
            readiness=lambda: (self.is_ready, self.details),
            status=lambda: self.status,
            settings=lambda: self.settings,
        )


@pytest.fixture
def now():
    return Now()


@pytest.fixture
async def client(aiohttp_client, now):
    return await aiohttp_client(admin_app(now.sources()))


@pytest.fixture
async def guarded(aiohttp_client, now):
    return await aiohttp_client(admin_app(now.sources(TOKEN)))


async def test_metrics_are_text_unless_asked_otherwise(client, now):
    """A browser or an old scraper reads them."""
    now.metrics.record(exchange())
    response = await client.get("/metrics")
    families = {family.name for family in parse_text(await response.text())}

    assert response.status == 200
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    assert {"weir_requests", "weir_build_info", "process_cpu_seconds"} <= families


async def test_metrics_are_openmetrics_for_who_asks(client, now):
    """As Prometheus does, with its preferences."""
    accept = "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
    response = await client.get("/metrics", headers={"Accept": accept})
    text = await response.text()

    assert response.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert text.endswith("# EOF\n")
    assert "weir_requests" in {family.name for family in parse_openmetrics(text)}


async def test_liveness_says_only_that_the_loop_runs(client, now):
    """Redis down, draining: still alive."""
    now.is_ready = False
    now.details = None
    response = await client.get("/healthz")

    assert (response.status, await response.text()) == (200, "ok")


async def test_readiness_turns_with_what_is(client, now):
    """200 while requests should come, 503 from the next probe on when not; the details say why."""
    before = await client.get("/readyz")
    now.is_ready = False
    now.details = {"draining": True, "store": {"up": True}}
    after = await client.get("/readyz")

    assert (before.status, await before.json()) == (
        200,
        {"ready": True, "draining": False, "store": {"up": True}},
    )
    assert (after.status, await after.json()) == (
        503,
        {"ready": False, "draining": True, "store": {"up": True}},
    )


async def test_status_shows_the_sources_and_the_version(client, now):
    """What the runtime says, as it says it."""
    response = await client.get("/status")

    assert response.content_type == "application/json"
    assert await response.json() == {"version": __version__, **now.status, "top_keys": []}


async def test_unknown_path_is_a_small_json_object(client):
    response = await client.get("/secret")

    assert (response.status, response.content_type) == (404, "application/json")
    assert await response.json() == {"status": 404, "title": "Not Found"}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_nothing_can_be_changed(client, path, method):
    """405 with what is allowed."""
    response = await client.request(method, path)

    assert response.status == 405
    assert set(response.headers["Allow"].split(",")) == {"GET", "HEAD"}
    assert await response.json() == {"status": 405, "title": "Method Not Allowed"}


@pytest.mark.parametrize("path", [*PATHS, "/unknown"])
async def test_every_answer_is_uncached_and_names_no_server(client, path):
    """Also the failures."""
    for method in ("GET", "HEAD", "POST"):
        response = await client.request(method, path)

        assert response.headers["Cache-Control"] == "no-store"
        assert "Server" not in response.headers


@pytest.mark.parametrize("path", ["/metrics", "/status", "/unknown"])
@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer ÿ"],
)
async def test_who_has_no_token_sees_nothing(guarded, path, authorization):
    """401 with the challenge; not even which paths there are."""
    headers = {} if authorization is None else {"Authorization": authorization}
    response = await guarded.get(path, headers=headers)

    assert response.status == 401
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="weir"'
    assert await response.json() == {"status": 401, "title": "Unauthorized"}


async def test_token_of_any_bytes_is_just_a_wrong_one(guarded):
    """Bytes that are no UTF-8 do not make the comparison fail."""
    reader, writer = await asyncio.open_connection(guarded.server.host, guarded.server.port)
    writer.write(b"GET /status HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\xfe\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()

    assert head.startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_who_has_the_token_sees_all(guarded, scheme):
    """The scheme's case does not matter (RFC 9110 section 11.1)."""
    for path in PATHS:
        response = await guarded.get(path, headers={"Authorization": f"{scheme} {TOKEN}"})

        assert response.status == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_probes_need_no_token(guarded, path):
    """A kubelet has none."""
    response = await guarded.get(path)

    assert response.status == 200


async def test_source_that_fails_shows_no_traceback(client, now, caplog):
    """500 with nothing in it; the log has the rest."""
    now.details = 17  # not a mapping
    response = await client.get("/readyz")

    assert (response.status, await response.json()) == (
        500,
        {"status": 500, "title": "Internal Server Error"},
    )
    (record,) = [record for record in caplog.records if record.name == "weir.admin"]
    assert (record.levelno, record.getMessage()) == (logging.ERROR, "admin_failed")
    assert record.exc_info


async def test_values_that_json_lacks_are_shown_as_text(client, now):
    """An address, a path: the sources need not care."""
    now.status = {"peer": ip_address("10.0.0.1")}
    response = await client.get("/status")

    assert json.loads(await response.text())["peer"] == "10.0.0.1"
