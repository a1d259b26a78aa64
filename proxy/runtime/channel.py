"""What the supervisor and a worker say to each other: msgpack frames over a pair of sockets.

Each frame is one of the messages below behind its length. Knows nothing of what is done about them.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from proxy.telemetry.reading import Reading  # noqa: TC001 - msgspec reads the annotation
from proxy.telemetry.sights import Sights  # noqa: TC001 - msgspec asks for it when the class is made

if TYPE_CHECKING:
    import socket

LENGTH_BYTES = 4
UNHEARD_BYTES_MAX = 4 * 1024 * 1024  # a peer that hangs must not fill this process's memory

# --- to a worker ---


class Start(msgspec.Struct, tag=True):
    """The first message: which worker it is, the config as text, and the descriptors to serve on."""

    number: int
    text: str
    file: str
    listeners: list[list[int]]


class Reload(msgspec.Struct, tag=True):
    text: str


class RefuseReload(msgspec.Struct, tag=True):
    """The file is bad: nothing changes, but it is to be seen."""

    error: str


class Reopen(msgspec.Struct, tag=True):
    """The access log has been moved."""


class Tell(msgspec.Struct, tag=True):
    """Figures are wanted at once, with the status; with the sights since a moment, if somebody looks."""

    since: float | None = None


class Apply(msgspec.Struct, tag=True):
    """Something is to be done to a key, live, and begun before `until` or not at all: a moment of the
    monotonic clock, which all processes of a machine share."""

    number: int
    until: float
    verb: str
    limit: str
    body: bytes


class Drain(msgspec.Struct, tag=True):
    """Serve on for the delay, finish what runs, end."""


class Halt(msgspec.Struct, tag=True):
    """End at once."""


Order = Start | Reload | RefuseReload | Reopen | Tell | Apply | Drain | Halt

# --- from a worker ---


class Ready(msgspec.Struct, tag=True):
    pass


class Failed(msgspec.Struct, tag=True):
    """It cannot start; one line."""

    reason: str


class Figures(msgspec.Struct, tag=True):
    """Come every second; with the status only when they are asked for."""

    reading: Reading
    readiness: dict[str, Any]
    status: dict[str, Any] | None = None
    sights: Sights | None = None


class Applied(msgspec.Struct, tag=True):
    """Answers the order of that number. `code` is 200, or that of the refusal, whose message is in `told`."""

    number: int
    code: int
    told: dict[str, Any]


WorkerReport = Ready | Failed | Figures | Applied

Heard = TypeVar("Heard")


class Channel(Generic[Heard]):
    """One end. `heard` is the type of what comes in."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: Any) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder: msgspec.msgpack.Decoder[Heard] = msgspec.msgpack.Decoder(heard)

    def say(self, message: Order | WorkerReport) -> None:
        """Sends it; to a peer that has gone or does not listen, nothing happens."""
        waiting = self._writer.transport.get_write_buffer_size()
        if not self._writer.is_closing() and waiting < UNHEARD_BYTES_MAX:
            data = msgspec.msgpack.encode(message)
            self._writer.write(len(data).to_bytes(LENGTH_BYTES, "big") + data)

    async def hear(self) -> Heard | None:
        """The next message; None when the peer has gone."""
        try:
            length = int.from_bytes(await self._reader.readexactly(LENGTH_BYTES), "big")
            return self._decoder.decode(await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def close(self) -> None:
        """What was said is sent before."""
        with suppress(ConnectionError):
            await self._writer.drain()
            self._writer.close()
            await self._writer.wait_closed()


async def orders(sock: socket.socket) -> Channel[Order]:
    """A worker's end."""
    reader, writer = await asyncio.open_connection(sock=sock)
    return Channel(reader, writer, Order)


async def reports(sock: socket.socket) -> Channel[WorkerReport]:
    """The supervisor's end."""
    reader, writer = await asyncio.open_connection(sock=sock)
    return Channel(reader, writer, WorkerReport)
