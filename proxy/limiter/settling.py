"""Before a link opens: what was spent here meanwhile is charged to Redis, and what Redis may have lost is
restored.

Rounds of a few hundred buckets are asked one after the other while requests are still decided here. The
last round is sent without waiting, and the requests after it follow on the same connection: nothing can
come between.
"""

from __future__ import annotations

from struct import pack
from time import monotonic
from typing import TYPE_CHECKING, Any

from proxy.limiter.books import LAST_SHARD
from proxy.limiter.memory import monotonic_us
from proxy.limiter.resp import Script
from proxy.limiter.trouble import TroubleError, reply_trouble

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from proxy.limiter.books import Book
    from proxy.limiter.link import Link

SETTLE = Script("settle.lua")
ROUND_KEYS = 256  # 1 ms of Redis's time

Bucket = tuple["Book", bytes]


async def settle(link: Link, books: Sequence[Book], places: Places, replicas: int) -> None:
    """On return the last round is on its way. Raises TroubleError."""
    todo = [bucket for bucket in _known(books) if places.has(bucket)]
    while len(todo) > ROUND_KEYS:
        for part in places.parts(todo):
            reply = await link.ask(_Round(part, replicas, link.timeout).data)
            if len(reply) == 1:
                raise TroubleError("timeout", f"store.url: {link.name} settles too slowly")
        todo = [bucket for bucket in _spent(books) if places.has(bucket)]
    for part in places.parts(todo):
        link.post(_Round(part, replicas, link.timeout))


class Places:
    """The shards whose buckets a link carries; with a mask, a call holds buckets of one shard only."""

    def __init__(self, shards: Collection[int], mask: int) -> None:
        self._shards = frozenset(shards)
        self._mask = mask

    def has(self, bucket: Bucket) -> bool:
        return bucket[1][0] & LAST_SHARD in self._shards

    def parts(self, buckets: Sequence[Bucket]) -> Iterator[list[Bucket]]:
        by_place: dict[int, list[Bucket]] = {}
        for bucket in buckets:
            by_place.setdefault(bucket[1][0] & self._mask, []).append(bucket)
        for part in by_place.values():
            for start in range(0, len(part), ROUND_KEYS):
                yield part[start : start + ROUND_KEYS]


class _Round:
    """Some buckets, settled when they are sent."""

    can_wait = False

    def __init__(self, buckets: Sequence[Bucket], replicas: int, timeout: float) -> None:
        self.deadline = monotonic() + timeout
        self._buckets = buckets
        self._replicas = replicas
        self._link: Link = None  # type: ignore[assignment]  # set when it is sent

    def data(self, link: Link) -> bytes:
        self._link = link
        now_us = monotonic_us()
        keys = []
        plan = [pack("<d", link.clock.server_us(int(self.deadline * 1e6)))]
        for book, key in self._buckets:
            line = book.settle(key, now_us, self._replicas)
            if line:
                keys.append(book.prefixes[key[0] & LAST_SHARD] + key)
                plan.append(line)
        return SETTLE.full_call(keys, b"".join(plan))

    def replied(self, reply: Any) -> None:
        if isinstance(reply, Exception):
            self._link.fail(reply_trouble(reply, self._link.name))
        elif len(reply) == 1:
            self._link.fail(TroubleError("timeout", f"store.url: {self._link.name} settles too slowly"))

    def failed(self) -> None:
        """The link is down again; the buckets are known with what was spent."""


def _known(books: Sequence[Book]) -> list[Bucket]:
    return [(book, key) for book in books for key in book.unsettled_keys()]


def _spent(books: Sequence[Book]) -> list[Bucket]:
    return [(book, key) for book in books for key in book.spent_keys()]
