"""An origin that keeps every byte, reads it by h11 and answers each whole request with 200.

What h11 refuses is what two programs would read in two ways.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import h11

from tests.support.network import network

if TYPE_CHECKING:
    from tests.support.network import Channel, Listener

HEAD_BYTES = 1 << 20


@dataclass
class Seen:
    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)


class Recorder:
    def __init__(self) -> None:
        self.requests: list[Seen] = []  # whole ones, in the order of their ends
        self.refused: list[str] = []  # why h11 did not take something
        self.received = b""
        self.port = 0
        self._connections: set[asyncio.Task[None]] = set()
        self._listener: Listener | None = None

    async def start(self) -> None:
        self._listener = await network().listen(0, "127.0.0.1", self._accepted)
        self.port = self._listener.port

    async def stop(self) -> None:
        assert self._listener is not None
        await self._listener.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def forget(self) -> None:
        self.requests, self.refused, self.received = [], [], b""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _accepted(self, channel: Channel) -> None:
        task = asyncio.create_task(self._serve(channel))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, channel: Channel) -> None:
        try:
            await self._read(channel)
        except (ConnectionError, asyncio.CancelledError):
            pass  # the proxy gave the request up, or this is `stop`
        except h11.RemoteProtocolError as error:
            self.refused.append(str(error))
        finally:
            channel.close()

    async def _read(self, channel: Channel) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
        current: Seen | None = None
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                if connection.they_are_waiting_for_100_continue:
                    await channel.send(
                        connection.send(h11.InformationalResponse(status_code=100, headers=[]))
                    )
                data = await channel.receive()
                self.received += data
                if not data:
                    return  # within a request, it is not whole and not counted
                connection.receive_data(data)
            elif isinstance(event, h11.Request):
                current = Seen(event.method, event.target, list(event.headers))
            elif isinstance(event, h11.Data) and current is not None:
                current.body += event.data
            elif isinstance(event, h11.EndOfMessage) and current is not None:
                current.trailers = list(event.headers)
                self.requests.append(current)
                if current.method == b"CONNECT":
                    return
                await channel.send(_answer(connection, current.method))
                if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                    return
                connection.start_next_cycle()
            else:
                return


def _answer(connection: h11.Connection, method: bytes) -> bytes:
    head = connection.send(h11.Response(status_code=200, headers=[("Content-Length", "2")]))
    body = b"" if method == b"HEAD" else connection.send(h11.Data(b"ok"))
    return head + body + connection.send(h11.EndOfMessage())
