"""An innocent client beside an attack: how long it would have waited for its turn, by the processor's clock.

Whoever is served by a loop waits for what the loop does in between. The clock of the processor counts that alone, not
how busy the machine is with others; the bound grows with how slow the processor is at plain work. Where threads work
beside the loop, which wait for each other, it counts what all of them have done: `ALL_THREADS`.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.support import ports
from tests.support.cost import slowness

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

MOST_SECONDS = 0.02
ALL_THREADS = time.process_time
PAUSE_SECONDS = 0.001  # one that came again at once would keep a processor busy for as long as a test waits


def traced() -> int:
    """How many times longer the test that asks may take: who counts each line takes time itself, in threads too."""
    return 3 if sys.gettrace() else 1


class Innocent:
    """Comes again and again: after a pause, or in memory, where time moves for nobody who is busy, in every turn."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.longest = 0.0  # seconds between two of its turns
        self._clock = clock
        self._last = clock()
        self._loop = asyncio.get_running_loop()
        self._turn = self._next()

    def _come(self) -> None:
        now = self._clock()
        self.longest = max(self.longest, now - self._last)
        self._last = now
        self._turn = self._next()

    def _next(self) -> asyncio.Handle:
        if ports.is_real:
            return self._loop.call_later(PAUSE_SECONDS, self._come)
        return self._loop.call_soon(self._come)

    def leave(self) -> None:
        self._turn.cancel()


@asynccontextmanager
async def innocent(clock: Callable[[], float] = time.thread_time) -> AsyncIterator[Innocent]:
    """Beside whatever happens within; at the end it has never waited long."""
    gc.collect()  # what others have left would be in the way of the memory that the attack needs
    gc.disable()  # the collector's pauses grow with what the tests have kept, not with the attack
    before, client = slowness(), Innocent(clock)
    try:
        yield client
        await asyncio.sleep(2 * PAUSE_SECONDS if ports.is_real else 0)  # it comes once more
    finally:
        client.leave()
        gc.enable()
    most = MOST_SECONDS * traced() * max(before, slowness())
    assert client.longest < most, f"an innocent client waited {client.longest * 1000:.0f} ms"
