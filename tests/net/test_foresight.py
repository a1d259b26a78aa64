"""Bodies of chunks that are counted ahead: which client is taken for gone, and which is not."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest

from proxy.http1.framing import CHUNKED
from proxy.net import foresight
from proxy.net.foresight import Foresight
from proxy.net.request_body import RequestBody
from tests.support.patience import until

pytestmark = pytest.mark.real


@pytest.fixture
def pair():
    here, there = socket.socketpair()
    yield here, there
    here.close()
    there.close()


CHUNK = b"1\r\na\r\n"
TINY = CHUNK * 3000  # more than one turn reads


class Client:
    """Of whose body so much has come; it sends no more."""

    def __init__(self, pair, sent, lost=None):
        here, there = pair
        there.sendall(sent)
        self.transport = SimpleNamespace(get_extra_info=lambda _: here, is_closing=lambda: False)
        self.body: RequestBody | None = RequestBody(CHUNKED)
        self.buffer = b""
        self.is_lost = False
        self._lost = lost

    def lost(self):
        self.is_lost = True
        if self._lost is not None:
            raise self._lost


class Changing(Client):
    """Each time that it is looked at, its body is that of another request."""

    body = property(lambda _: RequestBody(CHUNKED), lambda *_: None)


async def looked_at(*clients):
    looks = Foresight()
    for client in clients:
        looks.ask(client)
    await until(looks._looking.done)
    return [client.is_lost for client in clients]


@pytest.mark.parametrize(
    ("sent", "is_lost"),
    [
        (CHUNK, True),
        (CHUNK + b"0\r\n\r\n", False),
        (b"nonsense\r\n", False),
        (TINY, True),
        (TINY + b"0\r\n\r\n", False),
        (b"", True),
    ],
    ids=["a part", "all of it", "what is malformed", "many chunks", "many and the end", "nothing"],
)
async def test_client_that_ended_within_its_body_has_left(pair, sent, is_lost):
    assert await looked_at(Client(pair, sent)) == [is_lost]


async def test_body_that_cannot_be_counted_is_taken_for_whole(pair, monkeypatch):
    """Too much lies there, or it is the work of too many turns."""
    client = Client(pair, TINY)
    monkeypatch.setattr(foresight, "TURNS", 1)
    after_turns = await looked_at(client)
    monkeypatch.setattr(foresight, "GLANCE_BYTES", 100)

    assert after_turns == await looked_at(client) == [False]


async def test_request_that_is_over_meanwhile_has_no_body_to_be_counted(pair):
    """Before its turn has come, or within it."""
    before, within = Client(pair, b""), Changing(pair, b"")
    before.body = None

    assert await looked_at(before, within) == [False, False]


async def test_mistake_about_one_is_not_the_others(pair, caplog):
    clients = [Client(pair, CHUNK, ZeroDivisionError()), Client(pair, CHUNK)]

    assert await looked_at(*clients) == [True, True]
    assert "ZeroDivisionError" in caplog.text
