"""The promise of 15 requests a second for each user: who is admitted, who is refused, and what a refusal says."""

from __future__ import annotations

import asyncio
import time
import uuid

import pytest

from tests.support.messages import get, post

pytestmark = pytest.mark.measured

SETTINGS = {
    "limits": [
        {
            "name": "per-user",
            "key": ["header:X-Auth-Token", "header:Authorization", "client-ip"],
            "rate": "15/s",
        }
    ]
}
QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"


def token() -> str:
    """A credential that no other test uses."""
    return f"X-Auth-Token: {uuid.uuid4().hex}"


def one(name="one", rate="2/m", key="const", **more):
    """A limit whose tokens do not come back within a test; its burst is the count of its rate."""
    return {"name": name, "rate": rate, "key": [key], **more}


async def statuses(ask, weir, *requests):
    """One after the other."""
    return [(await ask(weir, request)).status for request in requests]


async def burst(connect, weir, request, count):
    """All at once, each on a connection that is open before; also the time it took."""
    wires = [await connect(weir) for _ in range(count)]
    begin = time.monotonic()
    await asyncio.gather(*(wire.send(request) for wire in wires))
    responses = await asyncio.gather(*(wire.response() for wire in wires))
    return responses, time.monotonic() - begin


# --- the sixteenth request in a second ---


async def test_fifteen_of_forty_at_once_are_admitted(weir, origin, connect):
    """The rest is refused and never reaches the origin."""
    responses, seconds = await burst(connect, weir, get(token()), 40)
    admitted = [r for r in responses if r.status == 200]
    refused = [r for r in responses if r.status == 429]

    assert len(admitted) + len(refused) == 40
    assert (
        15 <= len(admitted) <= 15 + int(15 * seconds)
    )  # tokens that came back meanwhile, if the machine is slow
    assert len(origin.requests) == len(admitted)


async def test_refusal_says_when_why_and_under_which_id(weir, origin, connect):
    """Every field that the contract names."""
    responses, _ = await burst(connect, weir, get(token()), 40)
    refused = next(r for r in responses if r.status == 429)
    problem = refused.json()

    assert refused.value("Retry-After") == b"1"
    assert refused.value("RateLimit-Policy") == b'"per-user";q=15;w=1'
    assert refused.value("RateLimit") == b'"per-user";r=0;t=1'
    assert refused.value("Cache-Control") == b"no-store"
    assert refused.value("Content-Type") == b"application/problem+json"
    assert refused.value("Content-Length") == b"%d" % len(refused.body)
    assert refused.value("Date")
    assert refused.value("Connection") is None
    assert problem["type"] == QUOTA_EXCEEDED
    assert problem["status"] == 429
    assert problem["title"]
    assert problem["instance"]
    assert problem["violated-policies"] == ["per-user"]
    assert problem["requestId"].encode() == refused.value("X-Request-Id")


async def test_admitted_requests_count_down(weir, origin, ask):
    """RateLimit says what is left, and a policy what it is out of."""
    mine = token()
    left = []
    for _ in range(5):
        response = await ask(weir, get(mine))
        assert response.value("RateLimit-Policy") == b'"per-user";q=15;w=1'
        name, remaining, reset = response.value("RateLimit").split(b";")
        assert (name, reset) == (b'"per-user"', b"t=1")
        left.append(int(remaining.removeprefix(b"r=")))

    assert left[0] == 14
    assert all(later <= earlier + 1 for earlier, later in zip(left, left[1:], strict=False))
    assert left[-1] < 14


async def test_refused_client_is_served_after_retry_after(weir, origin, connect, ask):
    """The wait that it was told is enough."""
    mine = token()
    responses, _ = await burst(connect, weir, get(mine), 40)
    refused = next(r for r in responses if r.status == 429)
    await asyncio.sleep(int(refused.value("Retry-After")))

    assert (await ask(weir, get(mine))).status == 200


async def test_refusal_keeps_the_connection(start_weir, start_origin, connect):
    """On one connection: served, refused thrice, and what is exempt served again; bodies of refused requests are skipped."""
    origin = await start_origin()
    weir = start_weir({"limits": [one(rate="1/m", exempt={"paths": ["/free"]})]}, upstream=origin)
    wire = await connect(weir)
    await wire.send(
        get() + post(b"x" * 5000) + get(target="/b") + post(b"y", target="/c") + get(target="/free")
    )
    seen = [(await wire.response()).status for _ in range(5)]

    assert seen == [200, 429, 429, 429, 200]
    assert [r.target for r in origin.requests] == [b"/", b"/free"]


