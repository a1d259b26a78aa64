"""What a request costs within a service, whatever becomes of it; and that nothing here breaks the service."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import suppress
from time import monotonic

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from proxy.config.mistakes import ConfigError
from proxy.config.plan_keys import key_hash
from proxy.limiter.memory import MemoryStore
from proxy.limiter.queues import WaitingRoom
from proxy.middleware import Limiter, LimitMiddleware, Refused
from tests.support.weir import ROOT

FEW = {"name": "few", "key": ["header:X-Auth-Token", "client-ip"], "rate": "2/h"}
AT_ONCE = {"name": "at-once", "key": ["client-ip"], "concurrency": 1}


class LateStore(MemoryStore):
    """Decides when it is told to."""

    def __init__(self):
        super().__init__()
        self.waiting = []
        self.is_late = True

    def take(self, charges, waiter):
        if not self.is_late:
            return super().take(charges, waiter)
        self.waiting.append((super().take(charges, waiter), waiter))
        return None

    def decide(self):
        for decision, waiter in self.waiting:
            waiter.decided(decision)
        self.waiting = []


class BrokenStore(MemoryStore):
    def take(self, charges, waiter):
        raise OSError("out of order")


class StoreThatTakesAlone(MemoryStore):
    def give_back(self, verdicts):
        raise OSError("out of order")


def answering(status=200, *headers, error=None):
    """A service."""

    async def app(scope, receive, send):
        if error is not None:
            raise error
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        await send({"type": "http.response.body", "body": b"served"})

    return app


async def asked(limiter, app=None, *headers, target="/", method="GET", **scope):
    """The messages of one answer."""
    path, _, query = target.partition("?")
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    whole = {
        **{"type": "http", "method": method, "path": path, "raw_path": path.encode()},
        **{"query_string": query.encode(), "headers": list(headers), "client": ("10.0.0.1", 1)},
        "scheme": "http",
    }
    await LimitMiddleware(app or answering(), limiter)(whole | scope, receive, send)
    return sent


async def status(*args, **kwargs):
    return (await asked(*args, **kwargs))[0].get("status")


async def with_store(limiter, store):
    await limiter.start()
    limiter.store = store
    store.configure(limiter.rules.limits)


@pytest.mark.parametrize(
    ("changes", "app", "costs"),
    [
        ({"cost_304": 0}, answering(304), 0),
        ({}, answering(304), 1),
        ({"on_upstream_429": "drain"}, answering(429, (b"retry-after", b"9")), 2),
        ({}, answering(500), 1),
    ],
    ids=["304 for nothing", "304", "429 empties", "500"],
)
async def test_answer_of_the_service_settles_what_it_cost(changes, app, costs):
    """As behind a proxy."""
    limiter = Limiter([FEW | changes])
    await asked(limiter, app)
    found = [await status(limiter) for _ in range(3)]

    assert found.count(200) == 2 - costs


@pytest.mark.parametrize(
    ("server", "found"),
    [(("/run/service.sock", None), [200, 200]), (None, [200, 200]), (("127.0.0.1", 80), [200, 429])],
    ids=["unix socket", "unix socket of uvicorn", "TCP"],
)
async def test_client_of_tcp_without_an_address_is_no_trusted_peer_of_a_unix_socket(server, found):
    """uvicorn names none that was reset before it was accepted: what it says of clients counts for nothing."""
    limiter = Limiter([FEW | {"rate": "1/h", "key": ["client-ip"]}], forwarded={"trust": ["unix:"]})
    claims = [(b"x-forwarded-for", client) for client in (b"192.0.2.1", b"192.0.2.2")]

    assert [await status(limiter, None, claim, client=None, server=server) for claim in claims] == found


async def test_cancelled_request_gets_its_token_back():
    """It never reached the service: what the store says when nobody waits is undone."""
    limiter, store = Limiter([FEW]), LateStore()
    await with_store(limiter, store)
    asking = asyncio.create_task(asked(limiter))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    store.decide()

    store.is_late = False
    assert [await status(limiter) for _ in range(3)] == [200, 200, 429]
    assert limiter.metrics.outcomes == {"abandoned": 1, "served": 2, "refused": 1}


async def test_cancellation_in_the_moment_of_the_decision_gives_the_token_back():
    """The store has decided and forgotten it; who asked has not heard of it yet."""
    limiter, store = Limiter([FEW]), LateStore()
    await with_store(limiter, store)
    asking = asyncio.create_task(asked(limiter))
    await asyncio.sleep(0)
    store.decide()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking

    store.is_late = False
    assert [await status(limiter) for _ in range(3)] == [200, 200, 429]


async def test_store_that_breaks_lets_requests_pass(caplog):
    limiter = Limiter([FEW])
    await with_store(limiter, BrokenStore())

    assert [await status(limiter) for _ in range(3)] == [200] * 3


async def test_store_that_breaks_at_a_route_lets_the_request_pass(caplog):
    """Told with its traceback each time."""
    limiter = Limiter([])
    narrow = limiter.limit("narrow", "1/h")
    await with_store(limiter, BrokenStore())

    async def app(scope, receive, send):
        await narrow.charge(scope)
        await answering()(scope, receive, send)

    assert [await status(limiter, app) for _ in range(2)] == [200] * 2
    assert [record.exc_info[0] for record in caplog.records] == [OSError] * 2


async def test_request_that_cannot_be_read_passes_its_route_too(caplog):
    """What a server hands over may be none at all; who is to be charged is not known then."""
    limiter = Limiter([FEW])
    narrow = limiter.limit("narrow", "1/h")

    async def app(scope, receive, send):
        await narrow.charge(scope)
        await answering()(scope, receive, send)

    found = [await status(limiter, app, headers=[(b"a name alone",)]) for _ in range(3)]

    assert found == [200] * 3
    assert [record.getMessage() for record in caplog.records] == ["crashed"] * 3


async def test_answer_is_sent_though_its_fields_cannot_be_made(caplog):
    """A store that breaks between the request and its answer."""
    limiter = Limiter([FEW | {"cost_304": 0}])
    await with_store(limiter, StoreThatTakesAlone())
    messages = await asked(limiter, answering(304, (b"etag", b'"a"')))

    assert (messages[0]["status"], messages[0]["headers"]) == (304, [(b"etag", b'"a"')])
    assert [record.exc_info[0] for record in caplog.records] == [OSError]


async def test_limiter_that_is_closed_lets_requests_pass_that_run():
    """A service may answer for a while after its end was told; nothing is counted then."""
    limiter = Limiter([FEW | {"cost_304": 0}])
    narrow = limiter.limit("narrow", "1/h")

    async def app(scope, receive, send):
        await limiter.close()
        await narrow.charge(scope)
        await narrow.charge(scope)
        await answering(304)(scope, receive, send)

    messages = await asked(limiter, app)

    assert messages[0]["status"] == 304
    assert dict(messages[0]["headers"])[b"ratelimit"].startswith(b'"few";r=1;')


async def test_preflight_costs_nothing():
    """A browser app's question before its request; a page of an origin that is not allowed pays."""
    limiter = Limiter([FEW], cors={"origins": ["https://app.example"]})
    preflight = ((b"access-control-request-method", b"PUT"), (b"origin", b"https://app.example"))
    foreign = (preflight[0], (b"origin", b"https://evil.example"))

    assert [await status(limiter, None, *preflight, method="OPTIONS") for _ in range(4)] == [200] * 4
    assert [await status(limiter, None, *foreign, method="OPTIONS") for _ in range(3)] == [200, 200, 429]


