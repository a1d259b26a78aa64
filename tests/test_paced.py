"""TLS that takes turns, and no more memory than what it reads."""

from __future__ import annotations

import asyncio
import ssl
import tracemalloc

import pytest

from proxy.paced import LAST_RECORDS, RECORD_BYTES, RECORDS, Paced
from tests.support.papers import Papers


def pair(papers):
    """Both ends of a connection after the handshake: what is read by, and what is written by and to where."""
    theirs, ours = ssl.MemoryBIO(), ssl.MemoryBIO()
    listening = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    listening.load_cert_chain(*papers.issue("DNS:localhost"))
    listening.sslobject_class = Paced
    server = listening.wrap_bio(theirs, ours, server_side=True)
    trusting = ssl.create_default_context(cafile=str(papers.ca))
    client = trusting.wrap_bio(ours, theirs, server_hostname="localhost")
    for end in (client, server, client, server):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            pass
    return server, client


def test_read_takes_the_room_of_a_record_however_much_is_asked_for(tmp_path):
    """uvloop asks for 256 KiB each time, and what is cut off of that is seldom of use to others."""
    server, client = pair(Papers(tmp_path))
    said = bytes(range(256)) * 1000
    client.write(said)
    heard = b""
    tracemalloc.start()
    while len(heard) < len(said):
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        piece = server.read(256 * 1024)
        most = tracemalloc.get_traced_memory()[1] - before
        heard += piece
        assert most < 2 * RECORD_BYTES
    tracemalloc.stop()

    assert heard == said


class Closing(asyncio.Transport):
    """One whose peer says on what it has in hand."""

    def is_closing(self):
        return True


async def test_connection_that_is_closing_may_say_so_much_and_no_more(tmp_path):
    """It cannot wait for its turn, and would hold up the others for as long as it talks."""
    server, client = pair(Papers(tmp_path))
    server.transport = Closing()
    for _ in range(RECORDS + LAST_RECORDS + 1):
        client.write(b"a")
    heard = [server.read(1) for _ in range(RECORDS + LAST_RECORDS)]

    assert heard == [b"a"] * len(heard)
    with pytest.raises(ConnectionAbortedError):
        server.read(1)
