"""What is said to a server of Redis when a connection to it opens, every second, and before it closes.

First who we are, so that the server must write; then the script is left there and tried; at last the buckets
are settled. What others have reset, blocked or granted meanwhile comes before. Knows nothing of requests.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from proxy.limiter.batch import SCRIPT
from proxy.limiter.override_notes import SHARD
from proxy.limiter.records import (
    GIVE_BACK,
    TAKE,
    pack_charge,
    pack_count,
    pack_head,
    pack_operation,
    read_note,
)
from proxy.limiter.scripts import key_prefix
from proxy.limiter.settling import settle, settle_spent

if TYPE_CHECKING:
    from proxy.limiter.cache import Caches
    from proxy.limiter.keeping import Keeping
    from proxy.limiter.link import Link
    from proxy.limiter.override_notes import OverrideNotes
    from proxy.limiter.proven import Sharing
    from proxy.limiter.records import Names
    from proxy.limiter.replicas import Replicas

TURN_NOTES: Final = 500  # of resets, heeded in a turn: 2 ms


class Session:
    """The same for all links of a store; `Link` is its counterpart."""

    def __init__(
        self,
        caches: Caches,
        replicas: Replicas,
        shared: tuple[Sharing, OverrideNotes, Keeping],
        names: Names,
        timeout: float,
    ) -> None:
        self.timeout = timeout  # seconds for a call; may be changed at any time
        self._caches = caches
        self._replicas = replicas
        self._sharing, self._overrides, self._keeping = shared
        self._names = names

    async def open(self, link: Link) -> None:
        """Speaks first on a new connection; then the link is up. Raises TroubleError."""
        if link.shards:  # else it has been named by ASK, and owns none yet
            await self._announce(link)
        await link.ask(lambda _: SCRIPT.full_call([], b""))
        if link.shards:
            await link.ask(self._rehearsal)
        await settle(link, self._caches, self._replicas)
        await self._sharing.share(link)
        await self._keeping.tell_all(link)

    async def beat(self, link: Link) -> None:
        """Every second while the link is up. Raises TroubleError."""
        if link.shards:
            await self._announce(link)
            # Of shards that have come to this server from one that was down.
            await settle_spent(link, self._caches, self._replicas)
            await self._sharing.share(link)
            await self._keeping.renew(link)

    async def close(self, link: Link) -> None:
        """Raises TroubleError."""
        if link.shards:
            await self._keeping.leave(link)
            await self._replicas.withdraw(link)

    def gone(self, link: Link) -> None:
        """It leads nowhere any more."""
        self._replicas.forget(link)
        self._sharing.forget(link)

    async def _announce(self, link: Link) -> None:
        notes = await self._replicas.announce(link)
        for start in range(0, len(notes), TURN_NOTES):
            for note in notes[start : start + TURN_NOTES]:
                found = read_note(note)
                if found is not None:  # a stranger's is passed over
                    self._caches.forget(*found)
            await asyncio.sleep(0)
        if SHARD in link.shards:
            await self._overrides.read(link)

    def _rehearsal(self, link: Link) -> bytes:
        """Takes a token and gives it back: what the user may not do shows before requests depend on it."""
        key = key_prefix(self._names.rehearsal(link.shards[0]), 0)
        charge = pack_charge(1, 1, 1000, 1000, 1000, 0)
        runs = [pack_count(1) + pack_operation(kind, 1) + charge for kind in (TAKE, GIVE_BACK)]
        return SCRIPT.call([key, key], pack_head(link.deadline_us(), 0, 0, 0) + b"".join(runs))
