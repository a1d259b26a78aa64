"""Overrides in Redis: one sorted set of a service, which every replica reads with each beat.

It lives with shard 0, and is bounded in number and in time. What a server has lost, whoever knows it writes
anew. Knows nothing of limits but their names.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from proxy.limiter.overrides import OVERRIDES_MAX, Override
from proxy.limiter.records import OVERRIDE_MAX_US, pack_change, pack_note, pack_override, read_override
from proxy.limiter.replies import blobs, misunderstood, numbers
from proxy.limiter.scripts import Script, key_prefix
from proxy.limiter.store import CrowdedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.limiter.link import Link
    from proxy.limiter.overrides import LimitKey, Overrides
    from proxy.limiter.records import Names

SCRIPT = Script("overrides.lua")
SHARD: Final = 0  # where the set lives


class Reply(NamedTuple):
    had_one: bool
    is_kept: bool
    found: dict[LimitKey, Override]


class OverrideNotes:
    """Between Redis and what this process knows."""

    def __init__(self, names: Names, overrides: Overrides, now: Callable[[], float]) -> None:
        self._key = key_prefix(names.overrides(SHARD), 0)
        self._overrides = overrides
        self._now = now

    async def read(self, link: Link) -> None:
        """Reads what others have noted, with each beat. Raises TroubleError."""
        try:
            reply = await self._ask(link, pack_change(0, 0, b""))
        except CrowdedError:  # nothing was to be put there
            raise misunderstood(link.name) from None
        known = self._overrides
        if not reply.is_kept and known.by_key:
            reply = await self._restore(link, reply)
        known.replace(reply.found)

    async def _restore(self, link: Link, reply: Reply) -> Reply:
        now_us = int(self._now() * 1e6)
        for limit_key in self._overrides.limit_keys():
            override = self._overrides.find(*limit_key, now_us)
            if override is not None and limit_key not in reply.found:
                with suppress(CrowdedError):
                    reply = await self._ask(link, _change(limit_key, override, override.until_us - now_us))
        return reply

    async def put(self, link: Link, limit_key: LimitKey, override: Override, lifetime_us: int) -> None:
        """Raises TroubleError, and CrowdedError."""
        await self.read(link)  # what the server has lost is written first: from now on it counts as whole
        self._overrides.replace((await self._ask(link, _change(limit_key, override, lifetime_us))).found)

    async def release(self, link: Link, limit_key: LimitKey) -> bool:
        """Whether there was one. Raises TroubleError."""
        await self.read(link)  # what the server has lost must not come back from others afterwards
        note = pack_note(*limit_key)
        reply = await self._ask(link, pack_change(0, len(note), note))
        had_one = self._overrides.put(limit_key, None)
        self._overrides.replace(reply.found)
        return had_one or reply.had_one

    async def _ask(self, link: Link, argument: bytes) -> Reply:
        reply = await link.ask_for(SCRIPT.full_call([self._key], argument))
        return _understood(reply, link.name, int(self._now() * 1e6))


def _understood(reply: Any, server: str, now_us: int) -> Reply:
    if type(reply) is not list or len(reply) != 5:
        raise misunderstood(server)
    status, is_kept, server_us = numbers(reply[:3], 3, server)
    members = blobs(reply[3], server, OVERRIDES_MAX)
    moments = numbers(reply[4], len(members), server)
    if status < 0:
        raise CrowdedError
    found: dict[LimitKey, Override] = {}
    for member, moment in zip(members, moments, strict=True):
        left_us = min(moment - server_us, OVERRIDE_MAX_US)
        read = read_override(member, now_us + left_us)
        if read is not None:  # a stranger's is passed over
            found[read[0]] = read[1]
    return Reply(status == 1, is_kept == 1, found)


def _change(limit_key: LimitKey, override: Override, lifetime_us: int) -> bytes:
    return pack_change(lifetime_us, len(pack_note(*limit_key)), pack_override(limit_key, override))
