"""What can be wrong with a store, in a word for the metric and in a line for people that names the setting.

A password never stands in a line: Redis and redis-py do not repeat it, and neither do we.
"""

from __future__ import annotations

from typing import Final

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
    reason, meaning = _REPLIES.get(word, ("error", f"answered: {printable(text)}"))
    return TroubleError(reason, f"store.url: {server} {meaning}")


def printable(text: str) -> str:
    """A server may write anything, and a line must stay one."""
    return "".join(each if each.isprintable() else "?" for each in text[:TEXT_MAX])
