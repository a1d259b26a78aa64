"""How far an address is to be trusted: passive ejection with growing backoff, active checks, slow start.

An address that fails several times in a row is ejected, for longer each time; one that fails its health
checks is left out until it passes them again; one that comes back gets its share step by step. Rules after
Envoy's outlier detection and slow start (envoyproxy.io, architecture overview: outlier, slow_start) and
HAProxy's rise and fall. Knows no clock and no socket: `now`, in seconds, comes in.
"""

from __future__ import annotations

from typing import Final, NamedTuple

STEEP: Final = 2.0  # each ejection lasts this many times the one before
LEAST_SHARE: Final = 0.1  # of its weight, at the beginning of a slow start (Envoy: min_weight_percent)

SERVING: Final = "serving"
RETURNING: Final = "returning"
EJECTED: Final = "ejected"
UNHEALTHY: Final = "unhealthy"
STATES: Final = (SERVING, RETURNING, EJECTED, UNHEALTHY)


class Trust(NamedTuple):
    """What an address's standing is judged by."""

    failures: int  # in a row, then it is ejected; 0: never
    first: float  # seconds that the first ejection lasts
    longest: float  # seconds
    slow_start: float  # seconds until a server that is back has its whole share
    rise: int  # health checks in a row until it is well
    fall: int  # ... and until it is not


class Standing:
    """How far one address is trusted, in one process."""

    __slots__ = ("_back_at", "_checks", "_lasted", "_trust", "ejected_until", "failures", "is_healthy")

    def __init__(self, trust: Trust) -> None:
        self._trust = trust
        self.failures = 0  # in a row; what answers sets it back to 0
        self.ejected_until: float | None = None
        self.is_healthy = True  # until checks say otherwise
        self._lasted = 0.0  # seconds of its last ejection
        self._back_at: float | None = None
        self._checks = 0  # in a row that speak against the state it is in

    def state(self, now: float) -> str:
        if not self.is_healthy:
            return UNHEALTHY
        if self.ejected_until is not None:
            return EJECTED
        return RETURNING if self.share(now) < 1 else SERVING

    @property
    def is_fit(self) -> bool:
        """It may be chosen."""
        return self.is_healthy and self.ejected_until is None

    def share(self, now: float) -> float:
        """How much of its weight it gets: less than 1 for a while once it is back."""
        if self._back_at is None or now - self._back_at >= self._trust.slow_start:
            return 1.0
        return max(LEAST_SHARE, (now - self._back_at) / self._trust.slow_start)

    # --- what requests meet ---

    def failed(self) -> bool:
        """One more failure; true if it should be ejected."""
        self.failures += 1
        return self.ejected_until is None and 0 < self._trust.failures <= self.failures

    def answered(self) -> None:
        self.failures = 0

    def eject(self, now: float) -> float:
        """Keeps it out, for as many seconds as are returned: longer than the last time, unless it has been
        well for as long since.
        """
        trust = self._trust
        is_relapse = self._lasted and self._back_at is not None and now - self._back_at <= self._lasted
        seconds = min(self._lasted * STEEP, trust.longest) if is_relapse else trust.first
        self._lasted = seconds
        self.ejected_until = now + seconds
        return seconds

    def returns(self, now: float) -> bool:
        """Whether its ejection ends now. The next failure is then enough for another one."""
        if self.ejected_until is None or now < self.ejected_until:
            return False
        self.restore(now)
        return True

    def restore(self, now: float) -> None:
        """Its ejection ends, whatever was left of it."""
        self.ejected_until = None
        self._back_at = now
        self.failures = max(0, self._trust.failures - 1)

    # --- what health checks find ---

    def checked(self, now: float, *, is_well: bool) -> bool:
        """True if that changes whether it is healthy."""
        if is_well == self.is_healthy:
            self._checks = 0
            return False
        self._checks += 1
        if self._checks < (self._trust.rise if is_well else self._trust.fall):
            return False
        self._checks = 0
        self.is_healthy = is_well
        if is_well:
            self._back_at = now
        return True
