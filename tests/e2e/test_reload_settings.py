"""Every setting that needs no restart: what a client sees before a reload and after it, with the same Weir."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from proxy.config.catalogue import entries
from tests.e2e.test_reload import last_reload, reloaded, replaced
from tests.support.messages import answer, get, post

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.wire import Response

LIMIT = {"name": "one", "rate": "1/m", "key": ["header:X-Auth-Token", "client-ip"]}
FAILED = answer(500, b'{"errorCode": "E7", "detail": "at db01"}', "Content-Type: application/json")


def status(response: Response) -> object:
    return response.status


def value(name: str) -> Callable[[Response], object]:
    return lambda response: (response.value(name) or b"").decode()


def body(response: Response) -> object:
    return response.body.decode()


def codes_of(count: int) -> Callable[[list[Response]], object]:
    return lambda responses: [each.status for each in responses[-count:]]


@dataclass(frozen=True)
class Row:
    """`sees` is asked of the last answer to `sent`; `then` is what it must be after the reload, not before."""

    setting: str
    changes: dict[str, Any]
    then: object
    sees: Callable[[Response], object] = status
    sent: tuple[bytes, ...] = (get(),)
    base: dict[str, Any] = field(default_factory=dict)
    said: bytes | None = None  # by the origin; None: it echoes what it was asked


TWICE = (get("X-Auth-Token: a"), get("X-Auth-Token: a"))
OTHERS = tuple(get(f"X-Auth-Token: {n}") for n in range(2))


def limited(**more: object) -> dict[str, Any]:
    return {"limits": [LIMIT | more]}


def dear(**match: object) -> dict[str, Any]:
    """Two tokens for what matches, and one for the rest."""
    return limited(rate="2/m", burst=2, cost=[{**match, "cost": 2}])


def sha256(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


TWO = limited(rate="2/m", burst=2)
PLAN = {"name": "two", "rate": "2/m", "keys": [sha256("a")]}

ROWS = (
    Row("downstream.methods", {"downstream": {"methods": ["LIST"]}}, 200, sent=(get(method="LIST"),)),
    Row("downstream.timeouts.head", {"downstream": {"timeouts": {"head": "100ms"}}}, 408, sent=(get()[:-2],), base={"downstream": {"timeouts": {"head": "1h"}}}),
    Row("downstream.timeouts.body", {"downstream": {"timeouts": {"body": "100ms"}}}, 408, sent=(post()[:-2],), base={"downstream": {"timeouts": {"body": "1h"}}}),
    Row("downstream.limits.request_line", {"downstream": {"limits": {"request_line": "64B"}}}, 414, sent=(get(target="/" + "x" * 100),)),
    Row("downstream.limits.head", {"downstream": {"limits": {"head": "8KiB"}}}, 431, sent=(get(f"X: {'x' * 9000}"),)),
    Row("downstream.limits.headers", {"downstream": {"limits": {"headers": 3}}}, 431, sent=(get("A: 1", "B: 1", "C: 1"),)),
    Row("downstream.limits.body", {"downstream": {"limits": {"body": "3B"}}}, 413, sent=(post(),)),
    Row("upstream.host", {"upstream": {"host": "upstream"}}, "", sees=lambda r: r.body.decode().split("Host: ")[1].split("\r\n")[0].replace("127.0.0.1:", "").strip("0123456789")),
    Row("upstream.timeouts.response", {"upstream": {"timeouts": {"response": "100ms"}}}, 504, said=b"", base={"upstream": {"timeouts": {"response": "1h"}}}),
    Row("limits[].name", limited(name="two"), '"two";q=1;w=60', sees=value("RateLimit-Policy"), base=limited()),
    Row("limits[].match.methods", limited(match={"methods": ["PUT"]}), 200, sent=TWICE, base=limited()),
    Row("limits[].match.paths", limited(match={"paths": ["/api/*"]}), 200, sent=TWICE, base=limited()),
    Row("limits[].match.headers", limited(match={"headers": {"X-Kind": "slow"}}), 200, sent=TWICE, base=limited()),
    Row("limits[].match.absent", limited(match={"absent": ["X-Kind"]}), 200, sent=(get("X-Kind: slow"),) * 2, base=limited()),
    Row("limits[].match.exact", limited(match={"paths": ["/api"], "exact": True}), 200, sent=(get(target="/API"),) * 2, base=limited(match={"paths": ["/api"]})),
    Row("limits[].when_absent", limited(key=["header:X-Other"], when_absent="skip"), 200, sent=TWICE, base=limited(key=["header:X-Other"])),
    Row("limits[].key", limited(key=["header:X-Other", "client-ip"]), 429, sent=OTHERS, base=limited()),
    Row("limits[].rate", limited(rate="2/m"), 200, sent=TWICE, base=limited()),
    Row("limits[].burst", limited(burst=7), 200, sent=TWICE, base=limited()),
    Row("limits[].concurrency", {"limits": [{"name": "one", "key": ["header:X-Auth-Token"], "concurrency": 3}]}, '"one-later";q=3;qu="concurrent-requests"', sees=value("RateLimit-Policy"), base=limited()),
    Row("limits[].max_wait", limited(rate="2/s", burst=1, max_wait="10s"), 200, sent=TWICE, base=limited(rate="2/s", burst=1)),
    Row("limits[].cost", limited(rate="2/m", burst=2, cost=2), 429, sent=TWICE, base=limited(rate="2/m")),
    Row("limits[].cost[].cost", dear(match={"paths": ["/"]}), 429, sent=TWICE, base=TWO),
    Row("limits[].cost[].match.methods", dear(match={"methods": ["GET"]}), 429, sent=TWICE, base=TWO),
    Row("limits[].cost[].match.headers", dear(match={"headers": {"X-Auth-Token": "a"}}), 429, sent=TWICE, base=TWO),
    Row("limits[].cost[].match.absent", dear(match={"absent": ["X-Kind"]}), 429, sent=TWICE, base=TWO),
    Row("limits[].cost[].match.exact", dear(match={"paths": ["/api"], "exact": True}), 200, sent=(get(target="/API"),) * 2, base=dear(match={"paths": ["/api"]})),
    Row("limits[].enforce", limited(enforce="0%"), 200, sent=TWICE, base=limited()),
    Row("limits[].plans", {"plans": [PLAN], **limited(plans=["two"])}, 200, sent=TWICE, base={"plans": [PLAN], **limited()}),
    Row("plans[].rate", {"plans": [PLAN | {"rate": "1/m"}]}, 429, sent=TWICE, base={"plans": [PLAN], **limited(plans=["two"])}),
    Row("plans[].burst", {"plans": [PLAN | {"burst": 1}]}, 429, sent=TWICE, base={"plans": [PLAN], **limited(plans=["two"])}),
    Row("plans[].keys", {"plans": [PLAN | {"keys": [sha256("b")]}]}, 429, sent=TWICE, base={"plans": [PLAN], **limited(plans=["two"])}),
    Row("plans[].name", {"plans": [PLAN | {"name": "three"}], **limited(plans=["three"])}, '"one-later";q=2;w=60', sees=value("RateLimit-Policy"), sent=TWICE, base={"plans": [PLAN], **limited(plans=[])}),
    Row("limits[].cost_304", limited(cost_304=0), 304, sent=TWICE, base=limited(), said=answer(304, b"", length=False)),
    Row("limits[].on_upstream_429", limited(rate="9/m", on_upstream_429="drain"), b"application/problem+json", sees=lambda r: r.value("Content-Type"), sent=TWICE, base=limited(rate="9/m"), said=answer(429, b"")),
    Row("limits[].mode", limited(mode="shadow"), 200, sent=TWICE, base=limited()),
    Row("limits[].exempt.cidrs", limited(exempt={"cidrs": ["127.0.0.0/8"]}), 200, sent=TWICE, base=limited()),
    Row("limits[].exempt.paths", limited(exempt={"paths": ["/*"]}), 200, sent=TWICE, base=limited()),
    Row("limits[].exempt.headers", limited(exempt={"headers": {"X-Auth-Token": "a"}}), 200, sent=TWICE, base=limited()),
    Row("errors.redact", {"errors": {"redact": ["501-599"]}}, '{"errorCode": "E7", "detail": "at db01"}', sees=body, said=FAILED),
    Row("errors.leak_guard", {"errors": {"leak_guard": "redact"}}, 500, said=answer(200, b"ORA-00942: x", "Content-Type: text/plain")),
    Row("contract.edge_etags", {"contract": {"edge_etags": True}}, 304, sent=(get("If-None-Match: *"),), said=answer(200, b"x")),
    Row("errors.proxy_status", {"errors": {"proxy_status": True}}, "weir;received-status=500", sees=value("Proxy-Status"), said=FAILED),
    Row("errors.keep_headers", {"errors": {"keep_headers": ["Set-Cookie"]}}, "a=b", sees=value("Set-Cookie"), said=answer(500, b"", "Set-Cookie: a=b")),
    Row("errors.keep_members", {"errors": {"keep_members": ["errorCode"]}}, "E7", sees=lambda r: r.json().get("errorCode"), said=FAILED),
    Row("errors.format", {"errors": {"format": {"content_type": "application/json", "body": '{"code": "{status}"}'}}}, '{"code": "500"}', sees=body, said=FAILED),
    Row("contract.public_url", {"contract": {"public_url": "https://shop.example"}}, "https://shop.example/7", sees=value("Location"), said=answer(302, b"", "Location: http://origin/7")),
    Row("contract.allow_methods", {"contract": {"allow_methods": ["POST"]}}, 405),
    Row("contract.path_methods", {"contract": {"path_methods": [{"paths": ["/"], "allow": ["PUT"]}]}}, 405),
    Row("contract.known_paths", {"contract": {"known_paths": ["/api/**"]}}, 404),
    Row("contract.credentials", {"contract": {"credentials": ["X-Auth-Token"]}}, 401),
    Row("contract.open_paths", {"contract": {"open_paths": ["/"]}}, 200, base={"contract": {"credentials": ["X-Auth-Token"]}}),
    Row("cors.origins", {"cors": {"origins": ["https://app.example"]}}, "https://app.example", sees=value("Access-Control-Allow-Origin"), sent=(get("Origin: https://app.example"),), base={"contract": {"allow_methods": ["POST"]}}),
    Row("forwarded.field", {"forwarded": {"field": "forwarded"}}, True, sees=lambda r: "Forwarded: for=127.0.0.1;proto=http" in r.body.decode() and "X-Forwarded" not in r.body.decode()),
    Row("forwarded.trust", {"forwarded": {"trust": ["127.0.0.0/8"]}}, True, sees=lambda r: "X-Forwarded-For: 192.0.2.7, 127.0.0.1" in r.body.decode(), sent=(get("X-Forwarded-For: 192.0.2.7"),)),
    Row("ratelimit_fields", {"ratelimit_fields": "legacy"}, "1", sees=value("X-RateLimit-Limit"), base=limited()),
)  # fmt: skip

# Seen elsewhere, or not seen by a client's answers at all.
ELSEWHERE = {
    "admin.token": "test_dashboard.py",
    "admin.hosts": "tests/admin/test_guard.py",
    "downstream.timeouts.idle": "test_timeouts.py",
    "downstream.half_close": "tests/net/test_half_close.py",
    "downstream.limits.buffers": "tests/net/test_downstream.py",
    "downstream.timeouts.tunnel": "tests/net/test_upstream.py",
    "downstream.limits.connections": "tests/net/test_frontend.py",
    "downstream.limits.connections_per_address": "tests/net",
    "upstream.servers": "test_reload.py",
    "upstream.servers[].url": "with upstream.servers",
    "upstream.servers[].weight": "tests/net/test_servers.py",
    "upstream.limits.connections": "tests/net/test_servers.py",
    "upstream.limits.queue": "tests/net/test_servers.py",
    "upstream.limits.wait": "tests/net/test_servers.py",
    "upstream.health.path": "test_servers.py",
    "upstream.health.interval": "tests/net/test_servers.py",
    "upstream.health.timeout": "tests/net/test_servers.py",
    "upstream.health.rise": "tests/policy/test_standing.py",
    "upstream.health.fall": "tests/policy/test_standing.py",
    "upstream.ejection.failures": "tests/net/test_servers.py",
    "upstream.ejection.first": "tests/net/test_servers.py",
    "upstream.ejection.longest": "tests/policy/test_standing.py",
    "upstream.slow_start": "tests/net/test_servers.py",
    "upstream.resolve": "test_servers.py",
    "upstream.timeouts.connect": "test_timeouts.py",
    "upstream.tls.ca": "test_tls_upstream.py",
    "upstream.tls.server_name": "with upstream.tls.ca",
    "upstream.tls.cert": "with upstream.tls.ca",
    "upstream.tls.key": "with upstream.tls.ca",
    "upstream.tls.min_version": "with upstream.tls.ca",
    "upstream.timeouts.idle": "test_timeouts.py",
    "store.timeout": "tests/runtime",
    "store.max_keys": "tests/runtime",
    "store.denial_cache": "test_store.py",
    "limits[].cost[].match.paths": "with limits[].cost[].cost",
    "limits[].on_upstream_401": "test_unproven.py",
    "limits[].unproven.burst": "test_unproven.py",
    "limits[].unproven.rate": "test_unproven.py",
    "plans": "by its parts",
    "plans[].keys_file": "test_plans.py",
    "store.url": "test_store.py",
    "store.tls.ca": "test_store.py",
    "store.tls.cert": "with store.tls.ca",
    "store.tls.key": "with store.tls.ca",
    "store.sentinel.username": "tests/limiter",
    "store.sentinel.password": "tests/limiter",
    "limits[].on_store_error": "tests/limiter",
    "limits[].lease": "test_store.py",
    "contract.rules": "test_contract_rules.py",
    "contract.rules[].status": "with contract.rules",
    "contract.rules[].headers": "with contract.rules",
    "contract.rules[].media_types": "with contract.rules",
    "contract.rules[].body": "with contract.rules",
    "contract.path_methods[].paths": "with contract.path_methods",
    "contract.path_methods[].allow": "with contract.path_methods",
    "errors.format.content_type": "with errors.format",
    "errors.format.body": "with errors.format",
    "limits": "by its parts",
    "drain.delay": "test_start.py",
    "drain.timeout": "test_start.py",
    "forwarded.ipv6_prefix": "tests/clients",
    "log.level": "test_reload.py",
    "log.format": "test_logs.py",
    "log.fields": "test_logs.py",
    "log.sample": "test_logs.py",
    "log.slow": "test_logs.py",
}


def origin_that_says(said: bytes | None):
    async def script(visit):
        while (request := await visit.request()) is not None:
            if said == b"":
                await visit.left()
                return
            head = b"\r\n".join(b"%b: %b" % pair for pair in request.headers)
            text = answer(200, head) if said is None else said
            await visit.send(text.replace(b"http://origin", visit.origin.url.encode()))

    return script


async def seen(row: Row, weir, connect) -> object:
    """Each request on a connection of its own; None if there is no answer in time."""
    responses = []
    for sent in row.sent:
        wire = await connect(weir)
        await wire.send(sent)
        try:
            responses.append(await wire.response(within=2.0 if row.then in (408, 504) else 10.0))
        except TimeoutError:
            return None
        finally:
            wire.close()
    return row.sees(responses[-1])


def afresh(row: Row) -> dict[str, Any]:
    """Its limits by new names: buckets of the same name survive the reload, and here they are empty."""
    if "limits" not in row.changes or row.setting == "limits[].name":
        return {}
    return {"limits": [{**limit, "name": f"{limit['name']}-later"} for limit in row.changes["limits"]]}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.setting)
async def test_reload_reaches(row, start_weir, start_origin, connect):
    """No client sees the new setting before the reload, every one sees it after it."""
    weir = start_weir(row.base, upstream=await start_origin(origin_that_says(row.said)))
    before = await seen(row, weir, connect)
    await reloaded(weir, replaced(weir, row.changes | afresh(row)))
    assert last_reload(weir)[0] == 1, weir.log_text()
    after = await seen(row, weir, connect)

    assert before != row.then
    assert after == row.then


def test_no_setting_is_left_out():
    """A new setting that needs no restart gets its row, or a word on where it is seen."""
    followed = {
        e.path
        for e in entries()
        if not (e.is_restart or e.is_block) or e.path in {"errors.format", "contract.path_methods"}
    }

    assert followed - {row.setting for row in ROWS} == set(ELSEWHERE)