async def test_new_credentials_of_one_address_are_few_until_the_service_has_accepted_them():
    """As behind a proxy (`unproven`)."""
    limiter = Limiter([FEW | {"rate": "9/h", "unproven": {"rate": "2/h"}}])

    def token(number):
        return (b"x-auth-token", b"%d" % number)

    refused = [await status(limiter, answering(401), token(number)) for number in range(3)]
    other = Limiter([FEW | {"rate": "9/h", "unproven": {"rate": "2/h"}}])
    known = [await status(other, None, token(1)) for _ in range(4)]

    assert refused == [401, 401, 429]
    assert known == [200] * 4


async def test_error_of_the_service_stays_its_own():
    limiter = Limiter([FEW])
    with pytest.raises(ZeroDivisionError):
        await asked(limiter, answering(error=ZeroDivisionError()))

    assert limiter.metrics.outcomes == {"faulted": 1}
    assert limiter.metrics.ended == {(b"GET", 500, "upstream", "faulted"): 1}  # as its server answers then


async def test_path_that_is_no_text_is_charged_as_any_other():
    """Of a server that gives no `raw_path`, and decodes what is no UTF-8 in its own way."""
    limiter = Limiter([FEW])

    assert [await status(limiter, path="/\udce9", raw_path=None) for _ in range(3)] == [200, 200, 429]


