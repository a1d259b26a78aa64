"""What one limit did to the requests of a log: counted for the limit and for each key.

Keys are held up to `KEYS_MAX`; beyond it those that were not seen for longest and never refused are
forgotten, and how many there were is estimated. Knows nothing of logs and stores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from proxy.tuning.distinct import Distinct
from proxy.tuning.load import Step

if TYPE_CHECKING:
    from proxy.policy.decision import Verdict
    from proxy.policy.limits import Limit
    from proxy.tuning.arrivals import ArrivalTimes
    from proxy.tuning.load import Load

KEYS_MAX = 200_000  # 60 MB


class KeyTally:
    """One key's share."""

    __slots__ = ("label", "longest_run", "number", "refused", "requests", "run")

    def __init__(self, label: str, number: int) -> None:
        self.label = label
        self.number = number  # by which the arrivals tell it from others
        self.requests = 0
        self.refused = 0
        self.run = 0  # refusals in a row, now
        self.longest_run = 0


class Limited(NamedTuple):
    """A key that was refused."""

    key: str
    requests: int
    refused: int
    longest_run: int  # refusals in a row


class Tally:
    def __init__(self, limit: Limit, arrivals: ArrivalTimes, load: Load) -> None:
        self.limit = limit
        self.arrivals = arrivals
        self.load = load
        self.charges = 0  # more than requests if some are charged to several keys
        self.refusals = 0
        self.matched = 0
        self.refused = 0
        self.refused_as_new = 0  # of them, since their address had too many new credentials (`unproven`)
        self.waited = 0
        self.exempt = 0
        self.is_estimate = False  # whether keys were forgotten
        self._keys: dict[bytes, KeyTally] = {}
        self._old: dict[bytes, KeyTally] = {}  # not seen for a while
        self._distinct = Distinct()
        self._step_ends = 0
        self._before = (0, 0)  # charges and refusals before the step
        self._debt = 0  # the largest of any bucket within the step
        self._numbers = 0
        self._free: list[int] = []  # numbers of keys that were forgotten

    def count(self, key: bytes, label: str, verdict: Verdict, at: int) -> None:
        """One bucket's answer. Moments never go back."""
        if at >= self._step_ends:
            self._end_step(at)
        entry = self._keys.get(key)
        if entry is None:
            entry = self._find(key, label)
        entry.requests += 1
        self.charges += 1
        if verdict.is_admitted:
            entry.run = 0
        else:
            self.refusals += 1
            entry.refused += 1
            run = entry.run = entry.run + 1
            entry.longest_run = max(entry.longest_run, run)
        self._debt = max(self._debt, verdict.debt)
        self.arrivals.add(entry.number, at)

    def _end_step(self, at: int) -> None:
        charges, refusals = self._before
        step = Step(self.charges - charges, self.refusals - refusals, self._debt)
        if self._step_ends:
            self.load.add(self._step_ends, step)
        self._before, self._debt = (self.charges, self.refusals), 0
        self._step_ends = self.load.end_of_step(at)

    def end(self, at: int) -> None:
        """No more will come."""
        self._end_step(at)
        self.arrivals.end()

    def _find(self, key: bytes, label: str) -> KeyTally:
        entry = self._old.pop(key, None)
        if entry is None:
            self._distinct.add(key)
            number = self._free.pop() if self._free else self._numbers
            self._numbers = max(self._numbers, number + 1)
            entry = KeyTally(label, number)
        if len(self._keys) >= KEYS_MAX // 2:
            self._turn()
        self._keys[key] = entry
        return entry

    def _turn(self) -> None:
        """Who was refused is kept as long as there is room."""
        old = self._old
        kept = {key: entry for key, entry in old.items() if entry.refused}
        if len(kept) > KEYS_MAX // 4:
            kept = {}
        if len(kept) < len(old):
            self.is_estimate = True
            self._free += (entry.number for key, entry in old.items() if key not in kept)
        self._keys, self._old = kept, self._keys

    @property
    def keys(self) -> int:
        """How many there were."""
        known = len(self._keys) + len(self._old)
        return max(known, self._distinct.estimate()) if self.is_estimate else known

    def limited(self) -> list[Limited]:
        """The keys that were refused, most often first."""
        found = [
            Limited(each.label, each.requests, each.refused, each.longest_run)
            for each in self._each()
            if each.refused
        ]
        return sorted(found, key=lambda each: (-each.refused, each.key))

    def busiest(self, most: int) -> list[Limited]:
        """The keys with most requests."""
        found = sorted(self._each(), key=lambda each: (-each.requests, each.label))[:most]
        return [Limited(each.label, each.requests, each.refused, each.longest_run) for each in found]

    def _each(self) -> list[KeyTally]:
        return [*self._keys.values(), *self._old.values()]
