"""Which link leads to which shard: one for all, or in a cluster the primary that owns the shard's slot.

A cluster is surveyed at the start, after MOVED, and while any link is down: that is how a failover is
followed. Knows nothing of charges.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Protocol

from proxy.background import end, keep_doing
from proxy.limiter.discovery import shown
from proxy.limiter.link import DOWN, STORE, Link
from proxy.limiter.records import LAST_SHARD, SHARDS
from proxy.limiter.trouble import TroubleError
from proxy.telemetry.log import event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxy.limiter.dialler import Dialler, Opened
    from proxy.limiter.discovery import NodeAddress
    from proxy.limiter.session import Session
    from proxy.telemetry.metrics import StoreFigures

SURVEY_PAUSE = 0.2  # seconds between two surveys at least
NAMED_MAX = 4 * SHARDS  # servers that MOVED and ASK may name until the next survey forgets them

_log = logging.getLogger("weir.store")


class Topology(Protocol):
    links: list[Link]  # by shard & mask
    mask: int  # 0 when one call may hold buckets of all shards

    async def start(self) -> None:
        """Returns when each link has been up or down."""

    async def close(self) -> None: ...

    def all(self) -> list[Link]: ...

    def take_over(self) -> None:
        """It is the one that decides, from now on."""

    def look_around(self) -> None:
        """Something was not where it should be."""

    def at(self, address: NodeAddress) -> Link:
        """The link to a server that another has named. Raises TroubleError if too many are."""

    def host_of(self, link: Link) -> str:
        """The host by which it is spoken to: who names a port alone means its own."""


class Single:
    """One server: Redis itself, or the master that Sentinel names at each connection."""

    def __init__(
        self, dialler: Dialler, session: Session, figures: StoreFigures, now: Callable[[], float], place: str
    ) -> None:
        """`place` is what the log calls it."""
        self._dialler = dialler
        self._link = Link(dialler.name, self._dial, session, figures.count_error, now)
        self._link.place = place
        self._link.shards = list(range(SHARDS))
        self.links = [self._link]
        self.mask = 0

    async def start(self) -> None:
        self._link.start()
        await self._link.tried.wait()

    async def close(self) -> None:
        await self._link.close()

    def all(self) -> list[Link]:
        return self.links

    def take_over(self) -> None:
        self._link.place = STORE

    def look_around(self) -> None:
        """It is asked for at each connection."""

    def at(self, address: NodeAddress) -> Link:  # noqa: ARG002 - one server is every address
        return self._link

    def host_of(self, link: Link) -> str:
        return link.name

    async def _dial(self) -> Opened:
        url = self._dialler.url
        if url.path is not None:
            return await self._dialler.connect_unix(url.path)
        address = await self._dialler.master() if url.kind == "sentinel" else url.addresses[0]
        return await self._dialler.connect(address)


class Cluster:
    def __init__(
        self, dialler: Dialler, session: Session, figures: StoreFigures, now: Callable[[], float], place: str
    ) -> None:
        """`place` is what the log calls it."""
        self._dialler = dialler
        self._place = place
        self._session = session
        self._figures = figures
        self._now = now
        self._seeds = list(dialler.url.addresses)
        self._known: dict[NodeAddress, Link] = {}
        self.mask = LAST_SHARD
        # Never started, so always down.
        nowhere = self._link(dialler.name, partial(dialler.connect, self._seeds[0]))
        self.links = [nowhere] * SHARDS
        self.trouble: TroubleError | None = None
        self._wanted = asyncio.Event()
        self._surveyed = asyncio.Event()  # once, with success or without
        self._surveying: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._wanted.set()
        self._surveying = asyncio.create_task(keep_doing(_log, self._survey_when_wanted, self._crashed))
        await self._surveyed.wait()
        for link in self._known.values():
            await link.tried.wait()

    async def close(self) -> None:
        if self._surveying is not None:
            await end(self._surveying)
        await asyncio.gather(*(link.close() for link in self._known.values()), *self._closing)

    def all(self) -> list[Link]:
        return list(self._known.values()) or self.links[:1]

    def take_over(self) -> None:
        self._place = STORE
        for link in self._known.values():
            link.place = STORE

    def look_around(self) -> None:
        self._wanted.set()

    def at(self, address: NodeAddress) -> Link:
        if address not in self._known and len(self._known) >= NAMED_MAX:
            raise TroubleError("cluster", f"store.url: {shown(address)} is one server too many in a cluster")
        return self._at(address)

    def _at(self, address: NodeAddress) -> Link:
        link = self._known.get(address)
        if link is None:
            link = self._known[address] = self._link(shown(address), lambda: self._dialler.connect(address))
            link.start()
        return link

    def host_of(self, link: Link) -> str:
        return next((host for (host, _), known in self._known.items() if known is link), link.name)

    def _link(self, name: str, dial: Callable[[], Awaitable[Opened]]) -> Link:
        link = Link(name, dial, self._session, self._troubled, self._now)
        link.mask, link.place = self.mask, self._place
        return link

    def _troubled(self, reason: str) -> None:
        self._figures.count_error(reason)
        self.look_around()

    async def _survey_when_wanted(self) -> None:
        await self._wanted.wait()
        self._wanted.clear()
        try:
            await self._survey()
        finally:
            self._surveyed.set()
        await asyncio.sleep(SURVEY_PAUSE)
        if any(link.state == DOWN for link in self.links):
            self._wanted.set()

    def _crashed(self, error: Exception) -> None:
        self._note(TroubleError("internal", f"{type(error).__name__}: {error}"))

    async def _survey(self) -> None:
        seeds = [*dict.fromkeys([*self._known, *self._seeds])]
        try:
            addresses = await self._dialler.primaries(seeds)
        except TroubleError as trouble:
            self._note(trouble)
            return
        self.trouble = None
        self.links[:] = [self._at(address) for address in addresses]
        for link in self._known.values():
            link.shards = [shard for shard, its in enumerate(self.links) if its is link]
        for address in [known for known in self._known if known not in addresses]:
            link = self._known.pop(address)
            self._session.gone(link)
            task = asyncio.create_task(link.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def _note(self, trouble: TroubleError) -> None:
        if self.trouble is None or str(self.trouble) != str(trouble):
            self._figures.count_error(trouble.reason)
            event(_log, logging.WARNING, "cluster not found", reason=trouble.reason, detail=str(trouble))
        self.trouble = trouble
        self._wanted.set()
