"""Buckets that an operator fills up: their keys go, and a note stays, by which every replica forgets what it
knows of them.

Replicas read the notes with each beat (announce.lua), before anything else they say on a new connection:
so nothing that was reset is restored after an outage. Knows nothing of limits but their names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.limiter.records import KEY_BYTES
from proxy.limiter.scripts import Script, command, key_prefix

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.limiter.link import Link
    from proxy.limiter.records import Names

RESET = Script("reset.lua")
TOLD_MS = 3_600_000  # a replica that was cut off for longer may restore what it knew
SCAN_KEYS = 500  # looked at in one step: about 0.3 ms, since nobody else is served meanwhile


def note(limit: str, key: bytes) -> bytes:
    """Of one bucket, or with an empty key of all of a limit."""
    return b"%b:%b" % (limit.encode(), key)


def read_note(text: bytes) -> tuple[str, bytes]:
    """Limit and key. A limit's name holds no colon."""
    limit, _, key = text.partition(b":")
    return limit.decode(), key


async def find(link: Link, names: Names, limit: str) -> list[bytes]:
    """The names of all buckets of a limit that a server holds. Raises TroubleError."""
    pattern = names.buckets_pattern(limit)
    name_bytes = len(names.bucket(limit, 0, bytes(KEY_BYTES)))
    found: dict[bytes, None] = {}
    cursor = b"0"
    while True:
        scan = command(b"SCAN", cursor, b"MATCH", pattern, b"COUNT", b"%d" % SCAN_KEYS)
        cursor, page = await link.ask_for(scan)
        found.update(dict.fromkeys(name for name in page if len(name) == name_bytes))
        if cursor == b"0":
            return list(found)


async def delete(link: Link, names: Iterable[bytes], *, one_by_one: bool) -> int:
    """Deletes buckets; how many there were. Of different shards, a cluster wants them one by one.

    Raises TroubleError.
    """
    names = list(names)
    step = 1 if one_by_one else SCAN_KEYS
    parts = [names[at : at + step] for at in range(0, len(names), step)]
    return sum([await link.ask_for(command(b"DEL", *part)) for part in parts])


async def tell(link: Link, key: bytes, text: bytes) -> None:
    """Leaves the note in the set of this name. Raises TroubleError."""
    await link.ask_for(RESET.full_call([key_prefix(key, 0)], b"%d %b" % (TOLD_MS, text)))
