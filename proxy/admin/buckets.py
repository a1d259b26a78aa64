"""An operator gives tokens back: to all clients of a limit, or to one, named as the limit's `key` names it.

Knows nothing of HTTP but the statuses of what can be wrong, and nothing of where buckets live.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from proxy.limiter.store import ResetError
from proxy.policy.keys import KEY_BYTES
from proxy.telemetry.log import event

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.limiter.store import Store
    from proxy.policy.limits import Limit, Limits

KEY = "key"  # instead of an entry: the hash itself

_log = logging.getLogger("weir.admin")


class NotAppliedError(Exception):
    """Nothing was done; the message says why."""

    def __init__(self, code: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.code = code


class KeyVerbs:
    """Each verb is a method of its name; docs/limits.md tells what they do."""

    verbs: tuple[str, ...] = ("reset",)

    def __init__(self, store: Store, limits: Callable[[], Limits]) -> None:
        """`limits` are asked for anew each time, since a reload changes them."""
        self._store = store
        self._limits = limits

    async def apply(self, verb: str, limit: str, body: bytes) -> dict[str, object]:
        """What is told of it. Raises NotAppliedError."""
        assert verb in self.verbs, verb
        told: dict[str, object] = await getattr(self, verb)(limit, body)
        return told

    async def reset(self, name: str, body: bytes) -> dict[str, object]:
        """The body names one client, or is empty."""
        limit = next((each for each in self._limits() if each.name == name), None)
        if limit is None:
            raise NotAppliedError(HTTPStatus.NOT_FOUND, f"no limit has the name {name}")
        key = _key_of(limit, body) if body.strip() else b""
        try:
            count = await self._store.reset(limit, key)
        except ResetError as error:
            raise NotAppliedError(HTTPStatus.SERVICE_UNAVAILABLE, str(error)) from None
        whose = key.hex() or None
        event(_log, logging.INFO, "limit_reset", limit=name, key=whose, reset=count)
        return {"limit": name, "key": whose, "reset": count}


def _key_of(limit: Limit, body: bytes) -> bytes:
    try:
        named = msgspec.json.decode(body, type=dict[str, str])
    except (msgspec.DecodeError, ValueError):
        raise _unclear(limit) from None
    key = _hash(named[KEY]) if [*named] == [KEY] else limit.partition.key_of(named)
    if key is None:
        raise _unclear(limit)
    return key


def _hash(text: str) -> bytes | None:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        return None
    return key if len(key) == KEY_BYTES else None


def _unclear(limit: Limit) -> NotAppliedError:
    names = [[str(part) for part in entry.spec.parts] for entry in limit.partition.entries]
    ways = ", ".join(str(dict.fromkeys(each, "...")).replace("'", '"') for each in (*names, [KEY]))
    return NotAppliedError(HTTPStatus.BAD_REQUEST, f"the body must be empty, or one of {ways}, as JSON")
