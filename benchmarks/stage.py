"""Weir on connections that nobody has at their other end: no sockets, and a clock that is moved.

What both sides send is handed to the connections, and what Weir writes is counted and dropped. So an exchange
takes the same steps each time, and costs what Weir's own code costs. With Redis, the dispatcher and its link
are the real ones; the reply is the same numbers each time.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from proxy.assembly import assemble
from proxy.config.loader import loads
from proxy.limiter.dialler import Dialler, Opened
from proxy.limiter.link import UP
from proxy.limiter.memory import MemoryStore
from proxy.limiter.redis import RedisStore
from proxy.limiter.wire import Wire as RedisWire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from proxy.config.sections.store import StoreSettings
    from proxy.limiter.store import Store
    from proxy.net.server_address import ServerAddress

CONFIG = """
upstream: {{servers: ["http://127.0.0.1:9000"]}}
listen: [{{address: "127.0.0.1:8080"}}, {{address: "127.0.0.1:8081", mode: decide, front: nginx}}]
forwarded: {{trust: [127.0.0.1]}}
store: {{url: "{store}"}}
log: {{access: /dev/null}}
limits:
  - {{name: per-user, key: ["header:X-Auth-Token", client-ip], rate: {rate}}}
"""
ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: Kestrel\r\nDate: Mon, 23 Nov 2026 02:00:00 GMT\r\n"
    b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
)
REDIS = "redis://127.0.0.1:1"  # is not asked
STEP = 50e-6  # seconds from one exchange to the next: what one takes, about
TURNS = 4  # of the loop, in which all is done that can be


class Wire:
    """The transport of a connection that nobody has at its other end."""

    def __init__(self, written: Callable[[bytes], object]) -> None:
        self.write = written

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 50000) if name == "peername" else None

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def nothing(self, *_: object) -> None: ...

    pause_reading = resume_reading = write_eof = close = abort = set_protocol = nothing


class Stage:
    """One client's connection, to a listener that forwards or one that decides."""

    def __init__(self, rate: str, store: str = "memory", *, decides: bool = False) -> None:
        self.now = 1000.0
        self.answers = 0
        self._servers: list[asyncio.Protocol] = []
        settings = loads(CONFIG.format(rate=rate, store=store), "weir.yaml", environ={})
        made = self._store(settings.store)
        self.parts = assemble(settings, store=made, dial=self._dial, clock=self.clock)
        self.client = self.parts.protocol(settings.listen[decides])()
        self.client.connection_made(Wire(self._answered))  # type: ignore[arg-type]  # as far as it is asked

    def clock(self) -> float:
        return self.now

    async def exchange(self, request: bytes) -> None:
        """Also the first one, for which a server's connection is opened."""
        await self._ask(request)
        if self._servers:
            self._servers[0].data_received(ANSWER)
            await asyncio.sleep(0)

    async def exchanges(self, requests: Iterable[bytes], turns: int, *, is_forwarded: bool) -> None:
        """One after the other; `turns` of the loop go by until one is decided and sent on."""
        client, sleep = self.client, asyncio.sleep
        for request in requests:
            self.now += STEP
            client.data_received(request)
            for _ in range(turns):
                await sleep(0)
            if is_forwarded:
                self._servers[0].data_received(ANSWER)
                await sleep(0)

    async def close(self) -> None:
        await self.parts.stop()

    async def _ask(self, request: bytes) -> None:
        self.now += STEP
        self.client.data_received(request)
        for _ in range(TURNS):
            await asyncio.sleep(0)

    async def _dial(self, _: ServerAddress, upstream: asyncio.Protocol) -> None:
        upstream.connection_made(Wire(len))  # type: ignore[arg-type]  # as far as it is asked
        self._servers.append(upstream)

    def _answered(self, _: bytes) -> None:
        self.answers += 1

    def _store(self, settings: StoreSettings) -> Store:
        """Redis's has a link that is up, and whose calls are answered by `_reply`."""
        if settings.url.kind == "memory":
            return MemoryStore(lambda: int(self.now * 1e6))
        store = RedisStore(Dialler.of(settings), timeout=60, now=self.clock)
        asked = Wire(lambda _: asyncio.get_running_loop().call_soon(self._reply, wire))
        link = store._dispatcher.links[0]  # noqa: SLF001 - a connection that nobody has made
        wire = RedisWire(Opened(asked, lambda: None), link, lambda _: None)  # type: ignore[arg-type]  # a stand-in, as far as it is asked
        link._wire, link.state = wire, UP  # noqa: SLF001 - a connection that nobody has made
        return store

    def _reply(self, wire: RedisWire) -> None:
        """A debt, no key of strangers, and the time."""
        wire.data_received(b"*3\r\n:1000\r\n:0\r\n:%d\r\n" % int(self.now * 1e6))
