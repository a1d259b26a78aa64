"""A connection read and written byte by byte, for both ends of a test: the raw client and the scripted origin.

Every wait has a deadline. An end of file and a reset are told apart, and a message that breaks off is an error
that holds what did arrive. Nothing here is taken from Weir: its output is judged by a reader of our own.
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from tests.support.network import RECEIVE_BYTES, network

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.support.network import Channel

PATIENCE = (
    30.0  # seconds for anything that should happen at once; a machine that is busy with others gets there
)
CLEAN = "end of file"
RESET = "reset"

_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*", re.DOTALL)
_CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]+)(?:;[^\r\n]*)?")


class Broken(Exception):
    """The other side ended the connection before the message was whole."""

    def __init__(self, end: str, received: bytes) -> None:
        super().__init__(f"{end} after {received[-200:]!r}")
        self.end = end
        self.received = received


@dataclass(slots=True)
class Message:
    start: bytes
    headers: list[tuple[bytes, bytes]]
    raw_head: bytes
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    framing: str = "none"  # none, length, chunked, until_close

    def values(self, name: bytes | str) -> list[bytes]:
        wanted = (name.encode() if isinstance(name, str) else name).lower()
        return [value for key, value in self.headers if key.lower() == wanted]

    def value(self, name: bytes | str) -> bytes | None:
        """The field's only value; None if there is no such field, an error if there are two."""
        values = self.values(name)
        assert len(values) < 2, f"{name!r} is repeated: {values}"
        return values[0] if values else None

    def names(self) -> list[bytes]:
        return [name for name, _ in self.headers]

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True)
class Response(Message):
    interim: list[Response] = field(default_factory=list)

    @property
    def status(self) -> int:
        return int(self.start.split(b" ", 2)[1])

    @property
    def reason(self) -> bytes:
        return self.start.split(b" ", 2)[2]


@dataclass(slots=True)
class Request(Message):
    @property
    def method(self) -> bytes:
        return self.start.split(b" ")[0]

    @property
    def target(self) -> bytes:
        return self.start.split(b" ")[1]

    @property
    def version(self) -> bytes:
        return self.start.split(b" ")[2]


