"""/events: everything the dashboard shows, once a second, as server-sent events.

A tick is worked out once, however many look, and not at all while nobody does. A viewer costs one write of
bytes that all share; one that does not take them is dropped. Knows nothing of what is shown.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic, time
from typing import TYPE_CHECKING

from aiohttp import HttpVersion11, web

from proxy.admin.snapshots import Snapshots
from proxy.telemetry.log import event

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.admin.sources import AdminSources

TICK_SECONDS = 1.0
BEHIND_MAX = 5  # ticks that a viewer has not taken
OVERLAP_SECONDS = 1.0  # exchanges that ended while the last tick was made
ALL = -1.0  # of what is remembered

_log = logging.getLogger("weir.admin")


class Viewer:
    """One page that is open."""

    def __init__(
        self, transport: asyncio.Transport, may_stay: Callable[[], bool], *, is_chunked: bool
    ) -> None:
        self.gone = asyncio.Event()
        self._transport = transport
        self._may_stay = may_stay
        self._is_chunked = is_chunked
        self._behind = 0

    def show(self, data: bytes) -> None:
        """Never waits."""
        transport = self._transport
        if transport.is_closing() or not self._may_stay():
            self.gone.set()
            return
        self._behind = self._behind + 1 if transport.get_write_buffer_size() else 0
        if self._behind > BEHIND_MAX:
            transport.abort()
            self.gone.set()
            event(_log, logging.INFO, "viewer_dropped", behind=self._behind)
            return
        transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)


class Viewers:
    def __init__(self, sources: AdminSources) -> None:
        self._sources = sources
        self._viewers: set[Viewer] = set()
        self._snapshots = Snapshots()
        self._ticking: asyncio.Task[None] | None = None
        self._last = b""
        self._limits: object = None

    async def watch(self, request: web.Request, may_stay: Callable[[], bool]) -> web.StreamResponse:
        """Sends events until the viewer has gone, or may no longer stay."""
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}
        )
        await response.prepare(request)
        await response.write(self._hello() + self._last)  # with it the head leaves
        assert request.transport is not None
        viewer = Viewer(request.transport, may_stay, is_chunked=request.version >= HttpVersion11)
        self._viewers.add(viewer)
        if self._ticking is None or self._ticking.done():
            self._ticking = asyncio.create_task(self._tick())
        try:
            await viewer.gone.wait()
        finally:
            self._viewers.discard(viewer)
        return response

    def close(self) -> None:
        """Ends all streams, at the end of the process."""
        for viewer in self._viewers:
            viewer.gone.set()
        if self._ticking is not None:
            self._ticking.cancel()

    async def _tick(self) -> None:
        """Makes events while somebody looks; what was remembered for them goes with the last one."""
        since = ALL
        while self._viewers:
            begun = monotonic()
            try:
                since = await self._show(since)
            except Exception as error:  # noqa: BLE001 - the next tick may succeed
                event(_log, logging.ERROR, "admin_failed", error=error, path="/events")
            await asyncio.sleep(max(TICK_SECONDS - (monotonic() - begun), 0.0))
        self._snapshots, self._last = Snapshots(), b""

    async def _show(self, since: float) -> float:
        """The moment up to which everything has been shown."""
        sources = self._sources
        sights = await sources.look(since)
        clocks = monotonic(), time()
        tick = self._snapshots.tick(sources.reading(), sights, sources.status(), clocks)
        hello = b""
        if self._limits != sources.limits():
            hello = self._hello()
        self._last = _message(b"tick", tick)
        for viewer in list(self._viewers):
            viewer.show(hello + self._last)
            await asyncio.sleep(0)  # others are served between two writes
        return sights.at - OVERLAP_SECONDS

    def _hello(self) -> bytes:
        self._limits = self._sources.limits()
        return _message(b"hello", self._snapshots.hello(self._sources.limits(), self._sources.verbs))


def _message(name: bytes, data: bytes) -> bytes:
    """JSON has no line breaks in it."""
    return b"event: %b\ndata: %b\n\n" % (name, data)
