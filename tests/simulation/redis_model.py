"""A Redis as the simulation has it: the real scripts, run by lupa over a model of the few commands that they call.

It speaks RESP on connections of its own making. Replies, times to live and errors are those of Redis 7; the clock, and
what is wrong with the server, is for the test to say.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from hashlib import sha1
from math import inf
from typing import TYPE_CHECKING, Any

import hiredis
from lupa.lua51 import LuaError, LuaRuntime, lua_type  # type: ignore[import-untyped]  # it has no types

if TYPE_CHECKING:
    from collections.abc import Callable

WRITES = frozenset([b"SET", b"DEL", b"ZADD", b"ZREM", b"ZREMRANGEBYSCORE", b"ZREMRANGEBYRANK", b"PEXPIRE"])
WRONGTYPE = b"WRONGTYPE Operation against a key holding the wrong kind of value"

_SETUP = """
return function(call, pack, unpack)
  return {
    call = function(...)
      local found = call(...)
      if type(found) == 'table' and found.err then error('!' .. found.err, 0) end
      return found
    end,
    pcall = call,
  }, {pack = pack, unpack = unpack}
end
"""


class ReplyError(Exception):
    """What Redis would answer with a minus."""


class Model:
    """The data, and the scripts that are known. `now_us` is its clock; `refuses` an error for every write."""

    def __init__(self, now_us: Callable[[], int]) -> None:
        self.now_us = now_us
        self.refuses: bytes | None = None
        self.scripts: set[bytes] = set()
        self._data: dict[bytes, bytes | dict[bytes, float]] = {}
        self._until_us: dict[bytes, int] = {}

    def run(self, words: list[bytes]) -> bytes:
        """The reply to one command, as bytes."""
        try:
            return packed(self._run(words))
        except ReplyError as error:
            return b"-%b\r\n" % str(error).encode()

    def _run(self, words: list[bytes]) -> Any:
        name = words[0].upper()
        if name not in (b"EVAL", b"EVALSHA"):
            return self.command(*words)
        count = int(words[2])
        digest = words[1]
        if name == b"EVAL":
            digest = sha1(words[1], usedforsecurity=False).hexdigest().encode()
            known_source(digest, words[1])
            self.scripts.add(digest)
        elif digest not in self.scripts:
            raise ReplyError("NOSCRIPT No matching script. Please use EVAL.")
        return RUNTIME.run(self, digest, words[3 : 3 + count], words[3 + count :])

    def forget(self) -> None:
        """As a restart without persistence does."""
        self.forget_data()
        self.scripts.clear()

    def forget_data(self) -> None:
        """As FLUSHALL does."""
        self._data.clear()
        self._until_us.clear()

    def copied(self) -> Model:
        """What a replica of it knows now."""
        copy = Model(self.now_us)
        copy.become(self)
        return copy

    def become(self, other: Model) -> None:
        self._data = {
            key: dict(value) if isinstance(value, dict) else value for key, value in other._data.items()
        }
        self._until_us = dict(other._until_us)
        self.scripts = set(other.scripts)

    def buckets(self) -> list[bytes]:
        return [key for key in list(self._data) if self._alive(key) and isinstance(self._data[key], bytes)]

    def holders(self) -> dict[bytes, int]:
        """Of slots, how many there are for each bucket."""
        found = {key: self._data[key] for key in list(self._data) if b"/slots:" in key and self._alive(key)}
        return {key: len(members) for key, members in found.items() if members}

    # --- commands ---

    def command(self, name: bytes, *words: Any) -> Any:
        if self.refuses is not None and name in WRITES:
            raise ReplyError(self.refuses.decode())
        return getattr(self, "_" + name.decode().lower())(*words)

    def _alive(self, key: bytes) -> bool:
        if self._until_us.get(key, inf) <= self.now_us():
            del self._data[key], self._until_us[key]
        return key in self._data

    def _time(self) -> list[bytes]:
        now_us = self.now_us()
        return [b"%d" % (now_us // 1_000_000), b"%d" % (now_us % 1_000_000)]

    def _get(self, key: bytes) -> bytes | None:
        found = self._data[key] if self._alive(key) else None
        if isinstance(found, dict):
            raise ReplyError(WRONGTYPE.decode())
        return found

    def _set(self, key: bytes, value: bytes, _px: bytes, life_ms: Any) -> bytes:
        self._data[key] = value
        self._until_us[key] = self.now_us() + int(life_ms) * 1000
        return b"OK"

    def _del(self, *keys: bytes) -> int:
        found = {key for key in keys if self._alive(key)}
        for key in found:
            del self._data[key]
            self._until_us.pop(key, None)
        return len(found)

    def _set_of(self, key: bytes) -> dict[bytes, float]:
        """The members, in a dict of their own where there is no key."""
        found = self._data[key] if self._alive(key) else {}
        if not isinstance(found, dict):
            raise ReplyError(WRONGTYPE.decode())
        return found

    def _drop(self, key: bytes, members: list[bytes]) -> int:
        """A set without members is no key."""
        found = self._set_of(key)
        for member in members:
            del found[member]
        if members and not found:
            self._del(key)
        return len(members)

    def _zcard(self, key: bytes) -> int:
        return len(self._set_of(key))

    def _zadd(self, key: bytes, score: Any, member: bytes) -> int:
        members = self._set_of(key)
        is_new = member not in members
        members[member] = float(score)
        self._data[key] = members
        return int(is_new)

    def _zrem(self, key: bytes, member: bytes) -> int:
        return self._drop(key, [member] if member in self._set_of(key) else [])

    def _ranked(self, key: bytes) -> list[tuple[float, bytes]]:
        return sorted((score, member) for member, score in self._set_of(key).items())

    def _between(self, key: bytes, low: Any, high: Any) -> list[tuple[float, bytes]]:
        from_, is_open = _bound(low)
        to, _ = _bound(high)
        return [
            each
            for each in self._ranked(key)
            if from_ <= each[0] <= to and not (is_open and each[0] == from_)
        ]

    def _zremrangebyscore(self, key: bytes, low: Any, high: Any) -> int:
        return self._drop(key, [member for _, member in self._between(key, low, high)])

    def _zremrangebyrank(self, key: bytes, first: Any, last: Any) -> int:
        """The lowest scores first; a negative rank counts from the end."""
        ranked = self._ranked(key)
        begin, end = (int(rank) + (len(ranked) if int(rank) < 0 else 0) for rank in (first, last))
        return self._drop(key, [member for _, member in ranked[max(begin, 0) : max(end + 1, 0)]])

    def _zrangebyscore(self, key: bytes, low: Any, high: Any, *options: Any) -> list[bytes]:
        found = self._between(key, low, high)
        words = [each.upper() if isinstance(each, bytes) else each for each in options]
        if b"LIMIT" in words:
            at = words.index(b"LIMIT")
            found = found[int(words[at + 1]) :][: int(words[at + 2])]
        if b"WITHSCORES" in words:
            return [word for score, member in found for word in (member, b"%.17g" % score)]
        return [member for _, member in found]

    def _pexpire(self, key: bytes, life_ms: Any) -> int:
        if not self._alive(key):
            return 0
        self._until_us[key] = self.now_us() + int(life_ms) * 1000
        return 1


def _bound(text: Any) -> tuple[float, bool]:
    if not isinstance(text, bytes):
        return float(text), False
    return float(text.lstrip(b"(")), text.startswith(b"(")


# --- Lua ---

_SOURCES: dict[bytes, bytes] = {}


def known_source(digest: bytes, source: bytes) -> None:
    _SOURCES[digest] = source


class Runtime:
    """Lua 5.1 with `redis` and `struct`. Compiled scripts are shared by all servers: they keep nothing."""

    def __init__(self) -> None:
        self._lua = LuaRuntime(encoding=None, unpack_returned_tuples=True, register_eval=False)
        self._compiled: dict[bytes, Any] = {}
        self._model: Model | None = None
        setup = self._lua.execute(_SETUP)
        self._redis, self._struct = setup(self._call, pack, unpack)

    def run(self, model: Model, digest: bytes, keys: list[bytes], arguments: list[bytes]) -> Any:
        script = self._compiled.get(digest)
        if script is None:
            wrapped = b"return function(redis, struct, KEYS, ARGV)\n" + _SOURCES[digest] + b"\nend"
            script = self._compiled[digest] = self._lua.execute(wrapped)
        self._model = model
        table = self._lua.table_from
        try:
            return _value(script(self._redis, self._struct, table(keys), table(arguments)))
        except LuaError as error:
            raise ReplyError(_said(error)) from None
        finally:
            self._model = None

    def _call(self, *words: Any) -> Any:
        assert self._model is not None
        try:
            reply = self._model.command(*words)
        except ReplyError as error:
            return self._lua.table_from({b"err": str(error).encode()})
        if isinstance(reply, list):
            return self._lua.table_from(reply)
        return False if reply is None else reply


def _value(found: Any) -> Any:
    """A script's value as Redis takes it: lists end at the first nil, numbers are cut."""
    if isinstance(found, float):
        return int(found)
    if lua_type(found) != "table":
        return found
    values, number = [], 1
    while (value := found[number]) is not None:
        values.append(_value(value))
        number += 1
    return values


