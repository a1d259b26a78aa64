"""Slots in Redis: held there from the decision on, renewed as long as their requests last, then vacated.

Every beat tells Redis of those that it has not been told of for `RENEW_US`, so whatever it has lost is true
again then. A replica that dies tells nothing, and its slots come back by themselves (slots.lua). What could
not be told is owed until Redis has heard it, or has forgotten the slot. Knows nothing of requests.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, Protocol

from proxy.limiter.records import (
    RENEW,
    SLOT_LIFE_US,
    VACATE,
    pack_count,
    pack_head,
    pack_holder,
    shard_of,
    slot_record,
)
from proxy.limiter.replies import numbers
from proxy.limiter.rounds import heard, rounds
from proxy.limiter.scripts import key_prefix
from proxy.limiter.trouble import TroubleError
from proxy.policy.decision import Decision
from proxy.policy.slots import DOUBTED, TOLD, UNTOLD

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from proxy.limiter.held import HeldSlots
    from proxy.limiter.link import Link
    from proxy.limiter.operations import Operation
    from proxy.limiter.outage import Outage
    from proxy.limiter.records import Names
    from proxy.limiter.scripts import Script
    from proxy.policy.decision import Charge
    from proxy.policy.slots import Slot

RENEW_US: Final = SLOT_LIFE_US // 4  # two beats may fail, and another be late
ROUND_SLOTS: Final = 256  # told in one call: half a millisecond of Redis's time

SlotWord = tuple[int, "Slot"]  # what is told of it: RENEW or VACATE


class TellSlot(Protocol):
    def __call__(self, operation: Operation, charges: Sequence[Charge]) -> None:
        """Puts it into this tick's batch, or at once says that it cannot be told."""


# What a slot may be, for the place where buckets live. It is one of these at any time, and ends as none:
#
#   held, UNTOLD    the next beat tells, and its end needs no word.
#   held, TOLD      it is told again `RENEW_US` later.
#   held, DOUBTED   the next beat tells.
#   owed            held no more, and Redis may take it for held. It is told when its link opens, beats or is
#                   left; a word that gets lost leaves it owed.


class Keeping:
    """`process` tells replicas apart, and is no secret; `script` is the one of take.lua."""

    def __init__(self, held: HeldSlots, names: Names, process: int, script: Script, tell: TellSlot) -> None:
        self.held = held
        self.script = script
        self._names = names
        self._process = process
        self._tell = tell
        self.owed: OrderedDict[Slot, int] = OrderedDict()  # since when, oldest first

    def holder(self, slot: Slot) -> bytes:
        return pack_holder(self._process, slot.number)

    def key(self, charge: Charge) -> bytes:
        """The name of its bucket, packed for a call."""
        return key_prefix(self._names.slots(charge.terms.name, shard_of(charge.key), charge.key), 0)

    # --- what becomes of a slot ---

    def granted(self, slot: Slot, sent_us: int) -> None:
        """Notes a slot that Redis gave, which was asked then."""
        slot.tell(sent_us)
        self.held.hold(slot)

    def vacate(self, slots: Sequence[Slot]) -> None:
        """What was decided without Redis, which has not been told of it, it need not hear of."""
        for slot in slots:
            if self.held.let_go(slot) and slot.state != UNTOLD:
                self._tell(Telltale(self, VACATE, slot), [slot.charge])

    def owe(self, slot: Slot, now_us: int) -> None:
        """It is held no more, and Redis may take it for held. What Redis has forgotten by now is dropped."""
        self.owed[slot] = now_us
        self.owed.move_to_end(slot)
        while now_us - next(iter(self.owed.values())) > SLOT_LIFE_US:
            self.owed.popitem(last=False)

    def paid(self, words: Iterable[SlotWord]) -> None:
        """Redis has heard them. Who was renewed may have ended meanwhile: that is owed still."""
        for kind, slot in words:
            if kind == VACATE:
                self.owed.pop(slot, None)

    def end(self, now_us: int) -> None:
        """This process does: nothing is held any more."""
        for slot in list(self.held.slots):
            if self.held.let_go(slot) and slot.state != UNTOLD:
                self.owe(slot, now_us)

    def doubt_all(self) -> None:
        """Another server is asked from now on, or has been until now."""
        for slot in self.held.slots:
            slot.state = DOUBTED

    # --- what Redis is told ---

    async def renew(self, link: Link) -> None:
        """Tells a link's server what it has not been told of for long, with every beat."""
        since_us = int(link.now() * 1e6) - RENEW_US
        for part in _rounds(link, self._due(link, since_us)):
            self._renew([(kind, slot) for kind, slot in part if self._is_due(kind, slot, since_us)], link)
            await asyncio.sleep(0)  # there may be one for each connection

    def renew_all(self, link: Link) -> None:
        """What its server has not been told of for long, at once."""
        self._renew(self._due(link, int(link.now() * 1e6) - RENEW_US), link)

    def _renew(self, words: Iterable[SlotWord], link: Link) -> None:
        now_us = int(link.now() * 1e6)
        for kind, slot in words:
            slot.tell(now_us)
            self.owed.pop(slot, None)  # whoever tells of it owes it again if that fails
            self._tell(Telltale(self, kind, slot), [slot.charge])

    def _is_due(self, kind: int, slot: Slot, told_before_us: int) -> bool:
        """Still, after others have had their turn."""
        if kind == VACATE:
            return slot in self.owed
        return _is_to_be_told(slot, told_before_us) and slot in self.held.slots

    async def tell_all(self, link: Link) -> None:
        """When a link opens. On return the last round is on its way. Raises TroubleError."""
        since_us = int(link.now() * 1e6)
        due = self._due(link, since_us)
        while len(due) > ROUND_SLOTS:
            for part in _rounds(link, due):
                await self._tell_round(link, part)
                self.paid(part)
            due = self._due(link, since_us)
        for part in _rounds(link, due):
            link.post(_Report(self, part, link.deadline()))

    async def leave(self, link: Link) -> None:
        """Nothing more will be said there: it hears what is owed. Raises TroubleError.

        Of what is held it hears nothing: the place that has been gone over to may be the same server. What is
        owed stays so, since that place is owed it too.
        """
        for part in _rounds(link, self._owed_to(link)):
            await self._tell_round(link, part)

    async def _tell_round(self, link: Link, words: Sequence[SlotWord]) -> None:
        """Raises TroubleError."""
        _judge(await link.ask(_Report(self, words, link.deadline()).data), link, len(words))

    def _due(self, link: Link, told_before_us: int) -> list[SlotWord]:
        """Slots that the link leads to, told of before that moment, or never."""
        shards = frozenset(link.shards)
        due = [
            (RENEW, slot)
            for slot in self.held.slots
            if _is_to_be_told(slot, told_before_us) and shard_of(slot.charge.key) in shards
        ]
        return due + self._owed_to(link)

    def _owed_to(self, link: Link) -> list[SlotWord]:
        shards = frozenset(link.shards)
        return [(VACATE, slot) for slot in self.owed if shard_of(slot.charge.key) in shards]


