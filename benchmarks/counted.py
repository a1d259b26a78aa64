"""python -m benchmarks.counted LIBRARY KIND[+ROUNDS]...: exchanges of each kind, which callgrind counts.

`guard` starts it under valgrind. LIBRARY is callgrind.c, compiled. Counted are the instructions of COUNT
exchanges, after as many that were not counted, and those of the reference: work of the same kinds, in plain
Python, that never changes. ROUNDS of the reference are counted among the exchanges, as a burden.
"""

from __future__ import annotations

import asyncio
import gc
import random
import sys
from ctypes import CDLL
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.stage import REDIS, Stage

if TYPE_CHECKING:
    from collections.abc import Callable

COUNT = 120
REFERENCE = "reference"
BURDENED = "+"  # between a kind's name and how many rounds of the reference burden it
OPEN, SHUT = "1000000/s", "1/d"  # rates

FIELDS = (
    b"Host: api.example.com\r\nUser-Agent: python-requests/2.32\r\nAccept: application/json\r\n"
    b"Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n"
    b"X-Auth-Token: benchmark-user-%05d-0123456789abcdef\r\n"
)
BODY = b"x" * 4096


class Kind(NamedTuple):
    """Of exchanges: by what they are asked, and in how many turns of the loop they are decided."""

    request: Callable[[int], bytes]
    rate: str = OPEN
    store: str = "memory"
    decides: bool = False
    turns: int = 1


def same(_: int) -> bytes:
    return mixed(0)


def mixed(user: int) -> bytes:
    return b"GET /api/entities/10657?loadLevel=2 HTTP/1.1\r\n" + FIELDS % user + b"\r\n"


def posted(user: int) -> bytes:
    told = b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY)
    return b"POST /api/entities HTTP/1.1\r\n" + FIELDS % user + told + BODY


def asked(user: int) -> bytes:
    told = b"X-Original-Method: GET\r\nX-Original-URI: /api/entities?page=%d\r\n" % user
    return b"GET /_weir HTTP/1.1\r\n" + FIELDS % user + told + b"X-Forwarded-For: 192.0.2.1\r\n\r\n"


KINDS = {
    "GET, repeated": Kind(same),
    "GET, each of another user": Kind(mixed),
    "GET, refused": Kind(same, rate=SHUT),
    "POST of 4 KiB": Kind(posted),
    "GET, limits in Redis": Kind(mixed, store=REDIS, turns=3),
    "question of nginx": Kind(asked, decides=True),
}


def main() -> None:
    library, *names = sys.argv[1:]
    asyncio.run(count_all(CDLL(library), names or list(KINDS)))


async def count_all(callgrind: CDLL, names: list[str]) -> None:
    reference(COUNT)
    callgrind.begin()
    reference(COUNT)
    callgrind.end(REFERENCE.encode())
    for name in names:
        await count(callgrind, name)


async def count(callgrind: CDLL, name: str) -> None:
    kind_name, _, rounds = name.partition(BURDENED)
    kind = KINDS[kind_name]
    random.seed(1)
    stage = Stage(kind.rate, kind.store, decides=kind.decides)
    is_forwarded = kind.rate is OPEN and not kind.decides
    await stage.exchange(kind.request(0))
    requests = [kind.request(user) for user in range(1, 2 * COUNT + 1)]
    await stage.exchanges(requests[:COUNT], kind.turns, is_forwarded=is_forwarded)
    gc.collect()
    gc.freeze()
    before = stage.answers
    callgrind.begin()
    await stage.exchanges(requests[COUNT:], kind.turns, is_forwarded=is_forwarded)
    reference(int(rounds or 0))
    callgrind.end(name.encode())
    if stage.answers - before != COUNT:
        raise RuntimeError(f"{name}: {stage.answers - before} answers to {COUNT} requests")
    await stage.close()


# --- the reference ---


class Thing:
    """What a request is made into, about."""

    __slots__ = ("fields", "marks", "number", "text")

    def __init__(self, number: int) -> None:
        self.number = number
        self.text = b""
        self.marks = 0
        self.fields: dict[bytes, bytes] = {}

    def note(self, name: bytes, value: bytes) -> bytes:
        self.fields[name] = value
        self.marks += 1
        return value

    def is_of(self, name: bytes) -> bool:
        return name in self.fields and self.marks > 1


def reference(times: int) -> None:
    """Calls, attributes, dictionaries, bytes and a hash, in about the shares that an exchange has of them."""
    data = mixed(1)
    table = bytes(range(256))
    for number in range(times):
        thing = Thing(number)
        first, *lines = data[: data.find(b"\r\n\r\n")].split(b"\r\n")
        method, target, _ = first.split(b" ")
        for line in lines:
            name, _, value = line.partition(b":")
            thing.note(name.lower(), value.strip())
        for name in (b"host", b"accept", b"via", b"host", b"accept", b"via"):
            if thing.is_of(name):
                thing.number += thing.marks
        thing.text = b"%b: %b\r\n%b" % (method, target.translate(table), b"".join(lines))
        thing.text += b"%d" % thing.marks
        blake2b(lines[-1], digest_size=16, key=b"0123456789abcdef").digest()


if __name__ == "__main__":
    main()
