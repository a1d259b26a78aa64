"""The batches of a loop tick, one for each place; which link they take, and what becomes of them.

A place is a shard, or in a lone server all of them. Knows nothing of what the requests ask for.
"""

from __future__ import annotations

import asyncio
import logging
import random
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from proxy.limiter.batch import Batch
from proxy.limiter.link import DOWN, UP
from proxy.limiter.outage import Outage
from proxy.limiter.records import TAG_CALLS
from proxy.limiter.redirects import redirected
from proxy.limiter.replies import misunderstood
from proxy.limiter.scripts import CALL_KEYS
from proxy.limiter.trouble import FOREIGN_KEY, TroubleError, reply_trouble
from proxy.policy.haste import LOOK_TICKS, Haste
from proxy.telemetry.log import event

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.limiter.link import Link
    from proxy.limiter.operations import Operation
    from proxy.limiter.records import UnansweredCall
    from proxy.limiter.replicas import Replicas
    from proxy.limiter.store import Waiter
    from proxy.limiter.topology import Topology
    from proxy.policy.decision import Charge
    from proxy.telemetry.metrics import StoreFigures

PROCESSES = 1 << 24  # two of the same number mistake each other's calls only where a reply was lost
GRACE_SECONDS = 1.0  # after its deadline, in which the link should have decided a batch
FOREIGN_SECONDS = 60.0
FEW: Final = 1.5  # requests a tick: two together cost Redis and us hardly more than one
SENDS_MAX = 5  # of one batch: the first, and what redirections and a forgotten script make of it

_log = logging.getLogger("weir.store")


class Dispatcher:
    """`timeout` (seconds) may be changed at any time; it counts from the next batch on."""

    def __init__(
        self,
        topology: Topology,
        replicas: Replicas,
        figures: StoreFigures,
        timeout: float,
        now: Callable[[], float],
    ) -> None:
        self.timeout = timeout
        self.now = now
        self.topology = topology
        self.links = topology.links  # hot code looks at these two; a cluster changes what is in the list
        self.mask = topology.mask
        self.batches: dict[int, Batch] = {}  # of this tick, by place
        self._haste = Haste(FEW)
        self.past_us = 0  # a moment not long ago: spares the clock where nothing is to be denied
        self._pending: dict[Batch, None] = {}  # without a decision, oldest first
        self._foreign_at = 0.0  # when keys of others are worth a line again
        self._full: list[tuple[int, Batch]] = []
        self._tags = random.randrange(1, PROCESSES) * TAG_CALLS  # noqa: S311 - tells processes apart, no secret
        self._calls = count()
        self.replicas = replicas
        self._figures = figures

    # --- on the way out ---

    def add(self, operation: Operation, charges: Sequence[Charge], waiter: Waiter) -> None:
        """Puts a request into this tick's batch. All charges live in the same place."""
        place = charges[0].key[0] & self.mask
        batch = self.batches.get(place)
        if batch is None or len(batch.keys) + operation.width > CALL_KEYS:
            batch = self._begin(place)
        batch.add(operation, charges, waiter)
        if batch.is_hasty:  # its link is up, so that nobody is told anything before this returns
            self.links[place].submit(batch)

    def _begin(self, place: int) -> Batch:
        """A new batch of this tick, as one that is there is full; or one that goes with its first request."""
        batch = Batch(self, self.now() + self.timeout)
        self._pending[batch] = None
        if not self.batches:
            if self._haste.left and self.links[place].state == UP:
                self._haste.left -= 1
                batch.is_hasty = True
                return batch
            asyncio.get_running_loop().call_soon(self.flush)
        elif place in self.batches:
            self._full.append((place, self.batches[place]))
        self.batches[place] = batch
        return batch

    def flush(self) -> None:
        batches = [*self._full, *self.batches.items()]
        self._full.clear()
        self.batches.clear()
        haste = self._haste
        haste.ticks += 1
        haste.pieces += sum([len(batch.requests) for _, batch in batches])
        if haste.ticks >= LOOK_TICKS:
            haste.judge()
        for place, batch in batches:
            self.links[place].submit(batch)

    def use(self, topology: Topology) -> None:
        """From now on; what this tick has asked goes the old way."""
        self.flush()
        self.topology = topology
        self.links = topology.links
        self.mask = topology.mask

    def next_tag(self) -> int:
        return self._tags + next(self._calls) % TAG_CALLS

    def link(self, shard: int) -> Link:
        return self.links[shard & self.mask]

    def is_down(self, charges: Sequence[Charge]) -> bool:
        """Where these charges, which live in the same place, would go."""
        return self.links[charges[0].key[0] & self.mask].state == DOWN

    # --- what becomes of a batch ---

    def answered(self, batch: Batch, received_us: int, seconds: float, foreign: int) -> None:
        self._pending.pop(batch, None)
        self.past_us = received_us
        self._figures.batch_size.observe(len(batch.keys))
        self._figures.seconds.observe(seconds)
        if foreign:
            self._note_foreign(foreign)

    def unanswered(self, batch: Batch) -> None:
        """Its requests are decided without Redis."""
        self._pending.pop(batch, None)
        outage = self.outage(batch.doubt)
        for operation, charges, waiter in batch.requests:
            try:
                decision = operation.without_redis(charges, outage)
                if decision is not None:
                    waiter.decided(decision)
            except Exception:  # noqa: BLE001 - a mistake of one must not leave the others without an answer
                _log.exception("crashed")

    def again(self, batch: Batch, link: Link) -> None:
        """Asks on this link, if there is time left and it has not been about too often."""
        batch.sends += 1
        if batch.sends > SENDS_MAX or self.now() >= batch.deadline:
            self.unanswered(batch)
        else:
            link.submit(batch)

    def rejected(self, batch: Batch, link: Link, reply: Any) -> None:
        """Where another server or another way may do, it goes there; else its requests are decided."""
        if not isinstance(reply, Exception):
            link.fail(misunderstood(link.name))
            self.unanswered(batch)
            return
        error = str(reply)
        if error.startswith("NOSCRIPT"):
            self.count_error("script")
            batch.by_source = True
            self.again(batch, link)
            return
        try:
            redirections = redirected(batch, link, error, self.topology) if self.mask else []
        except TroubleError as trouble:
            link.fail(trouble)
            self.unanswered(batch)
            return
        for part, target in redirections:
            self._pending.pop(batch, None)
            self._pending[part] = None
            self.again(part, target)
        if not redirections:
            link.fail(reply_trouble(reply, link.name))
            self.unanswered(batch)

    def now_us(self) -> int:
        return int(self.now() * 1e6)

    def outage(self, doubt: UnansweredCall | None = None) -> Outage:
        """What there is to decide by without Redis, now."""
        return Outage(self.now_us(), self.replicas.count, doubt)

    def sweep(self) -> None:
        """Whatever became of a batch, its requests are decided: no link may keep them for longer."""
        overdue = self.now() - GRACE_SECONDS
        for batch in [batch for batch in self._pending if batch.deadline < overdue]:
            self.count_error("stuck")
            self.unanswered(batch)

    def _note_foreign(self, count: int) -> None:
        """Said once a minute at most: who writes into our keys may do it often."""
        for _ in range(count):
            self.count_error(FOREIGN_KEY)
        if self.now() >= self._foreign_at:
            self._foreign_at = self.now() + FOREIGN_SECONDS
            event(_log, logging.WARNING, "keys of the store hold something else", keys=count)

    def count_error(self, reason: str) -> None:
        self._figures.count_error(reason)
