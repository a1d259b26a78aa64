"""A listener whose connections are announced goes on serving, whatever befalls one of them."""

from __future__ import annotations

import socket

import pytest

from proxy import background
from proxy.net.announced import AnnouncedSite
from proxy.net.frontend import Frontend
from tests.support.messages import get

pytestmark = pytest.mark.real


async def test_mistake_of_ours_ends_no_listener(start_bench, start_origin, connect, monkeypatch, caplog):
    """It is told, and the next one is served."""
    monkeypatch.setattr(background, "PAUSE", 0.01)
    bench = await start_bench(await start_origin())
    sock = socket.create_server(("127.0.0.1", 0))
    site = AnnouncedSite(bench.runner, sock)
    await site.start()
    port = sock.getsockname()[1]
    calls = []

    def arriving_max(_):
        calls.append(1)
        if len(calls) == 1:
            raise ZeroDivisionError
        return 100

    monkeypatch.setattr(Frontend, "arriving_max", property(arriving_max))
    await connect(port)
    wire = await connect(port)
    await wire.send(b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n" + get())

    assert (await wire.response()).status == 200
    assert "ZeroDivisionError" in caplog.text
    await site.stop()
