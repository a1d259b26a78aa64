"""A listener that decides for other proxies: what it reads, whom it answers, and how."""

from __future__ import annotations

import json

import pytest

from tests.net.bench import limit
from tests.support.messages import get
from tests.support.network import network

TRUSTED = {"forwarded": {"trust": ["127.0.0.1"]}}
NGINX = ("X-Original-Method: {method}", "X-Original-URI: {target}")
FORWARD_AUTH = ("X-Forwarded-Method: {method}", "X-Forwarded-Uri: {target}", "X-Forwarded-Host: shop.example")
WAYS = {
    "nginx": NGINX,
    "haproxy": NGINX,
    "traefik": FORWARD_AUTH,
    "caddy": FORWARD_AUTH,
    "envoy": (),
    "itself": (),
}
BY_ROUTE = {
    "limits": [
        {
            "name": "writes",
            "match": {"methods": ["POST"], "paths": ["/orders/*"]},
            "key": ["header:X-Auth-Token", "client-ip"],
            "rate": "2/h",
        }
    ]
}


def deciding(**more):
    return {"listen": [{"address": "127.0.0.1:0", "mode": "decide", **more}]}


def question(front, *headers, method="GET", target="/"):
    """What such a front sends for a request."""
    told = [line.format(method=method, target=target) for line in WAYS[front]]
    if told:
        return get(*told, *headers, target="/_weir")
    return get(*headers, target=target, method=method)


async def statuses(wire, *questions):
    found = []
    for data in questions:
        await wire.send(data)
        found.append((await wire.response()).status)
    return found


@pytest.mark.parametrize("named", [True, False], ids=["named", "auto"])
@pytest.mark.parametrize("front", WAYS)
async def test_request_is_judged_by_what_the_front_tells(start_bench, connect, front, named):
    """By its method and target: what the limit does not match is let pass without a field."""
    listen = deciding(front=front) if named else deciding()
    bench = await start_bench(**TRUSTED, **BY_ROUTE, **listen)
    wire = await connect(bench)
    write = question(front, method="POST", target="/orders/1?x=%2F")
    found = await statuses(wire, write, question(front, target="/orders/1"), write, write)

    assert found == [200, 200, 200, 429]
    assert [each.target for each in bench.exchanges] == [b"/orders/1?x=%2F", b"/orders/1"] + [
        b"/orders/1?x=%2F"
    ] * 2
    assert [each.source for each in bench.exchanges] == ["weir"] * 4


async def test_answers_have_what_a_forwarding_weir_says(start_bench, connect):
    bench = await start_bench(**TRUSTED, **limit(), **deciding())
    wire = await connect(bench)
    await wire.send(question("nginx", "X-Request-Id: mine"))
    passed = await wire.response()
    await statuses(wire, question("nginx"))
    await wire.send(question("nginx"))
    refused = await wire.response()

    assert (passed.status, passed.body) == (200, b"")
    assert passed.value("RateLimit") == b'"few";r=1;t=1800'
    assert passed.value("X-Request-Id") == b"mine"
    assert refused.status == 429
    assert refused.value("Retry-After") == b"1800"
    assert json.loads(refused.body)["violated-policies"] == ["few"]
    assert [each.outcome for each in bench.exchanges] == ["served", "served", "refused"]
    assert bench.ledger.decisions["few", "refused", "store"] == 1


async def test_who_pays_is_the_client_that_the_front_names(start_bench, connect):
    bench = await start_bench(**TRUSTED, **limit("1/h", 1), **deciding())
    wire = await connect(bench)
    clients = ["10.0.0.1", "10.0.0.2", "10.0.0.1"]
    found = await statuses(wire, *(question("caddy", f"X-Forwarded-For: {client}") for client in clients))

    assert found == [200, 200, 429]


async def test_host_is_the_one_that_was_asked_for(start_bench, connect):
    rule = {"limits": [{"name": "few", "key": "host", "rate": "1/h"}]}
    bench = await start_bench(**TRUSTED, **rule, **deciding())
    wire = await connect(bench)
    other = question("caddy").replace(b"Host: shop.example\r\n\r\n", b"Host: other.example\r\n\r\n")

    assert await statuses(wire, question("caddy"), other, question("caddy")) == [200, 200, 429]


