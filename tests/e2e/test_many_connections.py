"""Ten thousand connections: what they cost, who is served meanwhile, and what becomes of one more."""

from __future__ import annotations

import asyncio
import resource
import socket

import pytest

from tests.e2e.test_memory import resident_bytes
from tests.support.messages import get
from tests.support.patience import until

CONNECTIONS = 10_000  # the default bound
KEPT = 8 * 1024  # bytes of memory for each at rest: the aim of the design
DESCRIPTORS = CONNECTIONS + 200


@pytest.fixture
def descriptors():
    """Enough of them, for us and for the Weir that inherits the bound."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < DESCRIPTORS:
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, max(hard, DESCRIPTORS)))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def opened(port, count):
    """So many connections, from several addresses, since one has 28 000 ports for everything."""
    loop = asyncio.get_running_loop()
    socks = []
    for number in range(count):
        sock = socket.socket()
        sock.setblocking(False)
        sock.bind((f"127.0.1.{1 + number % 8}", 0))
        await loop.sock_connect(sock, ("127.0.0.1", port))
        socks.append(sock)
    return socks


async def test_ten_thousand_connections(descriptors, start_weir, start_origin, ask):
    """At rest they cost little; others are served as ever, up to the bound; when they leave, nothing is left."""
    weir = start_weir(upstream=await start_origin())
    assert (await ask(weir, get())).status == 200
    before = resident_bytes(weir)

    def at_rest():
        return weir.metrics().total("weir_connections", side="downstream", state="idle")

    crowd = await opened(weir.port, CONNECTIONS - 1)
    try:
        await until(lambda: at_rest() == CONNECTIONS - 1)
        each = (resident_bytes(weir) - before) / CONNECTIONS
        assert each < KEPT
        assert (await ask(weir, get(), within=2.0)).status == 200
        crowd += await opened(weir.port, 1)
        await until(lambda: at_rest() == CONNECTIONS)
        assert (await ask(weir, get())).status == 503
    finally:
        for sock in crowd:
            sock.close()
    await until(lambda: at_rest() == 0)
    assert (await ask(weir, get())).status == 200