async def test_refused_head_request_has_no_body(start_weir, start_origin, connect):
    """Only its fields, and the connection goes on."""
    weir = start_weir({"limits": [one(cost=2, rate="1/m", burst=2)]}, upstream=await start_origin())
    wire = await connect(weir)
    await wire.send(get(method="HEAD"))
    assert (await wire.response("HEAD")).status == 200
    for _ in range(3):
        await wire.send(get(method="HEAD"))
        response = await wire.response("HEAD")
        assert (response.status, response.value("Content-Type")) == (429, b"application/problem+json")
        assert int(response.value("Content-Length")) > 0
    assert not wire.unread


async def test_refused_upload_is_not_asked_for(start_weir, start_origin, connect):
    """`Expect: 100-continue` is answered after the limiter: a refused client never sends its body.

    Nobody knows whether it does: so the connection closes.
    """
    origin = await start_origin()
    weir = start_weir({"limits": [one(rate="1/m")]}, upstream=origin)
    wire = await connect(weir)
    await wire.send(get())
    await wire.response()
    await wire.send(get("Expect: 100-continue", "Content-Length: 10", method="POST"))
    response = await wire.response()

    assert (response.status, response.interim, response.value("Connection")) == (429, [], b"close")
    assert await wire.rest() == b""
    assert len(origin.requests) == 1


# --- what limits can say ---


async def test_shadow_limit_only_counts(start_weir, start_origin, ask):
    """Nobody is refused or told; the metric says who would have been."""
    origin = await start_origin()
    weir = start_weir({"limits": [one(mode="shadow")]}, upstream=origin)
    responses = [await ask(weir, get()) for _ in range(5)]
    metrics = weir.metrics()

    assert [r.status for r in responses] == [200] * 5
    assert [r.value("RateLimit") for r in responses] == [None] * 5
    assert metrics.total("weir_limit_decisions_total", limit="one", decision="admitted") == 2
    assert metrics.total("weir_limit_decisions_total", limit="one", decision="shadow_refused") == 3


async def test_all_limits_must_grant_and_a_refusal_takes_nothing(start_weir, start_origin, ask):
    """What a refused request would have cost stays in the buckets of the other limits."""
    origin = await start_origin()
    weir = start_weir(
        {"limits": [one("writes", "2/m", match={"methods": ["POST"]}), one("all", "4/m")]}, upstream=origin
    )
    responses = [await ask(weir, request) for request in [*[post()] * 5, *[get()] * 4, post()]]

    assert [r.status for r in responses] == [200, 200, 429, 429, 429, 200, 200, 429, 429, 429]
    assert responses[0].value("RateLimit-Policy") == b'"writes";q=2;w=60, "all";q=4;w=60'
    assert responses[0].value("RateLimit") == b'"writes";r=1;t=30, "all";r=3;t=15'
    assert responses[2].json()["violated-policies"] == ["writes"]
    assert responses[7].json()["violated-policies"] == ["all"]
    assert sorted(responses[9].json()["violated-policies"]) == ["all", "writes"]
    assert int(responses[9].value("Retry-After")) in (29, 30)


async def test_exempt_requests_cost_nothing(start_weir, start_origin, ask):
    """By path, by header; the metric says so."""
    origin = await start_origin()
    exempt = {"paths": ["/health", "/static/*"], "headers": {"X-Portal": "yes"}}
    weir = start_weir({"limits": [one(rate="1/m", exempt=exempt)]}, upstream=origin)
    free = [get(target="/health"), get(target="/static/a.css"), get("X-Portal: yes"), get("x-portal: yes")]
    seen = await statuses(ask, weir, *free, *free, get(), get("X-Portal: no"), get(target="/healthy"), *free)

    assert seen == [200] * 9 + [429, 429] + [200] * 4
    assert weir.metrics().total("weir_limit_decisions_total", limit="one", decision="exempt") == 12


async def test_exempt_networks_cost_nothing(start_weir, start_origin, ask):
    """The client's address, not what a stranger says it is."""
    origin = await start_origin()
    trusted = start_weir({"limits": [one(rate="1/m", exempt={"cidrs": ["127.0.0.0/8"]})]}, upstream=origin)
    other = start_weir({"limits": [one(rate="1/m", exempt={"cidrs": ["10.0.0.0/8"]})]}, upstream=origin)

    assert await statuses(ask, trusted, *[get()] * 3) == [200] * 3
    assert await statuses(ask, other, get(), *[get("X-Forwarded-For: 10.0.0.1")] * 2) == [200, 429, 429]


