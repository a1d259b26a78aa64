"""The request's bytes are sacred: target, method, headers and body reach the origin as the client sent them."""

from __future__ import annotations

import pytest

from tests.e2e.passage import ADDED, forwarded, own
from tests.support.messages import chunked, get
from tests.support.patience import until


@pytest.mark.parametrize(
    "target",
    [
        b"/a%2Fb%3Ac/%7Eu/%41/%28x%29/%27/%3B?x=%27&y=%2f%2F",
        b"/a/../b/./d/%2e%2e/e",
        b"//host/x",
        b"///",
        b"/?",
        b"/??a=b?c",
        b"/a;b=c,d'(e)*!$&+@:~",
        b"/a%00%zz%",
        b'/a"<>\\^`{|}',
        b"/%F0%9F%92%A7?q=a+b%20c",
        b"/?url=http://other.example/%23x",
        b"/" + b"x" * 4000,
    ],
)
async def test_target_is_not_touched(weir, origin, ask, target):
    """No decoding, no encoding, no dots resolved, no slashes collapsed."""
    request = await forwarded(ask, weir, origin, get(target=target))

    assert request.target == target


async def test_absolute_form_keeps_path_and_query(weir, origin, ask):
    """A target that names the host is served as its path."""
    request = await forwarded(ask, weir, origin, get(target=b"http://shop.example/a%2Fb?c=d"))

    assert request.target in (b"/a%2Fb?c=d", b"http://shop.example/a%2Fb?c=d")
    assert request.value("Host") == b"shop.example"


async def test_star_target_passes(weir, origin, ask):
    """`OPTIONS *` asks about the server as a whole (RFC 9110 section 9.3.7)."""
    request = await forwarded(ask, weir, origin, get(target=b"*", method=b"OPTIONS"))

    assert (request.method, request.target) == (b"OPTIONS", b"*")


@pytest.mark.parametrize(
    "method", [b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"HEAD", b"PROPFIND"]
)
async def test_method_passes(weir, origin, connect, method):
    """Of every method that is not refused."""
    wire = await connect(weir)
    await wire.send(get(method=method))
    response = await wire.response(method.decode())

    assert response.status == 200
    assert origin.requests[0].method == method


async def test_methods_of_the_config_pass_and_others_are_a_501(start_weir, start_origin, ask):
    """Any token may be one (RFC 9110 section 9.1); what is none is no HTTP."""
    origin = await start_origin()
    weir = start_weir({"downstream": {"methods": ["LIST", "X-RESTART"]}}, upstream=origin)
    methods = ("LIST", "X-RESTART", "QUERY", "list", "LISTS", "RESTART", "GET{}")
    statuses = {method: (await ask(weir, get(method=method))).status for method in methods}

    assert statuses == {
        "LIST": 200,
        "X-RESTART": 200,
        "QUERY": 200,
        "list": 501,
        "LISTS": 501,
        "RESTART": 501,
        "GET{}": 400,
    }
    assert [request.method for request in origin.requests] == [b"LIST", b"X-RESTART", b"QUERY"]


async def test_headers_keep_case_order_and_duplicates(weir, origin, ask):
    """Nothing is sorted, joined, re-cased or trimmed within."""
    lines = [b"x-lower: 1", b"X-UPPER: 2", b"x-MiXed: 3", b"X-Dup: a", b"Cookie: a=b; c=d", b"x-dup: b", b"X-Empty:", b"X-Dup: c,  d", b"X-Inner: a  b\tc"]  # fmt: skip
    request = await forwarded(ask, weir, origin, get(*lines))

    assert own(request) == [
        (b"Host", b"shop.example"),
        *((name, value.strip()) for name, value in (line.split(b":", 1) for line in lines)),
    ]


async def test_nothing_is_invented(weir, origin, ask):
    """No User-Agent, Accept or Content-Type that the client did not send; what is added is this and no more."""
    request = await forwarded(ask, weir, origin, get())

    assert {name.lower() for name in request.names()} == ADDED | {b"host"}


