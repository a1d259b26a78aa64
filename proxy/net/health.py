"""Active health checks: every address of every server is asked for one path at intervals.

Each check opens a connection of its own: that a server takes new ones is half of what is asked. Redirects are
an answer and are not followed; no cookie is kept. Of an answer the head is read, and nothing behind it, so
that no answer is dear (docs/decisions/0025-health-checks.md).
"""

from __future__ import annotations

import asyncio
from random import uniform
from typing import TYPE_CHECKING, Final, cast

from proxy.faults import MALFORMED_RESPONSE, RESPONSE_HEAD_TOO_LARGE, Fault
from proxy.http1.head import response_head
from proxy.http1.sloppy import put_right
from proxy.net.upstream import HEAD_BYTES, INTERIM_MAX
from proxy.paced import pace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.config.sections.upstream import HealthChecks
    from proxy.http1.head import ResponseHead
    from proxy.net.server_address import ServerAddress

JITTER: Final = 0.1  # of the interval, either way, so that replicas do not ask all at once


async def keep_checking(
    addresses: Callable[[], Sequence[ServerAddress]],
    settings: HealthChecks,
    path: str,
    tell: Callable[[ServerAddress, str], None],
) -> None:
    """Tells what is wrong with each address, if anything, after every round of checks."""
    while True:
        checks = []
        async with asyncio.TaskGroup() as group:
            for address in addresses():
                checks.append((address, group.create_task(problem_of(address, path, settings.timeout))))
                await asyncio.sleep(0)  # there may be hundreds
        for address, check in checks:
            tell(address, check.result())
            await asyncio.sleep(0)
        await asyncio.sleep(settings.interval * uniform(1 - JITTER, 1 + JITTER))  # noqa: S311 - no secret


async def problem_of(address: ServerAddress, path: str, patience: float) -> str:
    """What is wrong with an address; nothing if it answers 2xx or 3xx within `patience` seconds."""
    check = HealthCheck(address.authority, path)
    try:
        async with asyncio.timeout(patience):
            await address.reach(check)
            status = await check.status
    except TimeoutError:
        return "timeout"
    except Exception as error:  # noqa: BLE001 - whatever it was, there is no answer
        return str(error) or type(error).__name__
    finally:
        check.close()
    return "" if 200 <= status < 400 else f"status {status}"


class NoHeadError(Exception):
    """What came is none."""


class HealthCheck(asyncio.Protocol):
    """One question; `status` is that of its answer. Raises NoHeadError, and ConnectionError."""

    def __init__(self, authority: bytes, path: str) -> None:
        self.status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._request = (
            b"GET %b HTTP/1.1\r\nHost: %b\r\nUser-Agent: weir\r\nAccept: */*\r\nConnection: close\r\n\r\n"
            % (path.encode(), authority)
        )
        self._said = b""
        self._interims = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        pace(self._transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._said += data
        while not self.status.done() and (right := put_right(self._said[:HEAD_BYTES])) is not None:
            self._said = self._said[right[1] :]
            self._head(response_head(right[0], b"GET"))
        if not self.status.done() and len(self._said) > HEAD_BYTES:
            self._give_up(RESPONSE_HEAD_TOO_LARGE)
        if self.status.done():
            self.close()

    def _head(self, head: ResponseHead | Fault) -> None:
        """Interim or final."""
        if isinstance(head, Fault):
            self._give_up(head)
        elif head.status >= 200 or head.status == 101:
            self.status.set_result(head.status)
        else:
            self._interims += 1
            if self._interims > INTERIM_MAX:
                self._give_up(MALFORMED_RESPONSE)

    def _give_up(self, fault: Fault) -> None:
        self.status.set_exception(NoHeadError(fault.reason))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - there is no answer
        if not self.status.done():
            self.status.set_exception(ConnectionError("closed without an answer"))

    def close(self) -> None:
        """Whatever it may still say."""
        if self._transport is not None:
            pace(self._transport, is_over=True)
            self._transport.abort()
        if self.status.done() and not self.status.cancelled():
            self.status.exception()  # it may be that nobody asks any more
        else:
            self.status.cancel()
