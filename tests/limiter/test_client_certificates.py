"""A server that wants a client certificate of us, and what is said of it when we have none.

By TLS 1.3 it says so after the handshake (RFC 8446 section 4.4.2.4). Whether that arrives is a race on a real server: what
has come is lost with a connection that is reset under our first words. Here a server decides who wins.
"""

from __future__ import annotations

import logging
import socket
import ssl
import struct
import threading
from contextlib import contextmanager, suppress
from itertools import chain, repeat
from typing import TYPE_CHECKING

import pytest

from proxy.limiter.dialler import TlsFiles
from tests.limiter.asking import ask, charge, limits_of, store_at
from tests.support.papers import Papers
from tests.support.patience import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    End = Callable[[socket.socket, bytes], None]

pytestmark = pytest.mark.real

LIMITS = limits_of({"name": "per-user", "rate": "2/m"})
(LIMIT,) = LIMITS
KINDS = {"rediss": "", "rediss+sentinel": "/mymaster", "rediss+cluster": ""}
TOLD = "it wants a client certificate: write store.tls.cert and key"
GUESSED = "right after the TLS handshake: it may want a client certificate (store.tls.cert and key)"


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return Papers(tmp_path_factory.mktemp("papers"))


@pytest.fixture(scope="module")
def without(papers: Papers) -> TlsFiles:
    return TlsFiles(ca=str(papers.ca))


# --- how the server ends a connection, once it knows that there is no certificate ---


def says_why(sock: socket.socket, alert: bytes) -> None:
    """It is heard, since nothing that was said to it is left unread."""
    sock.sendall(alert)
    sock.shutdown(socket.SHUT_WR)
    while sock.recv(65536):
        pass


def resets(sock: socket.socket, _: bytes) -> None:
    """As the kernel does when something was left unread. The alert is lost."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def ends_without_a_word(sock: socket.socket, _: bytes) -> None:
    sock.shutdown(socket.SHUT_WR)
    while sock.recv(65536):
        pass


def alert_of(sock: socket.socket, context: ssl.SSLContext) -> bytes:
    """What it has to say to a client without a certificate, whose handshake is over."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_side=True)
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            sock.sendall(outgoing.read())
            data = sock.recv(65536)
            if not data:
                raise ConnectionError from None
            incoming.write(data)
        except ssl.SSLError:
            return outgoing.read()
        else:
            return b""


@contextmanager
def strict(papers: Papers, ends: Iterable[End]) -> Iterator[int]:
    """The port of a server by TLS 1.3; `ends` are those of its connections, in their order."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(*papers.issue("IP:127.0.0.1"))
    context.load_verify_locations(papers.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for end in ends:
            try:
                sock, _ = listener.accept()
            except OSError:  # the end of the test
                return
            with sock, suppress(ConnectionError):
                end(sock, alert_of(sock, context))

    serving = threading.Thread(target=serve)
    serving.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        serving.join(10)


async def told(kind: str, port: int, tls: TlsFiles, caplog: pytest.LogCaptureFixture) -> str:
    """The one line that tells why there is no connection."""
    caplog.set_level(logging.INFO, "weir")

    def lines() -> list[str]:
        fields = [getattr(record, "fields", {}) for record in caplog.records]
        return [each["detail"] for each in fields if "detail" in each]

    async with store_at(f"{kind}://127.0.0.1:{port}{KINDS[kind]}", LIMITS, tls=tls) as store:
        decision = await ask(store, charge(LIMIT))
        await until(lines, "it is told")
    (line,) = lines()
    assert decision.via == "local"
    return line


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ([says_why], TOLD),
        ([resets, says_why], TOLD),  # it is asked once more, by who says nothing first
        ([ends_without_a_word, says_why], TOLD),
        ([resets], GUESSED),
        ([ends_without_a_word], GUESSED),
    ],
    ids=lambda value: "-".join(end.__name__ for end in value) if isinstance(value, list) else "",
)
async def test_server_that_wants_a_certificate_is_known_by_its_alert_or_by_its_end(
    kind: str,
    ends: list[End],
    expected: str,
    papers: Papers,
    without: TlsFiles,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Where its alert is lost again and again, the line only says what may be."""
    with strict(papers, chain(ends, repeat(ends[-1]))) as port:
        line = await told(kind, port, without, caplog)

    assert line.endswith(expected), line
    assert f"127.0.0.1:{port}" in line


async def test_certificate_is_not_asked_of_who_has_one(
    papers: Papers, without: TlsFiles, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that goes right after the handshake is gone, and nothing else is known of it."""
    ours = TlsFiles(without.ca, *map(str, papers.issue("DNS:weir")))
    with strict(papers, repeat(resets)) as port:
        line = await told("rediss", port, ours, caplog)

    assert "certificate" not in line
    assert line.startswith(f"store.url: no connection to 127.0.0.1:{port}: ")
