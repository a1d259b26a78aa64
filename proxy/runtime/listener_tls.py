"""The TLS of listeners: which certificate a client is served with. And whether all files of TLS are good.

TLS 1.2 and later, http/1.1 only. Certificates are chosen by their own names (RFC 9525): the whole name, or a
`*` that stands for one label; the first certificate serves who asks for another name or for none.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import sys
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING
from weakref import WeakSet

from proxy.config.mistakes import ConfigError
from proxy.net.credentials import Credentials, MissingError, Shown, TlsError
from proxy.net.tls import VERSIONS, check_store_files, client, show, trust
from proxy.paced import Paced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from proxy.config.loader import Config
    from proxy.config.mistakes import Mistake
    from proxy.config.sections.front import Listen, ListenTls
    from proxy.config.settings import Settings


TURN_SECONDS = 0.008  # for handshakes: 15 with an RSA key of 2048 bits, 50 with an EC key
SLOW_SECONDS = 1.0  # a client whose first words take longer may have to come again


class Certificates:
    """What one listener presents: a context for each certificate."""

    def __init__(self, tls: ListenTls, setting: str) -> None:
        """Raises TlsError."""
        self.shown: list[Shown] = []
        self._by_name: dict[str, ssl.SSLContext] = {}  # `.example.com` stands for *.example.com
        contexts = [self._add(tls, setting, *pair) for pair in _pairs(tls)]
        self.first = contexts[0]
        if len(contexts) > 1:
            self.first.sni_callback = self._choose
            sys.unraisablehook = _unraisable

    def _add(self, tls: ListenTls, setting: str, below: str, cert: str, key: str) -> ssl.SSLContext:
        context = _context(tls)
        certificate = show(context, cert, key, below)
        self.shown.append(Shown(f"{setting}.{below}cert", certificate))
        for name in certificate.names:
            if name != "*":
                self._by_name.setdefault(name.removeprefix("*"), context)
        return context

    def for_name(self, name: str) -> ssl.SSLContext:
        name = name.lower().removesuffix(".")
        _, dot, rest = name.partition(".")
        return self._by_name.get(name) or self._by_name.get(dot + rest) or self.first

    def _choose(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        if name is not None:
            connection.context = self.for_name(name)


class Handshakes:
    """Those under way: connections that nobody else knows of before they are secure."""

    def __init__(self, most: Callable[[], float]) -> None:
        """`most` at once."""
        self._most = most
        self._under_way: WeakSet[Connecting] = WeakSet()  # one that breaks off is just gone
        self._spent = 0.0  # seconds of this turn, on all of them

    def __len__(self) -> int:
        return len(self._under_way)

    def begin(self, connection: Connecting) -> None:
        """Raises ConnectionAbortedError, which has the loop close it without a word in the log."""
        if len(self._under_way) >= self._most():
            raise ConnectionAbortedError
        self._under_way.add(connection)
        connection.handshakes = self
        connection.begun = asyncio.get_running_loop().time()

    def require_time(self, connection: Connecting) -> None:
        """Raises ConnectionAbortedError for a slow one in a turn that has had enough of them.

        Accepted one in a turn, they come together only if most of them have waited for each other.
        """
        age = asyncio.get_running_loop().time() - connection.begun
        if self._spent > TURN_SECONDS and age > SLOW_SECONDS:
            raise ConnectionAbortedError

    def spend(self, seconds: float) -> None:
        if not self._spent:
            asyncio.get_running_loop().call_soon(self._end_turn)
        self._spent += seconds

    def _end_turn(self) -> None:
        self._spent = 0.0

    def end(self, connection: Connecting) -> None:
        self._under_way.discard(connection)


class Connecting(Paced):
    """A client's connection, which tells when its handshake is done."""

    handshakes: Handshakes
    begun: float  # by the loop's clock

    def do_handshake(self) -> None:
        handshakes = self.handshakes
        handshakes.require_time(self)
        before = perf_counter()
        try:
            super().do_handshake()  # raises while more of it must come
        finally:
            handshakes.spend(perf_counter() - before)
        handshakes.end(self)


class ListenerTls:
    def __init__(self, tls: ListenTls, setting: str, handshakes: Handshakes) -> None:
        """`setting` names the block. Raises TlsError."""
        files = [file for _, *pair in _pairs(tls) for file in pair]
        self.credentials = Credentials(setting, [*files, tls.client_ca], lambda: Certificates(tls, setting))
        self.front = ListenerFront(ssl.PROTOCOL_TLS_SERVER)
        self.front.credentials = self.credentials
        self.front.handshakes = handshakes


class ListenerFront(ssl.SSLContext):
    """What the loop holds on to: for each connection the certificates of the day."""

    credentials: Credentials[Certificates]
    handshakes: Handshakes

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = True,  # noqa: FBT001, FBT002 - ssl's signature
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """A connection that begins."""
        context = self.credentials.now.first
        connection = context.wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        assert isinstance(connection, Connecting)
        self.handshakes.begin(connection)
        return connection


def judge_files(reading: Config) -> tuple[list[Mistake], list[Mistake]]:
    """What is wrong with the TLS files, and which are not here to be judged."""
    wrong: list[Mistake] = []
    missing: list[Mistake] = []
    for block, make in _blocks(reading.settings):
        try:
            make()
        except TlsError as error:
            found = missing if isinstance(error, MissingError) else wrong
            found.append(reading.at((*block, *_parts(error.setting)), error.reason))
    return wrong, missing


def require_files(reading: Config) -> None:
    """Raises ConfigError for those that are bad; one that is missing may come, and is told by the start."""
    wrong, _ = judge_files(reading)
    if wrong:
        raise ConfigError(wrong)


def _blocks(settings: Settings) -> Iterator[tuple[tuple[str | int, ...], Callable[[], object]]]:
    for number, listen in enumerate(settings.listen):
        if listen.tls is not None:
            yield ("listen", number, "tls"), partial(Certificates, listen.tls, "")
    if settings.upstream.tls.ca or settings.upstream.tls.cert:
        yield ("upstream", "tls"), partial(client, settings.upstream.tls)
    yield ("store", "tls"), partial(check_store_files, settings.store.tls)


def _parts(setting: str) -> Iterator[str | int]:
    """`certs[1].key` as a path."""
    for number, name in re.findall(r"([0-9]+)|([a-z_]+)", setting):
        yield int(number) if number else name


def listen_setting(listens: Sequence[Listen], number: int) -> str:
    return f"listen[{number}].tls" if len(listens) > 1 else "listen.tls"


def _pairs(tls: ListenTls) -> Iterator[tuple[str, str, str]]:
    """Where below `tls`, certificate and key."""
    if tls.cert is not None and tls.key is not None:
        yield "", tls.cert, tls.key
    for number, pair in enumerate(tls.certs):
        yield f"certs[{number}].", pair.cert, pair.key


def _context(tls: ListenTls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslobject_class = Connecting
    context.minimum_version = VERSIONS[tls.min_version]
    context.options |= ssl.OP_NO_RENEGOTIATION  # of TLS 1.2: dear for us, cheap for who asks
    context.set_alpn_protocols(["http/1.1"])
    if tls.client_ca is not None:
        trust(context, "client_ca", tls.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _unraisable(found: sys.UnraisableHookArgs) -> None:
    """A client may ask for a name that is not ASCII. The handshake fails, which is all there is to do; but
    ssl tells of it as of a bug, with a traceback each time.
    """
    if not (isinstance(found.exc_value, UnicodeDecodeError) and isinstance(found.object, bytes)):
        sys.__unraisablehook__(found)
