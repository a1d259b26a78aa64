"""Calls to Redis as bytes (RESP, redis.io/docs/latest/develop/reference/protocol-spec).

Everything that does not change is packed once: a call is a join of ready pieces
(docs/decisions/0005-redis-connections.md). Knows nothing of connections or of what the scripts do.
"""

from __future__ import annotations

from hashlib import sha1
from importlib.resources import files
from typing import Final

from proxy.limiter.records import lua_constants

CALL_KEYS: Final = 512  # of one call: they take Redis 1.3 ms, and nobody else is served meanwhile


def bulk(data: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(data), data)


def command(*words: bytes) -> bytes:
    return b"*%d\r\n%b" % (len(words), b"".join(map(bulk, words)))


class Script:
    """Lua of this folder, called by its hash, or by its source where Redis does not know it yet."""

    __slots__ = ("_by_hash", "_by_source", "_heads", "source")

    def __init__(self, *names: str) -> None:
        """The files are put together, behind the constants of records.py."""
        folder = files("proxy.limiter")
        self.source = lua_constants().encode() + b"".join(
            [folder.joinpath(name).read_bytes() for name in names]
        )
        digest = sha1(self.source, usedforsecurity=False).hexdigest().encode()
        self._by_hash = b"$7\r\nEVALSHA\r\n" + bulk(digest)
        self._by_source = b"$4\r\nEVAL\r\n" + bulk(self.source)
        self._heads = [self._head(self._by_hash, keys) for keys in range(CALL_KEYS + 1)]

    def call(self, keys: list[bytes], argument: bytes) -> bytes:
        """EVALSHA. The keys are bulk strings without their closing CRLF but with one before: `key_prefix`."""
        return b"%b%b\r\n$%d\r\n%b\r\n" % (self._heads[len(keys)], b"".join(keys), len(argument), argument)

    def full_call(self, keys: list[bytes], argument: bytes) -> bytes:
        """EVAL, after which Redis knows the hash."""
        head = self._head(self._by_source, len(keys))
        return b"%b%b\r\n$%d\r\n%b\r\n" % (head, b"".join(keys), len(argument), argument)

    @staticmethod
    def _head(script: bytes, keys: int) -> bytes:
        number = b"%d" % keys
        return b"*%d\r\n%b$%d\r\n%b" % (keys + 4, script, len(number), number)


def key_prefix(prefix: bytes, rest_bytes: int) -> bytes:
    """What stands before the last `rest_bytes` of a key in a call."""
    return b"\r\n$%d\r\n%b" % (len(prefix) + rest_bytes, prefix)
