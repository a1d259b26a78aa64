"""A listener whose connections are announced goes on serving, whatever befalls one of them."""

from __future__ import annotations

import asyncio
import socket

import pytest

from proxy import background
from proxy.net import announced
from proxy.net.announced import AnnouncedSite
from proxy.net.frontend import Frontend
from tests.net.test_servers import no_descriptors
from tests.support.messages import get
from tests.support.patience import until

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


async def test_lack_of_descriptors_is_told_and_accepting_goes_on(
    start_bench, start_origin, connect, monkeypatch, caplog
):
    """Who was not accepted waits in the kernel, and is served later."""
    monkeypatch.setattr(announced, "EMFILE_SECONDS", 0.05)
    bench = await start_bench(await start_origin())
    sock = socket.create_server(("127.0.0.1", 0))
    site = AnnouncedSite(bench.runner, sock)
    await site.start()
    await (await connect(sock.getsockname()[1])).send(b"PROXY ")  # it accepts
    client = socket.socket()
    with no_descriptors():
        client.connect(sock.getsockname())
        await until(lambda: "accept_failed" in caplog.text)
    client.sendall(b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n" + get())
    client.setblocking(False)
    told = await asyncio.get_running_loop().sock_recv(client, 4096)
    client.close()
    await site.stop()

    assert told.startswith(b"HTTP/1.1 200")


async def test_client_that_left_before_it_was_accepted_costs_nothing(
    start_bench, start_origin, connect, monkeypatch, caplog
):
    """Systems other than Linux tell it so."""
    bench = await start_bench(await start_origin())
    sock = socket.create_server(("127.0.0.1", 0))
    site = AnnouncedSite(bench.runner, sock)
    loop = asyncio.get_running_loop()

    class Loop:
        left = 1

        def __getattr__(self, name):
            return getattr(loop, name)

        async def sock_accept(self, listener):
            if self.left:
                self.left -= 1
                raise ConnectionAbortedError
            return await loop.sock_accept(listener)

    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "get_running_loop", Loop)
        await site.start()
    wire = await connect(sock.getsockname()[1])
    await wire.send(b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n" + get())

    assert (await wire.response()).status == 200
    assert "weir.net" not in [record.name for record in caplog.records]
    await site.stop()
