"""Cuts one message body out of the bytes as they come (RFC 9112 section 6.3).

Knows where it ends by what the head said; callbacks record: what is wrong is asked of `is_malformed`. Knows
nothing of sockets or time.
"""

from __future__ import annotations

from proxy.http1.chunked import ChunkedDecoder
from proxy.http1.framing import CHUNKED, UNTIL_CLOSE


class BodyReader:
    """A length, the chunked coding, or the end of the connection ends it."""

    __slots__ = (
        "_decoder",
        "ends_with_connection",
        "has_length",
        "is_malformed",
        "is_over",
        "left",
        "rest",
        "trailers",
        "unread",
    )

    def __init__(self, length: int, *, is_lenient: bool = False) -> None:
        """`length` in bytes, or CHUNKED, or UNTIL_CLOSE. `is_lenient`: takes what has one reading only."""
        self._decoder = ChunkedDecoder(is_lenient=is_lenient) if length == CHUNKED else None
        self.ends_with_connection = length == UNTIL_CLOSE
        self.has_length = length >= 0
        self.left = max(length, 0)  # bytes of a stated length that are still to come
        self.is_over = length == 0
        self.is_malformed = False
        self.rest = b""  # what came behind its end
        self.unread = b""  # what is left for the next turn
        self.trailers: list[tuple[bytes, bytes]] = []

    @property
    def is_chunked(self) -> bool:
        return self._decoder is not None

    def ahead(self) -> BodyReader:
        """Reads the same body from here on; what it has read is still to be read by this one."""
        other = BodyReader(self.left)
        if self._decoder is not None:
            other._decoder = self._decoder.ahead()
        other.has_length, other.ends_with_connection = self.has_length, self.ends_with_connection
        other.is_over, other.is_malformed = self.is_over, self.is_malformed
        return other

    def read(self, data: bytes) -> bytes:
        """The content within `data`. Not to be asked once it is over or malformed."""
        decoder = self._decoder
        if decoder is not None:
            content = decoder.decode(data)
            self.is_malformed = decoder.is_malformed
            self.unread = decoder.unread
            if decoder.is_done:
                self.is_over = True
                self.rest, self.trailers = decoder.rest, decoder.trailers
            return content
        if self.ends_with_connection:
            return data
        left = self.left
        if left > len(data):
            self.left = left - len(data)
            return data
        self.left = 0
        self.is_over = True
        if left < len(data):
            self.rest = data[left:]
            return data[:left]
        return data
