"""The smallest rate and burst that would have refused nobody, or one request in a thousand. Exact.

The question has many answers, since a larger burst makes up for a smaller rate. The one that is given keeps
the proportion of burst and rate as the limit has it, and is then as tight as can be: of the rates in that
proportion the smallest, for that rate the smallest burst, and for that burst the smallest rate. So less of
either would refuse more. A limit is looked at alone: requests that another limit refuses count.

Refuse nobody: a bucket that refuses nothing is a queue that empties at the rate, and is as full as the worst
stretch of arrivals makes it: their cost less what came back since the stretch began. Each stretch that does
not fit raises the rate to the smallest that it fits, within one pass over the arrivals; a pass that raises
nothing proves the rate. It takes about three, and all but one of them only look at keys that the limit as
it is refuses any of.

One in a thousand: more rate or more burst never refuses more requests of one cost each, since a token bucket
admits as many as can be admitted at all. So the search halves its way, and a pass ends once it has refused
too many.

Whole numbers throughout, the arithmetic is that of policy.gcra.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.policy import gcra

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.tuning.arrivals import ArrivalTimes

COUNT_MAX = 1_000_000_000  # of a rate


@dataclass(frozen=True, slots=True)
class Bucket:
    """What is looked for: `count` tokens in a period, and a burst."""

    count: int
    burst: int


@dataclass(frozen=True, slots=True)
class Shape:
    """What stays as it is in the limit."""

    count: int
    period_us: int
    burst: int
    cost: int

    def burst_for(self, count: int) -> int:
        """The burst in the limit's own proportion."""
        return max(self.cost, -(-count * self.burst // self.count))


class Overrun:
    """What the limit itself refuses of the arrivals, and all arrivals of the keys that it refuses any of.

    More of rate and burst refuses nobody else: the searches begin among these.
    """

    def __init__(self, arrivals: ArrivalTimes, shape: Shape) -> None:
        self.bucket = Bucket(shape.count, shape.burst_for(shape.count))
        self.count, keys = _refused_keys(arrivals, shape, self.bucket)
        self.arrivals = arrivals.of(keys)

    def close(self) -> None:
        self.arrivals.close()


def refuses_nobody(arrivals: ArrivalTimes, shape: Shape, overrun: Overrun) -> Bucket:
    count = 1
    if overrun.count:
        count = _lowest_count(overrun.arrivals, shape, shape.count, shape.burst_for).count
    found = _lowest_count(arrivals, shape, count, shape.burst_for)
    burst = found.burst
    less = Bucket(found.count - 1, burst)
    if found.count == 1 or (overrun.count and refused(overrun.arrivals, shape, less, 0)):
        return found
    if refused(arrivals, shape, less, 0):
        return found
    return Bucket(_lowest_count(arrivals, shape, 1, lambda _: burst).count, burst)


def refuses_at_most(
    arrivals: ArrivalTimes, shape: Shape, most: int, nobody: Bucket, overrun: Overrun
) -> Bucket:
    """Finds one that refuses at most so many requests; `nobody` is the bucket that refuses none."""
    enough = max(nobody.count, -(-nobody.burst * shape.count // shape.burst))
    with closing(_Search(arrivals, shape, most, overrun)) as search:

        def in_proportion(count: int) -> Bucket:
            return Bucket(count, shape.burst_for(count))

        if overrun.count > most:
            count = search.least(shape.count + 1, enough, in_proportion, overrun.count)
        else:
            count = search.least(1, min(enough, shape.count), in_proportion)
        burst = search.least(shape.cost, shape.burst_for(count), lambda burst: Bucket(count, burst))
        return Bucket(search.least(1, count, lambda count: Bucket(count, burst)), burst)


class _Search:
    """Looks where the refusals counted so far point to, and every third time in the middle.

    Who was refused by a bucket is all that counts for those that have more of both, so that the search goes
    on among fewer arrivals.
    """

    def __init__(self, arrivals: ArrivalTimes, shape: Shape, most: int, overrun: Overrun) -> None:
        self._all = arrivals
        self._shape = shape
        self._most = most
        self._below: Bucket | None = None  # which refuses more than may be ...
        self._some = arrivals  # ... and of whom it refuses any
        self._made: ArrivalTimes | None = None  # these, if they are of this search
        if overrun.count > most:
            self._below, self._some = overrun.bucket, overrun.arrivals

    def least(self, low: int, high: int, bucket_of: Callable[[int], Bucket], too_many: int = 0) -> int:
        """The smallest number whose bucket does; that of `high` does.

        `too_many` are the refusals of the one below `low`, if they are known.
        """
        below, few = low - 1, 0  # `few` are the refusals of `high`
        tries = 0
        while high - below > 1:
            tries += 1
            if not too_many:
                middle = high - max(1, (high - below) // 16)
            elif tries % 3:
                middle = high - (high - below) * (self._most - few) // (too_many - few)
            else:
                middle = (below + high) // 2
            middle = min(max(middle, below + 1), high - 1)
            found = self._refused(bucket_of(middle))
            if found <= self._most:
                high, few = middle, found
            else:
                below, too_many = middle, found
        return high

    def close(self) -> None:
        if self._made is not None:
            self._made.close()

    def _refused(self, bucket: Bucket) -> int:
        below = self._below
        if below is not None and bucket.count >= below.count and bucket.burst >= below.burst:
            return refused(self._some, self._shape, bucket)
        found, keys = _refused_keys(self._all, self._shape, bucket)
        if found > self._most:
            self.close()
            self._below, self._some = bucket, self._all.of(keys)
            self._made = self._some
        return found


def _least(low: int, high: int, does: Callable[[int], bool]) -> int:
    """The smallest that does, where all above it do; `high` does."""
    while low < high:
        middle = (low + high) // 2
        if does(middle):
            high = middle
        else:
            low = middle + 1
    return high


def refused(arrivals: ArrivalTimes, shape: Shape, bucket: Bucket, most: int = COUNT_MAX) -> int:
    """How many requests it would have refused; not counted much beyond `most`."""
    return _refused_keys(arrivals, shape, bucket, most)[0]


def _refused_keys(
    arrivals: ArrivalTimes, shape: Shape, bucket: Bucket, most: int = COUNT_MAX
) -> tuple[int, bytearray]:
    """`refused`, and for each key whether it was among them."""
    interval, scale = gcra.reduced(bucket.count, shape.period_us)
    cost, room = shape.cost * interval, bucket.burst * interval
    full_at = [0] * arrivals.keys
    among = bytearray(arrivals.keys)
    found = 0
    for numbers, moments in arrivals.chunks():
        for number, at in zip(numbers, moments, strict=True):
            now = at * scale
            debt = full_at[number] - now
            debt = debt + cost if debt > 0 else cost
            if debt <= room:
                full_at[number] = now + debt
            else:
                found += 1
                among[number] = 1
        if found > most:
            break
    return found, among


def _lowest_count(
    arrivals: ArrivalTimes, shape: Shape, count: int, burst_for: Callable[[int], int]
) -> Bucket:
    """The smallest from `count` on that refuses nobody with its burst, and how much of that it needs."""
    while True:
        raised, needed = _raised(arrivals, shape, count, burst_for)
        if raised == count:
            return Bucket(count, max(shape.cost, needed))
        count = raised


def _raised(
    arrivals: ArrivalTimes, shape: Shape, count: int, burst_for: Callable[[int], int]
) -> tuple[int, int]:
    """The count, raised for each stretch of arrivals that does not fit; and the burst if none had to."""
    period, cost = shape.period_us, shape.cost * shape.period_us
    room = burst_for(count) * period
    begun = [0] * arrivals.keys  # of each key's stretch: when it began ...
    taken = [0] * arrivals.keys  # ... and what it took
    most = 0
    for numbers, moments in arrivals.chunks():
        for number, at in zip(numbers, moments, strict=True):
            total = taken[number]
            debt = total - (at - begun[number]) * count
            if debt <= 0:
                begun[number], taken[number] = at, cost
                debt = total = cost
            else:
                total = taken[number] = total + cost
                debt += cost
            if debt > most:
                most = debt
                if debt > room:
                    count = _fitting(total, at - begun[number], count, period, burst_for)
                    room = burst_for(count) * period
                    most = 0
    return count, -(-most // period)


def _fitting(total: int, span: int, low: int, period: int, burst_for: Callable[[int], int]) -> int:
    """The smallest count with which a stretch fits."""

    def fits(count: int) -> bool:
        return total - span * count <= burst_for(count) * period

    high = low
    while not fits(high):
        high = min(high * 2, COUNT_MAX)
        if high == COUNT_MAX:
            return high
    return _least(low, high, fits)
