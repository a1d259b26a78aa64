"""Every setting that needs no restart: what a client sees before a reload and after it, with the same Weir."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from proxy.config.catalogue import entries
from tests.e2e.test_reload import last_reload, reloaded, replaced
from tests.e2e.test_reload_sights import SIGHTS
from tests.support.messages import answer, get, post
from tests.support.weir import ROOT

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
SUBSCRIBER = tuple(get(f"X-Forwarded-For: 2001:db8::{n}") for n in (1, 2))
OTHERS = tuple(get(f"X-Auth-Token: {n}") for n in range(2))


def limited(**more: object) -> dict[str, Any]:
    return {"limits": [LIMIT | more]}


def shaped(content_type: str = "text/html", body: str = "x") -> dict[str, Any]:
    return {"errors": {"format": {"content_type": content_type, "body": body}}}


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
    Row("limits[].cost[].match.paths", dear(match={"paths": ["/"]}), 429, sent=TWICE, base=dear(match={"paths": ["/other"]})),
    Row("limits[].on_store_error", {"limits": [LIMIT | {"on_store_error": "deny"}]}, 503, base={"store": {"url": "redis://127.0.0.1:1"}, **limited()}),
    Row("limits[].unproven.rate", limited(rate="9/m", unproven={"rate": "2/m", "burst": 1}), True, sees=lambda r: int(r.value("Retry-After")) <= 30, sent=OTHERS, base=limited(rate="9/m", unproven={"rate": "1/m", "burst": 1}), said=answer(401, b"")),
    Row("limits[].unproven.burst", limited(rate="9/m", unproven={"rate": "1/m", "burst": 1}), 429, sent=OTHERS, base=limited(rate="9/m", unproven={"rate": "1/m", "burst": 2}), said=answer(401, b"")),
    Row("errors.redact", {"errors": {"redact": ["501-599"]}}, '{"errorCode": "E7", "detail": "at db01"}', sees=body, said=FAILED),
    Row("errors.leak_guard", {"errors": {"leak_guard": "redact"}}, 500, said=answer(200, b"ORA-00942: x", "Content-Type: text/plain")),
    Row("contract.edge_etags", {"contract": {"edge_etags": True}}, 304, sent=(get("If-None-Match: *"),), said=answer(200, b"x")),
    Row("errors.proxy_status", {"errors": {"proxy_status": True}}, "weir;received-status=500", sees=value("Proxy-Status"), said=FAILED),
    Row("errors.keep_headers", {"errors": {"keep_headers": ["Set-Cookie"]}}, "a=b", sees=value("Set-Cookie"), said=answer(500, b"", "Set-Cookie: a=b")),
    Row("errors.keep_members", {"errors": {"keep_members": ["errorCode"]}}, "E7", sees=lambda r: r.json().get("errorCode"), said=FAILED),
    Row("errors.format", {"errors": {"format": {"content_type": "application/json", "body": '{"code": "{status}"}'}}}, '{"code": "500"}', sees=body, said=FAILED),
    Row("errors.format.content_type", shaped(content_type="text/plain"), "text/plain", sees=value("Content-Type"), said=FAILED, base=shaped()),
    Row("errors.format.body", shaped(body="{status}"), "500", sees=body, said=FAILED, base=shaped()),
    Row("contract.public_url", {"contract": {"public_url": "https://shop.example"}}, "https://shop.example/7", sees=value("Location"), said=answer(302, b"", "Location: http://origin/7")),
    Row("contract.allow_methods", {"contract": {"allow_methods": ["POST"]}}, 405),
    Row("contract.path_methods", {"contract": {"path_methods": [{"paths": ["/"], "allow": ["PUT"]}]}}, 405),
    Row("contract.path_methods[].paths", {"contract": {"path_methods": [{"paths": ["/"], "allow": ["PUT"]}]}}, 405, base={"contract": {"path_methods": [{"paths": ["/x"], "allow": ["PUT"]}]}}),
    Row("contract.path_methods[].allow", {"contract": {"path_methods": [{"paths": ["/"], "allow": ["PUT"]}]}}, 405, base={"contract": {"path_methods": [{"paths": ["/"], "allow": ["GET"]}]}}),
    Row("contract.known_paths", {"contract": {"known_paths": ["/api/**"]}}, 404),
    Row("contract.credentials", {"contract": {"credentials": ["X-Auth-Token"]}}, 401),
    Row("contract.open_paths", {"contract": {"open_paths": ["/"]}}, 200, base={"contract": {"credentials": ["X-Auth-Token"]}}),
    Row("cors.origins", {"cors": {"origins": ["https://app.example"]}}, "https://app.example", sees=value("Access-Control-Allow-Origin"), sent=(get("Origin: https://app.example"),), base={"contract": {"allow_methods": ["POST"]}}),
    Row("forwarded.field", {"forwarded": {"field": "forwarded"}}, True, sees=lambda r: "Forwarded: for=127.0.0.1;proto=http" in r.body.decode() and "X-Forwarded" not in r.body.decode()),
    Row("forwarded.trust", {"forwarded": {"trust": ["127.0.0.0/8"]}}, True, sees=lambda r: "X-Forwarded-For: 192.0.2.7, 127.0.0.1" in r.body.decode(), sent=(get("X-Forwarded-For: 192.0.2.7"),)),
    Row("forwarded.ipv6_prefix", {"forwarded": {"ipv6_prefix": 128}}, 200, sent=SUBSCRIBER, base={"forwarded": {"trust": ["127.0.0.0/8"]}, **limited(key=["client-ip"])}),
    Row("ratelimit_fields", {"ratelimit_fields": "legacy"}, "1", sees=value("X-RateLimit-Limit"), base=limited()),
)  # fmt: skip

# Seen in tests of their own, which flip them: with one value and with another, most of them by a reload too.
ELSEWHERE = {
    "admin.token": "e2e/test_dashboard.py::test_token_is_changed_by_a_reload",
    "admin.hosts": "admin/test_guard.py::test_names_of_the_config_are_ours_also_after_a_reload",
    "upstream.servers[].url": "e2e/test_reload_sights.py::test_reload_is_seen",  # with upstream.servers
    "upstream.resolve": "e2e/test_reload_sights.py::test_new_lookups_are_seen",
    "upstream.timeouts.connect": "e2e/test_reload_sights.py::test_connect_timeout_is_seen",
    "upstream.tls.ca": "e2e/test_tls_upstream.py::test_reload_with_other_files_is_followed",
    "upstream.tls.server_name": "e2e/test_tls_upstream.py::test_reload_with_other_files_is_followed",
    "upstream.tls.cert": "e2e/test_tls_upstream.py::test_reload_with_other_files_is_followed",
    "upstream.tls.key": "e2e/test_tls_upstream.py::test_reload_with_other_files_is_followed",
    "upstream.tls.min_version": "e2e/test_tls_upstream.py::test_reload_with_other_files_is_followed",
    "store.timeout": "e2e/test_reload_sights.py::test_store_timeout_is_seen",
    "store.denial_cache": "e2e/test_store.py::test_denial_cache_follows_its_setting",
    "store.url": "e2e/test_store.py::test_password_is_rotated_without_a_restart",
    "store.tls.ca": "e2e/test_reload_sights.py::test_store_certificates_are_seen",
    "store.tls.cert": "e2e/test_reload_sights.py::test_store_certificates_are_seen",
    "store.tls.key": "e2e/test_reload_sights.py::test_store_certificates_are_seen",
    "store.sentinel.username": "e2e/test_reload_sights.py::test_word_to_a_sentinel_is_seen",
    "store.sentinel.password": "e2e/test_reload_sights.py::test_word_to_a_sentinel_is_seen",
    "limits[].lease": "e2e/test_store.py::test_leased_tokens_serve_a_busy_client",
    "limits[].on_upstream_401": "e2e/test_unproven.py::test_address_pays_for_what_the_service_does_not_know",
    "plans[].keys_file": "e2e/test_plans.py::test_keys_file_is_followed_and_taken_whole",
    "contract.rules": "e2e/test_contract_rules.py::test_reload_changes_the_table",
    "drain.delay": "e2e/test_reload_sights.py::test_drain_is_seen",
    "drain.timeout": "e2e/test_reload_sights.py::test_drain_is_seen",
    "log.format": "e2e/test_logs.py::test_fields_and_form_change_with_a_reload",
    "log.fields": "e2e/test_logs.py::test_fields_and_form_change_with_a_reload",
    "log.sample": "e2e/test_logs.py::test_sample_and_slow_change_with_a_reload",
    "log.slow": "e2e/test_logs.py::test_sample_and_slow_change_with_a_reload",
}
# Those that a reload cannot change, each by a test in which it makes the difference.
AT_START = {
    "listen": "e2e/test_start.py::test_several_listeners_serve",
    "listen[].address": "e2e/test_start.py::test_several_listeners_serve",
    "listen[].tls.cert": "e2e/test_tls.py::test_listener_serves_tls",
    "listen[].tls.key": "e2e/test_tls.py::test_listener_serves_tls",
    "listen[].tls.certs": "e2e/test_tls_names.py::test_name_that_is_asked_for_is_served",
    "listen[].tls.certs[].cert": "e2e/test_tls_names.py::test_name_that_is_asked_for_is_served",
    "listen[].tls.certs[].key": "e2e/test_tls_names.py::test_name_that_is_asked_for_is_served",
    "listen[].tls.client_ca": "e2e/test_tls_names.py::test_client_certificate_is_required_under_every_name",
    "listen[].tls.min_version": "e2e/test_tls_names.py::test_least_version_holds_under_every_name",
    "listen[].proxy_protocol": "e2e/test_proxy_protocol.py::test_client_is_who_the_header_says",
    "listen[].mode": "test_deciding.py::test_request_is_judged_by_what_the_front_tells",
    "listen[].front": "test_deciding.py::test_request_is_judged_by_what_the_front_tells",
    "listen[].refuse_with": "test_deciding.py::test_refusals_are_403_for_a_front_that_knows_no_other",
    "listen[].on_bad_front": "test_deciding.py::test_front_that_does_not_say_what_it_must_is_refused_or_let_pass",
    "admin.listen": "e2e/test_probes.py::test_admin_plane_has_its_own_still",
    "admin.probes": "e2e/test_probes.py::test_probes_need_no_token_and_nothing_else_is_there",
    "workers": "e2e/test_workers.py::test_both_workers_serve",
    "store.prefix": "limiter/test_neighbours.py::test_services_with_other_prefixes_share_nothing",
    "store.key_secret": "policy/test_keys.py::test_credential_cannot_be_read_from_its_key",
    "log.program": "e2e/test_logs.py::test_terminal_gets_text_and_a_pipe_json",
    "log.access": "e2e/test_reload.py::test_log_file_is_reopened",
    "traces.otlp": "e2e/test_traces.py::test_root_begins_here_where_no_trace_comes",
    "traces.sample": "e2e/test_traces.py::test_without_a_share_nothing_is_made",
    "traces.service": "e2e/test_traces.py::test_exchange_is_four_spans_with_the_names_of_the_conventions",
    "traces.headers": "e2e/test_traces.py::test_exchange_is_four_spans_with_the_names_of_the_conventions",
}
BY_THEIR_PARTS = {"limits", "plans", "contract.path_methods", "errors.format"}


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
    """A new setting that needs no restart gets its row or its sight, or a test of its own that is named here."""
    followed = {e.path for e in entries() if not (e.is_restart or e.is_block)}
    seen_here = {row.setting for row in ROWS} | {sight.setting for sight in SIGHTS}

    assert not seen_here & ELSEWHERE.keys()
    assert followed - seen_here - BY_THEIR_PARTS == ELSEWHERE.keys()


def test_no_setting_of_the_start_is_left_out():
    assert {e.path for e in entries() if e.is_restart and not e.is_block} == AT_START.keys()


@pytest.mark.parametrize("named", sorted({*ELSEWHERE.values(), *AT_START.values()}))
def test_what_is_named_here_exists(named):
    path, _, test = named.partition("::")

    assert f"def {test}(" in (ROOT / "tests" / path).read_text()
