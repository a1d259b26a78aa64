"""TLS towards the servers, and what both sides ask of files with certificates.

A loop keeps the context that it was given and asks it for each new connection (`wrap_bio`): what is kept here
are fronts, behind which the context of the day can be replaced. Certificates are always verified.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, NamedTuple

from proxy.config.files import MissingFileError, UnreadableError, read_file
from proxy.net.broken_answer import Secured
from proxy.net.certificate import first_in
from proxy.net.credentials import PEM_BYTES_MAX, Credentials, MissingError, Shown, TlsError

if TYPE_CHECKING:
    from proxy.config.sections.store import StoreTls
    from proxy.config.sections.upstream import UpstreamTls
    from proxy.net.certificate import Certificate

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


# --- files ---


def show(context: ssl.SSLContext, cert: str, key: str | None, setting: str = "") -> Certificate:
    """What the other side is shown. Raises TlsError; `setting` stands before cert and key."""
    pem = _read(f"{setting}cert", cert)
    if key is not None:
        _read(f"{setting}key", key)
    try:
        context.load_cert_chain(cert, key, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        reason = error.reason if isinstance(error, ssl.SSLError) else error
        what = f"{cert} and {key} are no certificate with its key: {reason}"
        raise TlsError(f"{setting}cert", what) from None
    try:
        return first_in(pem)
    except ValueError as error:
        raise TlsError(f"{setting}cert", f"{cert} {error}") from None


def _read(setting: str, path: str) -> bytes:
    try:
        return read_file(path, PEM_BYTES_MAX)
    except MissingFileError as error:
        raise MissingError(setting, f"cannot read {path}: {error}") from None
    except UnreadableError as error:
        raise TlsError(setting, f"cannot read {path}: {error}") from None


def _no_password() -> str:
    """Has none, or OpenSSL would ask for one at the terminal."""
    raise ValueError("the key is encrypted")


def trust(context: ssl.SSLContext, setting: str, path: str) -> None:
    """The authorities that the other side's certificate must come from. Raises TlsError."""
    _read(setting, path)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError:
        raise TlsError(setting, f"{path} holds no certificate") from None


def check_store_files(tls: StoreTls) -> None:
    """Reads them once, so that a mistake is not taken for an outage; when they change they are read again.

    Raises TlsError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if tls.ca is not None:
        trust(context, "ca", tls.ca)
    if tls.cert is not None:
        show(context, tls.cert, tls.key)


# --- towards servers ---


class Client(NamedTuple):
    """What a connection to a server is made with."""

    context: ssl.SSLContext
    shown: tuple[Shown, ...]


def client(tls: UpstreamTls) -> Client:
    """A context with the system's authorities if no others are named. Raises TlsError."""
    if tls.ca is not None:
        trust(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), "ca", tls.ca)
    context = ssl.create_default_context(cafile=tls.ca)
    context.sslobject_class = Secured
    context.minimum_version = VERSIONS[tls.min_version]
    context.set_alpn_protocols(["http/1.1"])
    if tls.cert is None:
        return Client(context, ())
    certificate = show(context, tls.cert, tls.key)
    return Client(context, (Shown("upstream.tls.cert", certificate),))


class ServersTls:
    """The TLS of a pool."""

    def __init__(self, settings: UpstreamTls) -> None:
        """Raises TlsError."""
        self.settings = settings
        self.credentials = Credentials(
            "upstream.tls", (settings.ca, settings.cert, settings.key), lambda: client(settings)
        )

    def name_for(self, host: str) -> str:
        """Asked for (SNI), and what the certificate must carry."""
        return self.settings.server_name or host


class ServerFront(ssl.SSLContext):
    """The newest context for one server, and the session of its last connection, so that the next one needs
    no new handshake with signatures (RFC 8446 section 2.2).
    """

    _tls: ServersTls
    _last: ssl.SSLObject | None = None
    _session: ssl.SSLSession | None = None
    _context: ssl.SSLContext | None = None  # to which the session belongs

    @classmethod
    def of(cls, tls: ServersTls) -> ServerFront:
        front = cls(ssl.PROTOCOL_TLS_CLIENT)
        front._tls = tls  # an SSLContext is made by __new__, which takes nothing else
        return front

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002 - ssl's signature
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """A connection that begins."""
        session = session or self._resumable()
        context = self._tls.credentials.now.context
        secured = context.wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        assert isinstance(secured, Secured)
        secured.incoming = incoming
        self._last = secured
        return secured

    def _resumable(self) -> ssl.SSLSession | None:
        """Asked only now: with TLS 1.3 tickets come after the handshake."""
        context = self._tls.credentials.now.context
        if self._context is not context:
            self._context, self._session, self._last = context, None, None
        latest = _session_of(self._last)
        if latest is not None and (latest.has_ticket or latest.id):
            self._session = latest
        return self._session


def _session_of(connection: ssl.SSLObject | None) -> ssl.SSLSession | None:
    """None too where the handshake broke off at its very beginning, for which ssl raises."""
    try:
        return connection.session if connection is not None else None
    except ValueError:
        return None
