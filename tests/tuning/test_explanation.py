"""What is explained of a request is what the gateway does with it."""

import random

import msgspec
import pytest
import yaml

from proxy.config.loader import Config
from proxy.tuning.explanation import explained
from tests.support.messages import answer
from tests.support.origin import answering

CONFIG = """
upstream: {servers: ["http://127.0.0.1:9000"]}
forwarded: {trust: [127.0.0.1]}
contract: {known_paths: ["/api/**", /health], allow_methods: [GET, POST, DELETE]}
limits:
  - {name: per-user, key: ["header:X-Auth-Token", "header:Authorization", client-ip], rate: 15/s}
  - {name: sign-in, match: {methods: [POST], paths: [/api/authenticate]}, key: client-ip, rate: 10/m}
  - {name: batch, match: {headers: {X-Client: "batch-*"}}, key: [path:1], rate: 5/s, cost: 2, burst: 9}
  - {name: inner, key: const, rate: 5/s, mode: shadow, exempt: {cidrs: [10.0.0.0/8], paths: [/health], headers: {X-Inside: "yes"}}}
"""


def explain(head, peer="127.0.0.1", config=CONFIG, **changes):
    settings = Config(yaml.safe_dump(yaml.safe_load(config) | changes), "f", {}).settings
    return explained(settings, head, peer, "http")


def request(line, *headers):
    return "\r\n".join([f"{line} HTTP/1.1", "Host: shop.example", *headers, "", ""]).encode()


def by_name(found):
    return {limit.name: limit for limit in found.limits}


def test_reasons_are_named():
    found = by_name(explain(request("GET /api/a")))

    assert {name: limit.why_not for name, limit in found.items()} == {
        "per-user": None,
        "sign-in": "method",
        "batch": "header",
        "inner": None,
    }
    assert by_name(explain(request("POST /api/a")))["sign-in"].why_not == "path"
    assert by_name(explain(request("GET /health")))["inner"].why_not == "exempt"
    assert by_name(explain(request("GET /api/a", "X-Forwarded-For: 10.1.1.1")))["inner"].why_not == "exempt"
    assert found["per-user"].matches
    assert not found["batch"].matches


PREFLIGHT = ["Origin: https://app.example", "Access-Control-Request-Method: PUT"]


def test_preflight_that_the_gateway_charges_nothing_is_charged_nothing():
    """Of an origin that is known; and nothing is told of limits in its answer."""
    found = explain(
        request("OPTIONS /api/a", *PREFLIGHT), cors={"origins": ["https://app.example"]}, contract={}
    )
    other = explain(
        request("OPTIONS /api/a", *PREFLIGHT), cors={"origins": ["https://other.example"]}, contract={}
    )
    limit = by_name(found)["per-user"]

    assert (limit.matches, limit.why_not, limit.keys) == (False, "preflight", [])
    assert not any(name.startswith("RateLimit") for name, _ in found.response_headers)
    assert by_name(other)["per-user"].matches


def test_key_is_told_by_its_source_and_hash():
    found = explain(request("GET /api/a", "X-Auth-Token: ann", "X-Forwarded-For: 192.0.2.7"))
    again = explain(request("DELETE /api/b", "X-Auth-Token: ann"))
    limit = by_name(found)["per-user"]

    assert found.client == "192.0.2.7"
    assert limit.key.source == "header:X-Auth-Token"
    assert limit.key.hash == by_name(again)["per-user"].key.hash
    assert len(limit.key.hash) == 16
    assert "ann" not in limit.key.hash
    assert by_name(explain(request("GET /api/a")))["per-user"].key.source == "client-ip"
    assert by_name(explain(request("GET /api/a", "X-Client: batch-7")))["batch"].key.source == "path:1"


def test_every_credential_that_is_charged_is_told():
    limit = by_name(explain(request("GET /api/a", "X-Auth-Token: ann", "Authorization: Bearer ben")))[
        "per-user"
    ]

    assert [key.source for key in limit.keys] == ["header:X-Auth-Token", "header:Authorization"]
    assert limit.key == limit.keys[0]


def test_numbers_are_those_of_the_limit():
    batch = by_name(explain(request("GET /api/a", "X-Client: batch-7")))["batch"]
    inner = by_name(explain(request("GET /api/a")))["inner"]

    assert (batch.rate, batch.burst, batch.cost, batch.mode, batch.plan) == ("5/s", 9, 2, "enforce", None)
    assert inner.mode == "shadow"


