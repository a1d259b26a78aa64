"""What a store still remembers when all is quiet: nothing, but what is bounded by its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.limiter.book import Book
    from proxy.limiter.link import Link
    from proxy.limiter.redis import RedisStore

LATER_US = 2 * 86_400_000_000  # when any bucket is full, and what was known of it is of no use


def left_in(store: RedisStore) -> dict[str, int]:
    """How much is left, by what it is. To be asked once: what two sweeps take away is swept as of much later."""
    now_us = store._dispatcher.now_us()
    for later in (1, 2):
        store._caches.sweep(now_us + later * LATER_US)
    dispatcher, links, held = store._dispatcher, store._dispatcher.topology.all(), store.held
    left = {
        "calls of this tick": len(dispatcher.batches) + len(dispatcher._full),
        "calls without a decision": len(dispatcher._pending),
        "calls that wait for a connection": sum(len(link._held) for link in links),
        "calls without a reply in time": sum(_overdue(link) for link in links),
        "slots": len(held.slots) + len(held._by_bucket) + sum(held.by_limit.values()),
        "slots that Redis is to hear of": len(store._keeping.owed),
        "overrides": len(store._overrides),
        "leases": sum(
            len(each.leases._held) + len(each.leases._asked_us) + len(each.leases._awaited_us)
            for each in store._caches
            if each.leases
        ),
        "moments of telling": sum(len(each._told) for each in store._caches if each._told is not None),
        "credentials beyond the most": max(len(store.proven) - store.proven.most, 0),
        "credentials to be told of": len(store.proven.news()),
    }
    for book in store._caches.books:
        for what, count in _left_in_book(book).items():
            left[what] = left.get(what, 0) + count
    return {what: count for what, count in left.items() if count}


def _overdue(link: Link) -> int:
    calls = link._wire.calls if link._wire is not None else ()
    return sum(call.deadline < link.now() for call in calls)


def _left_in_book(book: Book) -> dict[str, int]:
    return {
        "buckets that are known": len(book.known),
        "buckets that were known": len(book.before),
        "buckets spent here": len(book.local),
        "bases of these": len(book._bases),
        "doubts": len(book._doubts),
        "books of before a reload": int(book._past is not None),
    }