class Wire:
    """One end of a connection."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.unread = bytearray()
        self.received = bytearray()  # every byte that ever came
        self.end: str | None = None  # CLEAN or RESET once the other side has ended

    @classmethod
    async def open(cls, port: int, host: str = "127.0.0.1", *, receive_bytes: int = 0) -> Self:
        """Connects; `receive_bytes` makes the receive buffer small."""
        async with asyncio.timeout(PATIENCE):
            return cls(await network().connect(port, host, receive_bytes))

    # --- sending ---

    async def send(self, data: bytes, *, within: float = PATIENCE) -> None:
        async with asyncio.timeout(within):
            await self._channel.send(data)

    async def send_pieces(self, pieces: Iterable[bytes], *, gap: float = 0.001) -> None:
        """Each piece on its own. The gap makes it likely, not certain, that it is also read on its own."""
        for piece in pieces:
            await self.send(piece)
            await asyncio.sleep(gap)

    def finish_sending(self) -> None:
        self._channel.finish_sending()

    def close(self) -> None:
        self._channel.close()

    def abort(self) -> None:
        """Ends the connection by a reset."""
        self._channel.abort()

    # --- receiving ---

    async def fill(self, size: int = RECEIVE_BYTES) -> bool:
        """Reads once, at most so many bytes; False when the other side has ended."""
        if self.end is not None:
            return False
        try:
            data = await self._channel.receive(size)
        except ConnectionError:
            self.end = RESET
            return False
        if not data:
            self.end = CLEAN
            return False
        self.unread += data
        self.received += data
        return True

    async def until(self, mark: bytes, *, within: float = PATIENCE) -> bytes:
        """What comes up to and with `mark`."""
        searched = 0
        async with asyncio.timeout(within):
            while (found := self.unread.find(mark, searched)) < 0:
                searched = max(0, len(self.unread) - len(mark) + 1)
                if not await self.fill():
                    raise Broken(str(self.end), bytes(self.unread))
        return self._take(found + len(mark))

    async def exactly(self, size: int, *, within: float = PATIENCE) -> bytes:
        async with asyncio.timeout(within):
            while len(self.unread) < size:
                if not await self.fill():
                    raise Broken(str(self.end), bytes(self.unread))
        return self._take(size)

    async def rest(self, *, within: float = PATIENCE) -> bytes:
        """Everything up to the end, of whichever kind: see `end`."""
        async with asyncio.timeout(within):
            while await self.fill():
                pass
        return self._take(len(self.unread))

    def _take(self, size: int) -> bytes:
        data = bytes(self.unread[:size])
        del self.unread[:size]
        return data

    # --- messages ---

    async def response(self, method: str = "GET", *, within: float = PATIENCE) -> Response:
        """The next final response, whole; the interim ones before it are in `interim`."""
        async with asyncio.timeout(within):
            response, interim = await self.response_head(within=within), []
            while 100 <= response.status < 200 and response.status != 101:
                interim.append(response)
                response = await self.response_head(within=within)
            response.interim = interim
            bodyless = method == "HEAD" or response.status in (101, 204, 304)
            if not bodyless:
                await self._body(response, until_close=True)
        return response

    async def response_head(self, *, within: float = PATIENCE) -> Response:
        raw = await self.until(b"\r\n\r\n", within=within)
        start, headers = _split_head(raw)
        assert re.fullmatch(rb"HTTP/1\.[01] [1-5]\d\d [^\r\n]*", start), start
        return Response(start, headers, raw)

    async def request(self, *, within: float = PATIENCE) -> Request | None:
        """The next request, whole; None if the other side closed before its first byte."""
        request = await self.request_head(within=within)
        if request is not None:
            await self.request_body(request, within=within)
        return request

    async def request_head(self, *, within: float = PATIENCE) -> Request | None:
        try:
            raw = await self.until(b"\r\n\r\n", within=within)
        except Broken as broken:
            if not broken.received:
                return None
            raise
        start, headers = _split_head(raw)
        assert re.fullmatch(rb"[A-Z-]+ [^ \r\n]+ HTTP/1\.1", start), start
        return Request(start, headers, raw)

    async def request_body(self, request: Request, *, within: float = PATIENCE) -> None:
        async with asyncio.timeout(within):
            await self._body(request, until_close=False)

    async def _body(self, message: Message, *, until_close: bool) -> None:
        coding, length = message.value("Transfer-Encoding"), message.value("Content-Length")
        assert coding is None or length is None, f"both lengths: {message.raw_head!r}"
        if coding is not None:
            assert coding.lower() == b"chunked", coding
            message.framing = "chunked"
            await self._chunked(message)
        elif length is not None:
            message.framing = "length"
            message.body = await self.exactly(int(length), within=PATIENCE)
        elif until_close:
            message.framing = "until_close"
            message.body = await self.rest()
            if self.end == RESET:
                raise Broken(RESET, message.body)

    async def _chunked(self, message: Message) -> None:
        body = bytearray()
        while True:
            size_line = _CHUNK_SIZE.fullmatch((await self._line())[:-2])
            assert size_line is not None, "not a chunk size"
            size = int(size_line[1], 16)
            if size == 0:
                break
            body += await self.exactly(size)
            assert await self.exactly(2) == b"\r\n"
        message.body = bytes(body)
        while (line := await self._line()) != b"\r\n":
            message.trailers.append(_header(line[:-2]))

    async def _line(self) -> bytes:
        return await self.until(b"\r\n")


def _split_head(raw: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    start, *lines = raw.removesuffix(b"\r\n\r\n").split(b"\r\n")
    assert b"\n" not in start and b"\r" not in start, raw
    return start, [_header(line) for line in lines]


def _header(line: bytes) -> tuple[bytes, bytes]:
    match = _HEADER.fullmatch(line)
    assert match is not None and b"\n" not in line and b"\r" not in line, f"not a header line: {line!r}"
    return match[1], match[2]
