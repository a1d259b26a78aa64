"""TLS that takes turns.

A loop deciphers one record after the other until none is left, and a record may hold a single byte: a
mebibyte of such records takes a quarter of a second. Knows nothing of what the records hold.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Final, cast

RECORD_BYTES: Final = 16 * 1024  # at most within a record (RFC 8446, section 5.1)
RECORDS: Final = 256  # of a connection in a turn: 1 to 2 ms, and 4 MiB if they are full
LAST_RECORDS: Final = 2048  # ... of one that is closing, which cannot wait: what comes is dropped


class Paced(ssl.SSLObject):
    """A connection's TLS; once it has its transport, it takes turns."""

    transport: asyncio.Transport | None = None
    _left = RECORDS  # until its turn is over
    _is_waiting = False  # for its next one

    def read(self, len: int = 1024, buffer: Any = None) -> Any:  # noqa: A002 - ssl's signature
        self._left -= 1
        if self._left < 0 and self.transport is not None:
            self._end_turn(self.transport)
        # uvloop asks for 256 KiB, a call gives a record: the rest of such a buffer stays with the worker.
        return super().read(min(len, RECORD_BYTES), buffer)

    def _end_turn(self, transport: asyncio.Transport) -> None:
        """Raises SSLWantReadError; ConnectionAbortedError for one that is closing and still says too much."""
        if not self._is_waiting:
            self._is_waiting = True
            asyncio.get_running_loop().call_soon(self._take_turn)
        if not transport.is_closing():
            raise ssl.SSLWantReadError
        if self._left < -LAST_RECORDS:
            raise ConnectionAbortedError

    def _take_turn(self) -> None:
        self._is_waiting = False
        self._left = RECORDS
        transport = self.transport
        if transport is not None and transport.is_reading() and not transport.is_closing():
            transport.pause_reading()
            transport.resume_reading()  # the loop looks for what it has not deciphered


def pace(transport: asyncio.BaseTransport, *, is_over: bool = False) -> None:
    """Has its turns bounded from now on, or no more: a connection that is over is kept by nobody."""
    secured = transport.get_extra_info("ssl_object")
    if isinstance(secured, Paced):
        secured.transport = None if is_over else cast("asyncio.Transport", transport)
