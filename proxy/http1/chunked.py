"""The chunked coding, both ways (RFC 9112 section 7).

From clients the decoder takes what the grammar allows and nothing else: CRLF line ends only, no space around
a size, bounded extensions and trailers. From services, which may be old, it takes what has one reading only.
Extensions are dropped, as RFC 9112 section 7.1.1 allows. A call does one turn's work. Callbacks record: a
mistake ends up in `is_malformed`. Knows nothing of sockets or time.
"""

from __future__ import annotations

import re
from typing import Final

SIZE_LINE_BYTES = 1024  # a size and its extensions; unbounded extensions were CVE-2023-39326
TRAILERS_BYTES = 8 * 1024
LAST_CHUNK = b"0\r\n\r\n"
TURN: Final = 2048  # chunks of one byte until others have their turn: 0.8 ms
_ODD: Final = 8  # ... of which one with an extension, or in two pieces, counts for so many

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t\x20-\x7e\x80-\xff]*)?")
# Some services pad a size: spaces behind it, zeros before it. There is one reading of either.
_LOOSE_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]+)[\t ]*(?:;[\t\x20-\x7e\x80-\xff]*)?")
_SIZE_MAX: Final = 2**63 - 1
_SHORT_LINE: Final = 6  # four digits
_KNOWN_MAX: Final = 4096
# Sizes by their lines, as they came: a look-up costs a tenth of the pattern.
_known: dict[bytes, int] = {}
# One quantifier for a byte: with the spaces around a value in it, a line of them took cubic time to refuse.
_TRAILER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([\t\x20-\x7e\x80-\xff]*)")

# Nobody sends these behind a body but to see who believes them: llhttp and h11 refuse them too.
_FRAMING = frozenset((b"content-length", b"transfer-encoding"))

# Dropped from a trailer section: what routes, modifies or authenticates (RFC 9110 section 6.5.1).
_NEVER_IN_TRAILERS = frozenset(
    b"age authorization cache-control connection content-encoding content-range content-type "
    b"cookie date expect expires forwarded host http2-settings if-match if-modified-since if-none-match "
    b"if-range if-unmodified-since keep-alive location max-forwards pragma proxy-authenticate "
    b"proxy-authorization proxy-connection range ratelimit ratelimit-policy retry-after set-cookie te "
    b"trailer upgrade vary via www-authenticate x-auth-token x-real-ip x-request-id".split()
)

_SIZE, _DATA, _DATA_END, _TRAILERS = range(4)


