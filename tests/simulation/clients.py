"""Programs of API users: they ask in turn, ahead, slowly, by halves; they leave at any byte, and some never say so."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.support.messages import chunked
from tests.support.wire import Broken, Wire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from tests.simulation.fleet import Fleet
    from tests.simulation.gateways import Gateway
    from tests.simulation.requests import Sent

PATIENCE = 12.0  # seconds: all time-outs of a replica in a row are shorter
IDLE_SECONDS = 2.0  # that a replica leaves a connection at rest
BODY_SECONDS = 1.0  # that it waits for a piece of a body
NEARLY = 0.4  # of that, when its end may come first


class Visit:
    """One connection to one replica."""

    def __init__(self, fleet: Fleet, gateway: Gateway, wire: Wire) -> None:
        self.fleet = fleet
        self.gateway = gateway
        self.wire = wire
        self.excuse = ""  # why it may end without an answer
        self.will_close = False

    async def hear(self, sent: Sent) -> None:
        """The answer to a request that was sent."""
        try:
            response = await self.wire.response(sent.method, within=PATIENCE)
        except (Broken, ConnectionError) as error:
            self.closed(sent, error)
            return
        except TimeoutError:
            self.fleet.tell(f"{sent} was never answered")
            self.will_close = True
            return
        except AssertionError as error:
            self.fleet.tell(f"{sent} got no HTTP: {error}")
            self.will_close = True
            return
        self.will_close = b"close" in response.values("Connection")
        self.fleet.answered(sent, response)

    def closed(self, sent: Sent, error: Exception) -> None:
        """Without an answer, or in its middle."""
        self.will_close = True
        gateway, fleet = self.gateway, self.fleet
        is_gone = gateway.is_dead or gateway.parts.shared.is_draining
        if not (is_gone or self.excuse or sent.excuse or not fleet.is_calm(sent)):
            fleet.tell(f"{sent} was not answered: {error!r}")


class Patron:
    """One of a user's programs, with a pace of its own."""

    def __init__(self, fleet: Fleet, user: str, interval: float) -> None:
        self.fleet = fleet
        self.user = user
        self.interval = interval
        self._random = fleet.random
        self._visits: list[tuple[Callable[[Visit], Awaitable[None]], int]] = [
            (self._ask_in_turn, 8),
            (self._ask_ahead, 4),
            (self._upload, 4),
            (self._vanish, 4),
            (self._end_half, 2),
            (self._read_slowly, 2),
            (self._tunnel, 1),
        ]

    async def live(self) -> None:
        fleet = self.fleet
        while True:
            await asyncio.sleep(self.interval * self._random.uniform(0.5, 1.5))
            if fleet.is_over:
                return
            (visit, _), *_ = self._random.choices(self._visits, [weight for _, weight in self._visits])
            await self._go(visit)

    async def _go(self, visit: Callable[[Visit], Awaitable[None]]) -> None:
        gateway = self.fleet.some_gateway()
        if gateway is None:
            return
        try:
            wire = await Wire.open(gateway.port)
        except ConnectionError:
            return
        await visit(Visit(self.fleet, gateway, wire))
        if wire not in self.fleet.vanished:
            wire.close()

    # --- ways to come ---

    async def _ask_in_turn(self, visit: Visit) -> None:
        for _ in range(self._random.randint(1, 4)):
            await self._ask(visit, self._new())
            if visit.will_close:
                return
            rest = self._random.choice([0.0, 0.0, 0.01, 0.3, 2 * IDLE_SECONDS])
            visit.excuse = "at rest for long" if rest > IDLE_SECONDS - NEARLY else ""
            await asyncio.sleep(rest)

    async def _ask(self, visit: Visit, sent: Sent) -> None:
        try:
            await visit.wire.send(sent.whole())
        except ConnectionError as error:
            visit.closed(sent, error)
            return
        await visit.hear(sent)

    async def _ask_ahead(self, visit: Visit) -> None:
        many = [self._new() for _ in range(self._random.randint(2, 5))]
        await self._send(visit, b"".join(sent.whole() for sent in many))
        await self._hear_all(visit, many)

    async def _hear_all(self, visit: Visit, many: Sequence[Sent]) -> None:
        """In their order. Behind one that ended the connection there is none."""
        for sent in many:
            if not visit.will_close:
                await visit.hear(sent)
                visit.excuse = visit.excuse or sent.excuse

    async def _send(self, visit: Visit, data: bytes) -> bool:
        try:
            await visit.wire.send(data)
        except ConnectionError:
            return False
        return True

    async def _upload(self, visit: Visit) -> None:
        """In pieces, reading meanwhile."""
        sent = self._new("POST", bytes(self._random.choice([10, 3000, 150_000])))
        hearing = asyncio.get_running_loop().create_task(visit.hear(sent))
        if self._random.random() < 0.5:
            head, body = sent.head(f"Content-Length: {len(sent.body)}"), sent.body
        else:
            middle = self._random.randrange(1, len(sent.body))
            head = sent.head("Transfer-Encoding: chunked")
            body = chunked(sent.body[:middle], sent.body[middle:])
        if self._random.random() < 0.2:
            head = head.removesuffix(b"\r\n") + b"Expect: 100-continue\r\n\r\n"
        pieces = [head, *self._cut(body)]
        while pieces and not hearing.done() and await self._send(visit, pieces.pop(0)):
            gap = self._random.choice([0.0, 0.0, 0.02, 0.3, 1.5 * BODY_SECONDS])
            if gap > BODY_SECONDS - NEARLY:
                sent.excuse = "sent slowly"
            await asyncio.sleep(gap)
        if pieces:
            sent.excuse = sent.excuse or "not sent whole"
        await hearing

    def _cut(self, data: bytes) -> list[bytes]:
        places = sorted(self._random.randrange(len(data)) for _ in range(self._random.randrange(4)))
        return [data[begin:end] for begin, end in zip([0, *places], [*places, len(data)], strict=True)]

    async def _vanish(self, visit: Visit) -> None:
        """At any byte; some without a word."""
        many = [self._new() for _ in range(self._random.choice([1, 1, 2, 2, 8]))]  # more than a burst
        for sent in many:
            sent.excuse = "its client left"
        data = b"".join(sent.whole() for sent in many)
        await self._send(visit, data[: self._random.randrange(len(data) + 1)])
        await asyncio.sleep(self._random.choice([0.0, 0.0005, 0.001, 0.003, 0.1, 0.6]))
        way = self._random.randrange(3)
        if way == 0:
            self.fleet.vanished[visit.wire] = None
        elif way == 1:
            visit.wire.abort()

    async def _end_half(self, visit: Visit) -> None:
        many = [self._new() for _ in range(self._random.randint(1, 3))]
        if self.fleet.aborts_half_closed:
            visit.excuse = "ended its half"
        if await self._send(visit, b"".join(sent.whole() for sent in many)):
            try:
                visit.wire.finish_sending()
            except OSError:
                return
        await self._hear_all(visit, many)

    async def _read_slowly(self, visit: Visit) -> None:
        sent = self._new("GET")
        pause = self._random.choice([0.3, 2 * BODY_SECONDS])
        if pause > BODY_SECONDS - NEARLY:
            sent.excuse = "read slowly"
        if await self._send(visit, sent.whole()):
            await asyncio.sleep(pause)
            await visit.hear(sent)

    async def _tunnel(self, visit: Visit) -> None:
        sent = self.fleet.new("GET", self.user)
        if not await self._send(visit, sent.head("Connection: Upgrade", "Upgrade: echo")):
            return
        await visit.hear(sent)
        if not any(status == 101 for status, _ in sent.said) or visit.will_close:
            return
        for _ in range(self._random.randrange(4)):
            word = bytes(self._random.randrange(1, 2000))
            try:
                await visit.wire.send(word)
                await visit.wire.exactly(len(word))
            except (Broken, ConnectionError):
                return
            await asyncio.sleep(self._random.choice([0.0, 0.1, 2.0]))
        if self._random.random() < 0.3:
            self.fleet.vanished[visit.wire] = None

    def _new(self, method: str = "", body: bytes = b"") -> Sent:
        method = method or self._random.choices(["GET", "HEAD", "POST", "PUT"], [6, 1, 2, 1])[0]
        if method in ("POST", "PUT") and not body:
            body = bytes(self._random.choice([1, 100, 70_000]))
        return self.fleet.new(method, self.user, body)
