"""/metrics: one scrape at a time, in pieces between which the loop turns, and no more than anybody needs.

Who asks while a scrape is being made, or more often than the ration, shares the next one: a storm of
scrapers costs what a few cost. Knows nothing of what is measured.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

from proxy.contract.ration import Ration
from proxy.telemetry.exposition import Exposition

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxy.telemetry.reading import Reading

SCRAPES_PER_SECOND, SCRAPES_BURST = 4, 20  # Prometheus scrapes once in 15 s; a person presses reload


class Scrapes:
    def __init__(self, refresh: Callable[[], Awaitable[None]], reading: Callable[[], Reading]) -> None:
        self._refresh = refresh
        self._reading = reading
        self._exposition = Exposition()
        self._ration = Ration(SCRAPES_PER_SECOND, SCRAPES_BURST)
        self._next: dict[bool, asyncio.Task[bytes]] = {}  # by format, those that have not begun
        self._turn = asyncio.Lock()

    async def body(self, *, is_openmetrics: bool) -> bytes:
        """What was so at some moment after this was called."""
        coming = self._next.get(is_openmetrics)
        if coming is None or coming.done():
            coming = asyncio.create_task(self._made(is_openmetrics=is_openmetrics))
            self._next[is_openmetrics] = coming
        return await asyncio.shield(coming)

    async def _made(self, *, is_openmetrics: bool) -> bytes:
        async with self._turn:
            while not self._ration.admits(monotonic()):  # noqa: ASYNC110 - a ration tells no moment
                await asyncio.sleep(1 / SCRAPES_PER_SECOND)
            del self._next[is_openmetrics]  # who comes from now on may want to see what happens from now on
            await self._refresh()
            pieces = []
            for piece in self._exposition.pieces(self._reading(), is_openmetrics=is_openmetrics):
                pieces.append(piece)
                await asyncio.sleep(0)
            return b"".join(pieces)
