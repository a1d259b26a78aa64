"""`admin.probes`: what is answered, and that nobody can keep others out."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from proxy.admin import probes
from proxy.admin.probes import CONNECTIONS_MAX, HEAD_BYTES_MAX, Probes, answer

KUBELET = (
    b"GET /readyz HTTP/1.1\r\nHost: 10.1.2.3:9902\r\nUser-Agent: kube-probe/1.34\r\nAccept: */*\r\n"
    b"Connection: close\r\n\r\n"
)


def status(head, *, is_ready=True):
    return int(answer(head, is_ready=lambda: is_ready).split()[1])


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("GET /healthz HTTP/1.1", 200),
        ("GET /readyz HTTP/1.1", 200),
        ("HEAD /readyz HTTP/1.0", 200),
        ("GET /readyz?verbose=1 HTTP/1.1", 200),
        ("GET / HTTP/1.1", 404),
        ("GET /metrics HTTP/1.1", 404),
        ("GET /status HTTP/1.1", 404),
        ("GET /healthz/ HTTP/1.1", 404),
        ("GET http://weir/healthz HTTP/1.1", 404),
        ("POST /readyz HTTP/1.1", 405),
        ("POST /limits/per-user/reset HTTP/1.1", 404),
        ("GET /healthz HTTP/2", 400),
        ("GET /healthz", 400),
        ("GET  /healthz HTTP/1.1", 400),
        ("/healthz HTTP/1.1", 400),
        ("", 400),
        ("\x16\x03\x01\x02", 400),
    ],
)
def test_what_is_answered(line, wanted):
    assert status(f"{line}\r\nHost: a\r\n\r\n".encode("latin-1")) == wanted


def test_readiness_fails_while_unready_and_liveness_does_not():
    """Liveness must not end what readiness takes out."""
    assert status(KUBELET, is_ready=False) == 503
    assert status(KUBELET.replace(b"readyz", b"healthz"), is_ready=False) == 200


def test_answer_tells_nothing_but_itself():
    """Anybody may ask. Nothing may keep it."""
    head, _, body = answer(KUBELET, is_ready=lambda: True).partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")

    assert body == b"ok"
    assert "Content-Length: 2" in lines
    assert "Cache-Control: no-store" in lines
    assert not [line for line in lines if line.lower().startswith("server")]


def test_answer_to_head_has_no_body():
    told = answer(b"HEAD /healthz HTTP/1.1\r\n\r\n", is_ready=lambda: True)

    assert told.endswith(b"\r\n\r\n")
    assert b"Content-Length: 2\r\n" in told


def test_refused_method_names_those_that_are_not():
    assert b"\r\nAllow: GET, HEAD\r\n" in answer(b"PUT /healthz HTTP/1.1\r\n\r\n", is_ready=lambda: True)


# --- on sockets ---


@pytest.fixture
async def port():
    serving = Probes(lambda: True)
    server = await asyncio.get_running_loop().create_server(serving, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    serving.close()


@pytest.fixture
def asked(port, dial):
    """Sends pieces; what is read until the end."""

    async def ask(*pieces):
        reader, writer = await dial(port)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        told = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        return told

    return ask


async def test_head_may_come_in_any_two_pieces(asked):
    for split in range(1, len(KUBELET)):
        assert (await asked(KUBELET[:split], KUBELET[split:])).startswith(b"HTTP/1.1 200 "), split


async def test_head_without_an_end_is_refused(asked):
    told = await asked(b"GET /healthz HTTP/1.1\r\nX: " + b"a" * HEAD_BYTES_MAX)

    assert told.startswith(b"HTTP/1.1 431 ")


async def test_what_comes_behind_a_request_does_not_cut_its_answer(asked):
    """A body, or a second request: it is dropped."""
    told = await asked(KUBELET + b"x" * 100_000, KUBELET)

    assert told.startswith(b"HTTP/1.1 200 ")
    assert told.count(b"HTTP/1.1") == 1


async def test_end_before_a_whole_head_is_the_end(port, dial):
    reader, writer = await dial(port)
    writer.write(b"GET /healthz HTTP/1.1\r\n")
    writer.write_eof()

    assert await asyncio.wait_for(reader.read(), 10) == b""


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HT", KUBELET])
async def test_connection_ends_in_its_time(port, dial, monkeypatch, sent):
    """Silent, half a head, or answered and kept open by the peer."""
    monkeypatch.setattr(probes, "SECONDS", 0.2)
    reader, writer = await dial(port)
    writer.write(sent)
    with suppress(ConnectionResetError):
        await asyncio.wait_for(reader.read(), 10)

    with pytest.raises(ConnectionError):
        async with asyncio.timeout(10):
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.01)


async def test_silent_connections_keep_nobody_out(port, dial, asked, monkeypatch):
    """The oldest give way, long before their time is over."""
    monkeypatch.setattr(probes, "SECONDS", 60.0)
    silent = [await dial(port) for _ in range(CONNECTIONS_MAX)]
    told = await asked(KUBELET)
    cut = await asyncio.wait_for(silent[0][0].read(), 10) if told else None

    assert told.startswith(b"HTTP/1.1 200 ")
    assert cut == b""
    assert not silent[-1][0].at_eof()


async def test_end_of_the_listener_ends_what_is_open(dial):
    """Also a connection that has said nothing yet."""
    serving = Probes(lambda: True)
    server = await asyncio.get_running_loop().create_server(serving, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    reader, _ = await dial(port)
    answered, writer = await dial(port)
    writer.write(KUBELET)
    await answered.readexactly(9)
    server.close()
    serving.close()
    await asyncio.wait_for(answered.read(), 10)

    assert await asyncio.wait_for(reader.read(), 10) == b""
