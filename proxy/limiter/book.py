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

After a reload the book of before holds what has not come over yet: a bucket comes over when it is asked for,
all others in their turn (`bring_over`), so that nobody waits for a hundred thousand of them. Either way it is
what it was at the moment of the reload, in the new terms.

Moments are in microseconds, debts in units of the rate (policy/gcra.py). A key whose plan changes while Redis
does not answer begins anew here. Knows nothing of connections, and no clock.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from proxy.limiter.generations import Generations
from proxy.limiter.records import LAST_SHARD, SHARDS, Doubt, settled_record
from proxy.limiter.scripts import key_prefix
from proxy.policy.gcra import converted
from proxy.policy.keys import KEY_BYTES

if TYPE_CHECKING:
    from collections.abc import Collection

    from proxy.limiter.records import Names, UnansweredCall
    from proxy.policy.terms import Terms

    BucketKeys = Collection[bytes]  # keys of buckets

ALL: Final = 1 << 60  # keys


class Book:
    __slots__ = (
        "_bases",
        "_doubts",
        "_is_certain",
        "_past",
        "_past_us",
        "_prefixes",
        "_room",
        "_scale",
        "before",
        "known",
        "local",
        "terms",
    )

    def __init__(self, terms: Terms, names: Names, max_keys: int) -> None:
        self.terms = terms  # any that has this rate
        self._scale = terms.scale
        self._room = terms.ceiling_units
        self._prefixes = tuple(
            key_prefix(names.bucket(terms.name, shard, b""), KEY_BYTES) for shard in range(SHARDS)
        )
        seconds = terms.most_units / terms.scale / 1e6
        self.known = Generations(seconds, max_keys)  # microseconds
        self.before = Generations(seconds, max_keys)  # the same
        self.local = Generations(seconds, max_keys)  # units
        self._bases = Generations(seconds, max_keys)  # units
        self._doubts: dict[bytes, Doubt] = {}
        self._past: Book | None = None  # of before the reload, as long as anything of it has not come over
        self._past_us = 0  # when the reload came
        self._is_certain = False  # what was known then

    def key(self, key: bytes) -> bytes:
        """A bucket's name, packed for a call."""
        return self._prefixes[key[0] & LAST_SHARD] + key

    def empty(self, key: bytes, debt: int, now_us: int) -> None:
        """What is known here at once, and holds without Redis too."""
        before = self.local_debt(key, now_us)
        self.known.put(key, max(self.known.get(key), now_us + debt // self._scale))
        if self.local.get(key):
            self.put_locally(key, max(before, debt), now_us)

    # --- without Redis ---

    def local_debt(self, key: bytes, now_us: int) -> int:
        if self._past is not None:
            self._bring(self._past, key)
        return max(self._full_at(key) - now_us * self._scale, 0) + self._spent(key, now_us)

    def put_locally(self, key: bytes, debt: int, now_us: int) -> None:
        if self._past is not None:
            self._bring(self._past, key)
        self.local.put(key, now_us * self._scale + max(debt, 0))
        self._bases.put(key, self._full_at(key))

    def _full_at(self, key: bytes) -> int:
        """When it is full as far as is known, without what was spent here."""
        return (self.known.get(key) or self.before.get(key)) * self._scale

    def _spent(self, key: bytes, now_us: int) -> int:
        """Here, and not yet come back."""
        return max(self.local.get(key) - max(self._bases.get(key), now_us * self._scale), 0)

    def doubt(self, key: bytes, units: int, attempt: UnansweredCall) -> None:
        """Redis may have charged a request that is decided here."""
        if self._past is not None:
            self._bring(self._past, key)
        before = self._doubts.get(key, Doubt(0, attempt))
        self._doubts[key] = Doubt(before.units + units, before.first)

    # --- going back to Redis ---

    def spent_tables(self) -> list[BucketKeys]:
        """Tables with the buckets that were spent here; some of them are in several."""
        past = self._past.spent_tables() if self._past is not None else []
        return [*past, self._doubts, *self.local.parts()]

    def unsettled_tables(self) -> list[BucketKeys]:
        """Those, and the tables of buckets that Redis may have lost."""
        past = self._past.unsettled_tables() if self._past is not None else []
        known = (*self.known.parts(), *self.before.parts())
        return [*past, self._doubts, *self.local.parts(), *known]

    def settle(self, key: bytes, now_us: int, replicas: int) -> bytes:
        """Closes the local bucket; what settle.lua shall know of it, or nothing if it is full.

        From now on the bucket is known with what was spent here, even if that does not reach Redis.
        """
        if self._past is not None:
            self._bring(self._past, key)
        scale = self._scale
        now = now_us * scale
        most = self.terms.most_units
        known = min(max(self._full_at(key) - now, 0), most)
        spent = -(-self._spent(key, now_us) // replicas)  # rounded up: no gift
        self.local.pop(key)
        doubt = self._doubts.pop(key, None)
        if not known and not spent and doubt is None:
            return b""
        self.known.put(key, now_us + max(min(known + spent, self._room), known) // scale)
        return settled_record(self.terms, known, spent, doubt)

    # --- now and then ---

    def forget(self, key: bytes) -> None:
        """Its bucket is full again by a reset; without a key, all are."""
        past = self._past
        if past is not None:
            past.forget(key)
        for table in (self.known, self.before, self.local):
            if key:
                table.pop(key)
            else:
                table.clear()
        if key:
            self._doubts.pop(key, None)
        else:
            self._doubts.clear()

    def doubt_known(self, key: bytes) -> None:
        """Its bucket refilled at another rate than was thought."""
        if self._past is not None:
            self._bring(self._past, key)
        self.known.pop(key)
        self.before.pop(key)

    # --- after a reload ---

    def inherit(self, old: Book, now_us: int, *, is_certain: bool) -> None:
        """Every bucket has the same tokens as before; one that is closed is so for as long.

        Without Redis that is certain: nobody else counts. Else one fills up as fast as before, at least.
        """
        while old.bring_over(ALL):  # of a reload that came a moment ago
            pass
        self._past, self._past_us, self._is_certain = old, now_us, is_certain

    def bring_over(self, most: int) -> int:
        """Some more of the buckets of before, at most so many; how many it were. None: all are here."""
        past = self._past
        if past is None:
            return 0
        for table in past.unsettled_tables():
            if table:
                keys = [*islice(table, most)]
                for key in keys:
                    self._bring(past, key)
                return len(keys)
        self._past = None
        return 0

    def _bring(self, past: Book, key: bytes) -> None:
        """One bucket of before, if it is not here yet."""
        now_us, scale = self._past_us, self._scale
        debt = past.local_debt(key, now_us)
        before, known = past.before.pop(key), past.known.pop(key)
        spent_until, _ = past.local.pop(key), past._bases.pop(key)
        doubt = past._doubts.pop(key, None)
        full_at_us = known or before
        moved_us = 0
        if full_at_us > now_us:  # else it is full, as nearly all are
            moved_us = now_us + self._moved(past, (full_at_us - now_us) * past._scale) // scale
            if not self._is_certain:
                moved_us = min(moved_us, full_at_us)
                self.before.put(key, moved_us)
            elif not self.known.get(key):  # Redis has told nothing newer meanwhile
                self.known.put(key, moved_us)
        if spent_until > now_us * past._scale:
            self.local.put(key, now_us * scale + self._moved(past, debt))
            self._bases.put(key, moved_us * scale)
        if doubt is not None:
            self._doubts[key] = Doubt(self._moved(past, doubt.units), doubt.first)

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
