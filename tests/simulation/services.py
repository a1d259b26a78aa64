"""The service behind the replicas: a server that answers as it should, or in one of the ways that services have."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.simulation.requests import SECRET
from tests.support.messages import answer, chunked
from tests.support.network import network
from tests.support.wire import Broken, Wire

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from tests.simulation.requests import Sent
    from tests.support.network import Channel, Listener
    from tests.support.wire import Request

LONG = 60.0  # seconds: longer than anything here lasts
HASTY = 0.9  # what a server may take before the replicas lose patience

# How it may answer, and how often. The lower ones are failures.
USUAL = {"plain": 30, "chunked": 8, "large": 3, "late": 8, "not_modified": 4, "denied": 3, "broken": 3, "early": 3,
         "hints": 2, "until_close": 2}  # fmt: skip
FAILURES = {"busy": 2, "never": 2, "drop": 3, "reset": 2, "cut": 3, "stall": 2, "junk": 1}


class Service:
    """One server; `moods` are the ways in which it answers."""

    def __init__(
        self, random: Random, find: Callable[[bytes], Sent | None], broken: Callable[[str], None]
    ) -> None:
        self.moods = USUAL | FAILURES
        self.port = 0
        self.wires: dict[Wire, None] = {}
        self._random = random
        self._find = find
        self._broken = broken
        self._listener: Listener | None = None
        self._visits: dict[asyncio.Task[None], None] = {}

    async def start(self) -> None:
        self._listener = await network().listen(self.port, "127.0.0.1", self._accepted)
        self.port = self._listener.port

    async def refuse(self) -> None:
        """No new connections."""
        if self._listener is not None:
            await self._listener.close()
            self._listener = None

    def cut(self, *, is_clean: bool) -> None:
        for wire in list(self.wires):
            wire.close() if is_clean else wire.abort()

    async def stop(self) -> None:
        await self.refuse()
        self.cut(is_clean=True)
        for visit in list(self._visits):
            visit.cancel()
        await asyncio.gather(*self._visits, return_exceptions=True)

    def _accepted(self, channel: Channel) -> None:
        visit = asyncio.get_running_loop().create_task(self._visit(channel))
        self._visits[visit] = None
        visit.add_done_callback(lambda _: self._visits.pop(visit))

    async def _visit(self, channel: Channel) -> None:
        wire = Wire(channel)
        self.wires[wire] = None
        try:
            while (request := await wire.request_head(within=LONG)) is not None:
                if not await self._serve(wire, request):
                    break
        except (Broken, OSError, TimeoutError):
            pass  # Weir has gone, or we were cut
        finally:
            del self.wires[wire]
            wire.close()

    async def _serve(self, wire: Wire, request: Request) -> bool:
        """Whether the connection stays."""
        sent = self._find(request.target)
        if sent is None:
            self._broken(f"nobody sent {request.start!r}")
            return False
        if problem := sent.arrived():
            self._broken(f"{sent} reached the service: {problem}")
        if request.value("Upgrade") is not None:
            return await self._tunnel(wire, sent)
        mood = self._random.choices(list(self.moods), list(self.moods.values()))[0]
        if mood in FAILURES:
            sent.excuse = mood
        if mood == "early" and sent.body:
            await self._say(wire, sent, 413, b"too much", "Connection: close")
            return False
        if mood in ("drop", "reset", "junk"):
            return await self._fail(wire, mood)
        await wire.request_body(request, within=LONG)
        if request.body != sent.body:
            self._broken(f"the body of {sent} arrived as {len(request.body)} bytes of {len(sent.body)}")
        return await self._answer(wire, sent, mood)

    async def _answer(self, wire: Wire, sent: Sent, mood: str) -> bool:
        body = b"%d of %b" % (sent.number, sent.user.encode())
        if mood == "late":
            await asyncio.sleep(self._random.uniform(0.01, HASTY))
        elif mood == "never":
            await asyncio.sleep(LONG)
        elif mood == "hints":
            await wire.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        if mood == "not_modified":
            sent.said.append((304, b""))
            await wire.send(answer(304, b"", 'ETag: "a"', length=False))
        elif mood == "denied":
            await self._say(wire, sent, 401, body, "WWW-Authenticate: Bearer")
        elif mood == "busy":
            await self._say(wire, sent, 429, body, "Retry-After: 1")
        elif mood == "broken":
            await self._say(wire, sent, 500, body + SECRET)
        elif mood == "large":
            await self._say(wire, sent, 200, body + bytes(self._random.choice([20_000, 300_000, 900_000])))
        elif mood in ("chunked", "cut", "stall", "until_close"):
            return await self._in_pieces(wire, sent, mood, body)
        else:
            await self._say(wire, sent, 200, body)
        return True

    async def _say(self, wire: Wire, sent: Sent, status: int, body: bytes, *lines: str) -> None:
        sent.said.append((status, body))
        data = answer(status, body, *lines)
        await wire.send(data[: -len(body)] if sent.method == "HEAD" else data, within=LONG)

    async def _in_pieces(self, wire: Wire, sent: Sent, mood: str, body: bytes) -> bool:
        if sent.method == "HEAD":
            await self._say(wire, sent, 200, body)
            return True
        pieces = [body, b"x" * self._random.randrange(1, 5000), b"the end"]
        if mood == "until_close":
            sent.is_unmarked = True
            sent.said.append((200, b"".join(pieces)))
            await wire.send(answer(200, b"", "Connection: close", length=False))
            await wire.send_pieces(pieces, gap=0.01)
            return False
        sent.said.append((200, b"".join(pieces)))
        data = answer(200, b"", "Transfer-Encoding: chunked", length=False) + chunked(*pieces)
        middle = self._random.randrange(1, len(data) - 1)
        await wire.send(data[:middle])
        if mood == "stall":
            await asyncio.sleep(LONG)
        await asyncio.sleep(self._random.uniform(0.0, 0.1))
        if mood == "cut":
            return False
        await wire.send(data[middle:])
        return True

    async def _fail(self, wire: Wire, mood: str) -> bool:
        if mood == "junk":
            await wire.send(b"220 mail.example ESMTP\r\n")
        elif mood == "reset":
            wire.abort()
        return False

    async def _tunnel(self, wire: Wire, sent: Sent) -> bool:
        """An echo."""
        await wire.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        sent.said.append((101, b""))
        while await wire.fill():
            await wire.send(bytes(wire.unread))
            wire.unread.clear()
        return False
