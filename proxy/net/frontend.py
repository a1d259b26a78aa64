"""What all client connections of a worker share, and the server object that aiohttp's runner hosts.

aiohttp's sites call it for each accepted connection and, when the runner is cleaned up, `pre_shutdown` and
`shutdown`.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from math import ceil, inf
from typing import TYPE_CHECKING, NamedTuple

from aiohttp import web

from proxy.background import in_turns
from proxy.clients.networks import partition_of
from proxy.contract.ration import Ration
from proxy.net.downstream import DownstreamConnection
from proxy.net.foresight import Foresight
from proxy.net.kernel import Vigil
from proxy.telemetry.log import event

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.http1.head import RequestHead
    from proxy.net.connection import Outbox
    from proxy.net.interfaces import ConnectionRules, ExchangeEvents
    from proxy.net.sweep import Sweeper

    NewExchange = Callable[[DownstreamConnection, RequestHead], ExchangeEvents]


DOOR = 32  # connections at once that are told that there are too many, or are not through their TLS handshake
RELIEVED = 0.9  # of the bound, that those who do not read hold when some of them have been cut off
CROWDED_SECONDS = 60.0  # between two lines of who was cut off: the metric counts
PART_SECONDS = 5.0  # connections at rest end within, at a drain ...
PART_TURN_SECONDS = 0.05  # ... some of them in each turn

# What those who were cut off for room held.
UNREAD_ANSWER, UNFINISHED_HEAD = "unread_answer", "unfinished_head"

_log = logging.getLogger("weir.net")


class Holding(NamedTuple):
    """Bytes of memory that a connection holds, and bytes that its client has yet to take or to end."""

    held: int
    untaken: int


NOTHING = Holding(0, 0)


def _holding(connection: DownstreamConnection) -> Holding:
    return Holding(connection.held_bytes, connection.untaken_bytes)


class Frontend:
    def __init__(
        self,
        sweeper: Sweeper,
        outbox: Outbox,
        rules: ConnectionRules,
        new_exchange: NewExchange,
    ) -> None:
        self.sweeper = sweeper
        self.outbox = outbox
        self.rules = rules  # replaced at a reload
        self.vigil = Vigil()
        self.foresight = Foresight()
        # That do not read, with what each held and had not taken when last seen.
        self.slow: dict[DownstreamConnection, Holding] = {}
        self._held = 0  # by all of them
        self._took: dict[DownstreamConnection, int] = {}  # what each took between the last two looks
        self._is_relieving = False
        self.crowded_out = {UNREAD_ANSWER: 0, UNFINISHED_HEAD: 0}  # clients that were cut off for room
        self._crowded_lines = Ration(1 / CROWDED_SECONDS, 1)
        self.room: float = inf  # connections that there are descriptors for
        self.new_exchange = new_exchange
        self.connections: dict[DownstreamConnection, bytes] = {}  # and whose each is
        # Connections of each address; counted also while nothing bounds them.
        self._from: dict[bytes, int] = {}
        self._emptied = asyncio.Event()

    def __call__(self) -> DownstreamConnection:
        return DownstreamConnection(self)

    def serving(self, new_exchange: NewExchange) -> Callable[[], DownstreamConnection]:
        """The protocol of a listener whose requests are exchanges of another kind."""
        return lambda: DownstreamConnection(self, new_exchange=new_exchange)

    @property
    def most(self) -> float:
        """Connections at once."""
        return min(self.rules.connections_max, self.room)

    @property
    def arriving_max(self) -> float:
        """Connections at once that are not yet known here: through their handshake, or announced."""
        return max(self.most - len(self.connections), min(DOOR, self.most))

    @property
    def is_crowded(self) -> bool:
        """Even of those that are told so there are too many."""
        return len(self.connections) > self.most + DOOR

    def entered(self, connection: DownstreamConnection) -> bool:
        """Counts it in; false if there are too many, in total or from its address."""
        rules = self.rules
        # A reload may change what a client is: it is counted out as it was counted in.
        address = partition_of(connection.peer, rules.ipv6_prefix) if connection.peer else b""
        self.connections[connection] = address
        is_welcome = len(self.connections) <= self.most
        if address:  # a Unix socket has none
            count = self._from[address] = self._from.get(address, 0) + 1
            most = rules.connections_per_address
            if most is not None and count > most:
                is_welcome = is_welcome and rules.is_trusted(connection.peer)
        return is_welcome

    def left(self, connection: DownstreamConnection) -> None:
        self.caught_up(connection)
        address = self.connections.pop(connection, b"")
        if address:
            self._from[address] -= 1
            if not self._from[address]:
                del self._from[address]
        if not self.connections:
            self._emptied.set()

    def pre_shutdown(self) -> None:
        """Nothing yet: those at rest are the last to go."""

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - aiohttp's signature
        """Waits for the running exchanges, `timeout` seconds at most, then ends what is left."""
        if self.connections:
            self._emptied.clear()
            try:
                async with asyncio.timeout(timeout):
                    await self._part(min(PART_SECONDS, PART_SECONDS if timeout is None else timeout / 2))
            except TimeoutError:
                in_turns([*self.connections], DownstreamConnection.abort)
                await self._emptied.wait()  # each is recorded as it ends

    # --- the room that those take who do not read, or do not come to an end ---

    def slowed(self, connection: DownstreamConnection) -> None:
        """It has not taken all that it was sent, or not sent all of what it began."""
        self._held -= self.slow.get(connection, NOTHING).held
        self.slow[connection] = holding = _holding(connection)
        self._held += holding.held
        most = self.rules.buffer_bytes
        if most is not None and self._held > most and not self._is_relieving:
            self._is_relieving = True
            asyncio.get_running_loop().call_soon(self._relieve, most)

    def caught_up(self, connection: DownstreamConnection) -> None:
        self._held -= self.slow.pop(connection, NOTHING).held
        self._took.pop(connection, None)

    def look(self) -> None:
        """How much each holds now, at every sweep: who has taken least until the next one goes first."""
        if self.slow:
            now = {each: _holding(each) for each in self.slow}
            self._took = {each: before.untaken - now[each].untaken for each, before in self.slow.items()}
            self.slow = now
            self._held = sum(holding.held for holding in now.values())

    def _relieve(self, most: int) -> None:
        last: list[DownstreamConnection] = []
        try:
            last = self._slowest(most)
        finally:
            in_turns(last, self._crowd_out, self._relieved)

    def _slowest(self, most: int) -> list[DownstreamConnection]:
        """Who has to go; it is told."""
        now = {each: _holding(each) for each in self.slow}
        whole = sum(holding.held for holding in now.values())
        over = whole - most * RELIEVED
        took = {
            each: self._took.get(each, 0) + before.untaken - now[each].untaken
            for each, before in self.slow.items()
        }
        last: list[DownstreamConnection] = []
        for connection in sorted(now, key=took.__getitem__):
            if over <= 0:
                break
            over -= now[connection].held
            last.append(connection)
        self._tell_relief(len(last), whole, most)
        return last

    def _crowd_out(self, connection: DownstreamConnection) -> None:
        if connection in self.slow:
            self.crowded_out[UNREAD_ANSWER if connection.is_write_paused else UNFINISHED_HEAD] += 1
            connection.give_way()

    def _relieved(self) -> None:
        self._is_relieving = False

    def _tell_relief(self, connections: int, held_bytes: int, most: int) -> None:
        if connections and self._crowded_lines.admits(self.sweeper.now):
            event(
                _log,
                logging.WARNING,
                "crowded_out",
                connections=connections,
                held_bytes=held_bytes,
                buffers=most,
                passed_over=self._crowded_lines.take_passed_over(),
            )

    async def _part(self, seconds: float) -> None:
        """Ends connections as they rest, those that have rested longest first, spread over so many seconds.

        All at once would come back to the other replicas at once.
        """
        now = asyncio.get_running_loop().time
        last = now() + seconds
        while self.connections:
            resting = sorted((each for each in self.connections if each.is_idle), key=_deadline)
            turns = max(0, int((last - now()) / PART_TURN_SECONDS)) + 1
            for connection in resting[: ceil(len(resting) / turns)]:
                connection.rest_no_more()
            with suppress(TimeoutError):
                async with asyncio.timeout(PART_TURN_SECONDS):
                    await self._emptied.wait()

    def counts(self) -> dict[str, int]:
        idle = sum(1 for connection in self.connections if connection.is_idle)
        return {"active": len(self.connections) - idle, "idle": idle}


def _deadline(connection: DownstreamConnection) -> float:
    return connection.deadline


class FrontendRunner(web.BaseRunner):
    """Hosts a frontend on aiohttp's sites (TCP, Unix socket, given sockets)."""

    __slots__ = ("_frontend",)

    def __init__(self, frontend: Frontend, *, shutdown_timeout: float) -> None:
        super().__init__(shutdown_timeout=shutdown_timeout)
        self._frontend = frontend

    def finish_within(self, seconds: float) -> None:
        """How long running exchanges have at the end."""
        self._shutdown_timeout = seconds

    async def shutdown(self) -> None:
        pass

    async def _make_server(self) -> web.Server:
        return self._frontend  # type: ignore[return-value]  # any callable with pre_shutdown and shutdown will do

    async def _cleanup_server(self) -> None:
        pass