@pytest.mark.parametrize("front", ["envoy", "caddy"])
async def test_head_is_answered_as_the_question_is_framed(start_bench, connect, front):
    """A question by GET about a HEAD has a body in its answer, a question by HEAD has none."""
    bench = await start_bench(**TRUSTED, **limit("1/h", 1), **deciding())
    wire = await connect(bench)
    await statuses(wire, question("envoy"))
    await wire.send(question(front, method="HEAD"))
    refused = await wire.response("HEAD" if front == "envoy" else "GET")

    assert refused.status == 429
    assert bool(refused.body) == (front == "caddy")
    assert await statuses(wire, question("envoy")) == [429]


async def test_refusals_are_403_for_a_front_that_knows_no_other(start_bench, connect):
    """All but 401; what they stand for is said beside."""
    contract = {"contract": {"known_paths": ["/api/**"], "credentials": ["X-Auth-Token"]}}
    bench = await start_bench(**TRUSTED, **limit("1/h", 1), **contract, **deciding(refuse_with=403))
    wire = await connect(bench)
    token = "X-Auth-Token: a"
    found = []
    for data in (
        question("nginx", token, target="/api/a"),
        question("nginx", token, target="/api/a"),
        question("nginx", token, target="/other"),
        question("nginx", target="/api/a"),
    ):
        await wire.send(data)
        answer = await wire.response()
        found.append((answer.status, answer.value("X-Refusal-Status")))

    assert found == [(200, None), (403, b"429"), (403, b"404"), (401, None)]
    assert [each.status for each in bench.exchanges] == [200, 403, 403, 401]