@pytest.mark.parametrize(
    ("head", "status", "reason"),
    [
        (request("GET /none"), 404, "unknown_path"),
        (request("PUT /api/a"), 405, "method_not_allowed"),
        (request("GET /api/a", "X-Auth-Token: a", "X-Auth-Token: b"), 400, "repeated_credential"),
        (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "malformed_head"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "bad_host"),
    ],
)
def test_refusal_before_the_limits_is_told(head, status, reason):
    found = explain(head)

    assert (found.refused.status, found.refused.reason) == (status, reason)
    assert found.request is None
    assert ("Content-Type", "application/problem+json") in found.response_headers


def test_credential_that_services_read_in_two_ways_is_refused():
    limits = [{"name": "a", "key": ["cookie:sid", "client-ip"], "rate": "1/s"}]
    found = explain(request("GET /api/a", "Cookie: sid=a; sid=b"), limits=limits)

    assert (found.refused.status, found.refused.reason) == (400, "unclear_credential")


def test_json_has_the_shape_that_is_promised():
    found = msgspec.to_builtins(explain(request("GET /api/a", "X-Auth-Token: ann")))

    assert list(found)[:6] == ["method", "target", "client", "limits", "request", "response_headers"]
    assert list(found["limits"][0])[:9] == [
        "name",
        "matches",
        "why_not",
        "key",
        "plan",
        "rate",
        "burst",
        "cost",
        "mode",
    ]
    assert list(found["limits"][0]["key"]) == ["source", "hash"]
    assert list(found["request"]) == ["line", "headers"]
    assert found["request"]["line"] == "GET /api/a HTTP/1.1"
    assert ["X-Auth-Token", "ann"] in [list(pair) for pair in found["request"]["headers"]]
    assert ["RateLimit-Policy", '"per-user";q=15;w=1'] in [list(pair) for pair in found["response_headers"]]


DATE = "Date: Thu, 01 Jan 2026 00:00:00 GMT"
LINES = ["GET /api/a", "GET /api/a?b=c%20d", "POST /api/authenticate", "GET /health", "DELETE /api/../api/x", "PUT /api/a", "GET /none", "GET //api//a", "HEAD /api/a"]  # fmt: skip
HEADERS = ["X-Auth-Token: ann", "Authorization: Bearer ben", "X-Client: batch-7", "X-Inside: yes", "X-Forwarded-For: 10.1.2.3", "X-Forwarded-For: 192.0.2.9, 127.0.0.1", "Connection: X-Odd", "X-Odd: 1", "TE: trailers", "Accept: text/html", "Via: 1.0 a", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "X-Request-Id: mine", "X_Under: 1", "Expect: 100-continue", "X-Auth-Token: eve"]  # fmt: skip


@pytest.mark.unmeasured
@pytest.mark.parametrize("dialect", ["draft10", "legacy", "off"])
async def test_explanation_is_the_gateway(start_bench, start_origin, connect, dialect):
    """Byte for byte what the service gets, and every field that Weir adds to the answer."""
    chosen = random.Random(dialect)
    origin = await start_origin(answering(answer(200, b"", "X-Service: 1", DATE)))
    changes = {name: block for name, block in yaml.safe_load(CONFIG).items() if name != "upstream"}
    changes["ratelimit_fields"] = dialect
    for _ in range(40):
        head = request(chosen.choice(LINES), *chosen.sample(HEADERS, chosen.randrange(5)))
        bench = await start_bench(origin, **changes)  # with buckets that are full
        found = explain(head, upstream={"servers": [origin.url]}, ratelimit_fields=dialect)
        wire = await connect(bench)
        await wire.send(head)
        response = await wire.response(head.split(b" ")[0].decode())

        exchange = await bench.recorded(1)
        assert found.client == exchange.client
        charged = [(charge.limit.name, charge.key.hex()[:16]) for charge in exchange.charges]
        assert [(limit.name, key.hash) for limit in found.limits for key in limit.keys] == charged
        if found.refused is not None:
            assert (found.refused.status, len(origin.requests)) == (response.status, 0)
            assert normal(found.response_headers) <= normal(pairs(response.headers))
            continue
        sent = origin.requests.pop()
        assert found.request.line.encode() == b" ".join((sent.method, sent.target, sent.version))
        assert normal(found.request.headers) == normal(pairs(sent.headers))
        added = normal(pairs(response.headers)) - {("x-service", "1"), ("content-length", "0"), ("date", "…")}
        assert {pair for pair in added if pair[0] != "connection"} == normal(found.response_headers)


def pairs(headers):
    return [(name.decode(), value.decode()) for name, value in headers]


def normal(headers):
    """Without what is new each time, and without what depends on it."""
    made = {"x-request-id": "…", "date": "…", "content-length": "…"}
    return {
        (name.lower(), made.get(name.lower(), value) if value != "mine" and value != "0" else value)
        for name, value in headers
    }
