"""What this process knows of buckets that live in Redis: a book for each limit.

known   the moment a bucket is full again, as Redis last told, in local time. Never later than the truth,
        since time is counted from the sending of the question; so a refusal read from it is one that
        Redis would have given. Not so where tokens come back (`cost_304`): there nothing is refused by it.
local   the same for buckets that are spent here while Redis does not answer. They start from what is
        known. With n live replicas a token weighs n times as much, so that together they grant the limit.

Moments are in microseconds, debts in the limit's units (policy/gcra.py). Knows nothing of connections,
and no clock.
"""

from __future__ import annotations

from struct import pack
from typing import TYPE_CHECKING, Final

from proxy.limiter.generations import Generations
from proxy.limiter.leases import Leases
from proxy.limiter.resp import key_prefix
from proxy.policy.decision import DENIAL_CACHE, Decision, Verdict
from proxy.policy.gcra import rescaled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.policy.decision import Charge
    from proxy.policy.limits import Limit

SHARDS = 16  # hash tags of keys: enough for any cluster one service needs, few enough for full batches
LAST_SHARD: Final = SHARDS - 1
SHADOW, MAY_BE_EMPTIED, EMPTY = 1, 2, 4  # flags of take.lua
NEVER_US: Final = 1 << 60  # later than any moment
KEY_BYTES = 16  # of a partition key's hash


def shard_tag(shard: int) -> bytes:
    return b"{%x}" % shard


def flags(limit: Limit) -> int:
    """What take.lua must know of a limit besides its numbers."""
    return SHADOW * limit.is_shadow + MAY_BE_EMPTIED * limit.empties


