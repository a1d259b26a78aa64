"""What Weir keeps in Redis and what it tells its scripts: the names of keys, and every record byte by byte.

The one place for both. Python packs a record as it stands here; each script finds the same format under the
same name, put before its source (`lua_constants`). Knows nothing of connections, limits or time.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

# Kinds of an operation: what take.lua does with the buckets of a request.
TAKE: Final = 1  # all that a request is charged, or nothing
GIVE_BACK: Final = 2  # its costs, none beyond full
EMPTY: Final = 3  # to at least its cost of debt

SHADOW: Final = 1  # flag of a charge: it refuses no request

# Formats in the letters of Lua's `struct`; Python's are derived.
_FORMATS: Final = {
    # A bucket: microseconds at which it is full again, and units beyond them.
    "BUCKET": "<dI4",
    # Of a call of take.lua: its deadline in microseconds; then its runs follow.
    "HEAD": "<d",
    # Of a run, requests in a row with the same operation: how many; then the operation follows.
    "RUN": "<I2",
    # Of an operation: its kind and how many charges it has; then these follow.
    "OPERATION": "<I1I1",
    # Of a charge: scale, cost, burst, the most debt there may be, flags.
    "CHARGE": "<ddddI1",
    # Of a bucket that settle.lua brings up to date: scale, burst, the most debt there may be, the least there
    # is as far as is known, what was spent without Redis.
    "SETTLED": "<ddddd",
}
_LETTERS: Final = {"I1": "B", "I2": "H", "I4": "I", "d": "d"}

SHARDS: Final = 16  # hash tags of keys: enough for any cluster one service needs, few enough for full batches
LAST_SHARD: Final = SHARDS - 1
KEY_BYTES: Final = 16  # of a partition key's hash


def packer(name: str) -> Struct:
    """Of the record of this name."""
    text = _FORMATS[name]
    for letters, letter in _LETTERS.items():
        text = text.replace(letters, letter)
    return Struct(text)


pack_head = packer("HEAD").pack
pack_run = packer("RUN").pack
pack_operation = packer("OPERATION").pack
pack_charge = packer("CHARGE").pack
pack_settled = packer("SETTLED").pack


def lua_constants() -> str:
    """What stands before each script: formats and numbers by their names here."""
    numbers = {"TAKE": TAKE, "GIVE_BACK": GIVE_BACK, "EMPTY": EMPTY, "SHADOW": SHADOW}
    words = [f"{name} = {number}" for name, number in numbers.items()]
    words += [f"{name} = '{text}'" for name, text in _FORMATS.items()]
    return "".join(f"local {word}\n" for word in words)


def shard_of(key: bytes) -> int:
    return key[0] & LAST_SHARD


def shard_tag(shard: int) -> bytes:
    """What of a key's name chooses the slot in a cluster."""
    return b"{%x}" % shard


class Names:
    """The names of all keys of one service."""

    __slots__ = ("_prefix",)

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix.encode()

    def bucket(self, limit: str, shard: int, key: bytes) -> bytes:
        return b"%b:%b:%b:%b" % (self._prefix, shard_tag(shard), limit.encode(), key)

    def buckets_pattern(self, limit: str) -> bytes:
        """For SCAN: all buckets of a limit, and what merely looks like one."""
        return b"%b:{?}:%b:*" % (self._prefix, limit.encode())

    def replicas(self, shard: int) -> bytes:
        """The set of replicas that live."""
        return b"%b:%b:replicas" % (self._prefix, shard_tag(shard))

    def resets(self, shard: int) -> bytes:
        """The set of notes on buckets that were reset."""
        return b"%b:%b:resets" % (self._prefix, shard_tag(shard))

    def rehearsal(self, shard: int) -> bytes:
        """A bucket that is no client's."""
        return b"%b:%b:rehearsal" % (self._prefix, shard_tag(shard))
