"""TLS of the service takes turns too, in records of one byte; and what came before its end is read to the last byte."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading

import pytest

from tests.support.innocent import innocent
from tests.support.messages import answer, get
from tests.support.papers import Papers
from tests.support.patience import until

pytestmark = [pytest.mark.real, pytest.mark.unmeasured]
CHUNKED = "Transfer-Encoding: chunked"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n"
RECORDS = 20_000


class Session:
    """One connection to the service: its records are as small as it likes."""

    def __init__(self, sock, context):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=True)
        self._repeat(self.tls.do_handshake)
        self.flush()

    def _repeat(self, step):
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                self.flush()
                data = self.sock.recv(65536)
                if not data:
                    raise ConnectionError from None
                self.incoming.write(data)

    def flush(self):
        self.sock.sendall(self.outgoing.read())

    def head(self):
        said = b""
        while b"\r\n\r\n" not in said:
            said += self._repeat(lambda: self.tls.read(65536))
        return said

    def say(self, data, size=1):
        for at in range(0, len(data), size):
            self.tls.write(data[at : at + size])
        self.flush()

    def end(self):
        """As TLS tells it; then of the connection."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        self.flush()


@pytest.fixture
def serve(start_bench, tmp_path):
    """A bench before a service with TLS, which does the same on every connection, in a thread."""
    papers = Papers(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*papers.issue("DNS:localhost"))
    listener = socket.create_server(("127.0.0.1", 0))
    threads = []

    def run(script):
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:  # the end of the test
                return
            with sock, contextlib.suppress(OSError, ssl.SSLError):
                script(Session(sock, context))

    async def start(script, **more):
        threads.append(threading.Thread(target=run, args=(script,)))
        threads[0].start()
        tls = {"ca": str(papers.ca), "server_name": "localhost"}
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        return await start_bench(url, upstream={"tls": tls} | more)

    yield start
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    for thread in threads:
        thread.join(10)


ANSWERS = {
    "length": answer(200, b"x" * RECORDS),
    "chunks": answer(200, b"1\r\nx\r\n" * 4000 + b"0\r\n\r\n", CHUNKED, length=False),
    "head": answer(200, b"", *[f"X-{number}: {'y' * 90}" for number in range(150)]),
}


@pytest.mark.parametrize("said", ANSWERS)
async def test_answer_in_records_of_one_byte(serve, connect, said):
    """Prepared before, so that they lie there all at once."""

    def script(session):
        session.head()
        session.say(ANSWERS[said])

    bench = await serve(script)
    wire = await connect(bench)
    async with innocent():
        await wire.send(get())
        assert (await wire.response()).status == 200
    wire.close()


@pytest.mark.measured
async def test_tunnel_in_records_of_one_byte(serve, connect):
    def script(session):
        session.head()
        session.say(SWITCH, 9000)
        session.say(b"x" * RECORDS)
        session.end()

    bench = await serve(script)
    wire = await connect(bench)
    async with innocent():
        await wire.send(get("Connection: Upgrade", "Upgrade: chat"))
        await wire.until(b"\r\n\r\n")
        assert await wire.exactly(RECORDS) == b"x" * RECORDS


@pytest.mark.waits("the end comes before the client reads")
@pytest.mark.parametrize("size", [1, 16_000], ids=["tiny records", "large records"])
@pytest.mark.parametrize("closes", ["tells of its end", "is just gone"])
@pytest.mark.parametrize("framing", ["chunks", "length"])
async def test_answer_that_ends_with_its_connection_is_whole(serve, connect, framing, closes, size):
    """Also where the client takes it slowly: what lies undeciphered at the end is read."""
    body = b"y" * (600_000 if size > 1 else 30_000)
    pieces = b"".join(b"5\r\n%b\r\n" % body[at : at + 5] for at in range(0, len(body), 5)) + b"0\r\n\r\n"
    fields = ("Connection: close", *((CHUNKED,) if framing == "chunks" else ()))
    said = answer(200, pieces if framing == "chunks" else body, *fields, length=framing == "length")

    def script(session):
        session.head()
        session.say(said, size)
        if closes == "tells of its end":
            session.end()

    bench = await serve(script)
    wire = await connect(bench, receive_bytes=4096)
    async with innocent():
        await wire.send(get())
        await asyncio.sleep(0.5)  # the end has come, and the client has not read
        response = await wire.response()

    assert response.body == body
    assert bench.ledger.outcomes == ["served"]


@pytest.mark.measured
async def test_answer_whose_end_comes_with_it_is_whole(serve, connect):
    """In one piece with the word of TLS, while the answer has turns to come still: its chunks are small and odd."""
    said = answer(200, b"1;a\r\nx\r\n" * 3900 + b"0\r\n\r\n", "Connection: close", CHUNKED, length=False)

    def script(session):
        session.head()
        for at in range(0, len(said), 16_000):
            session.tls.write(said[at : at + 16_000])
        session.end()

    bench = await serve(script)
    wire = await connect(bench)
    await wire.send(get())

    assert (await wire.response()).body == b"x" * 3900
    assert bench.ledger.outcomes == ["served"]
    assert bench.address.standing.failures == 0
    await until(lambda: not bench.address.open)


@pytest.mark.waits("the end comes before the client reads")
async def test_answer_without_a_length_ends_with_its_connection(serve, connect):
    """By the word of TLS; without it, it broke off."""
    ends = [True, False]

    def script(session):
        session.head()
        session.say(answer(200, b"z" * 300_000, "Connection: close", length=False), 16_000)
        if ends.pop(0):
            session.end()

    bench = await serve(script)
    for status in ("served", "faulted"):
        wire = await connect(bench, receive_bytes=4096)
        await wire.send(get("Connection: close"))
        await asyncio.sleep(0.3)
        said = await wire.rest()
        assert said.endswith(b"0\r\n\r\n") is (status == "served")
    await bench.recorded(2)

    assert bench.ledger.outcomes == ["served", "faulted"]


@pytest.mark.parametrize("said", ["tiny records", "tiny chunks"])
async def test_last_words_in_tiny_pieces(serve, connect, said):
    """An early answer to an upload, whose connection breaks under it: read from the socket, in turns."""
    is_records = said == "tiny records"
    body = b"n" * 2500 if is_records else b"1\r\nn\r\n" * 8000 + b"0\r\n\r\n"  # as much as a window takes
    early = answer(413, body, *(() if is_records else (CHUNKED,)), length=is_records)

    def script(session):
        session.head()
        session.say(early, 1 if is_records else 16_000)

    bench = await serve(script)
    async with innocent():
        for number in range(4):
            wire = await connect(bench)
            with contextlib.suppress(ConnectionError):
                await wire.send(get("Content-Length: 4000000", method="POST"))
                for _ in range(40):
                    await wire.send(b"x" * 32768)
            assert (await wire.response()).status == 413
            wire.close()
            await bench.recorded(number + 1)
