"""What a store of buckets is: it is given charges and gives a decision, all of them or none taken.

Stores share the arithmetic of policy/gcra.py and one suite of tests; where the buckets live is all that
differs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.config.sections.store import StoreSettings
    from proxy.limiter.held import HeldSlots
    from proxy.limiter.overrides import LimitKey, Override
    from proxy.limiter.proven import Proven
    from proxy.policy.decision import Charge, Decision
    from proxy.policy.limits import Limit, Limits
    from proxy.policy.slots import Slot
    from proxy.policy.terms import Terms
    from proxy.policy.upstream_429 import Debt
    from proxy.policy.vouching import Transfer, Word


class Waiter(Protocol):
    """Who asked for a decision."""

    def decided(self, decision: Decision) -> None:
        """Is called once, later, from the loop; never within `take`. Never raises."""


class Nobody:
    """Waits for tokens that are given back, for buckets that are emptied and for leases."""

    def decided(self, decision: Decision) -> None:
        """Nobody minds."""


NOBODY: Final = Nobody()


def obey(store: Store, word: Word) -> None:
    """Does what an answer of the service says of the credentials of its request."""
    for key in word.proven:
        store.proven.add(key)
    if word.back:
        store.give_back(word.back)
    for move in word.moves:
        payer = Payer(store, move)
        decision = store.take([move.taken], payer)
        if decision is not None:
            payer.decided(decision)


class Payer:
    """Gives keys their tokens back once another bucket has paid them: no sooner, and not if it has none."""

    def __init__(self, store: Store, move: Transfer) -> None:
        self._store = store
        self._move = move

    def decided(self, decision: Decision) -> None:
        if all(verdict.is_admitted for verdict in decision.verdicts):
            for verdict in self._move.verdicts:
                verdict.tell_returned()
            self._store.give_back(self._move.back)


class UnreachableError(Exception):
    """Nothing can be told of buckets now, or be done to them; the message says why."""


class CrowdedError(Exception):
    """So many keys are blocked or have a grant that there is no room for another."""


class Keys(Protocol):
    """What operators look at and change of one key of a limit."""

    async def reset(self, limit: Limit, key: bytes) -> int:
        """Fills a bucket up, or without a key all of the limit's; how many were not full.

        Raises UnreachableError.
        """

    async def debt(self, terms: Terms, key: bytes) -> int:
        """What is missing in a bucket, in units of the terms; nothing changes. Raises UnreachableError."""

    async def under_way(self, limit: Limit, key: bytes) -> int:
        """How many requests hold a slot of a bucket, everywhere. Raises UnreachableError."""

    def override(self, limit_key: LimitKey) -> tuple[Override, float] | None:
        """Whether a key is blocked or has a grant, and for how many seconds."""

    async def put_override(self, limit_key: LimitKey, override: Override, seconds: float) -> None:
        """Here at once, on other replicas within a beat, in place of the one before; its moment is set here.

        Raises UnreachableError and CrowdedError.
        """

    async def release(self, limit_key: LimitKey) -> bool:
        """Whether the key was blocked or had a grant. Raises UnreachableError."""


class Store(Protocol):
    held: HeldSlots  # slots of limits on concurrency, by the requests that were decided here
    proven: Proven  # credentials that the service has vouched for
    max_keys: int  # buckets of a limit that are held in memory; a change counts from the next `configure` on

    @property
    def keys(self) -> Keys: ...

    @property
    def is_up(self) -> bool:
        """Decisions are exact: the buckets can be reached."""

    def take(self, charges: Sequence[Charge], waiter: Waiter) -> Decision | None:
        """The decision, if it is known at once; else None, and `waiter` gets it later.

        There is at least one charge, each to another bucket: a limit may be there twice, with different
        keys. All are of the limits last configured.
        """

    def give_back(self, charges: Sequence[Charge]) -> None:
        """Tokens that were taken come back, none beyond full; what cannot be reached now keeps them."""

    def vacate(self, slots: Sequence[Slot]) -> None:
        """Requests that held them have ended. One that is not held (any more) is passed over."""

    def empty(self, debts: Sequence[Debt]) -> None:
        """Buckets have at least so much debt from now on. Nobody is told; unknown limits are passed over."""

    def adopt(self, settings: StoreSettings) -> None:
        """What a reload can change of the store itself; it counts from the next `configure` on."""

    def configure(self, limits: Limits) -> None:
        """Takes limits. After a reload one of the same name keeps its buckets, also at a new rate."""

    async def bring_over(self) -> None:
        """Takes over, in turns, buckets that `configure` left; what is asked for meanwhile comes at once."""

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    def sweep(self) -> None:
        """Forgets what is full again; is called about once a second or more often."""

    def status(self) -> dict[str, object]:
        """What people are told, as JSON; no partition key and no secret."""