async def test_header_bytes_beyond_ascii_pass(weir, origin, ask):
    """obs-text goes through as it is, valid UTF-8 or not."""
    request = await forwarded(
        ask,
        weir,
        origin,
        get(b"X-Latin: caf\xe9", "X-Utf: caf\u00e9".encode(), b"X-All: " + bytes(range(0x80, 0x100))),
    )

    assert request.value("X-Latin") == b"caf\xe9"
    assert request.value("X-Utf") == "caf\u00e9".encode()
    assert request.value("X-All") == bytes(range(0x80, 0x100))


@pytest.mark.parametrize("size", [0, 1, 1000, 100_000, 3_000_000])
async def test_body_by_length_passes(weir, origin, ask, size):
    """Byte for byte, with its Content-Length."""
    body = bytes(i * 7 % 256 for i in range(1000)) * (size // 1000) if size >= 1000 else b"x" * size
    request = await forwarded(
        ask, weir, origin, get(b"Content-Length: %d" % len(body), method=b"POST") + body
    )

    assert request.framing == "length"
    assert request.body == body


async def test_chunked_body_passes_with_its_trailers(weir, origin, ask):
    """Chunk sizes may change; data and trailers may not."""
    body = chunked(b"a" * 10, b"\r\n0\r\n\r\n", b"b" * 70_000, trailers=b"X-Sum: 1\r\nx-more: \xe9\r\n")
    request = await forwarded(
        ask, weir, origin, get(b"Transfer-Encoding: chunked", b"Trailer: X-Sum", method=b"POST") + body
    )

    assert request.framing == "chunked"
    assert request.body == b"a" * 10 + b"\r\n0\r\n\r\n" + b"b" * 70_000
    assert request.trailers == [(b"X-Sum", b"1"), (b"x-more", b"\xe9")]


@pytest.mark.parametrize("coding", [b"chunked", b"Chunked", b"CHUNKED"])
async def test_chunked_is_known_in_any_case(weir, origin, ask, coding):
    """Names of codings have no case (RFC 9112 section 7)."""
    request = await forwarded(
        ask, weir, origin, get(b"Transfer-Encoding: " + coding, method=b"PUT") + chunked(b"abc")
    )

    assert request.body == b"abc"


async def test_chunk_extensions_are_dropped(weir, origin, ask):
    """RFC 9112 section 7.1.1: they are for one hop."""
    data = get(b"Transfer-Encoding: chunked", method=b"PUT") + b"3;a=b;c\r\nabc\r\n0;last\r\n\r\n"
    request = await forwarded(ask, weir, origin, data)

    assert request.body == b"abc"
    assert b"a=b" not in origin.received
    assert b"last" not in origin.received


@pytest.mark.parametrize(
    "data",
    [
        get(b"X-A: b", target=b"/x?y"),
        get(b"Content-Length: 5", method=b"POST") + b"hello",
        get(b"Transfer-Encoding: chunked", method=b"POST") + chunked(b"hel", b"lo", trailers=b"X-T: u\r\n"),
        b"\r\n" + get(b"X-After: an empty line"),
    ],
    ids=["get", "length", "chunked", "empty line first"],
)
async def test_request_is_the_same_however_it_is_cut(weir, origin, connect, data):
    """Whole, byte by byte, and in two at every position: the origin sees one and the same request."""
    cuts = [[data], [data[i : i + 1] for i in range(len(data))]]
    cuts += [[data[:i], data[i:]] for i in range(1, len(data))]
    for pieces in cuts:
        wire = await connect(weir)
        await wire.send_pieces(pieces, gap=0.0005)
        assert (await wire.response()).status == 200
        wire.close()

    seen = {(r.start, tuple(own(r)), r.body, tuple(r.trailers)) for r in origin.requests}
    assert len(origin.requests) == len(cuts)
    assert len(seen) == 1


async def test_request_streams(weir, origin, connect):
    """A piece of the request's body is with the origin before the next one is written."""
    wire = await connect(weir)
    await wire.send(get(b"Transfer-Encoding: chunked", method=b"POST"))
    visit = await origin.visit(0)
    for piece in (b"one\n", b"two\n", b"three\n"):
        await wire.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        await until(lambda: piece in visit.received, "the piece is with the origin")  # noqa: B023 - awaited within the round
    await wire.send(b"0\r\n\r\n")

    assert (await wire.response()).status == 200
