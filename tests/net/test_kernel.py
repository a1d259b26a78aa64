"""What the kernel knows of connections that the loop does not read now."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest

from proxy.net.kernel import Vigil, glance
from tests.net.test_servers import no_descriptors

pytestmark = pytest.mark.real


class Deaf:
    """A connection that is not read; `also` is done when it is told something."""

    def __init__(self, sock, also=lambda: None):
        self.told = []
        self.transport = SimpleNamespace(get_extra_info=lambda _: sock, is_closing=lambda: False)
        self._also = also

    def lost(self):
        self.told.append("lost")
        self._also()

    def ended(self, unread):
        self.told.append(unread)
        self._also()


@pytest.fixture
def pairs():
    """Both sides of two connections."""
    found = [socket.socketpair() for _ in range(2)]
    yield found
    for one, other in found:
        one.close()
        other.close()


def test_end_and_loss_are_told_once(pairs):
    """An end with what lies before it; then nothing more but a reset."""
    (one, far), (other, gone) = pairs
    ending, lost = Deaf(one), Deaf(other)
    vigil = Vigil()
    for connection in (ending, lost):
        vigil.add(connection, is_ended=False)
    far.sendall(b"abc")
    far.shutdown(socket.SHUT_WR)
    gone.close()
    vigil.look()
    vigil.look()

    assert ending.told == [3]
    assert lost.told == ["lost"]


def test_connection_that_is_read_again_is_told_nothing(pairs):
    """The end of another one gave it room, before its own turn came."""
    (one, far), (other, gone) = pairs
    vigil = Vigil()
    fds = []

    def read_again():
        for connection, fd in zip((first, second), fds, strict=True):
            vigil.discard(connection, fd)

    first, second = Deaf(one, read_again), Deaf(other, read_again)
    fds += [vigil.add(connection, is_ended=False) for connection in (first, second)]
    far.close()
    gone.close()
    vigil.look()

    assert len(first.told) + len(second.told) == 1


def test_connection_that_was_closed_is_forgotten(pairs):
    """It is told that elsewhere; its descriptor may be another's the next time."""
    (one, _), _ = pairs
    closed = Deaf(one)
    vigil = Vigil()
    fd = vigil.add(closed, is_ended=False)
    one.close()
    vigil.look()
    anew = Deaf(pairs[1][0])
    vigil.discard(anew, fd)
    vigil.look()

    assert closed.told == anew.told == []


def test_glance_takes_nothing_away(pairs):
    (one, far), _ = pairs
    transport = Deaf(one).transport
    nothing = glance(transport, 10)
    far.sendall(b"hello")

    assert nothing == b""
    assert glance(transport, 10) == glance(transport, 5) == b"hello"
    assert one.recv(10) == b"hello"


def test_glance_that_is_not_to_be_had_is_none(pairs):
    """More than is wanted, or no descriptor to look by."""
    (one, far), _ = pairs
    transport = Deaf(one).transport
    far.sendall(b"hello")
    with no_descriptors():
        unseen = glance(transport, 10)

    assert unseen is None
    assert glance(transport, 4) is None
