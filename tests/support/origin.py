"""The service behind Weir as a test scripts it: a coroutine for each connection, arbitrary bytes at any moment.

Records every byte and every whole request. A script that fails in an unforeseen way fails the test at `stop`;
a connection that Weir broke off ends its script quietly and is seen in the visit's `broken`.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from tests.support.messages import answer
from tests.support.network import listen_securely, network
from tests.support.wire import PATIENCE, Broken, Request, Wire

if TYPE_CHECKING:
    import ssl

    from tests.support.network import Channel, Listener

Script = Callable[["Visit"], Awaitable[None]]
Answer = Callable[[Request], bytes | Awaitable[bytes]]


def answering(what: bytes | Answer) -> Script:
    """A script that gives every request of a kept connection the same answer, or what a function of it says."""

    async def script(visit: Visit) -> None:
        while (request := await visit.request()) is not None:
            reply = what if isinstance(what, bytes) else what(request)
            await visit.send(await reply if inspect.isawaitable(reply) else reply)

    return script


class Visit(Wire):
    """A connection that Weir opened."""

    def __init__(self, channel: Channel, origin: Origin, number: int) -> None:
        super().__init__(channel)
        self.origin = origin
        self.number = number  # 0 for the first connection
        self.broken: Broken | ConnectionError | None = None  # Weir left in the middle
        self.is_over = asyncio.Event()  # the script has ended

    async def request(self, *, within: float = 60.0) -> Request | None:
        """The next whole request; waits long, since a pooled connection rests."""
        request = await super().request(within=within)
        if request is not None:
            self.origin.requests.append(request)
        return request

    async def left(self, *, within: float = PATIENCE) -> str:
        """Waits until Weir has closed or reset the connection: CLEAN or RESET."""
        await self.rest(within=within)
        return str(self.end)


class Origin:
    def __init__(
        self,
        script: Script | None = None,
        port: int = 0,
        host: str = "127.0.0.1",
        context: ssl.SSLContext | None = None,
    ) -> None:
        """With a `context` it speaks TLS."""
        self.script: Script = script or answering(answer())
        self.visits: list[Visit] = []
        self.requests: list[Request] = []
        self.host = host
        self.port = port
        self._context = context
        self._listener: Listener | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._failures: list[BaseException] = []
        self._visited = asyncio.Event()

    @property
    def url(self) -> str:
        return f"{'http' if self._context is None else 'https'}://{self.host}:{self.port}"

    @property
    def received(self) -> bytes:
        return b"".join(bytes(visit.received) for visit in self.visits)

    async def visit(self, number: int = 0, *, within: float = PATIENCE) -> Visit:
        """The connection of that number, once it is there."""
        async with asyncio.timeout(within):
            while len(self.visits) <= number:
                self._visited.clear()
                await self._visited.wait()
        return self.visits[number]

    async def start(self) -> None:
        if self._context is None:
            self._listener = await network().listen(self.port, self.host, self._accepted)
        else:
            self._listener = await listen_securely(self.port, self.host, self._context, self._accepted)
        self.port = self._listener.port

    async def close_listener(self) -> None:
        """No new connections: they are refused from now on."""
        if self._listener is not None:
            await self._listener.close()

    async def stop(self) -> None:
        """Ends every connection and waits until Weir has seen it, so that the next test meets no stale one."""
        await self.close_listener()
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await asyncio.gather(*(self._farewell(visit) for visit in self.visits))
        if self._failures:
            raise self._failures[0]

    async def _farewell(self, visit: Visit) -> None:
        try:
            visit.finish_sending()
            await visit.left(within=2.0)
        except (OSError, TimeoutError):
            pass  # closed by the script, or Weir waits for more of an answer: the close tells it
        finally:
            visit.close()

    def _accepted(self, channel: Channel) -> None:
        visit = Visit(channel, self, len(self.visits))
        self.visits.append(visit)
        self._visited.set()
        task = asyncio.create_task(self._run(visit))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _run(self, visit: Visit) -> None:
        try:
            await self.script(visit)
        except (Broken, ConnectionError) as error:
            visit.broken = error
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - raised again where the test sees it
            self._failures.append(error)
            visit.close()
        else:
            visit.close()
        finally:
            visit.is_over.set()
