"""To another Redis, or to the same one with another password, while requests are served.

The place there is serves until the next one is up: a password that Redis does not know yet is tried again
and again, and costs nobody anything. Knows nothing of requests and buckets.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from proxy.background import end
from proxy.limiter.link import UP
from proxy.limiter.trouble import TroubleError

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.limiter.dialler import Dialler
    from proxy.limiter.topology import Topology

LOOK_SECONDS = 0.02  # between two looks at what has to be waited for
LEAVE_SECONDS = 5.0  # for what is on its way to the old place

_log = logging.getLogger("weir.store")


class Move:
    """Goes on until all links of the next place are up, and ends when the one before is left."""

    def __init__(
        self,
        dialler: Dialler,
        topology: Topology,
        arrived: Callable[[Move], Topology],
        left: Callable[[], None],
    ) -> None:
        """`arrived` answers with the place to be left; `left` is told when that is done."""
        self.dialler = dialler
        self.topology = topology
        self._arrived = arrived
        self._left = left
        self._unused = topology  # to be closed if this is given up
        self.task = asyncio.create_task(self._go())

    async def _go(self) -> None:
        try:
            await self.topology.start()
            while not all(link.state == UP for link in self.topology.links):  # noqa: ASYNC110 - links tell nobody when they are up; a reload in days
                await asyncio.sleep(LOOK_SECONDS)
            self._unused = self._arrived(self)
            await _emptied(self._unused)
            await leave(self._unused)
            self._left()
        except Exception:  # noqa: BLE001 - the next reload may fare better
            _log.exception("crashed")

    async def end(self) -> None:
        await end(self.task)
        await self._unused.close()


class Moves:
    """Ways over to another Redis: at most one is under way; those that were given up are ending."""

    def __init__(self, arrived: Callable[[Move], Topology], left: Callable[[], None]) -> None:
        self.next: Move | None = None
        self._arrived = arrived
        self._left = left
        self._going: set[Move] = set()
        self._ending: set[asyncio.Task[None]] = set()

    def begin(self, dialler: Dialler, topology: Topology) -> None:
        self.give_up()
        move = self.next = Move(dialler, topology, self._come, self._left)
        self._going.add(move)
        move.task.add_done_callback(lambda _: self._going.discard(move))

    def _come(self, move: Move) -> Topology:
        self.next = None
        return self._arrived(move)

    def give_up(self) -> None:
        """A later reload wants to go elsewhere, or to stay."""
        if self.next is not None:
            ending = asyncio.create_task(self.next.end())
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
            self.next = None

    async def end(self) -> None:
        self.next = None
        await asyncio.gather(*(move.end() for move in self._going), *self._ending)


async def _emptied(topology: Topology) -> None:
    """Nothing is on its way there any more, or it takes too long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(LEAVE_SECONDS):
            while not all(link.is_idle for link in topology.all()):  # noqa: ASYNC110 - links tell nobody when they are idle
                await asyncio.sleep(LOOK_SECONDS)


async def leave(topology: Topology) -> None:
    """Says that we are no longer to be counted there, and closes."""
    for link in topology.all():
        if link.state == UP:
            with suppress(TroubleError):
                await link.take_leave()
    await topology.close()
