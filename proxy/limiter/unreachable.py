"""Why a connection to a store could not be made. Apart from what a store may answer, since it takes redis-py:
a tenth of the memory of a worker at rest, which nobody shall need who counts in memory.
"""

from __future__ import annotations

import ssl
from typing import Final

from redis.exceptions import (
    AuthenticationError,
    ConnectionError,  # noqa: A004 - redis-py's, not the loop's
    NoPermissionError,
)

from proxy.limiter.trouble import MAX_CLIENTS, TroubleError, printable, reply_trouble

CERTIFICATE_WANTED: Final = "CERTIFICATE_REQUIRED"  # RFC 8446 section 6.2, as OpenSSL has it


class UncertifiedError(ConnectionError):
    """A connection by TLS was lost right after the handshake, without a certificate of ours.

    The server may have wanted one. Its alert is lost if it closes under our first words.
    """


def connect_trouble(error: BaseException, server: str) -> TroubleError:
    """A connection that could not be made."""
    below = _transport_trouble(error, server)
    if below is not None:
        return below
    if isinstance(error, UncertifiedError):
        return TroubleError(
            "connection",
            f"store.url: {server} closed the connection right after the TLS handshake: it may want a client"
            " certificate (store.tls.cert and key)",
        )
    if MAX_CLIENTS in str(error):
        return reply_trouble(error, server)
    if isinstance(error, NoPermissionError):
        return reply_trouble(Exception("NOPERM"), server)
    if isinstance(error, AuthenticationError):
        has_none = "required" in str(error).lower()
        return reply_trouble(Exception("NOAUTH" if has_none else "WRONGPASS"), server)
    return TroubleError("connection", f"store.url: no connection to {server}: {printable(str(error))}")


def _transport_trouble(error: BaseException, server: str) -> TroubleError | None:
    """What TLS or the clock said, which redis-py words in its own way."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            why = cause.verify_message
            return TroubleError("tls", f"store.url: the certificate of {server} is not accepted: {why}")
        if isinstance(cause, ssl.SSLError):
            why = cause.reason or "broken off"
            if CERTIFICATE_WANTED in why:
                why = "it wants a client certificate: write store.tls.cert and key"
            return TroubleError("tls", f"store.url: no TLS with {server}: {why}")
        if isinstance(cause, TimeoutError):
            return TroubleError(
                "timeout", f"store.url: {server} does not answer, or not the way of redis:// or rediss://"
            )
        cause = cause.__cause__ or cause.__context__
    return None
