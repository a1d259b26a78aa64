"""What operators look at and change of one key, where buckets live in Redis.

Each is a call or two on a link that is up. Here it counts at once, on other replicas within a beat: they read
the notes (resets.py, override_notes.py). Knows nothing of requests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.limiter import resets
from proxy.limiter.link import UP
from proxy.limiter.override_notes import SHARD
from proxy.limiter.records import debt_in, pack_note, shard_of
from proxy.limiter.replies import numbers, server_time
from proxy.limiter.scripts import command
from proxy.limiter.store import UnreachableError
from proxy.limiter.trouble import FOREIGN_KEY, TroubleError

if TYPE_CHECKING:
    from proxy.limiter.cache import Caches
    from proxy.limiter.dispatcher import Dispatcher
    from proxy.limiter.link import Link
    from proxy.limiter.override_notes import OverrideNotes
    from proxy.limiter.overrides import LimitKey, Override, Overrides
    from proxy.limiter.records import Names
    from proxy.policy.limits import Limit
    from proxy.policy.terms import Terms


class RedisKeys:
    """`store.Keys`, of a `RedisStore`."""

    def __init__(
        self, dispatcher: Dispatcher, caches: Caches, overrides: Overrides, notes: OverrideNotes, names: Names
    ) -> None:
        self._dispatcher = dispatcher
        self._caches = caches
        self._overrides = overrides
        self._notes = notes
        self._names = names

    async def reset(self, limit: Limit, key: bytes) -> int:
        links = [self._dispatcher.link(shard_of(key))] if key else self._dispatcher.topology.all()
        count = 0
        try:
            for link in links:
                count += await self._reset_at(link, limit.name, key)
        except TroubleError as trouble:
            raise UnreachableError(str(trouble)) from None
        return count

    async def _reset_at(self, link: Link, limit: str, key: bytes) -> int:
        _assert_up(link)
        if key:
            count = await resets.delete(link, [self._names.bucket(limit, shard_of(key), key)])
        else:
            count = await resets.reset_all(link, self._names, limit)
        await resets.tell(link, self._names.resets(link.shards[0]), pack_note(limit, key))
        self._caches.forget(limit, key)
        return count

    async def debt(self, terms: Terms, key: bytes) -> int:
        try:
            link = self._link_up(shard_of(key))
            moment = await link.ask_for(command(b"TIME"))
            record = await self._record(link, self._names.bucket(terms.name, shard_of(key), key))
            return debt_in(record, terms, server_time(moment, link.name))
        except TroubleError as trouble:
            raise UnreachableError(str(trouble)) from None

    async def _record(self, link: Link, name: bytes) -> object:
        """What is kept under a bucket's name; None if it is another type's. Raises TroubleError."""
        try:
            return await link.ask_for(command(b"GET", name))
        except TroubleError as trouble:
            if trouble.reason != FOREIGN_KEY:
                raise
        self._dispatcher.count_error(FOREIGN_KEY)
        return None

    async def under_way(self, limit: Limit, key: bytes) -> int:
        name = self._names.slots(limit.name, shard_of(key), key)
        try:
            link = self._link_up(shard_of(key))
            now_us = server_time(await link.ask_for(command(b"TIME")), link.name)
            await link.ask_for(command(b"ZREMRANGEBYSCORE", name, b"-inf", b"%d" % now_us))
            (count,) = numbers([await link.ask_for(command(b"ZCARD", name))], 1, link.name)
        except TroubleError as trouble:
            if trouble.reason == FOREIGN_KEY:  # it counts as absent
                return 0
            raise UnreachableError(str(trouble)) from None
        return max(count, 0)

    # --- overrides ---

    def override(self, limit_key: LimitKey) -> tuple[Override, float] | None:
        return self._overrides.told(limit_key, self._dispatcher.now_us())

    async def put_override(self, limit_key: LimitKey, override: Override, seconds: float) -> None:
        try:
            await self._notes.put(self._link_up(SHARD), limit_key, override, int(seconds * 1e6))
        except TroubleError as trouble:
            raise UnreachableError(str(trouble)) from None

    async def release(self, limit_key: LimitKey) -> bool:
        try:
            return await self._notes.release(self._link_up(SHARD), limit_key)
        except TroubleError as trouble:
            raise UnreachableError(str(trouble)) from None

    def _link_up(self, shard: int) -> Link:
        """Raises TroubleError."""
        link = self._dispatcher.link(shard)
        _assert_up(link)
        return link


def _assert_up(link: Link) -> None:
    """Raises TroubleError."""
    if link.state != UP:
        raise link.trouble or TroubleError("connection", f"store.url: {link.name} is not connected")
