"""What the service promised of each status: kept where it is, counted where it is broken."""

from __future__ import annotations

import pytest

from tests.support.messages import answer, get, post
from tests.support.origin import answering

CREATED = ["Location: http://127.0.0.1:1/api/entities/17", "X-Global-Identifier: g-17"]


async def test_created_keeps_its_fields(weir, origin, ask):
    """201: Location and X-Global-Identifier as written."""
    origin.script = answering(answer(201, b'{"id": 17}', *CREATED))
    response = await ask(weir, post())

    assert response.status == 201
    assert response.value("Location") == b"http://127.0.0.1:1/api/entities/17"
    assert response.value("X-Global-Identifier") == b"g-17"


@pytest.mark.parametrize(
    "kept", [[], CREATED[:1], CREATED[1:]], ids=["neither", "Location", "X-Global-Identifier"]
)
async def test_created_without_its_fields_is_counted(weir, origin, ask, kept):
    """A contract violation passes, and shows in a metric."""
    before = weir.metrics().total("weir_contract_violations_total", status="201")
    origin.script = answering(answer(201, b"", *kept))
    response = await ask(weir, post())

    assert response.status == 201
    assert weir.metrics().total("weir_contract_violations_total", status="201") == before + 2 - len(kept)


async def test_broken_contract_is_sampled_into_the_log(start_weir, start_origin, connect):
    """With the request's id; once an hour for each status and rule, however many there are."""
    origin = await start_origin(answering(answer(201, b"", CREATED[0])))
    weir = start_weir(upstream=origin)
    wire = await connect(weir)
    await wire.send(post(target="/api/entities?token=hunter2") * 200)
    responses = [await wire.response() for _ in range(200)]
    first = await weir.logged(lambda line: line["event"] == "violation")
    lines = [line for line in weir.log() if line["event"] == "violation"]

    assert (first["status"], first["rule"]) == (201, "missing_global_identifier")
    assert first["request_id"].encode() == responses[0].value("X-Request-Id")
    assert first["request"] == "POST /api/entities?token=***"
    assert len(lines) == 1
    assert weir.metrics().total("weir_contract_violations_total") == 200


async def test_kept_contract_counts_nothing(weir, origin, ask):
    """A service that does as it promised is not accused."""
    before = weir.metrics().total("weir_contract_violations_total")
    replies = iter(
        [
            answer(200, b"{}", "Content-Type: application/json"),
            answer(201, b"", *CREATED),
            answer(204, b"", length=False),
            answer(304, b"", 'ETag: "a"', length=False),
            answer(401, b"", "WWW-Authenticate: Bearer"),
            answer(404, b""),
            answer(405, b"", "Allow: GET"),
        ]
    )
    origin.script = answering(lambda request: next(replies))
    for _ in range(7):
        await ask(weir, get())

    assert weir.metrics().total("weir_contract_violations_total") == before


async def test_location_gets_the_public_origin(start_weir, start_origin, ask):
    """Only the origin part, only of the service's own URLs; path, query and fragment stay as they are."""
    origin = await start_origin()
    weir = start_weir({"contract": {"public_url": "https://api.example.com"}}, upstream=origin)
    locations = {
        "/1": f"{origin.url}/a%2Fb?c=d#e",
        "/2": "/relative",
        "/3": "https://elsewhere.example/x",
        "/4": origin.url,
        "/5": f"{origin.url}.evil.example/",
    }
    origin.script = answering(
        lambda r: answer(201, b"", f"Location: {locations[r.target.decode()]}", CREATED[1])
    )
    seen = [(await ask(weir, post(target=target))).value("Location").decode() for target in locations]

    assert seen == [
        "https://api.example.com/a%2Fb?c=d#e",
        "/relative",
        "https://elsewhere.example/x",
        "https://api.example.com",
        f"{origin.url}.evil.example/",
    ]


async def test_method_that_is_not_allowed_is_a_405(start_weir, start_origin, ask):
    """At the edge, with Allow, free of charge; the origin never hears of it."""
    origin = await start_origin()
    weir = start_weir(
        {
            "contract": {"allow_methods": ["GET", "HEAD"]},
            "limits": [{"name": "one", "rate": "1/m", "key": ["const"]}],
        },
        upstream=origin,
    )
    refused = [await ask(weir, request) for request in (post(), get(method="DELETE"), get(method="OPTIONS"))]
    allowed = await ask(weir, get())

    assert [r.status for r in refused] == [405] * 3
    for response in refused:
        assert {m.strip() for m in response.value("Allow").split(b",")} == {b"GET", b"HEAD"}
        assert response.value("Content-Type") == b"application/problem+json"
    assert allowed.status == 200
    assert [r.method for r in origin.requests] == [b"GET"]


