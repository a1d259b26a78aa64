"""Fields that are for one hop, that strangers may not set, and that Weir adds."""

from __future__ import annotations

import re

import pytest

from tests.e2e.passage import answered, forwarded
from tests.support.messages import answer, get

HEX_ID = re.compile(rb"[0-9A-Za-z._:/+=@-]{1,128}")

# --- hop by hop ---

HOP_BY_HOP = [b"Connection: X-Mine, keep-alive", b"X-Mine: secret", b"Keep-Alive: timeout=5", b"Proxy-Connection: close", b"Proxy-Authenticate: Basic", b"Proxy-Authorization: Basic eA=="]  # fmt: skip


async def test_hop_by_hop_request_fields_are_removed(weir, origin, ask):
    """And what Connection names with them (RFC 9110 section 7.6.1)."""
    request = await forwarded(ask, weir, origin, get(*HOP_BY_HOP, b"TE: gzip", b"X-Kept: 1"))

    gone = {
        b"x-mine",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
    }
    assert gone.isdisjoint(name.lower() for name in request.names())
    assert request.value("X-Kept") == b"1"
    assert b"secret" not in origin.received


async def test_te_keeps_trailers_alone(weir, origin, ask):
    """The one value with an end-to-end meaning."""
    request = await forwarded(ask, weir, origin, get(b"TE: gzip;q=0.5, Trailers"))

    assert request.value("TE") == b"trailers"
    assert b"TE" in (request.value("Connection") or b"").upper()


@pytest.mark.parametrize("name", [b"Host", b"X-Auth-Token", b"Authorization", b"Content-Length", b"Cookie"])
async def test_connection_cannot_remove_what_counts(weir, origin, ask, name):
    """Naming an end-to-end field in Connection does not take it away: it would change the request, or lift a limit."""
    lines = {b"X-Auth-Token": b"t", b"Authorization": b"Bearer t", b"Content-Length": b"5", b"Cookie": b"a=b"}
    fields = [b"%b: %b" % item for item in lines.items()]
    request = await forwarded(
        ask, weir, origin, get(*fields, b"Connection: " + name, method=b"PUT") + b"hello"
    )

    assert request.body == b"hello"
    assert request.value("Host") == b"shop.example"
    for field, value in lines.items():
        assert request.value(field) == value


async def test_hop_by_hop_response_fields_are_removed(weir, origin, ask):
    """The same on the way back; the connection to the client stays."""
    response = await answered(
        ask,
        weir,
        origin,
        answer(200, b"ok", *(line for line in HOP_BY_HOP if b"Authenticate" not in line), "X-Kept: 1"),
    )

    gone = {b"x-mine", b"keep-alive", b"proxy-connection", b"proxy-authorization", b"connection"}
    assert gone.isdisjoint(name.lower() for name in response.names())
    assert response.value("X-Kept") == b"1"
    assert b"secret" not in response.raw_head


async def test_origin_that_closes_does_not_close_the_client(weir, origin, connect):
    """Connection: close of the origin is for its own connection."""

    async def script(visit):
        await visit.request()
        await visit.send(answer(200, b"ok", "Connection: close"))

    origin.script = script
    wire = await connect(weir)
    for _ in range(3):
        await wire.send(get())
        response = await wire.response()
        assert (response.status, response.value("Connection")) == (200, None)
    assert len(origin.visits) == 3


# --- added and taken away ---


async def test_way_is_told_to_the_origin(weir, origin, ask):
    """Via, X-Forwarded-* and X-Request-Id; no trace that nobody has begun."""
    request = await forwarded(ask, weir, origin, get())

    assert request.value("Via") == b"1.1 weir"
    assert request.value("X-Forwarded-For") == b"127.0.0.1"
    assert request.value("X-Forwarded-Proto") == b"http"
    assert request.value("X-Forwarded-Host") == b"shop.example"
    assert HEX_ID.fullmatch(request.value("X-Request-Id"))
    assert request.value("traceparent") is None


async def test_request_id_is_the_same_everywhere(weir, origin, ask):
    """In the request, the response and the access log; another request has another."""
    first, second = [await ask(weir, get()) for _ in range(2)]
    ids = [response.value("X-Request-Id") for response in (first, second)]

    assert ids == [request.value("X-Request-Id") for request in origin.requests]
    assert ids[0] != ids[1]
    assert await weir.access_line(request_id=ids[0].decode(), status=200)


