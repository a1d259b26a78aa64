"""Header lines: what each says, judged once by the grammar and then known by its bytes (RFC 9112 section 5).

Clients and servers send the same few lines again and again, on one connection or on many, and what a line
says depends on no other. So a worker remembers lines. A head whose lines are known costs one look-up a line;
a new line costs 0.4 us, whoever sends it. The memory is bounded: what is not asked for in a generation goes.

Grammar: a name is a token, right before its colon; a value holds no control byte but the tab. A folded line
has no name, since it begins with a blank. Knows nothing of what a field means beyond its marks.
"""

from __future__ import annotations

import re
from typing import Final

from mypy_extensions import mypyc_attr

# Marks: what whoever reads a section has to look at. Most lines have none.
FRAMES: Final = 1  # where the body ends: Content-Length, Transfer-Encoding
CONNECTS: Final = 2  # of this connection: TE, and Connection where it says more than keep-alive
STAYS: Final = 4  # does not go on to the other side
TRACES: Final = 8  # W3C Trace Context
DATED: Final = 32  # Date
RESTS: Final = 64  # Keep-Alive: how long the connection may rest (RFC 2068 section 19.7.1.1)
TABBED: Final = 16  # FRAMES, with a tab behind the value: some parsers take it for a part of it

LINES_MAX: Final = 1024  # of a generation, of which there are two: with their lines at most 2 MiB
LINE_BYTES: Final = 256  # what is longer will hardly come again

# What is a secret, or another one each time: not remembered.
_PASSING: Final = frozenset(
    b"authorization cookie proxy-authorization set-cookie x-api-key x-auth-token etag if-match if-none-match "
    b"last-modified traceparent x-request-id x-original-uri x-forwarded-uri".split()
)
# Tables for `translate`, a quarter of the cost of a pattern: what may not be there becomes NUL.
_NUL: Final = 0
_TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"  # RFC 9110, 5.6.2
_NAME: Final = bytes([byte if byte in _TOKEN else _NUL for byte in range(256)]).lower()
_TEXT: Final = bytes([byte if byte == 9 or (byte >= 0x20 and byte != 0x7F) else _NUL for byte in range(256)])
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")  # as many digits as surely fit into anybody's 64 bits
_TIMEOUT: Final = re.compile(rb"(?:^|[,\s])timeout\s*=\s*\"?([0-9]{1,9})(?![0-9])", re.IGNORECASE)
_SPACE: Final = 0x20
_UNDERSCORE: Final = 0x5F  # looked for by its number: that costs a tenth of `b"_" in name`


@mypyc_attr(acyclic=True)  # holds bytes and numbers only: compiled, no collector needs to know of it
class HeaderLine:
    """One header line. The same object wherever the line comes again: it must not be changed."""

    __slots__ = ("data", "length", "marks", "name", "value")

    def __init__(self, name: bytes, value: bytes, data: bytes, marks: int, length: int = -1) -> None:
        self.name = name  # in lower case
        self.value = value  # without the white space around it
        self.data = data  # as it goes on: name as it came, colon, space, value, CRLF
        self.marks = marks
        self.length = length  # of a body, as Content-Length has it; of a rest, in seconds; -1 if it has none

    @property
    def header(self) -> tuple[bytes, bytes]:
        """Name, as it came, and value."""
        return self.data[: len(self.name)], self.value


class LineMemory:
    """The lines that came, by their bytes."""

    __slots__ = ("_claims", "_marks", "_old", "_young")

    def __init__(self, marks: dict[bytes, int], claims: bytes = b"") -> None:
        """`marks` by name, in lower case. If there are `claims`, names that begin so or hold a `_` STAY."""
        self._marks = marks
        self._claims = claims
        self._young: dict[bytes, HeaderLine] = {}
        self._old: dict[bytes, HeaderLine] = {}

    def read(self, section: bytes, most: int) -> list[HeaderLine] | None:
        """The lines of `section`, which ends with its first empty one.

        None if any is malformed, or if there are more than `most`.
        """
        young = self._young
        lines: list[HeaderLine] = []
        for piece in section.split(b"\r\n", most + 1):  # pragma: no branch - an empty line ends it
            line = young.get(piece)
            if line is None:
                if not piece:
                    break
                line = self._find(piece)
                if line is None:
                    return None
                young = self._young
            lines.append(line)
        return lines

    def _find(self, piece: bytes) -> HeaderLine | None:
        """A line that has not come for a while, or never."""
        line = self._old.pop(piece, None)
        if line is None:
            spelling, colon, value = piece.partition(b":")
            name = spelling.translate(_NAME)
            if not (colon and name) or _NUL in name or _NUL in value.translate(_TEXT):
                return None
            if len(value) > 1 and value[0] == _SPACE and value[1] > _SPACE and value[-1] > _SPACE:
                bare, data = value[1:], piece + b"\r\n"  # the usual spelling
            else:
                bare = value.strip(b" \t")
                data = b"%b: %b\r\n" % (spelling, bare)
            marks = self._marks.get(name, 0)
            if self._claims and (name.startswith(self._claims) or _UNDERSCORE in name):
                marks = STAYS
            line = _marked(name, value, bare, data, marks) if marks else HeaderLine(name, bare, data, 0)
            if len(piece) > LINE_BYTES or name in _PASSING:
                return line
        if len(self._young) >= LINES_MAX:
            self._old, self._young = self._young, {}
        self._young[piece] = line
        return line


def _marked(name: bytes, value: bytes, bare: bytes, data: bytes, marks: int) -> HeaderLine:
    if marks & CONNECTS and bare.lower() == b"keep-alive":
        return HeaderLine(name, bare, data, marks ^ CONNECTS)  # what nearly everybody says, and means nothing
    if marks & RESTS:
        timeout = _TIMEOUT.search(bare)
        return HeaderLine(name, bare, data, marks, int(timeout[1]) if timeout is not None else -1)
    if not marks & FRAMES:
        return HeaderLine(name, bare, data, marks)
    is_length = name == b"content-length" and _LENGTH.fullmatch(bare) is not None
    if not value.rstrip(b" ").endswith(bare):
        marks |= TABBED
    return HeaderLine(name, bare, data, marks, int(bare) if is_length else -1)
