"""What each logged request is charged, by the compiled policy that the gateway runs.

Requests that are alike in all that the limits look at are charged alike: they are asked for once. Knows
nothing of buckets, files and formats.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from proxy import faults
from proxy.faults import Fault
from proxy.tuning.told_heads import ToldHeads, said

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.config.sections.limits import LimitSettings
    from proxy.config.settings import Settings
    from proxy.policy.decision import Charge
    from proxy.policy.limits import Limit
    from proxy.rules.rules import Rules
    from proxy.tuning.formats import Logged

DUES_KNOWN = 50_000  # 25 MB

# What becomes of tokens once the answer is there.
KEEPS: Final = 0
GIVES_BACK: Final = 1  # a 304 (`cost_304: 0`)
EMPTIES: Final = 2  # a 429 of the service (`on_upstream_429: drain`)


class Due:
    """What a request is charged."""

    __slots__ = ("charges", "exempt", "is_single", "labels")

    def __init__(self, charges: Sequence[Charge], exempt: Sequence[Limit], labels: Sequence[str]) -> None:
        self.charges = charges
        self.exempt = exempt  # limits that match and let it be
        self.is_single = len(charges) == 1 and not exempt
        self.labels = labels  # of the charges' keys: what the log calls them, or their hashes


NOTHING = Due((), (), ())


class Answered(NamedTuple):
    """A request whose answer does something to its tokens, so long after it came."""

    due: Due
    effect: int
    delay_us: int


class Charging:
    """For one config."""

    def __init__(self, settings: Settings, rules: Rules, logged: Sequence[LimitSettings] = ()) -> None:
        """`logged` are the limits of the config that wrote the log, where that is another one."""
        self._rules = rules
        self._heads = ToldHeads(settings.limits, logged)
        self._known: dict[tuple[object, ...], Due] = {}
        contract = settings.contract
        refuses = contract.known_paths or contract.allow_methods or contract.path_methods
        self._asks_target = not rules.limits.is_static or bool(refuses)
        self._asks_query = any(
            part.kind == "query" for limit in settings.limits for spec in limit.key for part in spec.parts
        )
        self._has_effects = rules.limits.gives_back or rules.limits.empties
        named = (*settings.limits, *logged)
        self._asks_headers = any(limit.match.headers or limit.exempt.headers for limit in named)

    def charge(self, logged: Logged) -> Due | Answered:
        due = self.due(logged)
        if self._has_effects and due.charges and (effect := self._effect(logged)):
            return Answered(due, effect, int(logged.upstream_ms * 1000))
        return due

    def due(self, logged: Logged) -> Due:
        kind = self._kind(logged)
        due = self._known.get(kind)
        if due is None:
            if len(self._known) >= DUES_KNOWN:
                self._known.clear()
            due = self._known[kind] = self._work_out(logged)
        return due

    def _effect(self, logged: Logged) -> int:
        """What the service's answer does to the tokens."""
        limits = self._rules.limits
        if logged.source == "upstream":
            if logged.status == 304 and limits.gives_back:
                return GIVES_BACK
            if logged.status == 429 and limits.empties:
                return EMPTIES
        return KEEPS

    def _kind(self, logged: Logged) -> tuple[object, ...]:
        """All that the limits look at."""
        keys = bytes(logged.keys)
        if not self._asks_target and not self._asks_headers:
            return keys, logged.credential, logged.client, logged.fault
        target = logged.target
        if not self._asks_query:
            target = target.partition("?")[0]
        spoken = bytes(logged.limits) if self._asks_headers else b""
        return keys, logged.credential, logged.client, logged.fault, logged.method, target, spoken

    def _work_out(self, logged: Logged) -> Due:
        told = said(logged)
        head = self._heads.head(logged, told)
        if head is None or (logged.fault in _BEFORE_LIMITS and not bytes(logged.limits)):
            return NOTHING
        fault = self._rules.edge.refusal(head)
        if fault is not None and fault is not faults.MISSING_CREDENTIALS:  # of which logs do not tell
            return NOTHING
        found = self._rules.limits.charges(head, logged.client)
        if isinstance(found, Fault):
            return NOTHING
        charges, exempt = found
        labels: list[str] = []
        for charge in charges:
            names = told.keys.get(charge.limit.name, [])
            number = sum(each.limit is charge.limit for each in charges[: len(labels)])
            labels.append(names[number] if number < len(names) else charge.key.hex()[:16])
        return Due(charges, exempt, labels)


# Of Weir's own log: the request never came to the limits.
_BEFORE_LIMITS = frozenset(
    fault.reason
    for fault in (
        faults.MISSING_CREDENTIALS,
        faults.REPEATED_CREDENTIAL,
        faults.UNCLEAR_CREDENTIAL,
        faults.BODY_TOO_LARGE,
    )
)
