"""What the limit of a run does beside its rate, drawn: one thing at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxy.config.sections.limits import LimitSettings
from proxy.limiter.leases import LEASE_SECONDS
from proxy.policy.decision import Charge
from proxy.policy.limits import compile_limits

if TYPE_CHECKING:
    from random import Random

    from proxy.policy.limits import Limits

RATES, BURSTS = (2, 5, 10), (2, 3, 8)
BESIDE: tuple[dict[str, Any], ...] = ({}, {}, {}, {"cost": 2}, {"lease": 3}, {"mode": "shadow"})
WITHOUT_STORE: tuple[dict[str, Any], ...] = (
    {}, {}, {"on_store_error": "allow"}, {"on_store_error": "deny"},
)  # fmt: skip
LEASED_RATE, LEASED_BURST = 20, 8  # a lease is for busy buckets


class Extra:
    """The settings, and what they mean for what may be expected."""

    def __init__(self, random: Random) -> None:
        self.settings = random.choice(BESIDE) | random.choice(WITHOUT_STORE)
        self.cost: int = self.settings.get("cost", 1)
        self.is_leased = "lease" in self.settings
        self.is_shadow = "mode" in self.settings
        self.without_store: str = self.settings.get("on_store_error", "local")
        self.lag = LEASE_SECONDS if self.is_leased else 0.0  # that tokens may be held before they are spent

    def rate(self, random: Random) -> tuple[int, int]:
        """A rate and a burst."""
        rate, burst = random.choice(RATES), random.choice(BURSTS)
        return (LEASED_RATE, LEASED_BURST) if self.is_leased else (rate, max(burst, 2 * self.cost))

    def limits(self, rate: int, burst: int) -> Limits:
        """And one that everybody shares, and that is ample."""
        own = LimitSettings(name="own", rate=f"{rate}/s", burst=burst, key=["const"], **self.settings)
        shared = LimitSettings(name="shared", rate="100000/s", burst=1000, key=["const"])
        return compile_limits([own, shared], b"secret")

    def most_lost(self, replicas: int) -> int:
        """Requests whose tokens the leases of these may keep from others."""
        return (self.settings["lease"] - 1) * replicas if self.is_leased else 0

    def __repr__(self) -> str:
        return str(self.settings)


def charge(limit: Any, key: bytes) -> Charge:
    (terms,) = limit
    return Charge(terms, key)
