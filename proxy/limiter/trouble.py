"""What can be wrong with a store, in a word for the metric and in a line for people that names the setting.

A password never stands in a line: Redis and redis-py do not repeat it, and neither do we.
"""

from __future__ import annotations

import ssl
from typing import Final

from redis.exceptions import AuthenticationError, NoPermissionError

FOREIGN_KEY: Final = "foreign_key"

# First words of Redis's errors: the metric's word, and what to say where Redis's own text does not say
# enough.
_REPLIES = {
    "NOAUTH": ("auth", "asks for a password, and store.url has none"),
    "WRONGPASS": ("auth", "does not accept the user name and password of store.url"),
    "NOPERM": ("permission", "does not let the user of store.url do what Weir needs (docs/limits.md: Redis)"),
    "OOM": ("out_of_memory", "is out of memory and evicts nothing (maxmemory-policy)"),
    "READONLY": ("read_only", "is a read-only replica"),
    "LOADING": ("loading", "is loading its data"),
    "BUSY": ("busy", "is busy with another script"),
    "MISCONF": ("misconfigured", "cannot save its data and therefore refuses writes"),
    "MASTERDOWN": ("read_only", "is a replica without its master"),
    "NOREPLICAS": ("misconfigured", "has fewer replicas than it wants, and therefore refuses writes"),
    "CLUSTERDOWN": ("cluster", "says that the cluster is down"),
    "MOVED": ("cluster", "is part of a cluster: write redis+cluster:// in store.url"),
    "ASK": ("cluster", "is part of a cluster: write redis+cluster:// in store.url"),
    "CROSSSLOT": ("cluster", "is part of a cluster: write redis+cluster:// in store.url"),
    "NOSCRIPT": ("script", "does not keep the script"),
    "WRONGTYPE": (FOREIGN_KEY, "has a key of Weir's that holds something else"),
    "MAXCLIENTS": ("max_clients", "says: max number of clients reached (maxclients)"),
}


MAX_CLIENTS = "max number of clients reached"
_PHRASES = {  # of errors called ERR
    "user executing the script can't": "NOPERM",  # Redis 7.0
    "ACL failure in script": "NOPERM",  # Redis 7.2 and Valkey
    MAX_CLIENTS: "MAXCLIENTS",
}
TEXT_MAX = 200  # characters of an error that Weir does not know


class TroubleError(Exception):
    """Why a link is not up."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def reply_trouble(error: BaseException, server: str) -> TroubleError:
    """An error that Redis replied."""
    text = str(error)
    word = text.partition(" ")[0]
    for phrase, its_word in _PHRASES.items():
        if phrase in text:
            word = its_word
    reason, meaning = _REPLIES.get(word, ("error", f"answered: {_printable(text)}"))
    return TroubleError(reason, f"store.url: {server} {meaning}")


def connect_trouble(error: BaseException, server: str) -> TroubleError:
    """A connection that could not be made."""
    below = _transport_trouble(error, server)
    if below is not None:
        return below
    if MAX_CLIENTS in str(error):
        return reply_trouble(error, server)
    if isinstance(error, NoPermissionError):
        return reply_trouble(Exception("NOPERM"), server)
    if isinstance(error, AuthenticationError):
        has_none = "required" in str(error).lower()
        return reply_trouble(Exception("NOAUTH" if has_none else "WRONGPASS"), server)
    return TroubleError("connection", f"store.url: no connection to {server}: {_printable(str(error))}")


def _printable(text: str) -> str:
    """A server may write anything, and a line must stay one."""
    return "".join(each if each.isprintable() else "?" for each in text[:TEXT_MAX])


def _transport_trouble(error: BaseException, server: str) -> TroubleError | None:
    """What TLS or the clock said, which redis-py words in its own way."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            why = cause.verify_message
            return TroubleError("tls", f"store.url: the certificate of {server} is not accepted: {why}")
        if isinstance(cause, ssl.SSLError):
            why = cause.reason or "broken off"
            return TroubleError("tls", f"store.url: no TLS with {server}: {why}")
        if isinstance(cause, TimeoutError):
            return TroubleError(
                "timeout", f"store.url: {server} does not answer, or not the way of redis:// or rediss://"
            )
        cause = cause.__cause__ or cause.__context__
    return None