@pytest.mark.parametrize(
    ("version", "statuses"), [("2", [200, 200, 429]), ("3", [200, 200, 429]), ("1.1", [400] * 3)]
)
async def test_crumbs_of_a_cookie_are_one_cookie(version, statuses):
    """Browsers send several fields over HTTP/2 (RFC 9113 section 8.2.3). In HTTP/1.1 two of them are two cookies."""
    limiter = Limiter([FEW | {"key": ["cookie:sid", "client-ip"]}])
    crumbs = [(b"cookie", b"theme=dark"), (b"cookie", b"sid=abc")]
    whole = [(b"cookie", b"sid=abc; theme=light")]

    seen = [await status(limiter, None, *crumbs, http_version=version) for _ in range(3)]
    assert seen == statuses
    assert await status(limiter, None, *whole, http_version=version) == (429 if 429 in seen else 200)


async def test_waits_of_a_limit_in_shadow_are_counted():
    limiter = Limiter([{"name": "later", "rate": "1/s", "burst": 1, "max_wait": "5s", "mode": "shadow"}])
    registry = CollectorRegistry()
    registry.register(limiter.collector)
    assert [await status(limiter) for _ in range(2)] == [200, 200]

    assert b'weir_limit_shadow_waits_total{limit="later"} 1.0' in generate_latest(registry)


async def test_route_that_refuses_gives_back_what_was_taken_before_it():
    limiter = Limiter([FEW | {"rate": "3/h"}])
    narrow = limiter.limit("narrow", "1/h")

    async def app(scope, receive, send):
        await narrow.charge(scope)
        await answering()(scope, receive, send)

    found = [await status(limiter, app) for _ in range(4)]

    assert found == [200, 429, 429, 429]
    assert [await status(limiter) for _ in range(3)] == [200, 200, 429]
    assert limiter.metrics.decisions["narrow", "refused", "store"] == 3


async def test_route_that_finds_a_credential_unclear_gives_back_what_was_taken_before_it():
    """Once, though the service asks again."""
    limiter = Limiter([FEW | {"key": ["client-ip"]}, AT_ONCE])
    narrow = limiter.limit("narrow", "9/h", key=["header:X-Auth-Token"])
    twice = ((b"X-Auth-Token", b"a"), (b"X-Auth-Token", b"b"))

    async def app(scope, receive, send):
        with suppress(Refused):
            await narrow.charge(scope)
        assert not limiter.store.held.slots
        await narrow.charge(scope)

    assert await status(limiter) == 200
    assert [await status(limiter, app, *twice) for _ in range(3)] == [400] * 3
    assert [await status(limiter) for _ in range(2)] == [200, 429]


