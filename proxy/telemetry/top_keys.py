"""Which keys of each limit are over it or near it, from as much memory as a few hundred keys take.

A sketch of frequent items that is purged in batches (Misra-Gries, as in Anderson et al., "A High-Performance
Algorithm for Identifying Frequent Items in Data Streams", 2017): what it says of a key is never too much, and
too little by at most `lost`, which is at most one in KEYS_KEPT of what was counted. It looks back one to two
windows. Why this one: docs/decisions/0014-top-keys.md. Knows nothing of credentials: a key is a hash.
"""

from __future__ import annotations

from heapq import nlargest
from typing import TYPE_CHECKING, Final

from proxy.policy.gcra import US
from proxy.telemetry.sights import KEYS_SHOWN, SeenKey, SeenKeys

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from proxy.policy.decision import Verdict
    from proxy.policy.limits import Limit

WINDOW_SECONDS: Final = 30.0
KEYS_KEPT: Final = 64  # of a limit, a state and a window; twice as many before a purge, 200 bytes each
KEYS_LEAST: Final = 8
KEYS_OF_ALL: Final = 2048  # so that 500 limits take no more than 6 MB
NEAR_PARTS: Final = 4  # four fifths of a burst are spent
NEAR_OF: Final = 5

OVER: Final = "over"
NEAR: Final = "near"


class Sighting:
    """What is remembered of one key in one window."""

    __slots__ = ("count", "last", "since", "spent")

    def __init__(self, since: float) -> None:
        self.count = 0
        self.since = since
        self.last = since
        self.spent = 0.0  # part of the burst, when it was last seen


class Sketch:
    """The keys of one limit that are in one state."""

    __slots__ = ("_before", "_ends", "_kept", "_lost", "_lost_before", "_now")

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._ends = 0.0
        self._now: dict[bytes, Sighting] = {}
        self._before: dict[bytes, Sighting] = {}
        self._lost = 0
        self._lost_before = 0

    @property
    def lost(self) -> int:
        """The most by which a count can be too small, and the most that a key can have that is not shown."""
        return self._lost + self._lost_before

    def saw(self, key: bytes, spent: float, now: float) -> None:
        if now >= self._ends:
            self.turn(now)
        sighting = self._now.get(key)
        if sighting is None:
            sighting = self._first(key, now)
        sighting.count += 1
        sighting.last = now
        sighting.spent = spent

    def _first(self, key: bytes, now: float) -> Sighting:
        table = self._now
        if len(table) >= 2 * self._kept:
            self._purge()
        before = self._before.get(key)
        sighting = table[key] = Sighting(now if before is None else before.since)
        return sighting

    def _purge(self) -> None:
        """All lose what the first of those beyond the kept has; who had no more is forgotten."""
        counts = sorted([sighting.count for sighting in self._now.values()], reverse=True)
        least = counts[self._kept]
        self._lost += least
        for key, sighting in list(self._now.items()):
            sighting.count -= least
            if sighting.count <= 0:
                del self._now[key]

    def turn(self, now: float) -> None:
        """A new window begins, if the last one is over."""
        if now < self._ends:
            return
        is_next = now < self._ends + WINDOW_SECONDS
        self._before, self._lost_before = (self._now, self._lost) if is_next else ({}, 0)
        self._now, self._lost = {}, 0
        self._ends = now + WINDOW_SECONDS

    def __len__(self) -> int:
        return len(self._now.keys() | self._before.keys())

    def sightings(self) -> dict[bytes, Sighting]:
        """Both windows as one."""
        both = {}
        for table in (self._before, self._now):
            for key, sighting in table.items():
                whole = both[key] = Sighting(sighting.since)
                whole.last, whole.spent, whole.count = sighting.last, sighting.spent, sighting.count
        for key in self._before.keys() & self._now.keys():
            both[key].count += self._before[key].count
        return both


class TopKeys:
    __slots__ = ("_kept", "_near", "_over")

    def __init__(self) -> None:
        self._kept = KEYS_KEPT
        self._over: dict[str, Sketch] = {}  # by the limit's name
        self._near: dict[str, Sketch] = {}

    def configure(self, names: Sequence[str]) -> None:
        """What is known of limits that stay is kept."""
        self._kept = max(KEYS_LEAST, min(KEYS_KEPT, KEYS_OF_ALL // max(len(names), 1)))
        for sketches in (self._over, self._near):
            for gone in sketches.keys() - set(names):
                del sketches[gone]

    def saw(self, verdicts: Sequence[Verdict], now: float) -> None:
        """An exchange that is over one of its limits, or near it."""
        for verdict in verdicts:
            terms, key = verdict.terms, verdict.charge.key
            if not verdict.is_admitted:
                self._sketch(self._over, terms.name).saw(key, 1.0, now)
            elif verdict.debt * NEAR_OF >= terms.burst_units * NEAR_PARTS:
                spent = verdict.debt / terms.burst_units
                self._sketch(self._near, terms.name).saw(key, spent, now)

    def _sketch(self, of: dict[str, Sketch], name: str) -> Sketch:
        sketch = of.get(name)
        if sketch is None:
            sketch = of[name] = Sketch(self._kept)
        return sketch

    def counts(self, now: float) -> dict[tuple[str, str], int]:
        """How many keys are remembered, by limit and state."""
        counts: dict[tuple[str, str], int] = {}
        for state, sketches in ((OVER, self._over), (NEAR, self._near)):
            for name, sketch in sketches.items():
                sketch.turn(now)
                counts[name, state] = len(sketch)
        return counts

    def seen(self, limits: Iterable[Limit], now: float) -> list[SeenKeys]:
        """Those keys of each limit that are most over it and most near it."""
        return [
            found
            for limit in limits
            for state, sketches in ((OVER, self._over), (NEAR, self._near))
            if limit.name in sketches and (found := self._seen(limit, state, now)).keys
        ]

    def _seen(self, limit: Limit, state: str, now: float) -> SeenKeys:
        sketch = (self._over if state == OVER else self._near)[limit.name]
        sketch.turn(now)
        sightings = sketch.sightings()
        if state == NEAR and limit.name in self._over:
            for key in self._over[limit.name].sightings():
                sightings.pop(key, None)
        most = nlargest(KEYS_SHOWN, sightings.items(), key=lambda item: item[1].count)
        full_seconds = limit.terms.burst_units / limit.terms.scale / US if not limit.slots else WINDOW_SECONDS
        return SeenKeys(
            limit.name,
            state,
            sketch.lost,
            [_seen_key(key, sighting, full_seconds, now) for key, sighting in most],
        )


def _seen_key(key: bytes, sighting: Sighting, full_seconds: float, now: float) -> SeenKey:
    age = now - sighting.last
    spent = max(sighting.spent - age / full_seconds, 0.0)
    return SeenKey(key.hex(), sighting.count, round(spent, 3), round(now - sighting.since, 1), round(age, 1))
