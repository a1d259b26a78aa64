"""An origin that keeps every byte, reads it by h11 and answers each whole request with 200.

What h11 refuses is what two programs would read in two ways.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import h11

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
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=HEAD_BYTES)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def forget(self) -> None:
        self.requests, self.refused, self.received = [], [], b""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._read(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass  # the proxy gave the request up, or this is `stop`
        except h11.RemoteProtocolError as error:
            self.refused.append(str(error))
        finally:
            self._connections.discard(task)
            writer.close()

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
        current: Seen | None = None
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                if connection.they_are_waiting_for_100_continue:
                    writer.write(connection.send(h11.InformationalResponse(status_code=100, headers=[])))
                data = await reader.read(65536)
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
                writer.write(_answer(connection, current.method))
                if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                    return
                connection.start_next_cycle()
            else:
                return


def _answer(connection: h11.Connection, method: bytes) -> bytes:
    head = connection.send(h11.Response(status_code=200, headers=[("Content-Length", "2")]))
    body = b"" if method == b"HEAD" else connection.send(h11.Data(b"ok"))
    return head + body + connection.send(h11.EndOfMessage())