async def test_refusal_of_a_route_is_the_answer_whatever_the_framework_makes_of_it():
    """Django answers 500 to an exception."""
    limiter = Limiter([])
    narrow = limiter.limit("narrow", "1/h")

    async def app(scope, receive, send):
        try:
            await narrow.charge(scope)
        except Exception:  # noqa: BLE001 - as Django does
            await answering(500)(scope, receive, send)
        else:
            await answering()(scope, receive, send)

    assert [await status(limiter, app) for _ in range(2)] == [200, 429]


@pytest.mark.parametrize("has_denial", [True, False])
async def test_websocket_is_refused_at_its_handshake(has_denial):
    limiter = Limiter([FEW | {"rate": "1/h"}])

    async def app(scope, receive, send):
        await send({"type": "websocket.accept", "headers": []})

    extensions = {"websocket.http.response": {}} if has_denial else {}
    accepted = await asked(limiter, app, type="websocket", extensions=extensions)
    refused = await asked(limiter, app, type="websocket", extensions=extensions)

    assert dict(accepted[0]["headers"])[b"ratelimit"] == b'"few";r=0;t=3600'
    if has_denial:
        assert (refused[0]["type"], refused[0]["status"]) == ("websocket.http.response.start", 429)
    else:
        assert refused == [{"type": "websocket.close", "code": 1013}]


async def test_websocket_that_the_service_refuses_is_answered_by_the_service():
    async def app(scope, receive, send):
        await send({"type": "websocket.close", "code": 4001})

    assert await asked(Limiter([FEW]), app, type="websocket") == [{"type": "websocket.close", "code": 4001}]


async def test_keys_paths_and_credentials_are_read_as_a_proxy_reads_them():
    limiter = Limiter(
        [FEW | {"match": {"paths": ["/api/*"]}}],
        forwarded={"trust": ["10.0.0.0/8"]},
        errors={"format": "problem"},
    )
    twice = ((b"X-Auth-Token", b"a"), (b"X-Auth-Token", b"b"))
    spelled = [await status(limiter, target=target) for target in ("/api/a", "/%61pi/a", "//api/./a?x")]

    assert spelled == [200, 200, 429]
    assert await status(limiter, None, (b"x-forwarded-for", b"192.0.2.1"), target="/api/a") == 200
    assert await status(limiter, target="/other") == 200
    assert await status(limiter, None, *twice, target="/api/a") == 400


async def test_lifespan_of_a_service_that_has_none_is_answered():
    """Django's raises; the limiter starts and ends all the same."""
    limiter = Limiter([FEW])
    heard = iter(["lifespan.startup", "lifespan.shutdown"])
    states, sent = [], []

    async def app(scope, receive, send):
        raise ValueError("lifespan is not spoken here")

    async def receive():
        return {"type": next(heard)}

    async def send(message):
        sent.append(message["type"])
        states.append(limiter.is_up)

    await LimitMiddleware(app, limiter)({"type": "lifespan"}, receive, send)

    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert states == [True, False]


async def test_end_that_fails_stays_the_error_of_the_service():
    limiter = Limiter([FEW])
    heard = iter(["lifespan.startup", "lifespan.shutdown"])

    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        raise ZeroDivisionError

    async def receive():
        return {"type": next(heard)}

    async def send(message):
        """Nobody is told of an end that failed."""

    with pytest.raises(ZeroDivisionError):
        await LimitMiddleware(app, limiter)({"type": "lifespan"}, receive, send)


async def test_start_that_fails_is_told_by_the_service():
    limiter = Limiter([FEW])
    sent = []

    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    async def receive():
        return {"type": "lifespan.startup"}

    async def send(message):
        sent.append(message["type"])

    await LimitMiddleware(app, limiter)({"type": "lifespan"}, receive, send)

    assert sent == ["lifespan.startup.failed"]


def test_one_limiter_serves_one_loop_after_another():
    """As test clients have it; what is in memory stays."""
    limiter = Limiter([FEW])

    assert [asyncio.run(status(limiter)) for _ in range(3)] == [200, 200, 429]


