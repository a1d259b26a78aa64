"""Before a link opens: what was spent here meanwhile is charged to Redis, and what Redis may have lost is
restored.

Rounds of a few hundred buckets are asked one after the other while requests are still decided here. The
last round is sent without waiting, and the requests after it follow on the same connection: nothing can
come between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxy.limiter.records import pack_head, shard_of
from proxy.limiter.replies import numbers
from proxy.limiter.rounds import heard, rounds
from proxy.limiter.scripts import Script
from proxy.limiter.trouble import TroubleError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from proxy.limiter.book import Book
    from proxy.limiter.link import Link
    from proxy.limiter.replicas import Replicas

SETTLE = Script("call.lua", "bucket.lua", "settle.lua")
ROUND_KEYS = 256  # 1 ms of Redis's time

Bucket = tuple["Book", bytes]


async def settle(link: Link, books: Sequence[Book], replicas: Replicas) -> None:
    """On return the last round is on its way. Raises TroubleError."""
    todo = _of(link, [(book, key) for book in books for key in book.unsettled_keys()])
    while len(todo) > ROUND_KEYS:
        for part in _rounds(link, todo):
            _judge(await link.ask(_Round(part, replicas, link.deadline()).data), link)
        todo = _spent(link, books)
    for part in _rounds(link, todo):
        link.post(_Round(part, replicas, link.deadline()))


async def settle_spent(link: Link, books: Sequence[Book], replicas: Replicas) -> None:
    """What was spent here, on a link that is up. Raises TroubleError."""
    for part in _rounds(link, _spent(link, books)):
        _judge(await link.ask(_Round(part, replicas, link.deadline()).data), link)


def _spent(link: Link, books: Sequence[Book]) -> list[Bucket]:
    return _of(link, [(book, key) for book in books for key in book.spent_keys()])


def _of(link: Link, buckets: Iterable[Bucket]) -> list[Bucket]:
    """Those that the link leads to."""
    shards = frozenset(link.shards)
    return [bucket for bucket in buckets if shard_of(bucket[1]) in shards]


def _rounds(link: Link, buckets: Sequence[Bucket]) -> Iterator[list[Bucket]]:
    return rounds(link, buckets, _key, ROUND_KEYS)


def _key(bucket: Bucket) -> bytes:
    return bucket[1]


def _judge(reply: Any, link: Link) -> None:
    """Raises TroubleError if the server did not settle them."""
    numbers(heard(reply, link), 2, link.name)


class _Round:
    """Some buckets, settled when they are sent."""

    can_wait = False

    def __init__(self, buckets: Sequence[Bucket], replicas: Replicas, deadline: float) -> None:
        self.deadline = deadline
        self._buckets = buckets
        self._replicas = replicas
        self._link: Link = None  # type: ignore[assignment]  # set when it is sent

    def data(self, link: Link) -> bytes:
        self._link = link
        now_us = int(link.now() * 1e6)
        keys = []
        deadline_us = link.clock.server_us(int(self.deadline * 1e6))
        plan = [pack_head(deadline_us, 0, 0, self._replicas.alike_until(link))]
        for book, key in self._buckets:
            line = book.settle(key, now_us, self._replicas.count)
            if line:
                keys.append(book.key(key))
                plan.append(line)
        return SETTLE.full_call(keys, b"".join(plan))

    def replied(self, reply: Any) -> None:
        try:
            _judge(reply, self._link)
        except TroubleError as trouble:
            self._link.fail(trouble)

    def failed(self) -> None:
        """The link is down again; the buckets are known with what was spent."""