class Book:
    """One limit's buckets; also the shape of a request that is charged to this limit alone."""

    __slots__ = (
        "_cost",
        "_local",
        "_room",
        "_scale",
        "ample_us",
        "books",
        "columns",
        "known",
        "leases",
        "limit",
        "prefixes",
        "refund_columns",
        "width",
    )

    def __init__(self, limit: Limit, max_keys: int) -> None:
        self.limit = limit
        self.books = (self,)
        self._scale = limit.scale
        self._cost = limit.cost_units
        self._room = limit.burst_units
        self.width = 1
        # This near to full the cost fits, or may: another replica may have given tokens back.
        self.ample_us = (
            NEVER_US if limit.is_free_304 else (limit.burst_units - limit.cost_units) // limit.scale
        )
        self.columns = self._columns(limit.cost_units)
        self.refund_columns = self._columns(-limit.cost_units)
        name = limit.name.encode()
        self.prefixes = tuple(
            key_prefix(b"weir:%b:%b:" % (shard_tag(n), name), KEY_BYTES) for n in range(SHARDS)
        )
        seconds = limit.most_units / limit.scale / 1e6
        self.known = Generations(seconds, max_keys)  # microseconds
        self._local = Generations(seconds, max_keys)  # units
        self.leases = Leases(self, flags(limit)) if limit.lease > 1 and not limit.is_shadow else None

    def _columns(self, cost: int) -> bytes:
        """How take.lua reads the limit."""
        return pack("<dddB", self._scale, cost, self._room, flags(self.limit))

    def packed(self, charges: Sequence[Charge]) -> list[bytes]:
        """The keys of a request, for a call."""
        key = charges[0].key
        return [self.prefixes[key[0] & LAST_SHARD] + key]

    # --- Redis's answers ---

    def decision(self, charges: Sequence[Charge], answers: list[int], at: int, sent_us: int) -> Decision:
        """`verdict`, written out: nearly every request comes by here."""
        answer = answers[at]
        fits = answer >= 0
        debt = answer if fits else ~answer
        known = self.known
        young = known.young
        young[charges[0].key] = sent_us + debt // self._scale
        if len(young) > known.half:
            known.turn()
        limit = self.limit
        return Decision(fits or limit.is_shadow, [Verdict(limit, fits, debt)])

    def verdict(self, key: bytes, answer: int, sent_us: int) -> Verdict:
        """One charge's answer, as take.lua words it."""
        debt = answer if answer >= 0 else ~answer
        self.known.put(key, sent_us + debt // self._scale)
        return Verdict(self.limit, answer >= 0, debt)

    def denial(self, full_at_us: int, now_us: int) -> Decision | None:
        """The refusal, if the cost cannot fit yet."""
        debt = (full_at_us - now_us) * self._scale
        if debt + self._cost <= self._room or self.limit.is_shadow:
            return None
        return Decision(False, [Verdict(self.limit, False, debt)], DENIAL_CACHE)  # noqa: FBT003 - hot

    def empty(self, key: bytes, debt: int, now_us: int) -> None:
        """What is known here at once, and holds without Redis too."""
        self.known.put(key, max(self.known.get(key), now_us + debt // self._scale))
        local = self._local.get(key)
        if local:
            self._local.put(key, max(local, now_us * self._scale + debt))
        if self.leases is not None:
            self.leases.forget(key)

    def known_verdict(self, key: bytes, now_us: int) -> Verdict:
        """What Redis would say, as far as it is known; a refusal is certain."""
        debt = max((self.known.get(key) - now_us) * self._scale, 0)
        return Verdict(self.limit, debt + self._cost <= self._room or self.limit.is_free_304, debt)

    # --- without Redis ---

    def local_debt(self, key: bytes, now_us: int) -> int:
        full_at = self._local.get(key) or self.known.get(key) * self._scale
        return max(full_at - now_us * self._scale, 0)

    def fits_locally(self, debt: int, replicas: int) -> bool:
        return debt + self._cost * replicas <= self._local_room(replicas)

    def take_locally(self, key: bytes, debt: int, now_us: int, replicas: int) -> int:
        """The debt afterwards."""
        debt += self._cost * replicas
        self._local.put(key, now_us * self._scale + debt)
        return debt

    def give_back_locally(self, key: bytes, now_us: int, replicas: int) -> None:
        debt = self.local_debt(key, now_us) - self._cost * replicas
        self._local.put(key, now_us * self._scale + max(debt, 0))

    def _local_room(self, replicas: int) -> int:
        return max(self._room, self._cost * replicas)  # at least one request at a time

    # --- going back to Redis ---

    def spent_keys(self) -> list[bytes]:
        """Buckets that were spent here."""
        return [key for key, _ in self._local.items()]

    def unsettled_keys(self) -> list[bytes]:
        """Those, and buckets that Redis may have lost."""
        return list(dict.fromkeys(key for table in (self._local, self.known) for key, _ in table.items()))

    def settle(self, key: bytes, now_us: int, replicas: int) -> bytes:
        """Closes the local bucket; what settle.lua shall know of it, or nothing if it is full.

        From now on the bucket is known with what was spent here, even if that does not reach Redis.
        """
        scale = self._scale
        now = now_us * scale
        most = self.limit.most_units
        known = min(max(self.known.get(key) * scale - now, 0), most)
        local = self._local.pop(key) - now
        spent = -(-max(local - known, 0) // replicas)  # rounded up: no gift
        if not known and not spent:
            return b""
        self.known.put(key, now_us + max(min(known + spent, self._room), known) // scale)
        return pack("<ddddd", scale, self._room, most, known, spent)

    # --- now and then ---

    def forget(self, key: bytes) -> None:
        """Its bucket is full again by a reset; without a key, all are."""
        for table in (self.known, self._local):
            if key:
                table.pop(key)
            else:
                table.clear()
        if self.leases is not None:
            self.leases.forget(key)

    def inherit(self, old: Book) -> None:
        """Every bucket is full at the same moment as before."""
        for key, full_at_us in old.known.items():
            self.known.put(key, full_at_us)
        for key, full_at in old._local.items():
            self._local.put(key, rescaled(full_at, old._scale, self._scale))

    def sweep(self, now_us: int) -> None:
        self.known.sweep(now_us)
        self._local.sweep(now_us)
        if self.leases is not None:
            self.leases.sweep(now_us)


class Shape:
    """The limits that a request is charged to, when they are several."""

    __slots__ = ("books", "columns", "refund_columns", "width")

    def __init__(self, books: Sequence[Book]) -> None:
        self.books = tuple(books)
        self.width = len(self.books)
        self.columns = b"".join(book.columns for book in self.books)
        self.refund_columns = b"".join(book.refund_columns for book in self.books)

    def packed(self, charges: Sequence[Charge]) -> list[bytes]:
        return [
            book.prefixes[charge.key[0] & LAST_SHARD] + charge.key
            for book, charge in zip(self.books, charges, strict=True)
        ]

    def decision(self, charges: Sequence[Charge], answers: list[int], at: int, sent_us: int) -> Decision:
        verdicts = []
        is_admitted = True
        for book, charge, answer in zip(self.books, charges, answers[at : at + self.width], strict=True):
            verdicts.append(book.verdict(charge.key, answer, sent_us))
            if answer < 0 and not book.limit.is_shadow:
                is_admitted = False
        return Decision(is_admitted, verdicts)