async def test_figures_are_in_a_registry_of_the_service():
    limiter = Limiter([FEW])
    registry = CollectorRegistry()
    registry.register(limiter.collector)
    for _ in range(3):
        await asked(limiter)
    text = generate_latest(registry).decode()

    assert 'weir_limit_decisions_total{decision="refused",limit="few",via="store"} 1.0' in text
    assert 'weir_requests_total{method="GET",source="weir",status="429"} 1.0' in text
    assert "weir_store_up 1.0" in text
    assert "weir_upstream" not in text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"limits": [{"name": "a"}]}, r"limits\[0\]\.rate: is required"),
        ({"limits": [FEW, FEW]}, "few"),
        ({"limits": [], "store": "http://a"}, r"store\.url"),
        ({"limits": [], "colour": "red"}, "unknown setting"),
    ],
)
def test_wrong_settings_are_refused_as_in_a_file(settings, message):
    with pytest.raises(ConfigError, match=message):
        Limiter(**settings)


def test_limit_of_a_route_has_a_name_of_its_own():
    limiter = Limiter([FEW])
    limiter.limit("exports", "1/m")
    for name in ("few", "exports"):
        with pytest.raises(ConfigError, match=name):
            limiter.limit(name, "1/m")


async def test_limit_of_a_route_knows_the_plans():
    limiter = Limiter([], plans=[{"name": "gold", "rate": "3/h", "keys": [key_hash("a")]}])
    route = limiter.limit("exports", "1/h", key=["header:X-Auth-Token"], plans=["gold"])

    async def app(scope, receive, send):
        await route.charge(scope)
        await answering()(scope, receive, send)

    async def statuses(token):
        return [await status(limiter, app, (b"x-auth-token", token)) for _ in range(4)]

    assert await statuses(b"a") == [200, 200, 200, 429]
    assert await statuses(b"b") == [200, 429, 429, 429]


def test_limit_of_a_route_wants_a_handler_that_can_wait():
    """It is told at once, not when the first request has been charged."""
    route = Limiter([FEW]).limit("exports", "1/m")
    with pytest.raises(TypeError, match="async def"):
        route(lambda request: request)


@pytest.mark.parametrize("name", ["gateway", "sidecar"])
def test_shipped_config_is_one_of_a_service(name, monkeypatch):
    """What it says of the admin plane and of listening is for the proxy, and so is its environment."""
    monkeypatch.setenv("WEIR_ADMIN__TOKEN", "file:/nowhere")
    monkeypatch.setenv("WEIR_LISTEN", "nonsense")
    limiter = Limiter.from_file(ROOT / f"deploy/kubernetes/{name}/weir.yaml")

    assert [limit.name for limit in limiter.rules.limits] == ["per-user"]


def test_several_workers_are_no_matter_of_a_service(tmp_path):
    path = tmp_path / "weir.yaml"
    path.write_text("limits: [{name: a, rate: 7/s}]\nworkers: 4\nadmin: {listen: '0.0.0.0:9901'}\n")

    assert len(list(Limiter.from_file(path).rules.limits)) == 1


async def test_limit_that_is_named_too_late_is_a_mistake_of_the_service():
    """Its bucket would not be known to the store."""
    limiter = Limiter([FEW])
    await asked(limiter)
    with pytest.raises(RuntimeError, match="before the first request"):
        limiter.limit("exports", "1/m")


async def test_limit_without_its_middleware_is_a_mistake_of_the_service():
    """As a dependency, and as a decorator; nothing is served unlimited."""
    narrow = Limiter([]).limit("narrow", "1/h")

    @narrow
    async def handler(*_, **__):
        raise AssertionError("it was served")

    for call in (narrow.charge({}), handler(object(), request={"type": "http"})):
        with pytest.raises(RuntimeError, match="add LimitMiddleware"):
            await call


