"""The configs of a run, drawn: limits and what they do, and how they differ from reload to reload."""

from __future__ import annotations

import hashlib
from math import floor
from typing import TYPE_CHECKING, Any

from tests.simulation.gateways import CONNECT_SECONDS, read, written

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from proxy.config.settings import Settings
    from tests.simulation.services import Service

USERS = ("ann", "ben", "eve")
BUYER = "ben"  # has a plan, in some configs
EJECTED_SECONDS = 1.0  # at the most
WAIT_SECONDS = 0.25  # for a token, where requests may wait
QUIET_SECONDS = 2.0  # a 429 of the service closes a bucket for one, and clocks may be late


class Drawn:
    def __init__(self, random: Random) -> None:
        draw = random.choice
        self.aborts_half_closed = draw([True, False])
        self.has_queue = draw([True, False, False, False])
        self._waits = draw([True, False])
        self._common: dict[str, Any] = {
            "key": ["header:X-Auth-Token", "client-ip"],
            "max_wait": f"{int(WAIT_SECONDS * 1000)}ms" if self._waits else "0s",
            "cost_304": draw([0, None]),
            "on_upstream_429": draw(["drain", "ignore", "ignore"]),
            "on_upstream_401": draw(["address", "keep", "keep"]),
            "on_store_error": draw(["local", "local", "allow", "deny"]),
            "cost": (cost := draw([1, 1, 2])),
            "lease": draw([1, 1, 2]) if cost == 1 else 1,  # both would take more than the smallest burst
        }
        self._edge_etags = draw([True, False])
        self._rates = [self._rate(random)]
        if draw([True, False, False]):
            self._rates.append(self._rate(random))
        self._has_second = draw([True, False])
        self._has_plan = draw([True, False, False])
        self._turn = 0

    def _rate(self, random: Random) -> tuple[int, int]:
        return random.choice([3, 6, 11]), random.choice([2, 4, 7])

    @property
    def highest_rate(self) -> float:
        return max(30.0, *(rate for rate, _ in self._rates))

    @property
    def _now(self) -> tuple[int, int]:
        return self._rates[self._turn % len(self._rates)]

    def turn(self) -> None:
        """The next config: rates, and every other time a limit and a plan less or more."""
        self._turn += 1

    def _plan_of(self, user: str) -> tuple[int, int] | None:
        return (20, 10) if user == BUYER and self._has_plan and self._turn % 2 == 0 else None

    def most_at_once(self, user: str) -> int:
        """Requests."""
        rate, burst = self._plan_of(user) or self._now
        waiting = rate * WAIT_SECONDS if self._waits else 0
        return floor((burst + waiting) / self._common["cost"])

    def most_lost(self, replicas: int) -> int:
        """Requests whose tokens the leases of so many replicas may keep from others."""
        return (self._common["lease"] - 1) * replicas

    @property
    def seconds_to_full(self) -> float:
        return QUIET_SECONDS + max((burst + 2) / rate for rate, burst in [*self._rates, (20, 10), (2, 3)]) + 1

    @property
    def told(self) -> str:
        return f"{self._now}, plan: {self._plan_of(BUYER)}, turn {self._turn}"

    def __repr__(self) -> str:
        return f"{self._rates} {self._common}, queue: {self.has_queue}"

    def settings(self, services: Sequence[Service]) -> Settings:
        rate, burst = self._now
        limits: list[dict[str, Any]] = [{"name": "own", "rate": f"{rate}/s", "burst": burst} | self._common]
        plans = []
        if self._plan_of(BUYER):
            digest = hashlib.sha256(BUYER.encode()).hexdigest()
            plans.append({"name": "bought", "rate": "20/s", "burst": 10, "keys": [f"sha256:{digest}"]})
            limits[0]["plans"] = ["bought"]
        if self._has_second and self._turn % 2 == 0:
            limits.append(
                {"name": "second", "rate": "2/s", "burst": 3, "match": {"paths": ["/s/*"]}} | self._common
            )
        return read(
            written(
                {
                    "listen": "127.0.0.1:0",
                    "downstream": {
                        "timeouts": {"head": "1s", "body": "1s", "idle": "2s", "tunnel": "1500ms"},
                        "half_close": "abort" if self.aborts_half_closed else "answer",
                    },
                    "upstream": {
                        "servers": [f"http://127.0.0.1:{service.port}" for service in services],
                        "timeouts": {
                            "connect": f"{int(CONNECT_SECONDS * 1000)}ms",
                            "response": "1s",
                            "idle": "1500ms",
                        },
                        "limits": {"connections": 2, "queue": 4, "wait": "300ms"} if self.has_queue else {},
                        "ejection": {"failures": 3, "first": "500ms", "longest": "1s"},
                        "slow_start": "0s",
                    },
                    "store": {"url": "redis://redis.test:6379"},
                    "plans": plans,
                    "limits": limits,
                    "contract": {"edge_etags": self._edge_etags},
                }
            )
        )