@pytest.mark.parametrize(
    "target",
    [
        "/api/x",
        "/%61pi/x",
        "//api/x",
        "/./api/x",
        "/y/../api/x",
        "/y/%2e%2e/api/x",
        "/api%2Fx",
        "/y/..%2fapi/x",
        "/api//x",
        "http://shop.example/api/x",
        "/api/x?y",
        "/api/x;z",
    ],
)
async def test_limited_path_cannot_be_disguised(start_weir, start_origin, ask, target):
    """Limits look at the path as a service would read it; the origin still gets the client's bytes."""
    origin = await start_origin()
    weir = start_weir({"limits": [one(rate="1/m", match={"paths": ["/api/*"]})]}, upstream=origin)

    assert await statuses(ask, weir, get(target="/api/first"), get(target="/other"), get(target=target)) == [
        200,
        200,
        429,
    ]


async def test_exempt_path_cannot_be_faked(start_weir, start_origin, ask):
    """The other way round: dots and slashes that lead out of an exempt folder are seen through."""
    origin = await start_origin()
    weir = start_weir({"limits": [one(rate="1/m", exempt={"paths": ["/static/*"]})]}, upstream=origin)
    fakes = [
        get(target=t)
        for t in ("/static/../api", "/static/%2e%2e/api", "/static/..%2fapi", "/static/x/../../api")
    ]

    assert await statuses(ask, weir, get(target="/api"), *fakes) == [200, 429, 429, 429, 429]


async def test_cost_and_burst_are_minded(start_weir, start_origin, ask):
    """Five tokens a request out of fifteen make three requests; the wait is until five are back."""
    origin = await start_origin()
    weir = start_weir({"limits": [one(rate="15/m", burst=15, cost=5)]}, upstream=origin)
    responses = [await ask(weir, get()) for _ in range(4)]

    assert [r.status for r in responses] == [200, 200, 200, 429]
    assert responses[3].value("Retry-After") == b"20"


async def test_burst_may_differ_from_the_rate(start_weir, start_origin, ask):
    """One at a time, although sixty a minute."""
    origin = await start_origin()
    weir = start_weir({"limits": [one(rate="60/h", burst=3)]}, upstream=origin)
    responses = [await ask(weir, get()) for _ in range(4)]

    assert [r.status for r in responses] == [200, 200, 200, 429]
    assert responses[3].value("Retry-After") == b"60"


@pytest.mark.parametrize(("dialect", "present"), [("legacy", True), ("off", False)])
async def test_dialect_of_the_fields_can_be_chosen(start_weir, start_origin, ask, dialect, present):
    """X-RateLimit-* or none at all; Retry-After comes in any case."""
    origin = await start_origin()
    weir = start_weir({"limits": [one()], "ratelimit_fields": dialect}, upstream=origin)
    responses = [await ask(weir, get()) for _ in range(3)]

    assert [r.status for r in responses] == [200, 200, 429]
    for response in responses:
        assert response.value("RateLimit") is None
        assert response.value("RateLimit-Policy") is None
        assert (response.value("X-RateLimit-Limit") == b"2") is present
    if present:
        assert [r.value("X-RateLimit-Remaining") for r in responses] == [b"1", b"0", b"0"]
    assert responses[2].value("Retry-After") == b"30"


async def test_own_429_of_the_upstream_passes_and_is_counted_apart(weir, origin, ask):
    """It is the service's answer, with the service's words."""
    origin.script = upstream_says_429
    response = await ask(weir, get(token()))
    metrics = weir.metrics()

    assert (response.status, response.body, response.value("Retry-After")) == (429, b"their words", b"7")
    assert metrics.total("weir_requests_total", status="429", source="upstream") == 1
    assert (await weir.access_line(target="/", source="upstream", status=429))["outcome"] == "served"


async def upstream_says_429(visit):
    while await visit.request():
        await visit.send(b"HTTP/1.1 429 Slow Down\r\nRetry-After: 7\r\nContent-Length: 11\r\n\r\ntheir words")


async def test_decisions_are_recorded(start_weir, start_origin, ask):
    """In the metrics, /status and the access log."""
    origin = await start_origin()
    weir = start_weir({"limits": [one()]}, upstream=origin)
    responses = [await ask(weir, get(target=f"/{n}")) for n in range(5)]
    metrics, status = weir.metrics(), weir.admin("/status").json()
    line = await weir.access_line(target="/4")

    assert metrics.total("weir_limit_decisions_total", limit="one", decision="admitted", via="store") == 2
    assert metrics.total("weir_limit_decisions_total", limit="one", decision="refused") == 3
    assert metrics.total("weir_requests_total", status="429", source="weir", method="GET") == 3
    assert (status["limits"]["one"]["admitted"], status["limits"]["one"]["refused"]) == (2, 3)
    assert (line["status"], line["outcome"], line["limits"]) == (429, "refused", {"refused": ["one"]})
    assert line["request_id"].encode() == responses[4].value("X-Request-Id")
