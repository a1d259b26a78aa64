"""Whether a chunked body that is held back has come whole, although nobody reads it now.

Its client sends no more: it has left within its body, or it waits for its answer. A length would tell; chunks
have to be counted, by a reader that runs ahead. Clients have their turns one after the other, since a
mebibyte may lie unread of each, and a mebibyte of small chunks is the work of many turns. Knows nothing of
what the body is for.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from proxy.net.kernel import glance
from proxy.telemetry.log import event

if TYPE_CHECKING:
    from proxy.net.downstream import DownstreamConnection

GLANCE_BYTES: Final = 4 * 1024 * 1024  # of what lies unread; Linux lets 3 MiB of data come (tcp_rmem)
TURNS: Final = 512  # for one body: half a second, a million chunks, or 40 000 with extensions

_log = logging.getLogger("weir.net")


class Foresight:
    def __init__(self) -> None:
        self._clients: dict[DownstreamConnection, None] = {}
        self._looking: asyncio.Task[None] | None = None

    def ask(self, client: DownstreamConnection) -> None:
        """Ends it soon if its body has not come whole."""
        self._clients[client] = None
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look())

    async def _look(self) -> None:
        while self._clients:
            client = next(iter(self._clients))
            del self._clients[client]
            try:
                await _end_if_left(client)
            except Exception as error:  # noqa: BLE001 - the others have their turns still
                event(_log, logging.ERROR, "crashed", error=error)


async def _end_if_left(client: DownstreamConnection) -> None:
    """What cannot be told is taken for whole: other deadlines run."""
    body = client.body
    unread = glance(client.transport, GLANCE_BYTES)
    if body is None or unread is None:
        return
    ahead, data = body.ahead(), client.buffer + unread
    for _ in range(TURNS):
        ahead.read(data)
        data = ahead.unread
        if ahead.is_over or ahead.is_malformed:  # of which it will be told
            return
        if not data:
            break
        await asyncio.sleep(0)
    if not data and client.body is body:
        client.lost()
