"""Tokens of busy buckets that were taken from Redis at once and are spent here, for a limit with `lease: N`.

A lease is asked for behind the request that needs a token anyway, by a bucket that is asked for often
enough to spend it in time; it takes all of its tokens or none. It is held for `LEASE_SECONDS`; what is left
then is lost. So no token is spent that was not taken before: admitted is never more than the limit, and in
any time t at most burst + rate * (t + LEASE_SECONDS). Knows nothing of connections, and no clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.policy.decision import LEASE, Decision, Verdict

if TYPE_CHECKING:
    from proxy.limiter.cache import TermsCache
    from proxy.policy.decision import Charge

LEASE_SECONDS = 0.1
LEASE_US = int(LEASE_SECONDS * 1e6)


class Leases:
    """Tokens that were taken ahead for busy keys of one limit's terms."""

    __slots__ = ("_asked_us", "_awaited_us", "_cache", "_held", "_pace_us", "_tokens")

    def __init__(self, cache: TermsCache) -> None:
        lease = cache.limit.lease
        self._cache = cache
        self._tokens = lease - 1  # the request that asks takes its own
        self._pace_us = LEASE_US // lease  # between two requests: slower ones would leave tokens unused
        self._held: dict[bytes, tuple[int, int]] = {}  # requests that may pass, and until when
        self._asked_us: dict[bytes, int] = {}  # when a bucket was last asked for
        self._awaited_us: dict[bytes, int] = {}  # until when a lease that was asked for is awaited

    def spend(self, charge: Charge, now_us: int) -> Decision | None:
        """Admitted by what is held, if there is any."""
        key = charge.key
        held = self._held.get(key)
        if held is None:
            return None
        left, until_us = held
        if now_us >= until_us:
            del self._held[key]
            return None
        left -= 1
        if left:
            self._held[key] = left, until_us
        else:
            del self._held[key]
        cache = self._cache
        debt = cache.known_verdict(charge, now_us).debt - left * charge.terms.cost_units
        return Decision(True, [Verdict(charge, True, max(debt, 0))], LEASE)  # noqa: FBT003 - is_admitted

    def is_wanted(self, key: bytes, now_us: int) -> bool:
        """Requests come fast enough, and none is on its way."""
        before_us = self._asked_us.get(key)
        self._asked_us[key] = now_us
        if before_us is None or now_us - before_us > self._pace_us or now_us < self._awaited_us.get(key, 0):
            return False
        self._awaited_us[key] = now_us + LEASE_US // 2
        return True

    def granted(self, key: bytes, sent_us: int) -> None:
        """Counted from the moment it was asked for."""
        self._held[key] = self._tokens, sent_us + LEASE_US
        self._awaited_us.pop(key, None)

    # --- now and then ---

    def forget(self, key: bytes) -> None:
        for table in (self._held, self._asked_us, self._awaited_us):
            if key:
                table.pop(key, None)
            else:
                table.clear()

    def sweep(self, now_us: int) -> None:
        """What is held no longer, and buckets that nobody asked for lately."""
        self._held = {key: held for key, held in self._held.items() if held[1] > now_us}
        self._asked_us = {key: at for key, at in self._asked_us.items() if now_us - at <= LEASE_US}
        self._awaited_us = {key: until for key, until in self._awaited_us.items() if until > now_us}
