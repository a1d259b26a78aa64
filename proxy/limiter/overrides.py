"""Keys that an operator has blocked, or granted another rate, each until a moment. That stands above the
limit's own rate and above plans; a block also above shadow mode.

A store asks before it looks at a bucket, and only while there are any. A key of a limit has one override, the
last that was made. Knows nothing of where buckets live, and no clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from proxy.config.units import Rate  # noqa: TC001 - compiled, the fields of a named tuple are looked up
from proxy.policy.decision import BLOCK, Charge, Decision, Verdict
from proxy.policy.terms import Tariff, Terms

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    LimitKey = tuple[str, bytes]  # a limit's name and a key of it

OVERRIDES_MAX: Final = 1000  # of a service: an operator names them one by one; each is read every second
GRANTED_MAX: Final = 1000  # terms that grants were charged by; a store keeps something for each


class Override(NamedTuple):
    until_us: int  # by the clock of the store
    rate: Rate | None = None  # None: blocked
    burst: int = 0

    @property
    def is_block(self) -> bool:
        return self.rate is None

    def is_like(self, other: Override | None) -> bool:
        """But for the moment at which it ends."""
        return other is not None and (self.rate, self.burst) == (other.rate, other.burst)

    def granted(self, terms: Terms) -> Terms:
        """What a request is charged by in place of these terms."""
        assert self.rate is not None
        tariff = Tariff(self.rate, self.burst, f"grant of {self.rate}, burst {self.burst}")
        granted = Terms(
            terms.limit, tariff, terms.cost, is_shadow=terms.is_shadow, is_newcomer=terms.is_newcomer
        )
        granted.own, granted.newcomer = terms.own, terms.newcomer
        return granted


class Home(Protocol):
    """A store, as far as it must hear of overrides."""

    def learn_terms(self, terms: Terms) -> None:
        """Requests may be charged by these from now on."""

    def unlearn_terms(self, terms: Terms) -> None:
        """They are charged by these no longer."""

    def doubt_key(self, limit: str, key: bytes) -> None:
        """Its bucket may be fuller than it was known to be: it has refilled, or will, at another rate."""


class Overrides:
    __slots__ = ("_blocking", "_granted", "_home", "by_key")

    def __init__(self, home: Home) -> None:
        self._home = home
        self.by_key: dict[bytes, dict[str, Override]] = {}  # always the same dict: hot code looks at it
        self._granted: dict[tuple[Terms, Rate, int], Terms] = {}  # by what a request would be charged by
        self._blocking: dict[Terms, Terms] = {}

    # --- every request, while there are any ---

    def apply(self, charges: Sequence[Charge], now_us: int) -> tuple[Sequence[Charge], Decision | None]:
        """What is charged instead; and if one of the keys is blocked, the refusal."""
        found = [self.find(charge.terms.name, charge.key, now_us) for charge in charges]
        blocked = [
            self._refused(charge, override.until_us - now_us)
            for charge, override in zip(charges, found, strict=True)
            if override is not None and override.rate is None
        ]
        if blocked:
            return charges, Decision(False, blocked, BLOCK)  # noqa: FBT003 - is_admitted
        for override in found:
            if override is not None:
                return [self._charge(*each) for each in zip(charges, found, strict=True)], None
        return charges, None

    def find(self, limit: str, key: bytes, now_us: int) -> Override | None:
        of_key = self.by_key.get(key)
        override = of_key.get(limit) if of_key is not None else None
        if override is not None and override.until_us <= now_us:
            self.put((limit, key), None)
            return None
        return override

    def told(self, limit_key: LimitKey, now_us: int) -> tuple[Override, float] | None:
        """Each, with the seconds until it ends."""
        found = self.find(*limit_key, now_us)
        return (found, (found.until_us - now_us) / 1e6) if found is not None else None

    def _charge(self, charge: Charge, override: Override | None) -> Charge:
        terms = charge.terms
        if override is None or override.rate is None or terms.slots:  # a rate is granted to limits on rates
            return charge
        name = terms, override.rate, override.burst
        granted = self._granted.get(name)
        if granted is None:
            if len(self._granted) >= GRANTED_MAX:
                self._forget_granted()
            granted = self._granted[name] = override.granted(terms)
            self._home.learn_terms(granted)
        return Charge(granted, charge.key)

    def _forget_granted(self) -> None:
        """Those that are in force come back with their next request."""
        for terms in self._granted.values():
            self._home.unlearn_terms(terms)
        self._granted.clear()

    def _refused(self, charge: Charge, left_us: int) -> Verdict:
        """Refuses for what is left of the block; whoever blocks a key means it, in shadow too."""
        terms = charge.terms
        if terms.is_shadow:
            if terms not in self._blocking:
                self._blocking[terms] = Terms(terms.limit, terms.tariff, terms.cost)
            terms = self._blocking[terms]
        debt = terms.ceiling_units - terms.cost_units + left_us * terms.scale
        return Verdict(Charge(terms, charge.key), False, debt)  # noqa: FBT003 - is_admitted

    # --- now and then ---

    def put(self, limit_key: LimitKey, override: Override | None) -> bool:
        """The override of a key; None takes it away. Whether it had one."""
        limit, key = limit_key
        of_key = self.by_key.pop(key, {})
        before = of_key.pop(limit, None)
        if override is not None:
            of_key[limit] = override
        if of_key:
            self.by_key[key] = of_key
        if override is None or not override.is_like(before):
            self._home.doubt_key(limit, key)
        return before is not None

    def replace(self, all_of_them: Mapping[LimitKey, Override]) -> None:
        """There are these, and no others."""
        for limit_key in self.limit_keys():
            if limit_key not in all_of_them:
                self.put(limit_key, None)
        for limit_key, override in all_of_them.items():
            self.put(limit_key, override)

    def limit_keys(self) -> list[LimitKey]:
        return [(limit, key) for key, of_key in self.by_key.items() for limit in of_key]

    def reconfigure(self) -> None:
        """Overrides stay; what was made of the limits before goes. The store has forgotten it already."""
        self._granted.clear()
        self._blocking.clear()

    def sweep(self, now_us: int) -> None:
        if self.by_key:
            for limit, key in self.limit_keys():
                self.find(limit, key, now_us)

    def __len__(self) -> int:
        return sum([len(of_key) for of_key in self.by_key.values()])
