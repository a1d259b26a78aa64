"""What must hold on plain connections and over TLS alike: how connections begin to rest, break and end."""

from __future__ import annotations

import asyncio
import signal
import ssl

import pytest

from tests.support.messages import post
from tests.support.papers import Papers

CLOSES = b"\r\nConnection: close\r\n"


@pytest.fixture(scope="module")
def papers(tmp_path_factory):
    return Papers(tmp_path_factory.mktemp("papers"))


@pytest.fixture(params=["plain", "tls"])
def front(request, new_weir, papers):
    """Starts a Weir, and gives what opens a connection to it: a reader and a writer."""

    def start(origin, changes=None):
        weir = new_weir(changes, upstream=origin)
        address = f"127.0.0.1:{weir.port}"
        context = None
        if request.param == "tls":
            cert, key = papers.issue("DNS:localhost")
            weir.write_config({"listen": [{"address": address, "tls": {"cert": str(cert), "key": str(key)}}]})
            context = ssl.create_default_context(cafile=str(papers.ca))
        weir.start()
        name = "localhost" if context else None

        async def open_connection():
            return await asyncio.open_connection("127.0.0.1", weir.port, ssl=context, server_hostname=name)

        return weir, open_connection

    return start


# --- a drain ---


async def post_until_told(connection):
    """POSTs with pauses, as a program whose pool does not look whether a connection is still open."""
    reader, writer = connection
    told = b""
    while CLOSES not in told:
        writer.write(post())
        told = await asyncio.wait_for(reader.readuntil(b"\r\n\r\nok"), 20)
        await asyncio.sleep(0.05)
    writer.close()


async def test_drain_loses_no_post_on_a_kept_connection(front, start_origin):
    """Each client is told by an answer; a POST that meets a closed connection could not be sent again."""
    weir, open_connection = front(await start_origin(), {"drain": {"delay": "300ms"}})
    clients = [asyncio.create_task(post_until_told(await open_connection())) for _ in range(10)]
    await asyncio.sleep(0.2)
    weir.signal(signal.SIGTERM)
    ends = await asyncio.gather(*clients, return_exceptions=True)

    assert ends == [None] * 10
    assert await asyncio.to_thread(weir.wait) == 0
