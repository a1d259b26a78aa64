"""Whatever strangers, scrapers and viewers do to the admin plane: a client of the service is served within 20 ms."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
from contextlib import suppress
from dataclasses import replace

import pytest
from aiohttp import web

from proxy.admin import viewers
from proxy.admin.app import admin_app
from proxy.admin.bounds import CONNECTIONS_MAX, AdminConnections
from proxy.config.sections.limits import LimitSettings
from proxy.runtime.admin_sites import AdminSite
from tests.admin.test_app import TOKEN, Now
from tests.support.innocent import innocent
from tests.support.patience import until
from tests.telemetry.exchanges import decision, exchange, limit, verdict

pytestmark = pytest.mark.unmeasured

NAMES = [f"limit-{number}" for number in range(500)]
BEARER = f"Authorization: Bearer {TOKEN}"


def request(target, *fields, method="GET"):
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: localhost", *fields, "\r\n"]).encode()


class Crowded(Now):
    """A plane of a service with five hundred limits, all of them in use."""

    def sources(self, token=TOKEN):
        self.metrics.configure(NAMES)
        for name in NAMES:
            for is_admitted in (True, False):
                said = verdict(limit(name), is_admitted=is_admitted)
                self.metrics.record(exchange(decision=decision(said), fault=None))
        limits = [LimitSettings(name=name, rate="15/s") for name in NAMES]
        return replace(super().sources(token), limits=lambda: limits)


@pytest.fixture
async def plane():
    """As it is served: its port."""
    runner = web.AppRunner(admin_app(Crowded().sources()), shutdown_timeout=0.1)
    await runner.setup()
    sock = socket.create_server(("127.0.0.1", 0), backlog=128)
    await AdminSite(runner, sock, AdminConnections(runner.server)).start()
    yield sock.getsockname()[1]
    await runner.cleanup()


FLOODS = {
    "pipelined requests": request("/healthz") * 1000,
    "pipelined requests without a token": request("/status") * 1000,
    "a body of tiny chunks": request("/limits/a/reset", "Transfer-Encoding: chunked", method="POST")
    + b"1\r\nx\r\n" * 60_000
    + b"0\r\n\r\n",
    "a bomb": request(
        "/limits/a/reset", "Content-Encoding: gzip", "Content-Length: 60000", BEARER, method="POST"
    )
    + (gzip.compress(b"a" * 1_000_000) * 60)[:60_000].ljust(60_000, b"x"),
    "a large head": request("/healthz", *[f"X-{number}: {'y' * 8000}" for number in range(38)]),
    "many fields": request("/healthz", *[f"X-{number}: y" for number in range(5000)]),
    "a long target": request("/" + "%2e%2e/" * 1100),
    "many parameters": request("/?" + "a=%20b&" * 1100),
    "a long Accept": request("/metrics", "Accept: " + "a/b;q=0.1, " * 700, BEARER),
    "a long cookie": request("/status", "Cookie: " + "a=b; " * 1600, BEARER),
    "junk": b"\x16\x03\x01" + b"x" * 300_000,
}


async def flood(port, data):
    """Sent as fast as it is taken, and read as fast as it comes, until there is no more of either."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def send():
        for at in range(0, len(data), 65536):
            writer.write(data[at : at + 65536])
            await writer.drain()

    async def hear():
        while await asyncio.wait_for(reader.read(65536), 1.0):
            pass

    with suppress(TimeoutError):
        async with asyncio.timeout(3.0):
            await asyncio.gather(send(), hear(), return_exceptions=True)
    writer.transport.abort()


@pytest.mark.parametrize("kind", FLOODS)
async def test_flood_of(plane, kind):
    """From ten connections."""
    async with innocent():
        await asyncio.gather(*(flood(plane, FLOODS[kind]) for _ in range(10)))


@pytest.mark.measured
@pytest.mark.waits("those that do not read pile up what they asked for")
async def test_scrapes_of_five_hundred_limits(plane):
    """Thirty at once, some of whom do not read what they get."""
    ask = [
        request("/metrics", BEARER, f"Accept: {accept}") for accept in ("*/*", "application/openmetrics-text")
    ]
    async with innocent():
        await asyncio.gather(*(flood(plane, each * 5) for each in ask * 5))
        deaf = [await asyncio.open_connection("127.0.0.1", plane, limit=1024) for _ in range(20)]
        for _, writer in deaf:
            writer.write(ask[0] * 20)
        await asyncio.sleep(1.0)
    for _, writer in deaf:
        writer.transport.abort()


@pytest.mark.waits("viewers that do not read are dropped and come again")
async def test_viewers_that_do_not_read(plane, monkeypatch):
    """As many as there may be, come again as they are dropped."""
    monkeypatch.setattr(viewers, "TICK_SECONDS", 0.05)
    socks = []
    async with innocent():
        for _ in range(3):
            for _ in range(CONNECTIONS_MAX // 2):
                sock = socket.socket()
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                sock.setblocking(False)
                await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", plane))
                await asyncio.get_running_loop().sock_sendall(sock, request("/events", BEARER))
                socks.append(sock)
            await asyncio.sleep(1.0)
    for sock in socks:
        sock.close()


async def test_viewer_stays_whatever_strangers_do(plane, monkeypatch):
    """Who has shown the token gives way after those who have not."""
    monkeypatch.setattr(viewers, "TICK_SECONDS", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", plane, limit=2**24)
    writer.write(request("/events", BEARER))
    await reader.readuntil(b"event: tick")
    ticks = []

    async def look():
        while True:
            ticks.append(await reader.readuntil(b"event: tick"))

    looking = asyncio.create_task(look())
    strangers = []
    for number in range(3 * CONNECTIONS_MAX):
        stranger = await asyncio.open_connection("127.0.0.1", plane)
        stranger[1].write(request("/status") if number % 2 else b"GET")
        strangers.append(stranger)
    silent = [heard for heard, _ in strangers[::2]]
    ended = await until(lambda: [each for each in silent if each.at_eof() or each.exception()], "some ended")
    shown = len(ticks)  # what came before was heard, whatever became of the viewer
    await until(lambda: len(ticks) > shown + 5, "it goes on")
    looking.cancel()

    assert json.loads(ticks[-1].partition(b"data: ")[2].partition(b"\n")[0])["point"]
    assert len(ended) >= CONNECTIONS_MAX // 2
    for _, each in [(reader, writer), *strangers]:
        each.transport.abort()
