"""What a store of buckets is: it decides whether a request may take its tokens, now or a little later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.policy.decision import Charge, Decision
    from proxy.policy.limits import Limits


class Waiter(Protocol):
    """Who is told of a decision that was not known at once."""

    def decided(self, decision: Decision) -> None: ...


class Store(Protocol):
    def take(self, charges: Sequence[Charge], waiter: Waiter) -> Decision | None:
        """The decision if it is known at once; else None, and `waiter.decided` is called once, later, from the loop."""

    def configure(self, limits: Limits) -> None:
        """Called at the start and after a reload: buckets of limits that keep their name stay."""

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    def sweep(self) -> None:
        """Called now and then: forgets what is full again."""

    def status(self) -> dict[str, object]:
        """For /status and the detail of /readyz."""

    @property
    def is_up(self) -> bool: ...
