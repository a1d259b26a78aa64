"""Active health checks: every address of every server is asked for one path at intervals, by aiohttp.

Each check opens a connection of its own: that a server takes new ones is half of what is asked. Redirects are
an answer and are not followed; no cookie is kept; nothing of a body is read.
"""

from __future__ import annotations

import asyncio
from random import uniform
from typing import TYPE_CHECKING, Final

import aiohttp
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.config.sections.upstream import HealthChecks
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
        now = addresses()
        async with asyncio.TaskGroup() as group:
            checks = [group.create_task(problem_of(address, path, settings.timeout)) for address in now]
        for address, check in zip(now, checks, strict=True):
            tell(address, check.result())
        await asyncio.sleep(settings.interval * uniform(1 - JITTER, 1 + JITTER))  # noqa: S311 - no secret


async def problem_of(address: ServerAddress, path: str, patience: float) -> str:
    """What is wrong with an address; nothing if it answers 2xx or 3xx within `patience` seconds."""
    url = address.url
    host = address.ip or url.host
    target = f"{url.scheme}://{f'[{host}]' if ':' in host else host}:{url.port}{path}"
    try:
        async with (
            asyncio.timeout(patience),
            aiohttp.ClientSession(
                connector=_connector(address), cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
            ) as session,
            session.get(
                URL(target, encoded=True),
                headers={"Host": url.authority, "User-Agent": "weir"},
                allow_redirects=False,
                ssl=address.ssl or True,
                server_hostname=address.tls_name,
            ) as response,
        ):
            return "" if 200 <= response.status < 400 else f"status {response.status}"
    except TimeoutError:
        return "timeout"
    except Exception as error:  # noqa: BLE001 - whatever it was, there is no answer
        return str(error) or type(error).__name__


def _connector(address: ServerAddress) -> aiohttp.BaseConnector:
    path = address.url.unix_path
    if path is not None:
        return aiohttp.UnixConnector(path, force_close=True)
    return aiohttp.TCPConnector(force_close=True)
