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
    from proxy.config.sections.upstream import HealthChecks
    from proxy.net.pool import Pool
    from proxy.net.server_address import Server

JITTER: Final = 0.1  # of the interval, either way, so that replicas do not ask all at once


async def keep_checking(pool: Pool, settings: HealthChecks, path: str) -> None:
    """Tells the pool the result of every check."""
    while True:
        servers = pool.servers
        async with asyncio.TaskGroup() as group:
            checks = [group.create_task(problem_of(server, path, settings.timeout)) for server in servers]
        for server, check in zip(servers, checks, strict=True):
            pool.checked(server, check.result())
        await asyncio.sleep(settings.interval * uniform(1 - JITTER, 1 + JITTER))  # noqa: S311 - no secret


async def problem_of(server: Server, path: str, patience: float) -> str:
    """What is wrong with a server; nothing if it answers 2xx or 3xx within `patience` seconds."""
    url = server.url
    host = server.address or url.host
    target = f"{url.scheme}://{f'[{host}]' if ':' in host else host}:{url.port}{path}"
    try:
        async with (
            asyncio.timeout(patience),
            aiohttp.ClientSession(
                connector=_connector(server), cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
            ) as session,
            session.get(
                URL(target, encoded=True),
                headers={"Host": url.authority, "User-Agent": "weir"},
                allow_redirects=False,
                ssl=server.ssl or True,
                server_hostname=server.tls_name,
            ) as response,
        ):
            return "" if 200 <= response.status < 400 else f"status {response.status}"
    except TimeoutError:
        return "timeout"
    except Exception as error:  # noqa: BLE001 - whatever it was, there is no answer
        return str(error) or type(error).__name__


def _connector(server: Server) -> aiohttp.BaseConnector:
    path = server.url.unix_path
    if path is not None:
        return aiohttp.UnixConnector(path, force_close=True)
    return aiohttp.TCPConnector(force_close=True)
