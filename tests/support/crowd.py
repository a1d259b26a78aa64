"""Clients with kept connections that ask again and again, as programs do, and count what did not come.

A kept connection that turns out to be closed just as a GET is sent on it is opened anew and the GET sent once more:
every client library does that. Everything else counts as failed: refused, broken off while waiting, not 200.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.support.messages import get
from tests.support.patience import until
from tests.support.wire import Broken, Wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PATIENCE = 30.0
STALE_SECONDS = 0.1  # an end this soon was under way before; answers take longer


class Crowd:
    def __init__(self, port: int) -> None:
        self.served = 0
        self.failures: list[str] = []
        self._port = port
        self._is_over = False

    @property
    def total(self) -> int:
        return self.served + len(self.failures)

    async def client(self, number: int) -> None:
        wire: Wire | None = None
        data = get(f"X-Auth-Token: user-{number}")
        while not self._is_over:
            try:
                wire = await self._ask(wire, data)
                self.served += 1
            except (Broken, OSError, TimeoutError, AssertionError) as error:
                self.failures.append(repr(error))
                wire = None
        if wire is not None:
            wire.close()

    async def _ask(self, wire: Wire | None, data: bytes) -> Wire | None:
        """The connection for the next request, if it stays."""
        if wire is not None:
            sent = time.monotonic()
            try:
                return await self._answer(wire, data)
            except (Broken, OSError):
                wire.close()
                if wire.unread or time.monotonic() - sent > STALE_SECONDS:
                    raise
        return await self._answer(await Wire.open(self._port), data)

    async def _answer(self, wire: Wire, data: bytes) -> Wire | None:
        await wire.send(data)
        response = await wire.response(within=PATIENCE)
        assert response.status == 200, response.status
        if response.value("Connection") == b"close":
            wire.close()
            return None
        return wire

    def end(self) -> None:
        self._is_over = True


@asynccontextmanager
async def crowd(port: int, clients: int) -> AsyncIterator[Crowd]:
    """At work from the first answers on; at the end all of them get their last one."""
    people = Crowd(port)
    tasks = [asyncio.create_task(people.client(number)) for number in range(clients)]
    try:
        await until(lambda: people.total >= clients, "the first answers", within=PATIENCE)
        yield people
        before = people.total
        await until(lambda: people.total >= before + 2 * clients, "answers afterwards", within=PATIENCE)
    finally:
        people.end()
        await asyncio.gather(*tasks)