class ChunkedDecoder:
    """Takes bytes as they come and gives the data within; `rest` is what follows the end of the body."""

    __slots__ = (
        "_is_lenient",
        "_left",
        "_partial",
        "_size_line",
        "_state",
        "is_done",
        "is_malformed",
        "rest",
        "trailers",
        "unread",
    )

    def __init__(self, *, is_lenient: bool = False) -> None:
        self._state = _SIZE
        self._left = 0  # bytes of the current chunk still to come
        self._partial = b""  # a line not yet complete
        self._is_lenient = is_lenient
        self._size_line = _LOOSE_SIZE_LINE if is_lenient else _SIZE_LINE
        self.is_done = False
        self.is_malformed = False
        self.rest = b""
        self.unread = b""  # what is left for the next turn: `decode` wants it before what comes then
        self.trailers: list[tuple[bytes, bytes]] = []

    def ahead(self) -> ChunkedDecoder:
        """One of its own, to read on from here without this one."""
        other = ChunkedDecoder(is_lenient=self._is_lenient)
        other._state, other._left, other._partial = self._state, self._left, self._partial
        return other

    def decode(self, data: bytes) -> bytes:
        """The chunks' data within `data`. After `is_done` or `is_malformed` it must not be called again."""
        if self._state == _DATA and len(data) < self._left:  # a large chunk passes through uncopied
            self._left -= len(data)
            self.unread = b""
            return data
        if self._partial:
            data = self._partial + data
            self._partial = b""
        self.unread = b""
        pieces: list[bytes] = []
        odd = 0
        at = 0
        while at >= 0 and not self.is_done and not self.is_malformed:
            if self._state == _SIZE:
                at = _whole_chunks(data, at, pieces)
            if len(pieces) + odd >= TURN:
                self.unread = data[at:]
                break
            at = self._step(data, at, pieces)
            odd += _ODD
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _step(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        """Reads one part of the grammar from `at`; the next position, or -1 when more bytes are needed."""
        state = self._state
        if state == _DATA:
            return self._data(data, at, pieces)
        if state == _SIZE:
            return self._size(data, at)
        if state == _DATA_END:
            return self._data_end(data, at)
        return self._trailer_section(data, at)

    def _data(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        piece = data[at : at + self._left]
        if piece:
            pieces.append(piece)
        self._left -= len(piece)
        if self._left:
            return -1
        self._state = _DATA_END
        return at + len(piece)

    def _data_end(self, data: bytes, at: int) -> int:
        end = data[at : at + 2]
        if end == b"\r\n":
            self._state = _SIZE
            return at + 2
        if b"\r\n".startswith(end):
            return self._wait(data, at)
        self.is_malformed = True
        return -1

    def _size(self, data: bytes, at: int) -> int:
        end = data.find(b"\r\n", at, at + SIZE_LINE_BYTES)
        if end < 0:
            if len(data) - at >= SIZE_LINE_BYTES or not self._may_become_size(data[at:]):
                self.is_malformed = True
                return -1
            return self._wait(data, at)
        match = self._size_line.fullmatch(data, at, end)
        size = int(match[1], 16) if match is not None else -1
        if not 0 <= size <= _SIZE_MAX:
            self.is_malformed = True
            return -1
        if (
            size
            and match is not None
            and end - at == len(match[1])
            and end - at < _SHORT_LINE
            and len(_known) < _KNOWN_MAX
        ):
            _known[data[at:end]] = size
        self._left = size
        self._state = _DATA if self._left else _TRAILERS
        return end + 2

    def _trailer_section(self, data: bytes, at: int) -> int:
        if data.startswith(b"\r\n", at):
            return self._finish(data, at + 2)
        end = data.find(b"\r\n\r\n", at, at + TRAILERS_BYTES)
        if end < 0:
            if len(data) - at >= TRAILERS_BYTES:
                self.is_malformed = True
                return -1
            return self._wait(data, at)
        trailers = _trailers(data[at:end])
        if trailers is None and (not self._is_lenient or _has_bare_end(data[at:end])):
            self.is_malformed = True
            return -1
        self.trailers = trailers or []
        return self._finish(data, end + 4)

    def _finish(self, data: bytes, at: int) -> int:
        self.is_done = True
        self.rest = data[at:]
        return at

    def _wait(self, data: bytes, at: int) -> int:
        self._partial = data[at:]
        return -1

    def _may_become_size(self, start: bytes) -> bool:
        """Whether more bytes can make a size line of this one: junk is refused at once, not at a line end."""
        line = start.removesuffix(b"\r")
        return not line or self._size_line.fullmatch(line) is not None


def _whole_chunks(data: bytes, at: int, pieces: list[bytes]) -> int:
    """Takes chunks that are there whole and have a usual size, a turn of them; where the next one begins."""
    known = _known
    for _ in range(TURN - len(pieces)):
        end = data.find(b"\r\n", at, at + _SHORT_LINE)
        if end < 0:
            break
        size = known.get(data[at:end], 0)
        begin = end + 2
        end = begin + size
        if not size or data[end : end + 2] != b"\r\n":
            break
        pieces.append(data[begin:end])
        at = end + 2
    return at


def _trailers(section: bytes) -> list[tuple[bytes, bytes]] | None:
    """Those that go on; None if any cannot be read, or claims to frame the message."""
    trailers = []
    for line in section.split(b"\r\n"):
        match = _TRAILER.fullmatch(line)
        if match is None or match[1].lower() in _FRAMING:
            return None
        name, value = match.groups()
        if _is_harmless(name.lower()):
            trailers.append((name, value.strip(b" \t")))
    return trailers


def _has_bare_end(section: bytes) -> bool:
    """A CR or LF alone: somebody else may see the end of the section there."""
    return section.count(b"\r") != section.count(b"\r\n") or section.count(b"\n") != section.count(b"\r\n")


def _is_harmless(name: bytes) -> bool:
    """Whether a trailer changes nothing for a receiver that merges it into the header section."""
    return name not in _NEVER_IN_TRAILERS and not name.startswith(b"x-forwarded-") and b"_" not in name


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def last_chunk(trailers: list[tuple[bytes, bytes]]) -> bytes:
    """The end of a chunked body, with its trailer section."""
    if not trailers:
        return LAST_CHUNK
    return b"0\r\n" + b"".join([b"%b: %b\r\n" % trailer for trailer in trailers]) + b"\r\n"