def _said(error: LuaError) -> str:
    """What a command said, or a mistake of the script."""
    said = str(error).partition("\n")[0]
    return said[1:] if said.startswith("!") else f"ERR {said}"


@lru_cache
def _layout(text: bytes) -> tuple[tuple[bytes, int], ...]:
    """Of `<`, `d` and `I` with a number of bytes, which is all that Weir uses of Lua's struct."""
    found = []
    for word in text[1:].replace(b"d", b" d").replace(b"I", b" I").split():
        found.append((word[:1], 8 if word == b"d" else int(word[1:])))
    return tuple(found)


def pack(text: bytes, *values: Any) -> bytes:
    parts = []
    for (kind, size), value in zip(_layout(text), values, strict=True):
        parts.append(struct.pack("<d", value) if kind == b"d" else int(value).to_bytes(size, "little"))
    return b"".join(parts)


def unpack(text: bytes, data: bytes, at: float = 1) -> tuple[Any, ...]:
    place, values = int(at) - 1, []
    for kind, size in _layout(text):
        piece = data[place : place + size]
        values.append(struct.unpack("<d", piece)[0] if kind == b"d" else int.from_bytes(piece, "little"))
        place += size
    return *values, place + 1


RUNTIME = Runtime()


def packed(reply: Any) -> bytes:
    if isinstance(reply, list):
        return b"*%d\r\n%b" % (len(reply), b"".join(map(packed, reply)))
    if isinstance(reply, bytes):
        return b"$%d\r\n%b\r\n" % (len(reply), reply)
    return b"$-1\r\n" if reply is None or reply is False else b":%d\r\n" % reply


def commands() -> hiredis.Reader:
    """Takes the bytes of commands, gives their words."""
    return hiredis.Reader()
