"""How many replicas of Weir share the limits: each says every second that it lives; the last count stands
in an outage.

Each worker process counts. In a cluster each server is told, in a set of a shard it owns, and the largest
count is believed. Knows nothing of limits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.limiter.link import UP
from proxy.limiter.scripts import Script, key_prefix

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.limiter.link import Link
    from proxy.limiter.records import Names

ANNOUNCE = Script("announce.lua")
LIFETIME_US = 5_000_000  # five beats: a replica that is busy for a moment is not given up


class Replicas:
    def __init__(self, own_id: bytes, names: Names, now: Callable[[], float]) -> None:
        self._id = own_id
        self._names = names
        self._now = now
        self._counts: dict[str, int] = {}  # by server
        self._heard_us: dict[str, int] = {}  # by server: until when we know of its resets, in its time

    @property
    def count(self) -> int:
        """At least 1: this one."""
        return max(self._counts.values(), default=1)

    async def announce(self, link: Link, shard: int) -> list[bytes]:
        """Tells the server that we live and learns how many do; the notes of resets since the last time.

        A server that has just come back may not have heard of all again: for a lifetime no smaller number
        is believed. Raises TroubleError.
        """
        sent_us = int(self._now() * 1e6)
        call = self._call(shard, LIFETIME_US, self._heard_us.get(link.name, 0))
        count, server_us, resets = await link.ask_for(call)
        link.clock.learn(sent_us, int(self._now() * 1e6), server_us)
        is_settled = link.state == UP and link.seconds * 1e6 > LIFETIME_US
        self._counts[link.name] = count if is_settled else max(count, self._counts.get(link.name, 1))
        self._heard_us[link.name] = server_us
        return list(resets)

    async def withdraw(self, link: Link, shard: int) -> None:
        """Raises TroubleError; then the server forgets us when our lifetime is over."""
        await link.ask_for(self._call(shard, 0, 0))

    def forget(self, server: str) -> None:
        self._counts.pop(server, None)

    def _call(self, shard: int, lifetime_us: int, since_us: int) -> bytes:
        keys = [self._names.replicas(shard), self._names.resets(shard)]
        argument = b"%b %d %d" % (self._id, lifetime_us, since_us)
        return ANNOUNCE.full_call([key_prefix(key, 0) for key in keys], argument)