class Telltale:
    """Tells Redis of one slot, for nobody who waits."""

    __slots__ = ("_keeping", "_kind", "_slot", "record", "width")

    def __init__(self, keeping: Keeping, kind: int, slot: Slot) -> None:
        self._keeping = keeping
        self._kind = kind
        self._slot = slot
        self.width = 1
        self.record = slot_record(kind, keeping.holder(slot))

    def keys(self, charges: Sequence[Charge]) -> list[bytes]:
        return [self._keeping.key(charge) for charge in charges]

    def decision(self, charges: Sequence[Charge], answers: list[int], at: int, sent_us: int) -> Decision:  # noqa: ARG002 - there is nothing to decide
        return Decision(True, [])  # noqa: FBT003 - is_admitted

    def without_redis(self, charges: Sequence[Charge], outage: Outage) -> Decision | None:  # noqa: ARG002 - nobody waits for a decision
        if self._kind == VACATE:
            self._keeping.owe(self._slot, outage.now_us)
        else:
            self._slot.state = DOUBTED
        return None


class _Report:
    """Some slots, told of when they are sent."""

    can_wait = False

    def __init__(self, keeping: Keeping, words: Sequence[SlotWord], deadline: float) -> None:
        self.deadline = deadline
        self._keeping = keeping
        self._words = words

    def data(self, link: Link) -> bytes:
        keeping = self._keeping
        now_us = int(link.now() * 1e6)
        keys, plan = [], [pack_head(link.clock.server_us(int(self.deadline * 1e6)), 0, 0, 0)]
        for kind, slot in self._words:
            slot.tell(now_us)
            keys.append(keeping.key(slot.charge))
            plan.append(pack_count(1) + slot_record(kind, keeping.holder(slot)))
        return keeping.script.full_call(keys, b"".join(plan))

    def replied(self, reply: Any, link: Link) -> None:
        try:
            _judge(reply, link, len(self._words))
        except TroubleError as trouble:
            link.fail(trouble)
        else:
            self._keeping.paid(self._words)

    def failed(self) -> None:
        """The link is down again: whoever opens it next tells all, and what is owed is owed still."""


def _is_to_be_told(slot: Slot, told_before_us: int) -> bool:
    return slot.state != TOLD or slot.told_us < told_before_us


def _rounds(link: Link, words: Sequence[SlotWord]) -> Iterator[list[SlotWord]]:
    return rounds(link, words, _key, ROUND_SLOTS)


def _key(word: SlotWord) -> bytes:
    return word[1].charge.key


def _judge(reply: Any, link: Link, told: int) -> None:
    """Raises TroubleError if the server was not told of so many."""
    numbers(heard(reply, link), told + 2, link.name)
