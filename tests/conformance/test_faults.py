"""Every row of the table of faults, provoked through real sockets; and docs/failures.md, which lists them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

import pytest

from proxy import faults
from proxy.telemetry.metrics import DOOR_REASONS
from tests.net.bench import limit
from tests.support.messages import answer, get, post
from tests.support.patience import until
from tests.support.ports import free_port
from tests.support.weir import ROOT

pytestmark = pytest.mark.unmeasured

SHORT = {
    "downstream": {
        "timeouts": {"head": "1s", "body": "1s", "idle": "5s"},
        "limits": {"body": "100B", "connections": 2},
    },
    "upstream": {"timeouts": {"connect": "1s", "response": "1s"}},
}
CHUNKED = "Transfer-Encoding: chunked"
HALF = answer(200, b"half")[:-2]


@dataclass
class Way:
    """How a fault comes about: what the client sends, and what the service answers before it waits or closes."""

    sent: bytes = field(default_factory=get)
    answered: bytes = b""
    closes: bool = False
    warmed: bool = False  # by an exchange before
    changes: dict = field(default_factory=dict)
    server: str = ""  # instead of the service
    crowd: int = 0  # connections that are there already
    leaves: bool = False


def door(data: bytes, **more) -> Way:
    return Way(sent=data, **more)


def tenants(count):
    """Each has a limit of its own, by a field."""
    names = map(str, range(count))
    return {
        "limits": [{"name": name, "rate": "9/s", "match": {"headers": {"X-Tenant": name}}} for name in names]
    }


def decide(forwarded):
    return {"listen": [{"address": "127.0.0.1:0", "mode": "decide"}], "forwarded": forwarded}


WAYS = {
    "malformed_head": door(b"GET / HTTP/1.1\nHost: a\n\n"),
    "unsupported_version": door(get(version="HTTP/2.0")),
    "ambiguous_length": door(get("Content-Length: 1", CHUNKED)),
    "chunked_in_http10": door(get(CHUNKED, version="HTTP/1.0")),
    "unknown_method": door(get(method="LIST")),
    "unknown_coding": door(get("Transfer-Encoding: gzip")),
    "bad_host": door(get("Host: b")),
    "bad_target": door(get(target="/a#b")),
    "misdirected": door(get(target="http://other.example/")),
    "method_refused": door(get(method="TRACE")),
    "line_too_long": door(get(target="/" + "a" * 9000)),
    "head_too_large": door(get("X: " + "a" * 40_000)),
    "too_many_headers": door(get(*["X: a"] * 101)),
    "unknown_expectation": door(get("Expect: a")),
    "unclear_credential": door(get("X-Auth-Token: a, b"), changes=limit()),
    "unclear_request": door(get("X-Tenant: " + ",".join(map(str, range(40)))), changes=tenants(40)),
    "repeated_credential": door(get("X-Auth-Token: a", "X-Auth-Token: b"), changes=limit()),
    "strange_front": door(get(), changes=decide({"trust": ["10.0.0.1"]})),
    "bad_front": door(get("X-Original-URI: /"), changes=decide({"trust": ["127.0.0.1"]})),
    "body_too_large": door(get("Content-Length: 101", method="POST")),
    "malformed_chunk": door(get(CHUNKED, method="POST") + b"zz\r\n"),
    "head_timeout": door(get()[:-2]),
    "body_timeout": door(get("Content-Length: 9", method="POST")),
    "client_gone": Way(leaves=True),
    "limited": Way(warmed=True, answered=answer(), changes=limit("1/h", 1)),
    "method_not_allowed": Way(changes={"contract": {"allow_methods": ["POST"]}}),
    "unknown_path": Way(changes={"contract": {"known_paths": ["/api/**"]}}),
    "missing_credentials": Way(changes={"contract": {"credentials": ["X-Auth-Token"]}}),
    "connect_refused": Way(server=f"http://127.0.0.1:{free_port()}"),
    "dns_failed": Way(server="http://nowhere.invalid:80"),
    "tls_failed": Way(server="https"),
    "stale_connection": Way(sent=post(), warmed=True, closes=True),
    "connection_lost": Way(closes=True),
    "head_cut": Way(answered=b"HTTP/1.1 200 OK\r\nX:", closes=True),
    "response_timeout": Way(),
    "malformed_response": Way(answered=b"garbage\r\n\r\n"),
    "response_head_too_large": Way(answered=b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000),
    "unasked_upgrade": Way(answered=b"HTTP/1.1 101 S\r\nUpgrade: a\r\nConnection: Upgrade\r\n\r\n"),
    "truncated": Way(answered=HALF, closes=True),
    "response_stalled": Way(answered=HALF),
    "malformed_response_body": Way(answered=answer(200, b"zz\r\n", CHUNKED, length=False)),
    "too_many_connections": Way(sent=b"", crowd=2),
}
# Provoked where what they need is at hand.
ELSEWHERE = {
    "shortage": ("tests/net/test_servers.py", '["shortage"]'),
    "crowded_out": ("tests/net/test_downstream.py", '"crowded_out"'),
    "tunnel_timeout": ("tests/net/test_upstream.py", "test_silent_tunnel_ends"),
    "read_timeout": ("tests/net/test_downstream.py", "test_client_that_stops_reading_is_left"),
    "connect_timeout": ("tests/e2e/test_timeouts.py", "test_server_that_does_not_accept_is_a_504"),
    "internal": ("tests/test_gateway.py", "faults.INTERNAL"),
    "not_announced": ("tests/e2e/test_proxy_protocol.py", 'fault="not_announced"'),
    "queue_full": ("tests/net/test_queue.py", '["queue_full"]'),
    "queue_timeout": ("tests/net/test_queue.py", '["queue_timeout"]'),
    "draining": ("tests/test_waiting.py", '"draining", "draining"'),
    "store_down": ("tests/e2e/test_store.py", '"store_down", "refused"'),
}


def service(way: Way):
    async def script(visit):
        if way.server == "https":
            await visit.send(b"this is no TLS")
            return
        if way.warmed:
            await visit.request()
            await visit.send(answer())
        await visit.request()
        await visit.send(way.answered)
        if not way.closes:
            await visit.left()

    return script


@pytest.mark.parametrize(
    "reason", [pytest.param(way, marks=pytest.mark.real) if way == "tls_failed" else way for way in WAYS]
)
async def test_fault_is_answered_by_its_row(start_bench, start_origin, connect, reason):
    """Its status, its word in the record, and a connection that is closed when it was refused at the door."""
    way, fault = WAYS[reason], faults.FAULTS[reason]
    origin = await start_origin(service(way))
    server = origin.url.replace("http", "https") if way.server == "https" else way.server or origin.url
    changes = {**SHORT, **way.changes}
    bench = await start_bench(server, **changes)
    crowd = [await connect(bench) for _ in range(way.crowd)]
    await until(lambda: len(bench.frontend.connections) == way.crowd)
    wire = await connect(bench)
    if way.warmed:
        await wire.send(get())
        await wire.response()
    await wire.send(way.sent)
    if way.leaves:
        await origin.visit()
        wire.abort()
    exchange = await bench.recorded(2 if way.warmed else 1)

    assert (exchange.fault, exchange.outcome) == (fault, fault.outcome)
    if fault.status and not way.answered.startswith(b"HTTP/1.1 200") or reason == "limited":
        response = await wire.response()
        assert response.status == fault.status
        assert (response.value("Connection") == b"close") == (reason in closing())
    if reason in DOOR_REASONS:
        assert bench.ledger.refused_heads[reason] == 1
    assert bool(bench.ledger.upstream_failures) == (fault.counted == faults.FAILURES)
    for each in crowd:
        each.close()


def closing():
    return {reason for reason, fault in faults.FAULTS.items() if not fault.keeps_client}


def test_every_fault_is_provoked():
    """Here, or by a test that is named here."""
    assert set(WAYS) | set(ELSEWHERE) == set(faults.FAULTS)
    for path, words in ELSEWHERE.values():
        assert words in (ROOT / path).read_text()


def listed(fault):
    """Its row of the page."""
    connection = "kept" if fault.keeps_client else "closed"
    if fault.keeps_client and fault.phase == "response_body":
        connection = "broken off"
    extra = f"`{fault.extra}`" if fault.extra else ""
    status = fault.status or "none"
    cells = (status, fault.outcome, fault.resent, connection, extra, f"`{fault.counted}`")
    return f"| `{fault.reason}` | " + " | ".join(map(str, cells)) + " |"


def test_page_lists_every_fault():
    """WEIR_WRITE_DOCS=1 python -m pytest tests/conformance/test_faults.py      writes the table anew."""
    page = ROOT / "docs/failures.md"
    before, head, rest = re.split(
        r"(^\| fault \|.*\n\|[-|]+\n)", page.read_text(), maxsplit=1, flags=re.MULTILINE
    )
    now, gap, behind = rest.partition("\n\n")
    wanted = "\n".join(map(listed, faults.FAULTS.values()))
    if os.environ.get("WEIR_WRITE_DOCS"):
        page.write_text(before + head + wanted + gap + behind)
        return

    assert now == wanted