async def test_decent_request_id_of_the_client_is_kept(weir, origin, ask):
    """So that a chain of services shares one id."""
    response = await ask(weir, get(b"X-Request-Id: abc-123.DEF"))

    assert origin.requests[0].value("X-Request-Id") == b"abc-123.DEF"
    assert response.value("X-Request-Id") == b"abc-123.DEF"


@pytest.mark.parametrize("given", [b'a"b', b"a" * 300, b"a b", b"", b"{}", b"\xe9"])
async def test_odd_request_id_of_the_client_is_replaced(weir, origin, ask, given):
    """It would end up in logs and error objects."""
    response = await ask(weir, get(b"X-Request-Id: " + given))
    made = response.value("X-Request-Id")

    assert HEX_ID.fullmatch(made)
    assert origin.requests[0].value("X-Request-Id") == made


async def test_request_id_of_the_origin_is_not_doubled(weir, origin, ask):
    """A response has one X-Request-Id."""
    response = await answered(ask, weir, origin, answer(200, b"", "x-request-id: theirs"))

    assert response.value("X-Request-Id") == origin.requests[0].value("X-Request-Id")


@pytest.mark.parametrize("flag", [b"00", b"01", b"03"])
async def test_trace_of_the_client_goes_on(weir, origin, ask, flag):
    """As it came: Weir is no part of it while it exports no spans; tracestate comes along."""
    parent = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-%b" % flag
    request = await forwarded(ask, weir, origin, get(b"traceparent: " + parent, b"tracestate: a=1,b=2"))

    assert request.value("traceparent") == parent
    assert request.value("tracestate") == b"a=1,b=2"