AT_THE_DOOR = {
    "unknown method": ("itself", b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    "unknown method in fields": ("nginx", question("nginx", method="BREW"), 501),
    "no host": ("itself", b"GET / HTTP/1.1\r\n\r\n", 400),
    "many fields": ("itself", get(*(f"X-P{number}: a" for number in range(110))), 431),
    "large head": ("itself", get("X-Large: " + "a" * 40_000), 431),
    "long target": ("itself", get(target="/" + "a" * 9000), 414),
    "long target in a field": ("nginx", question("nginx", target="/" + "a" * 9000), 414),
    "bad target in a field": ("caddy", question("caddy", target="/a b"), 400),
    "TRACE in fields": ("nginx", question("nginx", method="TRACE"), 405),
}


@pytest.mark.parametrize(("front", "data", "status"), AT_THE_DOOR.values(), ids=AT_THE_DOOR)
async def test_what_a_client_makes_of_a_question_is_refused_as_the_front_understands_it(
    start_bench, connect, front, data, status
):
    """With 403 where it knows no other; else as any Weir refuses it, but that Envoy takes no 5xx for a refusal."""
    fronts = [(front, 403, 403), (front, 429, status)]
    if front == "itself":
        fronts.append(("envoy", 429, 403 if status >= 500 else status))
    for kind, refuse_with, shown in fronts:
        bench = await start_bench(**TRUSTED, **limit(), **deciding(front=kind, refuse_with=refuse_with))
        wire = await connect(bench)
        await wire.send(data)
        refused = await wire.response()
        told = b"%d" % status if shown != status else None

        assert (refused.status, refused.value("X-Refusal-Status")) == (shown, told)
        assert bench.exchanges[0].status == shown


async def test_door_of_another_listener_answers_as_ever(start_bench, connect):
    """Whatever a question has been told just before; and a stranger learns nothing of fronts."""
    both = [{"address": "127.0.0.1:0", "mode": "decide", "refuse_with": 403}, {"address": "127.0.0.1:0"}]
    bench = await start_bench(**TRUSTED, **limit(), listen=both)
    forwarding = await network().serve(bench.parts.protocol(bench.parts.settings.listen[1]))
    found = []
    for port in (bench.port, forwarding.port, bench.port):
        found += await statuses(await connect(port), b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n")
    await forwarding.close()
    strict = await start_bench(forwarded={"trust": ["10.0.0.1"]}, **deciding(refuse_with=403))

    assert found == [403, 501, 403]
    assert await statuses(await connect(strict), b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n") == [501]


async def test_stranger_is_refused_and_counted(start_bench, connect):
    bench = await start_bench(forwarded={"trust": ["10.0.0.1"]}, **limit(), **deciding(on_bad_front="allow"))
    wire = await connect(bench)
    await wire.send(question("nginx"))
    refused = await wire.response()

    assert refused.status == 403
    assert refused.value("Connection") == b"close"
    assert bench.exchanges[0].charges == ()
    assert bench.ledger.refused_heads["strange_front"] == 1


BAD_FRONTS = {
    "no method": ("auto", ["X-Original-URI: /"]),
    "no target": ("auto", ["X-Forwarded-Method: GET", "X-Forwarded-Host: a"]),
    "no host": ("auto", ["X-Forwarded-Method: GET", "X-Forwarded-Uri: /"]),
    "nothing at all": ("nginx", []),
    "empty": ("nginx", ["X-Original-Method: GET", "X-Original-URI:"]),
    "target twice": ("auto", ["X-Original-Method: GET", "X-Original-URI: /", "X-Original-URI: /"]),
    "host twice": (
        "traefik",
        ["X-Forwarded-Method: GET", "X-Forwarded-Uri: /", "X-Forwarded-Host: a", "X-Forwarded-Host: a"],
    ),
    "two kinds": (
        "auto",
        ["X-Original-Method: GET", "X-Original-URI: /", "X-Forwarded-Method: GET", "X-Forwarded-Uri: /"],
    ),
}


@pytest.mark.parametrize(("kind", "told"), BAD_FRONTS.values(), ids=BAD_FRONTS)
async def test_front_that_does_not_say_what_it_must_is_refused_or_let_pass(start_bench, connect, kind, told):
    """As the listener says; counted either way, and without a token."""
    for on_bad_front, status in (("deny", 400), ("allow", 200)):
        listen = deciding(front=kind, on_bad_front=on_bad_front)
        bench = await start_bench(**TRUSTED, **limit("1/h", 1), **listen)
        wire = await connect(bench)

        assert await statuses(wire, get(*told), get(*told)) == [status] * 2
        assert bench.ledger.refused_heads["bad_front"] == 2
        assert [each.decision for each in bench.exchanges] == [None, None]


@pytest.mark.parametrize(
    ("told", "status"),
    [
        (("get it", "/"), 400),
        (("GET", "/a b"), 400),
        (("GET", "/a#b"), 400),
        (("GET", "shop.example/"), 400),
        (("GET", "http://other.example/"), 421),
        (("BREW", "/"), 501),
        (("TRACE", "/"), 405),
        (("GET", "/" + "a" * 9000), 414),
    ],
)
async def test_request_that_no_weir_would_forward_is_refused(start_bench, connect, told, status):
    """It is the client's doing, so no setting lets it pass."""
    listen = deciding(on_bad_front="allow")
    bench = await start_bench(**TRUSTED, **limit(), **listen)
    wire = await connect(bench)
    await wire.send(question("nginx", method=told[0], target=told[1]))

    assert (await wire.response()).status == status
    assert bench.exchanges[0].decision is None


async def test_method_of_the_config_may_be_asked_about(start_bench, connect):
    bench = await start_bench(**TRUSTED, downstream={"methods": ["BREW"]}, **limit(), **deciding())
    wire = await connect(bench)

    assert (
        await statuses(wire, *(question(front, method="BREW") for front in ("nginx", "envoy"))) == [200] * 2
    )


async def test_fields_of_other_kinds_are_the_clients_own(start_bench, connect):
    """A front that is named is believed alone."""
    bench = await start_bench(**TRUSTED, **BY_ROUTE, **deciding(front="envoy"))
    wire = await connect(bench)
    lie = ("X-Original-Method: GET", "X-Original-URI: /", "X-Forwarded-Method: GET", "X-Forwarded-Uri: /")
    write = question("envoy", *lie, method="POST", target="/orders/1")

    assert await statuses(wire, write, write, write) == [200, 200, 429]


async def test_http10_questions_and_bodies_are_answered(start_bench, connect):
    """As nginx asks by default; what comes with a question is dropped."""
    bench = await start_bench(**TRUSTED, **limit("100/h", 100), **deciding())
    wire = await connect(bench)
    body = question("nginx", "Content-Length: 3")
    assert await statuses(wire, body + b"abc", body + b"abc") == [200, 200]
    await wire.send(question("nginx").replace(b"HTTP/1.1", b"HTTP/1.0"))
    answer = await wire.response()

    assert answer.status == 200
    assert answer.value("Connection") == b"close"