async def test_edge_refuses_before_a_token_is_spent(start_weir, start_origin, connect):
    """401 with a challenge, 404, 405 with what the path allows; the connection stays, the service hears nothing."""
    origin = await start_origin()
    weir = start_weir(
        {
            "contract": {
                "known_paths": ["/api/**"],
                "path_methods": [{"paths": ["/api/entities/*"], "allow": ["GET", "PUT"]}],
                "credentials": ["X-Auth-Token"],
            },
            "limits": [{"name": "one", "rate": "1/h", "key": ["const"]}],
        },
        upstream=origin,
    )
    wire = await connect(weir)
    token = "X-Auth-Token: a"
    asked = [
        get(token, target="/other"),
        get(target="/api/entities/1"),
        get(token, target="/api/entities/1", method="DELETE"),
        get(token, target="/api/entities/1"),
        get(token, target="/api/entities/1"),
    ]
    responses = []
    for request in asked:
        await wire.send(request)
        responses.append(await wire.response())

    assert [response.status for response in responses] == [404, 401, 405, 200, 429]
    assert [response.json()["status"] for response in responses[:3]] == [404, 401, 405]
    assert responses[1].value("WWW-Authenticate") == b"Bearer"
    assert responses[2].value("Allow") == b"GET, PUT"
    assert len(origin.requests) == 1


async def test_own_405_of_the_upstream_keeps_allow(weir, origin, ask):
    """As it was written."""
    origin.script = answering(answer(405, b"", "Allow: GET, PURGE"))

    assert (await ask(weir, post())).value("Allow") == b"GET, PURGE"


async def test_validators_pass_both_ways(weir, origin, ask):
    """If-None-Match, If-Match, If-Modified-Since and Range untouched; ETag and Vary as written."""
    lines = ['If-None-Match: W/"a", "KEWz1VCr+/="', 'If-Match: "x"', "If-Modified-Since: Tue, 15 Nov 1994 08:12:31 GMT", "Range: bytes=0-5", 'If-Range: "x"']  # fmt: skip
    origin.script = answering(
        answer(206, b"hello ", 'ETag: "KEWz1VCr+/="', "Vary: Accept", "Content-Range: bytes 0-5/10")
    )
    response = await ask(weir, get(*lines))

    for line in lines:
        name, _, value = line.partition(": ")
        assert origin.requests[0].value(name) == value.encode()
    assert response.value("ETag") == b'"KEWz1VCr+/="'
    assert response.value("Content-Range") == b"bytes 0-5/10"


@pytest.mark.parametrize("reply", [answer(200), answer(404), answer(503)], ids=["200", "404", "503"])
async def test_every_response_has_an_id(weir, origin, ask, reply):
    """Served, refused or redacted."""
    origin.script = answering(reply)
    responses = [await ask(weir, get()), await ask(weir, b"BAD\r\n\r\n")]

    assert all(r.value("X-Request-Id") for r in responses)


@pytest.mark.parametrize(
    ("accept", "content_type", "starts"),
    [
        ("*/*", b"application/problem+json", b"{"),
        ("application/json", b"application/json", b"{"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", b"text/html; charset=utf-8", b"<!doctype html>"),
        ("text/plain", b"text/plain; charset=utf-8", b"500 Internal Server Error"),
    ],
)
async def test_error_has_the_form_that_is_asked_for(
    start_weir, start_origin, ask, accept, content_type, starts
):
    """A neutral page for browsers; a redacted 500 as well as a refusal of Weir's own."""
    origin = await start_origin()
    weir = start_weir({"contract": {"allow_methods": ["GET"]}}, upstream=origin)
    origin.script = answering(answer(500, b"<h1>SqlException at db01</h1>", "Content-Type: text/html"))
    redacted = await ask(weir, get(f"Accept: {accept}"))
    refused = await ask(weir, get(f"Accept: {accept}", method="DELETE"))

    assert (redacted.status, refused.status) == (500, 405)
    assert redacted.value("Content-Type") == refused.value("Content-Type") == content_type
    assert redacted.body.startswith(starts)
    assert redacted.value("X-Request-Id") in redacted.body
    assert refused.value("X-Request-Id") in refused.body
    assert b"SqlException" not in redacted.body


@pytest.mark.parametrize(
    ("said", "status", "cause"),
    [
        (answer(500, b"SqlException"), 500, b"weir;received-status=500"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 502, b"weir;error=http_protocol_error"),
        (b"", 502, b"weir;error=connection_terminated"),
    ],
    ids=["redacted", "malformed", "closed"],
)  # fmt: skip
async def test_proxy_status_tells_the_cause(start_weir, start_origin, ask, said, status, cause):
    """RFC 9209, only if asked for: words of the registry, nothing of the service."""
    origin = await start_origin()
    weir = start_weir({"errors": {"proxy_status": True}}, upstream=origin)

    async def script(visit):
        await visit.request()
        await visit.send(said)

    origin.script = script
    response = await ask(weir, get())

    assert response.status == status
    assert response.value("Proxy-Status") == cause
