"""Buckets that an operator fills up: their keys go, and a note stays, by which every replica forgets what it
knows of them.

Replicas read the notes with each beat (announce.lua), before anything else they say on a new connection:
so nothing that was reset is restored after an outage. Knows nothing of limits but their names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.limiter.records import pack_reset
from proxy.limiter.replies import blobs, misunderstood, numbers
from proxy.limiter.scripts import Script, command, key_prefix
from proxy.limiter.trouble import TroubleError
from proxy.policy.keys import KEY_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.limiter.link import Link
    from proxy.limiter.records import Names

RESET = Script("reset.lua")
TOLD_MS = 3_600_000  # a replica that was cut off for longer may restore what it knew
SCAN_SECONDS = 60.0  # for all of a server's keys: ten million of them
SCAN_KEYS = 500  # looked at in one step: about 0.3 ms, since nobody else is served meanwhile


async def reset_all(link: Link, names: Names, limit: str) -> int:
    """Deletes all buckets of a limit that a server holds; how many there were. Raises TroubleError."""
    pattern = names.buckets_pattern(limit)
    name_bytes = len(names.bucket(limit, 0, bytes(KEY_BYTES)))
    until = link.now() + SCAN_SECONDS
    count, cursor = 0, b"0"
    while link.now() < until:
        scan = command(b"SCAN", cursor, b"MATCH", pattern, b"COUNT", b"%d" % SCAN_KEYS)
        reply = await link.ask_for(scan)
        if type(reply) is not list or len(reply) != 2 or type(reply[0]) is not bytes:
            raise misunderstood(link.name)
        cursor = reply[0]
        count += await delete(link, [name for name in blobs(reply[1], link.name) if len(name) == name_bytes])
        if cursor == b"0":
            return count
    raise TroubleError("timeout", f"store.url: {link.name} does not come to an end with its keys")


async def delete(link: Link, names: Sequence[bytes]) -> int:
    """Buckets; how many there were. Of different shards, a cluster wants them one by one.

    Raises TroubleError.
    """
    step = 1 if link.mask else SCAN_KEYS
    count = 0
    for at in range(0, len(names), step):
        reply = await link.ask_for(command(b"DEL", *names[at : at + step]))
        count += max(numbers([reply], 1, link.name)[0], 0)
    return count


async def tell(link: Link, key: bytes, note: bytes) -> None:
    """Leaves the note in the set of this name. Raises TroubleError."""
    await link.ask_for(RESET.full_call([key_prefix(key, 0)], pack_reset(TOLD_MS, note)))
