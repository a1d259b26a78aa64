"""What an operator does to one key of a limit, live: look at its bucket, grant it another rate, block it,
release it from either, or give its tokens back. Who is meant is named as the limit's `key` names them.

Knows nothing of HTTP but the statuses of what can be wrong, and nothing of where buckets live.
"""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from proxy.admin import audit
from proxy.admin.amounts import AMOUNTS, UnclearError, override_of
from proxy.config.units import Rate
from proxy.limiter.overrides import OVERRIDES_MAX
from proxy.limiter.store import CrowdedError, UnreachableError
from proxy.policy.gcra import US, remaining
from proxy.policy.keys import KEY_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.limiter.overrides import LimitKey
    from proxy.limiter.store import Keys
    from proxy.policy.limits import Limit, Limits
    from proxy.policy.terms import Terms

KEY = "key"  # instead of an entry: the hash itself


class NotAppliedError(Exception):
    """Nothing was done; the message says why."""

    def __init__(self, code: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.code = code


class Asked(NamedTuple):
    """Whose bucket is meant, and what else the body says."""

    limit: Limit
    key: bytes  # empty: all of the limit's
    texts: list[bytes]  # what plans may name the client by, as far as it is known
    amounts: dict[str, object]

    @property
    def limit_key(self) -> LimitKey:
        return self.limit.name, self.key


class KeyVerbs:
    """Each verb is a method of its name; docs/limits.md tells what they do."""

    verbs: tuple[str, ...] = ("look", "reset", "grant", "block", "release")

    def __init__(self, keys: Keys, limits: Callable[[], Limits]) -> None:
        """`limits` are asked for anew each time, since a reload changes them."""
        self._keys = keys
        self._limits = limits

    async def apply(self, verb: str, limit: str, body: bytes) -> dict[str, object]:
        """What is told of it. Raises NotAppliedError."""
        assert verb in self.verbs, verb
        asked = self._asked(verb, limit, body)
        try:
            told: dict[str, object] = await getattr(self, verb)(asked)
        except UnclearError as error:
            raise NotAppliedError(HTTPStatus.BAD_REQUEST, str(error)) from None
        except UnreachableError as error:
            raise NotAppliedError(HTTPStatus.SERVICE_UNAVAILABLE, str(error)) from None
        except CrowdedError:
            many = f"{OVERRIDES_MAX} keys are blocked or have a grant; release some of them first"
            raise NotAppliedError(HTTPStatus.CONFLICT, many) from None
        audit.done(verb, asked.limit.name, asked.key, told)
        return {"limit": limit, "key": asked.key.hex() or None, **told}

    # --- the verbs ---

    async def look(self, asked: Asked) -> dict[str, object]:
        """What the bucket holds, and by what terms; nothing changes."""
        if asked.limit.slots:
            return await self._look_at_slots(asked)
        terms = self._limits().usual_terms(asked.limit, asked.key, asked.texts)
        plan = terms.plan or None
        found = self._keys.override(asked.limit_key)
        if found is not None and not found[0].is_block:
            terms = found[0].granted(terms)
        debt = await self._keys.debt(terms, asked.key)
        full_in = debt / terms.scale / US
        if found is not None and found[0].is_block:
            full_in = max(full_in, found[1])
            told: dict[str, object] = {"rate": "0/s", "burst": 0, "tokens": 0}
        else:
            tokens = remaining(debt, terms.burst_units, terms.interval)
            told = {"rate": _rate(terms), "burst": terms.burst, "tokens": tokens}
        left = found[1] if found is not None else None
        return {"plan": plan, **told, "full_in": round(full_in, 3), "until": _moment(left)}

    async def _look_at_slots(self, asked: Asked) -> dict[str, object]:
        """How many requests are under way on all replicas."""
        found = self._keys.override(asked.limit_key)
        return {
            "concurrency": asked.limit.slots if found is None else 0,
            "in_flight": await self._keys.under_way(asked.limit, asked.key),
            "until": _moment(found[1] if found is not None else None),
        }

    async def reset(self, asked: Asked) -> dict[str, object]:
        """Gives the tokens back to one client, or to all."""
        if asked.limit.slots:
            raise UnclearError(f"{asked.limit.name} counts requests under way: slots come back as these end")
        return {"reset": await self._keys.reset(asked.limit, asked.key)}

    async def grant(self, asked: Asked) -> dict[str, object]:
        """Another rate in place of the limit's and of plans, for a while."""
        override, seconds = override_of("grant", asked.amounts, asked.limit)
        await self._keys.put_override(asked.limit_key, override, seconds)
        return {"rate": str(override.rate), "burst": override.burst, "until": _moment(seconds)}

    async def block(self, asked: Asked) -> dict[str, object]:
        """Nothing passes, for a while."""
        override, seconds = override_of("block", asked.amounts, asked.limit)
        await self._keys.put_override(asked.limit_key, override, seconds)
        return {"until": _moment(seconds)}

    async def release(self, asked: Asked) -> dict[str, object]:
        """Ends a block or a grant."""
        return {"released": int(await self._keys.release(asked.limit_key))}

    # --- who is meant ---

    def _asked(self, verb: str, name: str, body: bytes) -> Asked:
        limit = next((each for each in self._limits() if each.name == name), None)
        if limit is None:
            raise NotAppliedError(HTTPStatus.NOT_FOUND, f"no limit has the name {name}")
        if verb == "reset" and not body.strip():
            return Asked(limit, b"", [], {})
        try:
            told = msgspec.json.decode(body, type=dict[str, Any])
        except (msgspec.DecodeError, ValueError, RecursionError):
            raise _unclear(verb, limit) from None
        amounts = {each: told.pop(each) for each in AMOUNTS.get(verb, ()) if each in told}
        if not all(isinstance(value, str) for value in told.values()):
            raise _unclear(verb, limit)
        is_hash = [*told] == [KEY]
        key = _hash(told[KEY]) if is_hash else limit.partition.key_of(told)
        if key is None:
            raise _unclear(verb, limit)
        return Asked(limit, key, [] if is_hash else limit.partition.texts_of(told), amounts)


def _hash(text: str) -> bytes | None:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        return None
    return key if len(key) == KEY_BYTES else None


def _unclear(verb: str, limit: Limit) -> NotAppliedError:
    names = [[str(part) for part in entry.spec.parts] for entry in limit.partition.entries]
    bodies = [{**dict.fromkeys(each, "..."), **AMOUNTS.get(verb, {})} for each in (*names, [KEY])]
    ways = ", ".join(str(each).replace("'", '"') for each in bodies)
    empty = "empty, or " if verb == "reset" else ""
    return NotAppliedError(HTTPStatus.BAD_REQUEST, f"the body must be {empty}one of {ways}, as JSON")


def _rate(terms: Terms) -> str:
    return str(Rate(terms.count, terms.period_us))


def _moment(left: float | None) -> float | None:
    """Tells it in Unix time, as all moments that the admin plane tells."""
    return round(time.time() + left, 3) if left is not None else None
