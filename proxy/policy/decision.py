"""What is asked of the limits and what they answer: a charge and a verdict for each bucket, a decision for the request."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from proxy import faults

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.faults import Fault
    from proxy.policy.limits import Limit


class Charge(NamedTuple):
    """A limit that a request is charged to, and whose bucket."""

    limit: Limit
    key: bytes  # hash of the partition key


class Verdict:
    """One bucket's answer."""

    __slots__ = ("is_admitted", "limit", "next_token", "remaining", "retry_after")

    def __init__(
        self, limit: Limit, is_admitted: bool, remaining: int, retry_after: float, next_token: float
    ) -> None:
        self.limit = limit
        self.is_admitted = is_admitted
        self.remaining = remaining  # whole tokens left
        self.retry_after = retry_after  # seconds until this cost fits; 0.0 if admitted
        self.next_token = next_token  # seconds until there is one more; 0.0 if the bucket is full


class Decision:
    """The answer for the request: all enforced limits admit it, or it is refused and nothing was taken."""

    __slots__ = ("fault", "is_admitted", "verdicts", "via")

    def __init__(
        self, is_admitted: bool, verdicts: Sequence[Verdict], via: str, fault: Fault = faults.LIMITED
    ) -> None:
        self.is_admitted = is_admitted
        self.verdicts = verdicts  # of enforced and shadow limits
        self.via = via  # store, denial_cache or local
        self.fault = fault  # how a refusal is answered

    @property
    def refusals(self) -> list[Verdict]:
        """The verdicts that refused the request."""
        return [
            verdict for verdict in self.verdicts if not verdict.is_admitted and not verdict.limit.is_shadow
        ]
