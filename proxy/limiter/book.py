"""What this process knows of the buckets of one limit that refill at one rate: its own, or that of a plan.

known   the moment a bucket is full again, as Redis last told, in local time. Never later than the truth,
        since time is counted from the sending of the question; so a refusal read from it is one that
        Redis would have given. Not so where tokens come back (`cost_304`, `max_wait`): there nothing is
        refused by it.
before  what was known when a reload came. Redis may count it otherwise since then, so it refuses nothing
        while Redis answers; but an outage starts from it, and what Redis loses is restored from it.
local   the same for buckets that are spent here while Redis does not answer. They start from what is
        known. With n live replicas a token weighs n times as much, so that together they grant the limit.
        A reply that comes too late has a request decided here while others are decided by Redis: what was
        spent here is what `local` has beyond `bases`, what was known then, and counts beside what is known.

Moments are in microseconds, debts in units of the rate (policy/gcra.py). A key whose plan changes while Redis
does not answer begins anew here. Knows nothing of connections, and no clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.limiter.generations import Generations
from proxy.limiter.records import KEY_BYTES, SHARDS, UnansweredCall, pack_settled, shard_of
from proxy.limiter.scripts import key_prefix
from proxy.policy.gcra import converted

if TYPE_CHECKING:
    from proxy.limiter.records import Names
    from proxy.policy.terms import Terms

NO_DOUBT: Final = (0, UnansweredCall(0, 0.0))


class Book:
    __slots__ = ("_bases", "_doubts", "_room", "_scale", "before", "known", "local", "prefixes", "terms")

    def __init__(self, terms: Terms, names: Names, max_keys: int) -> None:
        self.terms = terms  # any that has this rate
        self._scale = terms.scale
        self._room = terms.ceiling_units
        self.prefixes = tuple(
            key_prefix(names.bucket(terms.name, shard, b""), KEY_BYTES) for shard in range(SHARDS)
        )
        seconds = terms.most_units / terms.scale / 1e6
        self.known = Generations(seconds, max_keys)  # microseconds
        self.before = Generations(seconds, max_keys)  # the same
        self.local = Generations(seconds, max_keys)  # units
        self._bases = Generations(seconds, max_keys)  # units
        self._doubts: dict[
            bytes, tuple[int, UnansweredCall]
        ] = {}  # what Redis may have charged, and since which call

    def key(self, key: bytes) -> bytes:
        """A bucket's name, packed for a call."""
        return self.prefixes[shard_of(key)] + key

    def empty(self, key: bytes, debt: int, now_us: int) -> None:
        """What is known here at once, and holds without Redis too."""
        before = self.local_debt(key, now_us)
        self.known.put(key, max(self.known.get(key), now_us + debt // self._scale))
        if self.local.get(key):
            self.put_locally(key, max(before, debt), now_us)

    # --- without Redis ---

    def local_debt(self, key: bytes, now_us: int) -> int:
        return max(self._full_at(key) - now_us * self._scale, 0) + self._spent(key, now_us)

    def put_locally(self, key: bytes, debt: int, now_us: int) -> None:
        self.local.put(key, now_us * self._scale + max(debt, 0))
        self._bases.put(key, self._full_at(key))

    def _full_at(self, key: bytes) -> int:
        """As far as is known, without what was spent here."""
        return (self.known.get(key) or self.before.get(key)) * self._scale

    def _spent(self, key: bytes, now_us: int) -> int:
        """Here, and not yet come back."""
        return max(self.local.get(key) - max(self._bases.get(key), now_us * self._scale), 0)

    def doubt(self, key: bytes, units: int, attempt: UnansweredCall) -> None:
        """Redis may have charged a request that is decided here."""
        before, first = self._doubts.get(key, (0, attempt))
        self._doubts[key] = before + units, first

    # --- going back to Redis ---

    def spent_keys(self) -> list[bytes]:
        """Buckets that were spent here."""
        return [*dict.fromkeys([*self._doubts, *self.local.keys()])]

    def unsettled_keys(self) -> list[bytes]:
        """Those, and buckets that Redis may have lost."""
        return [*dict.fromkeys([*self.spent_keys(), *self.known.keys(), *self.before.keys()])]

    def settle(self, key: bytes, now_us: int, replicas: int) -> bytes:
        """Closes the local bucket; what settle.lua shall know of it, or nothing if it is full.

        From now on the bucket is known with what was spent here, even if that does not reach Redis.
        """
        scale = self._scale
        now = now_us * scale
        most = self.terms.most_units
        known = min(max(self._full_at(key) - now, 0), most)
        spent = -(-self._spent(key, now_us) // replicas)  # rounded up: no gift
        self.local.pop(key)
        doubted, (tag, since_us) = self._doubts.pop(key, NO_DOUBT)
        if not known and not spent and not doubted:
            return b""
        self.known.put(key, now_us + max(min(known + spent, self._room), known) // scale)
        interval = self.terms.interval
        return pack_settled(interval, scale, self._room, most, known, spent, doubted, tag, since_us)

    # --- now and then ---

    def forget(self, key: bytes) -> None:
        """Its bucket is full again by a reset; without a key, all are."""
        for table in (self.known, self.before, self.local):
            if key:
                table.pop(key)
            else:
                table.clear()
        if key:
            self._doubts.pop(key, None)
        else:
            self._doubts.clear()

    def inherit(self, old: Book, now_us: int, *, is_certain: bool) -> None:
        """Every bucket has the same tokens as before; one that is closed is so for as long.

        Without Redis that is certain: nobody else counts. Else one fills up as fast as before, at least.
        """
        if self.terms.counts_like(old.terms):  # so most reloads leave it; and there may be 100 000 keys
            (self.known if is_certain else self.before).take_over(old.before, old.known)
            self.local.take_over(old.local)
            self._bases.take_over(old._bases)
            self._doubts = old._doubts
            return
        scale = self._scale
        for table in (old.before, old.known):
            for key, full_at_us in table.items():
                if full_at_us <= now_us:  # it is full, as nearly all are
                    continue
                moved_us = now_us + self._moved(old, (full_at_us - now_us) * old._scale) // scale
                if is_certain:
                    self.known.put(key, moved_us)
                else:
                    self.before.put(key, min(moved_us, full_at_us))
        for key, full_at in old.local.items():
            if full_at > now_us * old._scale:
                self.put_locally(key, self._moved(old, old.local_debt(key, now_us)), now_us)
        for key, (units, first) in old._doubts.items():
            self._doubts[key] = self._moved(old, units), first

    def _moved(self, old: Book, debt: int) -> int:
        """A debt in these terms."""
        terms, before = self.terms, old.terms
        closed_us = max(debt - before.ceiling_units, 0) // before.scale
        debt = converted(debt - closed_us * before.scale, before.interval, terms.interval)
        if closed_us:
            debt = max(debt, terms.ceiling_units - terms.cost_units) + closed_us * terms.scale
        return min(debt, terms.most_units)

    def sweep(self, now_us: int) -> None:
        self.known.sweep(now_us)
        self.before.sweep(now_us)
        self.local.sweep(now_us)
        self._bases.sweep(now_us)