@pytest.mark.parametrize("tls", [{"ca": "{path}"}, {"cert": "{path}", "key": "{path}"}], ids=["ca", "cert"])
def test_certificates_for_the_store_that_are_none_are_told_at_the_start(tls, tmp_path):
    """Else it would look like an outage."""
    path = tmp_path / "papers.pem"
    path.write_text("no certificate")
    given = {name: value.format(path=path) for name, value in tls.items()}

    with pytest.raises(ValueError, match=r"store\.tls: "):
        Limiter([FEW], store={"url": "rediss://127.0.0.1:1", "tls": given})


async def test_limiter_may_be_started_and_closed_as_often_as_anybody_likes():
    """What is in memory stays for as long as it is open."""
    limiter = Limiter([FEW])
    await limiter.close()
    await limiter.start()
    await asked(limiter)
    await limiter.start()

    assert [await status(limiter) for _ in range(2)] == [200, 429]
    await limiter.close()
    await limiter.close()


async def test_what_is_no_request_passes_untouched():
    """Of protocols that there may be one day."""
    seen = []

    async def app(scope, receive, send):
        seen.append(scope)

    scope = {"type": "courier"}
    await LimitMiddleware(app, Limiter([FEW]))(scope, None, None)

    assert seen == [scope]


def test_config_of_a_proxy_is_one_of_a_service(tmp_path):
    """With or without what only a proxy reads."""
    path = tmp_path / "weir.yaml"
    path.write_text("limits: [{name: a, rate: 7/s}]\n")

    assert [limit.terms.count for limit in Limiter.from_file(path).rules.limits] == [7]
    path.write_text(
        "limits: [{name: a, rate: 8/s}]\nupstream: {servers: ['http://a']}\nlisten: 127.0.0.1:1\n"
    )
    assert [limit.terms.count for limit in Limiter.from_file(path).rules.limits] == [8]


