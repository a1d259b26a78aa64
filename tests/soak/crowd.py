"""Who asks during the soak: people whose every answer is looked at, and hostile ones.

Knows nothing of what else happens, but for `is_forgiven`: a server that ends may break what it was answering.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections import Counter
from typing import TYPE_CHECKING

from tests.soak.service import PIECES
from tests.support.messages import get, post
from tests.support.wire import Broken, Wire

if TYPE_CHECKING:
    from collections.abc import Callable

REQUESTS_MAX = 50  # on a connection
WITHIN = 20.0


class People:
    """Each of the kinds of request, with what must come."""

    def __init__(self, port: int, is_forgiven: Callable[[str], bool]) -> None:
        self.port = port
        self.is_forgiven = is_forgiven
        self.statuses: Counter[str] = Counter()
        self.forgiven: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.is_over = False

    # --- what is asked ---

    async def client(self, number: int) -> None:
        draw = random.Random(number)
        kinds = (self._get, self._post, self._pieces, self._boom, self._large, self._slow, self._tunnel)
        while not self.is_over:
            try:
                wire = await Wire.open(self.port)
            except (OSError, TimeoutError) as error:
                self._note("connect", repr(error))
                await asyncio.sleep(0.05)
                continue
            try:
                for _ in range(REQUESTS_MAX):
                    kind = draw.choices(kinds, (60, 15, 10, 5, 2, 5, 3))[0]
                    if self.is_over or not await self._asked(kind, wire, number):
                        break
                    await asyncio.sleep(0.01)
            finally:
                wire.close()

    async def _asked(self, kind: Callable, wire: Wire, number: int) -> bool:
        """Whether the connection goes on."""
        name = kind.__name__.strip("_")
        try:
            return await kind(wire, f"X-Auth-Token: user-{number}")
        except (Broken, OSError, TimeoutError, AssertionError) as error:
            self._note(name, repr(error)[:300])
            return False

    async def _get(self, wire: Wire, token: str) -> bool:
        target = f"/api/entities/{random.randrange(10**6)}"
        await wire.send(get(token, target=target))
        return self._seen("get", await wire.response(within=WITHIN), 200, target.encode())

    async def _post(self, wire: Wire, token: str) -> bool:
        body = random.randbytes(random.choice((10, 5_000, 200_000)))
        await wire.send(post(body, token, target="/api/entities"), within=WITHIN)
        wanted = b"%d %d" % (len(body), sum(body) % 65521)
        return self._seen("post", await wire.response(within=WITHIN), 201, wanted)

    async def _pieces(self, wire: Wire, token: str) -> bool:
        await wire.send(get(token, target="/pieces"))
        return self._seen("pieces", await wire.response(within=WITHIN), 200, b"piece" * PIECES)

    async def _large(self, wire: Wire, token: str) -> bool:
        await wire.send(get(token, target="/large"))
        return self._seen("large", await wire.response(within=WITHIN), 200, b"y" * 1_000_000)

    async def _slow(self, wire: Wire, token: str) -> bool:
        await wire.send(get(token, target="/slow"))
        return self._seen("slow", await wire.response(within=WITHIN), 200, b"/slow")

    async def _boom(self, wire: Wire, token: str) -> bool:
        await wire.send(get(token, target="/boom"))
        response = await wire.response(within=WITHIN)
        assert b"hunter2" not in response.raw_head + response.body
        return self._seen("boom", response, 500)

    async def _tunnel(self, wire: Wire, token: str) -> bool:
        await wire.send(get(token, "Connection: Upgrade", "Upgrade: echo", target="/tunnel"))
        response = await wire.response(within=WITHIN)
        if self._seen("tunnel", response, 101) and response.status == 101:
            await wire.send(b"there and back")
            assert await wire.exactly(14, within=WITHIN) == b"there and back"
            return False
        return response.status != 101

    # --- what came ---

    def _seen(self, kind: str, response, status: int, body: bytes | None = None) -> bool:
        self.statuses[f"{kind} {response.status}"] += 1
        if response.status != status:
            self._note(kind, f"{response.status} {response.body[:200]!r}")
        elif body is not None and response.body != body:
            self.wrong.append(f"{kind}: another body of {len(response.body)} bytes")
        return response.value("Connection") != b"close"

    def _note(self, kind: str, what: str) -> None:
        if self.is_forgiven(kind):
            self.forgiven[f"{kind} {what[:40]}"] += 1
        elif not self.is_over:
            self.wrong.append(f"{kind}: {what}")

    async def refused(self) -> None:
        """One client asks more than its limit lets through: 200 or an honest 429, never anything else.

        It pauses only once it was refused: however slow the machine is, its few tokens are spent faster than they come.
        """
        wire = None
        while not self.is_over:
            try:
                wire = wire or await Wire.open(self.port)
                await wire.send(get("X-Auth-Token: greedy", target="/limited"))
                response = await wire.response(within=WITHIN)
                self.statuses[f"limited {response.status}"] += 1
                is_admitted = response.status == 200
                if response.status not in (200, 429) or (
                    response.status == 429 and not response.value("Retry-After")
                ):
                    self._note("limited", f"{response.status}")
                if response.value("Connection") == b"close":
                    wire.close()
                    wire = None
            except (Broken, OSError, TimeoutError, AssertionError) as error:
                self._note("limited", repr(error))
                wire, is_admitted = None, False
            await asyncio.sleep(0 if is_admitted else 0.02)
        if wire is not None:
            wire.close()


# --- who means harm ---

HEAD = b"GET /large HTTP/1.1\r\nHost: a\r\nX-Auth-Token: evil\r\n\r\n"
ATTACKS = (
    b"GET / HT",  # a head that never ends
    b"\x16\x03\x01\x00\xa5" * 100,  # TLS on a plain port
    b"GET / HTTP/1.1\r\n" + b"X: " + b"a" * 100_000,
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nhalf",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 20_000,
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
    HEAD * 50,  # large answers that nobody reads
    b"GET /p?%b HTTP/1.1\r\nHost: a\r\n\r\n" % b"&".join(b"token%d=%%41" % n for n in range(250)),
    b"GET /boom HTTP/1.1\r\nHost: a\r\nX-Auth-Token: evil\r\n\r\n" * 20,
    b"GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n" + b"z" * 100_000,
)


async def hostile(port: int, is_over: Callable[[], bool], number: int) -> None:
    """Says one of these, stays for a while without reading, and leaves, mostly by a reset."""
    draw = random.Random(number)
    loop = asyncio.get_running_loop()
    while not is_over():
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        try:
            async with asyncio.timeout(1.0 + draw.random()):
                await loop.sock_connect(sock, ("127.0.0.1", port))
                await loop.sock_sendall(sock, draw.choice(ATTACKS))
                await asyncio.sleep(draw.random())
        except (OSError, TimeoutError):
            pass  # it is refused or held up: so it should be
        if draw.random() < 0.7:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
