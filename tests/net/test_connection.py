"""Output that leaves once a tick: in order, once, and never kept for somebody who has gone."""

from __future__ import annotations

import asyncio

from proxy.net.connection import LARGE_BYTES, Connection, Outbox
from proxy.net.sweep import Sweeper
from proxy.policy.haste import LOOK_TICKS
from tests.support.network import network
from tests.support.patience import until
from tests.support.wire import CLEAN, Wire


class Host:
    """Listens and gives out one connection."""

    def __init__(self) -> None:
        self.outbox = Outbox()
        self.sweeper = Sweeper(0.02)
        self.connection: Connection | None = None

    async def meet(self):
        def accepted():
            self.connection = Connection(self.outbox, self.sweeper)
            return self.connection

        self.listener = await network().serve(accepted)
        wire = await Wire.open(self.listener.port)
        await until(lambda: self.connection and self.connection.transport)
        return self.connection, wire

    async def close(self, wire):
        wire.close()
        await self.listener.close()


async def test_pieces_of_any_size_arrive_in_order():
    """Large ones go out at once, but never before what was written earlier."""
    host = Host()
    connection, wire = await host.meet()
    sizes = [1, LARGE_BYTES, 5, LARGE_BYTES - 1, LARGE_BYTES * 3, LARGE_BYTES, 2, 3]
    expected = b""
    for _ in range(20):
        for number, size in enumerate(sizes):
            piece = bytes([number]) * size
            expected += piece
            connection.write(piece)
        await asyncio.sleep(0)

    assert await wire.exactly(len(expected)) == expected
    await host.close(wire)


async def test_what_is_written_in_a_tick_goes_out_in_one_piece():
    """However many small pieces it came in."""
    host = Host()
    connection, wire = await host.meet()
    sent = []
    write = connection.transport.write

    class Transport:
        def __getattr__(self, name):
            return getattr(real, name)

        def write(self, data):
            sent.append(data)
            write(data)

    real, connection.transport = connection.transport, Transport()
    for piece in (b"a", b"b", b"c"):
        connection.write(piece)
    assert sent == []
    await wire.exactly(3)

    assert sent == [b"abc"]
    await host.close(wire)


async def hasten(connection, wire):
    """Many ticks in which one connection has something to write."""
    for _ in range(LOOK_TICKS):
        connection.write(b".")
        await wire.exactly(1)


async def test_whole_piece_goes_out_at_once_where_few_write():
    """The other side need not wait for the end of the tick."""
    host = Host()
    connection, wire = await host.meet()
    sent = []
    real = connection.transport

    class Transport:
        def __getattr__(self, name):
            return getattr(real, name)

        def write(self, data):
            sent.append(data)
            real.write(data)

    await hasten(connection, wire)
    connection.transport = Transport()
    connection.write(b"whole", True)
    assert sent == [b"whole"]
    connection.write(b"first ")
    connection.write(b"second", True)
    assert sent == [b"whole"]

    assert await wire.exactly(17) == b"wholefirst second"
    await host.close(wire)


async def test_whole_piece_is_not_kept_for_somebody_who_has_gone_either():
    """It is dropped."""
    host = Host()
    connection, wire = await host.meet()
    await hasten(connection, wire)
    connection.transport.abort()
    connection.write(b"x", True)

    assert connection._held == []
    await host.close(wire)


async def test_nothing_is_kept_for_somebody_who_has_gone():
    """An answer that goes on meanwhile does not pile up."""
    host = Host()
    connection, wire = await host.meet()
    connection.transport.abort()
    for _ in range(3):
        connection.write(b"x")
        connection.write(b"x" * LARGE_BYTES)
    await asyncio.sleep(0)

    assert connection._held == []
    await host.close(wire)


async def test_end_follows_what_was_written():
    """In the same tick."""
    host = Host()
    connection, wire = await host.meet()
    connection.write(b"last words")
    connection._end_output(1.0)

    assert (await wire.rest(), wire.end) == (b"last words", CLEAN)
    await host.close(wire)


async def test_reading_pauses_and_goes_on_however_often_it_is_asked():
    """Twice is once."""
    host = Host()
    connection, wire = await host.meet()
    connection.pause_reading()
    connection.pause_reading()
    assert connection.transport.is_reading() is False
    connection.resume_reading()
    connection.resume_reading()
    assert connection.transport.is_reading() is True
    await host.close(wire)


async def test_reading_of_a_connection_that_has_gone_pauses_without_a_word():
    """Whoever is slow is told so in the same turn in which the other side left."""
    host = Host()
    connection, wire = await host.meet()
    connection.transport.abort()
    connection.pause_reading()
    connection.resume_reading()

    assert not connection.is_read_paused
    await host.close(wire)


class Broken(asyncio.Transport):
    """Takes nothing."""

    is_aborted = False

    def is_closing(self):
        return False

    def write(self, _):
        raise RuntimeError

    def abort(self):
        self.is_aborted = True


async def test_connection_that_cannot_be_written_to_costs_others_nothing(caplog):
    """What they have written in the same tick goes out; it is ended, since what it lacks would not be seen."""
    host = Host()
    connection, wire = await host.meet()
    broken, transport = Connection(host.outbox, host.sweeper), Broken()
    broken.connection_made(transport)
    broken.write(b"lost")
    connection.write(b"kept")

    assert await wire.exactly(4) == b"kept"
    assert transport.is_aborted
    assert caplog.messages == ["crashed"]
    await host.close(wire)