def test_import_pulls_in_neither_the_gateway_nor_its_sockets():
    code = (
        "import sys, proxy.middleware\n"
        "wrong = {'proxy.gateway', 'proxy.net', 'proxy.runtime', 'proxy.assembly', 'aiohttp', 'uvloop', 'fastapi', 'django'}\n"
        "print(sorted(wrong & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"


# --- who waits ---

PATIENT = FEW | {"rate": "20/s", "burst": 1, "max_wait": "100ms"}


async def test_service_is_asked_when_the_token_is_there():
    limiter = Limiter([PATIENT])
    began = asyncio.get_running_loop().time()
    answers = await asyncio.gather(*(asked(limiter) for _ in range(4)))

    assert [messages[0]["status"] for messages in answers] == [200, 200, 200, 429]
    assert asyncio.get_running_loop().time() - began > 0.09
    assert limiter.room.waits == {"few": 2}
    await limiter.close()


async def test_request_that_is_cancelled_while_it_waits_gives_its_token_back():
    limiter = Limiter([PATIENT | {"rate": "1/m", "max_wait": "1m"}])
    await asked(limiter)
    waiting = asyncio.create_task(asked(limiter))
    while not len(limiter.room):
        await asyncio.sleep(0)
    assert (await asked(limiter))[0]["status"] == 429
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    again = asyncio.create_task(asked(limiter))
    for _ in range(10):
        await asyncio.sleep(0)

    assert limiter.room.waiting == {"few": 1}
    again.cancel()
    await asyncio.gather(again, return_exceptions=True)
    assert not len(limiter.room)
    await limiter.close()


async def test_request_that_finds_the_room_full_is_refused_and_gives_its_token_back():
    """More that wait than there is memory for; those who wait keep their places."""
    limiter = Limiter([PATIENT | {"rate": "2/m", "max_wait": "1m"}])
    limiter.room = WaitingRoom(monotonic, most=1)
    await asked(limiter)
    waiting = asyncio.create_task(asked(limiter))
    while not len(limiter.room):
        await asyncio.sleep(0)
    refused = await asked(limiter)
    limiter.room = WaitingRoom(monotonic)
    after = asyncio.create_task(asked(limiter))
    for _ in range(10):
        await asyncio.sleep(0)

    assert len(limiter.room) == 1
    assert refused[0]["status"] == 429
    assert limiter.metrics.outcomes == {"served": 1, "refused": 1}
    for task in (waiting, after):
        task.cancel()
    await asyncio.gather(waiting, after, return_exceptions=True)
    await limiter.close()


@pytest.mark.parametrize("first", ["its turn", "its end"])
async def test_cancellation_in_the_moment_of_its_turn_gives_the_token_back(first):
    """Whichever of the two the request hears of."""
    limiter = Limiter([PATIENT | {"rate": "2/m", "max_wait": "30s"}])
    await asked(limiter)
    waiting = asyncio.create_task(asked(limiter))
    while not len(limiter.room):
        await asyncio.sleep(0)
    if first == "its end":
        waiting.cancel()
    limiter.room.end_at(0.0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    limiter.room = WaitingRoom(monotonic)
    again = asyncio.create_task(asked(limiter))
    for _ in range(10):
        await asyncio.sleep(0)

    assert len(limiter.room) == 1
    again.cancel()
    await asyncio.gather(again, return_exceptions=True)
    await limiter.close()


# --- limits on concurrency ---


def lingering(error=None):
    """A service that answers, or fails, when it is let."""
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def app(scope, receive, send):
        inside.set()
        await go_on.wait()
        await answering(error=error)(scope, receive, send)

    return app, inside, go_on


async def test_slot_is_held_until_the_service_has_answered():
    limiter = Limiter([AT_ONCE])
    app, inside, go_on = lingering()
    running = asyncio.create_task(status(limiter, app))
    await inside.wait()
    messages = await asked(limiter, app)
    assert messages[0]["status"] == 429
    assert (b"retry-after", b"1") in messages[0]["headers"]
    assert b'weir_limit_in_flight{limit="at-once"} 1.0' in scraped(limiter)
    go_on.set()
    assert await running == 200
    assert await status(limiter) == 200
    assert b'weir_limit_in_flight{limit="at-once"} 0.0' in scraped(limiter)


def scraped(limiter):
    registry = CollectorRegistry()
    registry.register(limiter.collector)
    return generate_latest(registry)


@pytest.mark.parametrize(
    "how", ["raises", "is cancelled", "cancelled before it is decided", "as it is decided", "while it waits"]
)
async def test_slot_comes_back_however_a_request_ends(how):
    few = {"name": "few", "rate": "1/m", "max_wait": "1m", "key": ["client-ip"]}
    limiter = Limiter([AT_ONCE, few] if how == "while it waits" else [AT_ONCE])
    if how == "while it waits":
        assert await status(limiter) == 200
    store = None
    if how in ("cancelled before it is decided", "as it is decided"):
        store = LateStore()
        await with_store(limiter, store)
    app, inside, go_on = lingering(ValueError("broken") if how == "raises" else None)
    running = asyncio.create_task(asked(limiter, app))
    if how in ("raises", "is cancelled"):
        await inside.wait()
    else:
        await asyncio.sleep(0.02)
    assert len(limiter.store.held.slots) == 1
    if how == "as it is decided":
        store.decide()
    if how == "raises":
        go_on.set()
    else:
        running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    if store is not None:
        store.decide()

    assert not limiter.store.held.slots


async def test_route_may_be_limited_to_so_many_at_once():
    """What the limit of a route refuses holds nothing of the others."""
    limiter = Limiter([AT_ONCE | {"name": "all", "concurrency": 5}])
    route = limiter.limit("exports", concurrency=1, key=["client-ip"])
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def app(scope, receive, send):
        await route.charge(scope)
        inside.set()
        await go_on.wait()
        await answering()(scope, receive, send)

    running = asyncio.create_task(status(limiter, app))
    await inside.wait()
    assert await status(limiter, app) == 429
    assert limiter.store.held.by_limit == {"all": 1, "exports": 1}
    go_on.set()
    assert await running == 200

    assert not limiter.store.held.slots
