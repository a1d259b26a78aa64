"""TLS contexts of listeners: TLS 1.2 and later, http/1.1 only. And whether the files for Redis are good."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from proxy.net.tls import show, trust

if TYPE_CHECKING:
    from proxy.config.sections.front import ListenTls
    from proxy.config.sections.limits import StoreTls


def server_context(tls: ListenTls) -> ssl.SSLContext:
    """Raises TlsError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    show(context, tls.cert, tls.key)
    context.set_alpn_protocols(["http/1.1"])
    if tls.client_ca is not None:
        trust(context, "client_ca", tls.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def check_store_files(tls: StoreTls) -> None:
    """At the start, so that a mistake is not taken for an outage; redis-py reads them at each connection.

    Raises TlsError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if tls.ca is not None:
        trust(context, "ca", tls.ca)
    if tls.cert is not None:
        show(context, tls.cert, tls.key)
