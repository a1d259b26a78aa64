"""Before a link opens: what was spent here meanwhile is charged to Redis, and what Redis may have lost is
restored.

Rounds of a few hundred buckets are asked one after the other while requests are still decided here. The
last round is sent without waiting, and the requests after it follow on the same connection: nothing can
come between. There may be a hundred thousand buckets, so they are looked through in turns; and a reload may
come in between, so that a round names its books and looks them up when it is sent.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from proxy.limiter.records import pack_head, shard_of
from proxy.limiter.replies import numbers
from proxy.limiter.rounds import heard, rounds
from proxy.limiter.scripts import Script
from proxy.limiter.trouble import TroubleError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from proxy.limiter.book import Book, BucketKeys
    from proxy.limiter.cache import BookName, Caches
    from proxy.limiter.link import Link
    from proxy.limiter.replicas import Replicas

    SpentBucket = tuple[BookName, bytes]
    Tables = Callable[[Book], list[BucketKeys]]

SETTLE = Script("call.lua", "bucket.lua", "settle.lua")
ROUND_KEYS: Final = 256  # 1 ms of Redis's time
TURN_KEYS: Final = 4096  # looked through in a turn: 1 ms


async def settle(link: Link, caches: Caches, replicas: Replicas) -> None:
    """Sends round after round; on return the last is on its way. Raises TroubleError."""
    await _ask(link, caches, replicas, await _rounds(link, caches, _unsettled))
    while True:
        rest = [*await _rounds(link, caches, _spent)]
        if sum(map(len, rest)) <= ROUND_KEYS:
            break
        await _ask(link, caches, replicas, rest)
    for part in rest:
        link.post(_Round(part, caches, replicas, link.deadline()))


async def settle_spent(link: Link, caches: Caches, replicas: Replicas) -> None:
    """What was spent here, on a link that is up. Raises TroubleError."""
    await _ask(link, caches, replicas, await _rounds(link, caches, _spent))


async def _ask(link: Link, caches: Caches, replicas: Replicas, parts: Iterable[list[SpentBucket]]) -> None:
    for part in parts:
        _judge(await link.ask(_Round(part, caches, replicas, link.deadline()).data), link)


# --- which buckets ---


def _spent(book: Book) -> list[BucketKeys]:
    return book.spent_tables()


def _unsettled(book: Book) -> list[BucketKeys]:
    return book.unsettled_tables()


async def _rounds(link: Link, caches: Caches, tables: Tables) -> Iterator[list[SpentBucket]]:
    """Those that the link leads to, each once. Of a few, nobody is let in between.

    A reload in the middle of it would hide some, so it begins again.
    """
    turn = _Turn(frozenset(link.shards))
    while True:
        configured = caches.configured
        found = [(name, await turn.keys(tables(book))) for name, book in caches.named_books()]
        if caches.configured == configured:
            return rounds(link, ((name, key) for name, keys in found for key in keys), _key, ROUND_KEYS)


def _key(bucket: SpentBucket) -> bytes:
    return bucket[1]


class _Turn:
    """Looks through so many keys, then lets others in."""

    def __init__(self, shards: frozenset[int]) -> None:
        self._shards = shards
        self._left = TURN_KEYS

    async def keys(self, tables: Sequence[BucketKeys]) -> Collection[bytes]:
        """The keys of these shards, each once."""
        found: dict[bytes, None] = {}
        for table in tables:
            keys = [*table]
            for start in range(0, len(keys), TURN_KEYS):
                part = keys[start : start + TURN_KEYS]
                found.update(dict.fromkeys([key for key in part if shard_of(key) in self._shards]))
                self._left -= len(part)
                if self._left <= 0:
                    self._left = TURN_KEYS
                    await asyncio.sleep(0)
        return found


def _judge(reply: Any, link: Link) -> None:
    """Raises TroubleError if the server did not settle them."""
    numbers(heard(reply, link), 2, link.name)


class _Round:
    """Some buckets, settled when they are sent."""

    can_wait = False

    def __init__(
        self, buckets: Sequence[SpentBucket], caches: Caches, replicas: Replicas, deadline: float
    ) -> None:
        self.deadline = deadline
        self._buckets = buckets
        self._caches = caches
        self._replicas = replicas

    def data(self, link: Link) -> bytes:
        now_us = int(link.now() * 1e6)
        keys = []
        deadline_us = link.clock.server_us(int(self.deadline * 1e6))
        plan = [pack_head(deadline_us, 0, 0, self._replicas.alike_until(link))]
        for name, key in self._buckets:
            book = self._caches.book(name)
            if book is None:
                continue
            line = book.settle(key, now_us, self._replicas.count)
            if line:
                keys.append(book.key(key))
                plan.append(line)
        return SETTLE.full_call(keys, b"".join(plan))

    def replied(self, reply: Any, link: Link) -> None:
        try:
            _judge(reply, link)
        except TroubleError as trouble:
            link.fail(trouble)

    def failed(self) -> None:
        """The link is down again; the buckets are known with what was spent."""
