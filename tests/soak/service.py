"""The service of the soak: `python -m tests.soak.service PORT NAME`. SIGTERM lets running answers end, as a good one does."""

from __future__ import annotations

import asyncio
import re
import signal
import sys

PIECES = 40
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
TRACE = b"java.lang.NullPointerException: password=hunter2\n\tat hub.Db.open(Db.java:42)\n"


class Service:
    def __init__(self) -> None:
        self.is_ending = False
        self.at_rest: set[asyncio.StreamWriter] = set()
        self.busy = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not self.is_ending:
                self.at_rest.add(writer)
                head = await reader.readuntil(b"\r\n\r\n")
                self.at_rest.discard(writer)
                self.busy += 1
                try:
                    if await self._answer(head, reader, writer):
                        return
                finally:
                    self.busy -= 1
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            self.at_rest.discard(writer)
            writer.close()

    async def _answer(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """True if the connection is of no more use."""
        method, target = head.split(b" ", 2)[:2]
        path = target.partition(b"?")[0]
        if path == b"/tunnel":
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            return True
        if method == b"POST":
            said = LENGTH.search(head)
            if said is None:
                writer.write(_whole(b"411 Length Required", b"", b"Connection: close\r\n"))
                return True
            length = int(said[1])
            body = await reader.readexactly(length)
            fields = b"Location: /api/entities/1\r\nX-Global-Identifier: one\r\n"
            writer.write(_whole(b"201 Created", b"%d %d" % (length, sum(body) % 65521), fields))
        elif path == b"/pieces":
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(PIECES):
                writer.write(b"5\r\npiece\r\n")
                await writer.drain()
            writer.write(b"0\r\n\r\n")
        elif path == b"/boom":
            writer.write(_whole(b"500 Internal Server Error", TRACE))
        else:
            if path == b"/slow":
                await asyncio.sleep(0.2)
            writer.write(_whole(b"200 OK", b"y" * 1_000_000 if path == b"/large" else target))
        await writer.drain()
        return False

    async def end(self, server: asyncio.Server) -> None:
        self.is_ending = True
        server.close()
        for writer in list(self.at_rest):
            writer.close()
        for _ in range(200):
            if not self.busy:
                break
            await asyncio.sleep(0.01)


def _whole(status: bytes, body: bytes, fields: bytes = b"") -> bytes:
    return b"HTTP/1.1 %b\r\n%bContent-Length: %d\r\n\r\n%b" % (status, fields, len(body), body)


async def main(port: int) -> None:
    service, ended = Service(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    server = await asyncio.start_server(service.serve, "127.0.0.1", port)
    await ended.wait()
    await service.end(server)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
