"""TLS contexts of listeners: TLS 1.2 and later, http/1.1 only. And whether the files for Redis are good."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.config.sections.front import ListenTls
    from proxy.config.sections.limits import StoreTls


class TlsError(Exception):
    """A file cannot be used; the message names the setting below `tls`."""


def server_context(tls: ListenTls) -> ssl.SSLContext:
    """Raises TlsError."""
    for name, path in (("cert", tls.cert), ("key", tls.key), ("client_ca", tls.client_ca)):
        if path is not None:
            _must_be_readable(name, path)
    try:
        return _context(tls)
    except ssl.SSLError as error:
        raise TlsError(
            f"cert: {tls.cert} and {tls.key} are no certificate with its key: {error.reason}"
        ) from None


def check_store_files(tls: StoreTls) -> None:
    """At the start, so that a mistake is not taken for an outage; redis-py reads them at each connection.

    Raises TlsError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for name, path in (("ca", tls.ca), ("cert", tls.cert), ("key", tls.key)):
        if path is not None:
            _must_be_readable(name, path)
    try:
        if tls.ca is not None:
            context.load_verify_locations(tls.ca)
    except ssl.SSLError:
        raise TlsError(f"ca: {tls.ca} holds no certificate") from None
    try:
        if tls.cert is not None:
            context.load_cert_chain(tls.cert, tls.key)
    except ssl.SSLError as error:
        raise TlsError(
            f"cert: {tls.cert} and {tls.key} are no certificate with its key: {error.reason}"
        ) from None


def _must_be_readable(name: str, path: str) -> None:
    try:
        Path(path).read_bytes()
    except OSError as error:
        raise TlsError(f"{name}: cannot read {path}: {(error.strerror or str(error)).lower()}") from None


def _context(tls: ListenTls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(tls.cert, tls.key)
    context.set_alpn_protocols(["http/1.1"])
    if tls.client_ca is not None:
        context.load_verify_locations(tls.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
