"""The model of Redis beside a real one: each call that the model gets goes to both, and both must say the same.

The scripts run as they are, but for two places: TIME is what the model's clock says, and nothing goes by itself in the
real one: what the model has let go is deleted there before each call. Of errors the first word is compared, as Weir looks
at no more.
"""

from __future__ import annotations

import re
import socket
from hashlib import sha1
from typing import TYPE_CHECKING, Any

import hiredis

from proxy.limiter.scripts import command
from tests.simulation import redis_model
from tests.simulation.redis_model import Model

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.redis_servers import Redis

LASTING_MS = b"600000"
CALLS = (b"EVAL", b"EVALSHA")


class Server:
    """A real one, asked for one thing after the other."""

    def __init__(self, redis: Redis) -> None:
        self._socket = socket.create_connection(("127.0.0.1", redis.port), timeout=10)
        self._reader = hiredis.Reader()
        self._known: set[bytes] = set()

    def ask(self, *words: bytes) -> Any:
        self._socket.sendall(command(*words))
        while (reply := self._reader.gets()) is False:
            self._reader.feed(self._socket.recv(65536))
        return reply

    def call(self, source: bytes, rest: list[bytes], now_us: int) -> Any:
        """A script, at this moment. `rest` has its keys and its arguments, with the number of the keys before them."""
        timed = re.sub(rb"(redis\.)?call\('TIME'\)", b"{ARGV[2], ARGV[3]}", source)
        lasting = re.sub(rb"'PX', [^\n]*\)\n", b"'PX', " + LASTING_MS + b")\n", timed)
        lasting = re.sub(rb"'PEXPIRE', (\w+), [^\n]*\)\n", rb"'PEXPIRE', \1, " + LASTING_MS + b")\n", lasting)
        digest = sha1(lasting, usedforsecurity=False).hexdigest().encode()
        if digest not in self._known:
            assert self.ask(b"SCRIPT", b"LOAD", lasting) == digest
            self._known.add(digest)
        return self.ask(b"EVALSHA", digest, *rest, b"%d" % (now_us // 10**6), b"%d" % (now_us % 10**6))

    def put(self, key: bytes, value: bytes | dict[bytes, float]) -> None:
        if isinstance(value, bytes):
            self.ask(b"SET", key, value)
        else:
            self.ask(
                b"ZADD",
                key,
                *(word for member, score in value.items() for word in (b"%.17g" % score, member)),
            )

    def data(self) -> dict[bytes, Any]:
        """All that it holds, as the model does."""
        return {key: self._value(key) for key in self.ask(b"KEYS", b"*")}

    def _value(self, key: bytes) -> Any:
        if self.ask(b"TYPE", key) == "string" or self.ask(b"TYPE", key) == b"string":
            return self.ask(b"GET", key)
        found = self.ask(b"ZRANGE", key, b"0", b"-1", b"WITHSCORES")
        return {member: float(score) for member, score in zip(found[::2], found[1::2], strict=True)}

    def close(self) -> None:
        self._socket.close()


class Mirrored(Model):
    """A model that a real server is held beside."""

    def __init__(self, now_us: Callable[[], int], server: Server) -> None:
        super().__init__(now_us)
        self._server = server
        self.calls = 0
        server.ask(b"FLUSHALL")

    def run(self, words: list[bytes]) -> bytes:
        for key in [key for key in list(self._data) if not self._alive(key)]:
            self._server.ask(b"DEL", key)
        said = super().run(words)
        if self.refuses is None and not said.startswith(b"-NOSCRIPT"):
            expected = self._ask(words)
            assert plain(read(said)) == plain(expected), f"{said!r} and not {expected!r} to {words}"
            self.calls += 1
        return said

    def _ask(self, words: list[bytes]) -> Any:
        if words[0] not in CALLS:
            return self._server.ask(*words) if words[0] != b"TIME" else read(super().run(words))
        source = words[1] if words[0] == b"EVAL" else redis_model._SOURCES[words[1]]
        return self._server.call(source, words[2:], self.now_us())

    def forget_data(self) -> None:
        super().forget_data()
        self._server.ask(b"FLUSHALL")

    def become(self, other: Model) -> None:
        super().become(other)
        self._server.ask(b"FLUSHALL")
        for key, value in self.data().items():
            self._server.put(key, value)

    def data(self) -> dict[bytes, Any]:
        return {key: self._data[key] for key in list(self._data) if self._alive(key)}

    def compare(self) -> None:
        for key in [key for key in list(self._data) if not self._alive(key)]:
            self._server.ask(b"DEL", key)
        assert self.data() == self._server.data()


def read(data: bytes) -> Any:
    reader = hiredis.Reader()
    reader.feed(data)
    return reader.gets()


def plain(reply: Any) -> Any:
    """Of an error the first word."""
    return str(reply).partition(" ")[0] if isinstance(reply, Exception) else reply
