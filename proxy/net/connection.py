"""What both kinds of connection share: output that leaves once a loop tick, reading that pauses, a deadline,
and an end that loses nothing.

Everything that is written while one poll's events are worked off goes out together at its end, a single
system call for each connection. Measured at 32 connections: half the CPU a request of writing at once,
since the peers are woken once a tick instead of once a write (docs/decisions/0002-write-once-a-tick.md).
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from typing import TYPE_CHECKING, Final, cast

from proxy.net.sweep import NEVER
from proxy.policy.haste import LOOK_TICKS, Haste
from proxy.telemetry.log import event

if TYPE_CHECKING:
    from proxy.net.sweep import Sweeper

# Goes out at once: libuv may read 32 times in a tick, and back-pressure must be felt between.
LARGE_BYTES: Final = 16 * 1024
PIECE_BYTES: Final = 256 * 1024  # at most in one piece: uvloop reads no more at once
FEW: Final = 2.5  # connections written to in a tick: 4 clients bring 2.2 and gain, 8 would lose
# How long an ended connection is read, so that no reset overtakes its last bytes (Apache: 2 s; nginx: 5 s).
LINGER_SECONDS = 2.0
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close sends RST

_log = logging.getLogger("weir.net")


class Outbox:
    """The connections of a worker that have something to write in this tick."""

    __slots__ = ("_loop", "_waiting", "haste")

    def __init__(self) -> None:
        self.haste = Haste(FEW)
        self._waiting: list[Connection] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, connection: Connection) -> None:
        if not self._waiting:
            if self._loop is None:
                self._loop = asyncio.get_running_loop()
            self._loop.call_soon(self._flush)
        self._waiting.append(connection)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        haste = self.haste
        haste.ticks += 1
        haste.pieces += len(waiting)
        if haste.ticks >= LOOK_TICKS:
            haste.judge()
        for connection in waiting:
            try:
                connection.flush()
            except Exception as error:  # noqa: BLE001 - what the others have written goes out all the same
                event(_log, logging.ERROR, "crashed", error=error)
                connection.transport.abort()


class Connection(asyncio.Protocol):
    __slots__ = (
        "_handed_over",
        "_held",
        "_outbox",
        "_sweeper",
        "_unsent",
        "deadline",
        "is_read_paused",
        "is_write_paused",
        "transport",
    )

    def __init__(self, outbox: Outbox, sweeper: Sweeper) -> None:
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # set before anything else happens
        self.deadline = NEVER
        self.is_write_paused = False
        self.is_read_paused = False
        self._outbox = outbox
        self._sweeper = sweeper
        self._held: list[bytes] = []  # written in this tick
        self._handed_over = 0  # in large pieces, since the other side had last taken all
        self._unsent = 0  # bytes that the other side had not taken when we last looked

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def write(self, data: bytes, is_whole: bool = False) -> None:  # noqa: FBT001, FBT002 - hot: keywords cost
        """What is whole is not followed by more in this tick, so it may go at once."""
        held = self._held
        if not held:
            haste = self._outbox.haste
            is_hasty = is_whole and haste.left > 0
            if is_hasty or len(data) >= LARGE_BYTES:
                if is_hasty:
                    haste.left -= 1
                if not self.transport.is_closing():
                    if len(data) >= LARGE_BYTES:
                        self._count_piece(len(data))
                    self.transport.write(data)
                return
            self._outbox.add(self)
        held.append(data)
        if len(data) >= LARGE_BYTES:
            self.flush()

    def flush(self) -> None:
        held = self._held
        if held:
            self._held = []
            if not self.transport.is_closing():  # else nobody is there to read it
                data = held[0] if len(held) == 1 else b"".join(held)
                if len(data) >= LARGE_BYTES:
                    self._count_piece(len(data))
                self.transport.write(data)

    def _count_piece(self, size: int) -> None:
        """Before it is handed over."""
        self._handed_over = size + (self._handed_over if self.transport.get_write_buffer_size() else 0)

    @property
    def output_bytes(self) -> int:
        """Bytes of memory: a piece of which the other side has taken a part stays whole."""
        unsent = self.transport.get_write_buffer_size()
        return max(unsent, min(self._handed_over, unsent + PIECE_BYTES)) if unsent else 0

    def pause_reading(self) -> None:
        if not self.is_read_paused:
            self.is_read_paused = True
            if not self.transport.is_closing():
                self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self.is_read_paused:
            self.is_read_paused = False
            if not self.transport.is_closing():
                self.transport.resume_reading()

    # --- the end ---

    def _end_output(self, patience: float) -> None:
        """What was written goes out, then the other side sees the end (RFC 9112 section 9.6).

        Whatever still comes must be read and dropped until `may_linger` says no. `patience` is how long,
        in seconds, the other side may take nothing of what it was sent.
        """
        self.flush()
        self.resume_reading()
        transport = self.transport
        if not transport.is_closing():
            try:
                transport.write_eof()
            except NotImplementedError:
                transport.close()  # TLS: sends what there is and its own end
            except OSError:
                transport.abort()  # a reset that nobody has told us yet
        self._unsent = transport.get_write_buffer_size()
        is_patient = self._unsent or transport.is_closing()  # which ends by itself when all is sent
        self.deadline = self._sweeper.now + (patience if is_patient else LINGER_SECONDS)

    def may_linger(self, patience: float) -> bool:
        """Whether the other side still takes what it was sent; a new deadline is set then."""
        if not self.takes_output():
            return False
        self.deadline = self._sweeper.now + (patience if self._unsent else LINGER_SECONDS)
        return True

    def takes_output(self) -> bool:
        """Whether some of the output has gone since we last looked."""
        unsent, self._unsent = self._unsent, self.transport.get_write_buffer_size()
        return self._unsent < unsent


def reset_at_close(transport: asyncio.Transport) -> None:
    """Whoever waits for a clean end will see that there is none."""
    if not transport.is_closing():
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
