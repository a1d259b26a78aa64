"""Buckets that an operator fills up: their keys go, and a note stays, by which every replica forgets what it
knows of them.

Replicas read the notes with each beat (announce.lua), before anything else they say on a new connection:
so nothing that was reset is restored after an outage. Knows nothing of limits but their names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.limiter.books import shard_tag
from proxy.limiter.resp import Script, bulk, key_prefix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from proxy.limiter.link import Link

RESET = Script("reset.lua")
TOLD_MS = 3_600_000  # a replica that was cut off for longer may restore what it knew
SCAN_KEYS = 500  # looked at in one step: about 0.3 ms, since nobody else is served meanwhile


def resets_key(shard: int) -> bytes:
    """Where a server's notes are, in a shard it owns."""
    return b"weir:%b:resets" % shard_tag(shard)


def note(limit: str, key: bytes) -> bytes:
    """Of one bucket, or with an empty key of all of a limit."""
    return b"%b:%b" % (limit.encode(), key)


def read_note(text: bytes) -> tuple[str, bytes]:
    """Limit and key. A limit's name holds no colon."""
    limit, _, key = text.partition(b":")
    return limit.decode(), key


def bucket_name(limit: str, shard: int, key: bytes) -> bytes:
    return b"weir:%b:%b:%b" % (shard_tag(shard), limit.encode(), key)


async def find(link: Link, limit: str, key_bytes: int) -> list[bytes]:
    """The names of all buckets of a limit that a server holds. Raises TroubleError."""
    pattern = b"weir:{?}:%b:*" % limit.encode()
    bytes_of_name = len(bucket_name(limit, 0, bytes(key_bytes)))
    found: dict[bytes, None] = {}
    cursor = b"0"
    while True:
        cursor, names = await link.ask(
            _command(b"SCAN", cursor, b"MATCH", pattern, b"COUNT", b"%d" % SCAN_KEYS)
        )
        found.update(dict.fromkeys(name for name in names if len(name) == bytes_of_name))
        if cursor == b"0":
            return list(found)


async def empty(link: Link, names: Iterable[bytes], *, one_by_one: bool) -> int:
    """Deletes buckets; how many there were. Of different shards, a cluster wants them one by one.

    Raises TroubleError.
    """
    names = list(names)
    step = 1 if one_by_one else SCAN_KEYS
    return sum(
        [await link.ask(_command(b"DEL", *names[at : at + step])) for at in range(0, len(names), step)]
    )


async def tell(link: Link, shard: int, text: bytes) -> None:
    """Leaves the note. Raises TroubleError."""
    call = RESET.full_call([key_prefix(resets_key(shard), 0)], b"%d %b" % (TOLD_MS, text))
    await link.ask(lambda _: call)


def _command(*words: bytes) -> Callable[[Link], bytes]:
    data = b"*%d\r\n%b" % (len(words), b"".join(map(bulk, words)))
    return lambda _: data
