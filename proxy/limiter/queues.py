"""Who waits for a token that is reserved already (`max_wait`): a queue for each bucket, in order of arrival.

A reservation is debt: the store tells how long it takes until it is paid off, and that is when a request's
turn comes; of several buckets, when it has come in all. Who leaves makes room for those behind, and only then
are the tokens given back, so that nobody overtakes and no turns coincide. Queues are of this process: where
replicas share a bucket, they cannot move up past each other's, and as many turns may coincide after somebody
left (docs/decisions/0018-waiting.md). Knows nothing of requests.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING, Final, Protocol

from proxy import faults
from proxy.policy.decision import LOCAL
from proxy.policy.gcra import US

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from proxy.faults import Fault
    from proxy.policy.decision import Decision, Verdict

WAITING_MAX: Final = 2000  # of a process; each holds a head and 64 KiB of its body at most: 200 MB
LEAST_SECONDS: Final = 0.001  # uvloop counts in milliseconds

QueueKey = tuple[str, bytes]  # a limit's name and a partition key: they outlast a reload


class Queued(Protocol):
    """Who waits. Both are called from the loop, never within `enter`, and never raise."""

    def turn_came(self, waited: float) -> None:
        """All its tokens are there; seconds."""

    def turn_is_too_late(self, waited: float) -> None:
        """The process ends before."""


class Place:
    """The place of one who waits, in all its queues."""

    __slots__ = ("entries", "since", "verdicts", "waiter")

    def __init__(self, waiter: Queued, verdicts: Sequence[Verdict], since: float) -> None:
        self.waiter = waiter
        self.verdicts = verdicts  # of what it waits for
        self.since = since
        self.entries: dict[QueueEntry, None] = {}  # whose turn has not come


class QueueEntry:
    """One who waits, in one queue: a link between who is before and who is behind."""

    __slots__ = ("before", "behind", "gap", "limit", "place", "queue", "span")

    def __init__(self, place: Place, queue: Queue, verdict: Verdict, span: float) -> None:
        self.place = place
        self.queue = queue
        self.limit = verdict.limit.name
        self.span = span  # seconds in which what it gives back would return by itself
        self.gap = 0.0  # seconds after the turn before it
        self.before: QueueEntry | None = None
        self.behind: QueueEntry | None = None


class Queue:
    """Who waits for one bucket. The first has a moment, the others have gaps: so all move up at once."""

    __slots__ = ("first", "key", "last", "last_turn", "timer", "turn")

    def __init__(self, key: QueueKey) -> None:
        self.key = key
        self.first: QueueEntry | None = None
        self.last: QueueEntry | None = None
        self.turn = self.last_turn = 0.0  # when that of the first comes, and of the last
        self.timer: asyncio.TimerHandle | None = None

    def append(self, entry: QueueEntry, turn: float) -> None:
        if self.last is None:
            self.first, self.turn = entry, turn
        else:
            turn = max(turn, self.last_turn)
            entry.gap = turn - self.last_turn
            entry.before, self.last.behind = self.last, entry
        self.last, self.last_turn = entry, turn

    def pop(self) -> QueueEntry:
        """The first; its turn has come."""
        entry = self.first
        assert entry is not None
        self._unlink(entry)
        if entry.behind is not None:
            self._lead(entry.behind, self.turn + entry.behind.gap)
        return entry

    def leave(self, entry: QueueEntry, now: float) -> None:
        """Who is behind moves up by what comes back."""
        was_first, behind = entry is self.first, entry.behind
        self._unlink(entry)
        if behind is None:
            self.last_turn -= entry.gap
            return
        gap = entry.gap + behind.gap - entry.span
        if was_first:
            turn = max(self.turn + gap, now)
            self.last_turn -= self.turn + behind.gap - turn
            self._lead(behind, turn)
        else:
            self.last_turn -= entry.gap + behind.gap - max(gap, 0.0)
            behind.gap = max(gap, 0.0)

    def _lead(self, entry: QueueEntry, turn: float) -> None:
        """It is the first now."""
        self.turn, entry.gap = turn, 0.0

    def _unlink(self, entry: QueueEntry) -> None:
        before, behind = entry.before, entry.behind
        if before is None:
            self.first = behind
        else:
            before.behind = behind
        if behind is None:
            self.last = before
        else:
            behind.before = before

    def behind(self, moment: float) -> list[QueueEntry]:
        """Whose turn comes later."""
        late, entry, turn = [], self.first, self.turn
        while entry is not None:
            if entry is not self.first:
                turn += entry.gap
            if turn > moment:
                late.append(entry)
            entry = entry.behind
        return late


class WaitingRoom:
    """All queues of a process. `clock` tells seconds, monotonic."""

    def __init__(self, clock: Callable[[], float], most: int = WAITING_MAX) -> None:
        self.waiting: dict[str, int] = {}  # how many, by limit
        self.waits: dict[str, int] = {}  # how many ended, one way or another
        self.seconds: dict[str, float] = {}  # that they took
        self._clock = clock
        self._most = most
        self._until = inf  # no turn comes later
        self._places: dict[Queued, Place] = {}
        self._queues: dict[QueueKey, Queue] = {}

    def __len__(self) -> int:
        return len(self._places)

    def configure(self, limits: Iterable[str]) -> None:
        """Shows limits from zero; what is counted stays."""
        for name in limits:
            self.waiting.setdefault(name, 0)
            self.waits.setdefault(name, 0)
            self.seconds.setdefault(name, 0.0)

    def enter(self, waiter: Queued, decision: Decision, verdicts: Sequence[Verdict]) -> Fault | None:
        """Why it cannot wait for what these verdicts of the decision have reserved; None: it does."""
        if len(self._places) >= self._most:
            return faults.LIMITED
        now = self._clock()
        turns = [now + verdict.wait_units / verdict.terms.scale / US for verdict in verdicts]
        if max(turns) > self._until:
            return faults.DRAINING
        place = self._places[waiter] = Place(waiter, verdicts, now)
        for verdict, turn in zip(verdicts, turns, strict=True):
            terms = verdict.terms
            key = (terms.name, verdict.charge.key)
            queue = self._queues.get(key)
            if queue is None:
                queue = self._queues[key] = Queue(key)
            # What was decided without the store does not come back.
            span = 0.0 if decision.via == LOCAL else terms.cost_units / terms.scale / US
            entry = QueueEntry(place, queue, verdict, span)
            place.entries[entry] = None
            queue.append(entry, turn)
            self.waiting[entry.limit] = self.waiting.get(entry.limit, 0) + 1
            if entry is queue.first:
                self._arm(queue)
        return None

    def leave(self, waiter: Queued) -> float:
        """It waits no more; how long it has. Its tokens are to be given back."""
        place = self._places.pop(waiter)
        now = self._clock()
        for entry in place.entries:
            queue = entry.queue
            was_first = entry is queue.first
            queue.leave(entry, now)
            self._count(entry, now)
            if was_first:
                self._arm(queue)
        place.entries.clear()
        return now - place.since

    def end_at(self, moment: float) -> None:
        """The process does; whose turn comes later is told now."""
        self._until = moment
        late = {entry.place: None for queue in self._queues.values() for entry in queue.behind(moment)}
        for place in late:
            if place.waiter in self._places:
                place.waiter.turn_is_too_late(self.leave(place.waiter))

    def _count(self, entry: QueueEntry, now: float) -> None:
        name = entry.limit
        self.waiting[name] -= 1
        self.waits[name] = self.waits.get(name, 0) + 1
        self.seconds[name] = self.seconds.get(name, 0.0) + now - entry.place.since

    def _arm(self, queue: Queue) -> None:
        if queue.timer is not None:
            queue.timer.cancel()
            queue.timer = None
        if queue.first is None:
            del self._queues[queue.key]
            return
        seconds = max(queue.turn - self._clock(), LEAST_SECONDS)
        queue.timer = asyncio.get_running_loop().call_later(seconds, self._look, queue)

    def _look(self, queue: Queue) -> None:
        """Looks at the first, and at whose turn has come with it: what that waited for is paid off."""
        now = self._clock()
        come = []
        while queue.first is not None and queue.turn <= now:
            entry = queue.pop()
            self._count(entry, now)
            place = entry.place
            del place.entries[entry]
            if not place.entries:
                come.append(self._places.pop(place.waiter))
        self._arm(queue)
        for place in come:
            for verdict in place.verdicts:
                verdict.debt = verdict.terms.burst_units  # its buckets are empty now
            place.waiter.turn_came(now - place.since)
