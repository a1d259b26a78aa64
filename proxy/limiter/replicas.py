"""How many replicas of Weir share the limits, and whether they count alike.

Each says every second that it lives, and the last count stands in an outage. Each worker process counts. In
a cluster each server is told, in a set of a shard it owns, and the largest count is believed. Knows nothing
of limits but a few letters that tell two configs apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.limiter.link import UP
from proxy.limiter.records import NOTES_MAX, pack_announcement, pack_replica
from proxy.limiter.replies import REPLICAS_MAX, blobs, misunderstood, numbers
from proxy.limiter.scripts import Script, key_prefix

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.limiter.link import Link
    from proxy.limiter.records import Names

ANNOUNCE = Script("announce.lua")
LIFETIME_US = 5_000_000  # five beats: a replica that is busy for a moment is not given up
PAGES_MAX = 20  # of notes, in one beat


class Replicas:
    def __init__(self, own_id: bytes, names: Names, now: Callable[[], float]) -> None:
        self.are_alike = False  # every server says that all replicas have our limits
        self._id = own_id
        self._limits = b"none"
        self._names = names
        self._now = now
        self._counts: dict[str, int] = {}  # by server
        self._alike_us: dict[str, int] = {}  # by server: until when all were, in its time; 0: they are not
        self._alone_us = 0  # until when there was nobody else, in our time
        self._heard_us: dict[str, int] = {}  # by server: until when we know of its resets, in its time

    @property
    def count(self) -> int:
        """How many there are, at least 1: this one."""
        return max(self._counts.values(), default=1)

    def count_by(self, limits: bytes) -> bool:
        """From now on by limits of these letters; whether they are others than before.

        Until all servers have told who else lives, others may count by the old ones; unless there were none.
        """
        if limits == self._limits:
            return False
        self._limits = limits
        if self.count > 1:
            self._alike_us.clear()
            self.are_alike = False
        else:
            self._alone_us = int(self._now() * 1e6)
        return True

    def alike_until(self, link: Link) -> int:
        """The moment, in the server's time, at which nobody was known to count by other limits; else 0.

        Who has begun since then has not been heard of, and what it writes is not to be cut down.
        """
        told_us = self._alike_us.get(link.name, 0) if self.are_alike else 0
        return max(told_us, link.clock.server_us(self._alone_us)) if told_us and self._alone_us else told_us

    async def announce(self, link: Link) -> list[bytes]:
        """Tells the server that we live and learns how many do; the notes of resets since the last time.

        Raises TroubleError.
        """
        notes: list[bytes] = []
        for _ in range(PAGES_MAX):
            sent_us = int(self._now() * 1e6)
            limits = self._limits
            reply = await link.ask_for(self._call(link, LIFETIME_US, self._heard_us.get(link.name, 0)))
            if type(reply) is not list or len(reply) != 5:
                raise misunderstood(link.name)
            count, alike, told_us, server_us = numbers(reply[:4], 4, link.name)
            notes += blobs(reply[4], link.name, NOTES_MAX)
            link.clock.learn(sent_us, int(self._now() * 1e6), server_us)
            self._heard_us[link.name] = max(told_us, 0)  # it goes back into a script
            self._believe(link, min(max(count, 1), REPLICAS_MAX))
            if limits == self._limits:
                self._alike_us[link.name] = server_us if alike == 1 else 0
                self.are_alike = all(self._alike_us.values())
            if told_us == server_us:
                break
        return notes

    def _believe(self, link: Link, count: int) -> None:
        """A server that has just come back may not have heard of all again: for a lifetime no smaller one."""
        is_settled = link.state == UP and link.seconds * 1e6 > LIFETIME_US
        self._counts[link.name] = count if is_settled else max(count, self._counts.get(link.name, 1))

    async def withdraw(self, link: Link) -> None:
        """Raises TroubleError; then the server forgets us when our lifetime is over."""
        await link.ask_for(self._call(link, 0, 0))

    def forget(self, link: Link) -> None:
        """It leads nowhere any more."""
        for table in (self._counts, self._alike_us, self._heard_us):
            table.pop(link.name, None)

    def forget_all_but(self, names: Sequence[str]) -> None:
        """The other servers are no longer asked."""
        for table in (self._counts, self._alike_us, self._heard_us):
            for name in [name for name in table if name not in names]:
                del table[name]

    def _call(self, link: Link, lifetime_us: int, since_us: int) -> bytes:
        shard = link.shards[0]
        keys = [self._names.replicas(shard), self._names.resets(shard)]
        argument = pack_announcement(lifetime_us, since_us, pack_replica(self._id, self._limits))
        return ANNOUNCE.full_call([key_prefix(key, 0) for key in keys], argument)