@pytest.mark.parametrize(
    "given",
    [
        b"nonsense",
        b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01",
        b"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ],
)
async def test_invalid_trace_is_dropped(weir, origin, ask, given):
    """With what belongs to it (W3C Trace Context section 3.3); the service begins its own, and samples as it likes."""
    request = await forwarded(ask, weir, origin, get(b"traceparent: " + given, b"tracestate: a=1"))

    assert request.value("traceparent") is None
    assert request.value("tracestate") is None


SPOOFED = [b"X-Forwarded-For: 6.6.6.6", b"x-forwarded-for: 7.7.7.7", b"X-Forwarded-Proto: https", b"X-Forwarded-Host: evil.example", b"Forwarded: for=6.6.6.6;host=evil.example"]  # fmt: skip


async def test_spoofed_forwarded_fields_are_removed(weir, origin, ask):
    """Nobody vouches for the peer, so nothing that it says of the way is believed or passed on."""
    request = await forwarded(ask, weir, origin, get(*SPOOFED))

    assert request.value("X-Forwarded-For") == b"127.0.0.1"
    assert request.value("X-Forwarded-Proto") == b"http"
    assert request.value("X-Forwarded-Host") == b"shop.example"
    assert request.value("Forwarded") is None
    assert b"6.6.6.6" not in origin.received
    assert b"evil" not in origin.received


async def test_other_forwarded_fields_of_a_stranger_are_removed(weir, origin, ask):
    """X-Forwarded-* is a family: Port, Prefix and Server are believed by frameworks too."""
    lines = [b"X-Forwarded-Port: 1", b"X-Forwarded-Prefix: /evil", b"X-Forwarded-Server: evil"]
    request = await forwarded(ask, weir, origin, get(*lines))

    assert not [
        name
        for name in request.names()
        if name.lower() in (b"x-forwarded-port", b"x-forwarded-prefix", b"x-forwarded-server")
    ]


async def test_via_is_appended_to(weir, origin, ask):
    """Never dropped (RFC 9110 section 7.6.3), also when a stranger sent it."""
    request = await forwarded(ask, weir, origin, get(b"Via: 1.0 fred"))

    assert request.value("Via") == b"1.0 fred, 1.1 weir"


async def test_underscore_fields_are_dropped(weir, origin, ask):
    """CGI-like services read X_Auth as X-Auth."""
    request = await forwarded(
        ask, weir, origin, get(b"X_Auth_Token: spoof", b"content_length: 7", b"X-Fine: a_b")
    )

    assert not [name for name in request.names() if b"_" in name]
    assert request.value("X-Fine") == b"a_b"
    assert b"spoof" not in origin.received


@pytest.mark.parametrize(
    "lines",
    [
        ["X-Api-Key: {n}", "Connection: X-Api-Key"],
        ["X_Api_Key: {n}"],
        ["X-Real-IP: 10.0.0.{n}"],
        ["X-Forwarded-For: 10.0.0.{n}"],
        ["Connection: {n}, X-Api-Key", "X-Api-Key: {n}", "Authorization: Bearer true"],
    ],
)
async def test_field_that_the_service_does_not_see_lifts_no_limit(start_weir, start_origin, ask, lines):
    """Named away, with an underscore, or claimed by a stranger: it is passed on, or it is not read."""
    origin = await start_origin()
    keys = ["header:X-Api-Key", "header:X_Api_Key", "header:X-Real-IP", "header:Authorization", "client-ip"]
    limit = {"name": "one", "key": keys, "rate": "1/m", "exempt": {"headers": {"X-Forwarded-For": "10.*"}}}
    weir = start_weir({"limits": [limit]}, upstream=origin)
    for n in range(3):
        await ask(weir, get(*(line.format(n=n) for line in lines)))

    seen = [origin_request.value(lines[0].partition(":")[0].encode()) for origin_request in origin.requests]
    assert len(seen) == 1 or seen == [b"0", b"1", b"2"]


async def test_credential_cannot_be_named_away(start_weir, start_origin, ask):
    """What `contract.credentials` asks for is what the service gets."""
    origin = await start_origin()
    weir = start_weir({"contract": {"credentials": ["X-Api-Key"]}}, upstream=origin)
    response = await ask(weir, get("X-Api-Key: k", "Connection: X-Api-Key"))

    assert response.status == 200
    assert origin.requests[0].value(b"X-Api-Key") == b"k"


async def test_credential_behind_the_body_goes_no_further(start_weir, start_origin, ask):
    """A service may merge trailers with the fields of the head, which were charged."""
    origin = await start_origin()
    limit = {"name": "one", "key": ["header:X-Api-Key"], "rate": "100/m"}
    weir = start_weir({"limits": [limit]}, upstream=origin)
    trailers = b"X-Api-Key: k\r\nX-Sum: 1\r\n"
    body = b"2\r\nhi\r\n0\r\n" + trailers + b"\r\n"
    response = await ask(weir, get("Transfer-Encoding: chunked", method="POST") + body)

    assert response.status == 200
    assert b"X-Sum: 1" in origin.received
    assert b"X-Api-Key" not in origin.received


async def test_trusted_hop_is_believed(start_weir, start_origin, ask):
    """What a trusted peer says of the way is kept and appended to."""
    origin = await start_origin()
    weir = start_weir({"forwarded": {"trust": ["127.0.0.0/8", "10.0.0.0/8"]}}, upstream=origin)
    request = await forwarded(
        ask,
        weir,
        origin,
        get(
            b"X-Forwarded-For: 6.6.6.6, 10.1.1.1",
            b"X-Forwarded-Proto: https",
            b"X-Forwarded-Host: public.example",
        ),
    )

    assert request.value("X-Forwarded-For") == b"6.6.6.6, 10.1.1.1, 127.0.0.1"
    assert request.value("X-Forwarded-Proto") == b"https"
    assert request.value("X-Forwarded-Host") == b"public.example"
    assert (await weir.access_line(status=200))["client"] == "6.6.6.6"


async def test_host_of_the_upstream_is_sent_when_asked(start_weir, start_origin, ask):
    """`host: upstream` puts the server's authority; the client's is in X-Forwarded-Host."""
    origin = await start_origin()
    weir = start_weir({"upstream": {"host": "upstream"}}, upstream=origin)
    request = await forwarded(ask, weir, origin, get())

    assert request.value("Host") == b"127.0.0.1:%d" % origin.port
    assert request.value("X-Forwarded-Host") == b"shop.example"


async def test_host_of_the_client_is_kept(weir, origin, ask):
    """`host: preserve`, the default: case and port as they came."""
    request = await forwarded(ask, weir, origin, b"GET / HTTP/1.1\r\nhost: Shop.Example:8080\r\n\r\n")

    assert request.value("Host") == b"Shop.Example:8080"
