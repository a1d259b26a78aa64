"""A hundred thousand clients are known: what a reload or an outage makes of their buckets keeps nobody waiting."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from tests.limiter.asking import ask, charge, limits_of, store_at
from tests.support.innocent import innocent

if TYPE_CHECKING:
    from tests.support.redis_servers import Redis

KEYS = 100_000
SETTINGS = {"name": "per-user", "rate": "15/h"}
LIMITS = limits_of(SETTINGS)


def know_many(store: Any, kind: str) -> None:
    """As if so many had been refused a moment ago, by Redis or without it."""
    (book,) = store._caches.books
    draw = Random(1).randbytes
    later_us = store._now_us() + 600_000_000
    for _ in range(KEYS):
        if kind == "known":
            book.known.put(draw(16), later_us)
        else:
            book.put_locally(draw(16), 1000, store._now_us())


async def test_reload_with_many_keys(redis: Redis) -> None:
    """Each keeps its bucket."""
    async with store_at(redis.url, LIMITS, max_keys=4 * KEYS) as store:
        know_many(store, "known")
        after = limits_of(SETTINGS)
        async with innocent():
            store.configure(after)
            assert (await ask(store, charge(next(iter(after))))).is_admitted

        assert store.status()["keys"] == {"per-user": 1}
        assert len(store._caches.books[0].before) == KEYS
