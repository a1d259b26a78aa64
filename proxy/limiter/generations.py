"""A bounded table whose entries are of no use after a while: two dicts, of which the older is dropped whole.

Forgetting one by one would cost a look at every entry. Knows no clock.
"""

from __future__ import annotations


class Generations:
    """Moments by key. An entry stays for `seconds` at least, unless `max_keys` drive it out before."""

    __slots__ = ("_next_us", "_old", "_period_us", "_young", "half")

    def __init__(self, seconds: float, max_keys: int) -> None:
        self._young: dict[bytes, int] = {}
        self._old: dict[bytes, int] = {}
        self.half = max(max_keys // 2, 1)
        self._period_us = max(int(seconds * 1e6), 1_000_000)
        self._next_us = 0

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, key: bytes) -> int:
        """The moment, or 0."""
        moment = self._young.get(key)
        if moment is None:
            return self._old.get(key, 0) if self._old else 0
        return moment

    def put(self, key: bytes, moment: int) -> None:
        young = self._young
        young[key] = moment
        if len(young) > self.half:
            self._turn()

    def _turn(self) -> None:
        """Makes room: the older entries are driven out."""
        self._old, self._young = self._young, {}

    def pop(self, key: bytes) -> int:
        old = self._old.pop(key, 0)
        return self._young.pop(key, old)

    def parts(self) -> tuple[dict[bytes, int], dict[bytes, int]]:
        """The younger first, as entries move from it to the other. Some keys are in both."""
        return self._young, self._old

    def sweep(self, now_us: int) -> None:
        """Called now and then: what was written a whole period ago goes."""
        if now_us >= self._next_us:
            self._next_us = now_us + self._period_us
            self._turn()

    def clear(self) -> None:
        self._young, self._old = {}, {}
