"""What each logged request is charged, by the compiled policy that the gateway runs.

Requests that are alike in all that the limits look at are charged alike: they are asked for once. Knows
nothing of buckets, files and formats.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from proxy import faults
from proxy.faults import Fault
from proxy.http1.head import UNREAD, RequestHead
from proxy.policy.decision import Charge
from proxy.tuning.told_heads import ToldHeads, said

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.config.sections.limits import LimitSettings
    from proxy.config.settings import Settings
    from proxy.policy.limits import Limit
    from proxy.rules.rules import Rules
    from proxy.tuning.formats import Logged

DUES_KNOWN = 50_000  # 25 MB

# Statuses of the service that may do something to tokens: `cost_304`, `on_upstream_401` and `_429`.
_TELLING = (304, 401, 429)


class Due:
    """What a request is charged."""

    __slots__ = ("charges", "client", "exempt", "head", "is_single", "labels")

    def __init__(
        self,
        charges: Sequence[Charge],
        exempt: Sequence[Limit],
        labels: Sequence[str],
        head: RequestHead,
        client: str,
    ) -> None:
        self.charges = charges
        self.exempt = exempt  # limits that match and let it be
        self.is_single = len(charges) == 1 and not exempt
        self.labels = labels  # of the charges' keys: what the log calls them, or their hashes
        self.head = head
        self.client = client


NOTHING = Due((), (), (), UNREAD, "")


class Answered(NamedTuple):
    """A request whose answer may do something to its tokens, so long after it came."""

    due: Due
    status: int
    delay_us: int


class Charging:
    """For one config."""

    def __init__(self, settings: Settings, rules: Rules, logged: Sequence[LimitSettings] = ()) -> None:
        """`logged` are the limits of the config that wrote the log, where that is another one."""
        self._rules = rules
        self._plans = settings.plan_keys
        self._heads = ToldHeads(settings.limits, logged)
        self._known: dict[tuple[object, ...], Due] = {}
        contract = settings.contract
        refuses = contract.known_paths or contract.allow_methods or contract.path_methods
        self._asks_target = not rules.limits.is_static or bool(refuses)
        self._asks_query = any(
            part.kind == "query" for limit in settings.limits for spec in limit.key for part in spec.parts
        )
        limits = rules.limits
        self._has_effects = limits.gives_back or limits.empties or limits.vouches
        named = (*settings.limits, *logged)
        self._asks_headers = any(
            limit.match.headers or limit.match.absent or limit.exempt.headers for limit in named
        )

    def charge(self, logged: Logged) -> Due | Answered:
        due = self.due(logged)
        if self._has_effects and due.charges and self._is_telling(logged):
            return Answered(due, logged.status, int(logged.upstream_ms * 1000))
        return due

    def due(self, logged: Logged) -> Due:
        kind = self._kind(logged)
        due = self._known.get(kind)
        if due is None:
            if len(self._known) >= DUES_KNOWN:
                self._known.clear()
            due = self._known[kind] = self._work_out(logged)
        return due

    def _is_telling(self, logged: Logged) -> bool:
        """The service's answer may do something to the tokens."""
        if logged.source != "upstream" or not logged.status:
            return False
        return logged.status in _TELLING or self._rules.limits.vouches

    def _kind(self, logged: Logged) -> tuple[object, ...]:
        """All that the limits look at."""
        keys = bytes(logged.keys)
        if not self._asks_target and not self._asks_headers:
            return keys, logged.credential, logged.client, logged.fault, logged.plan
        target = logged.target
        if not self._asks_query:
            target = target.partition("?")[0]
        spoken = bytes(logged.limits) if self._asks_headers else b""
        payer = keys, logged.credential, logged.client, logged.fault, logged.plan
        return *payer, logged.method, target, spoken

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
        if told.keys:
            charges = self._as_logged(charges, labels, logged, head)
        elif logged.credential.startswith(HASHED):
            charges = self._by_hash(charges, logged, head)
        return Due(charges, exempt, labels, head, logged.client)

    def _as_logged(
        self, charges: list[Charge], labels: Sequence[str], logged: Logged, head: RequestHead
    ) -> list[Charge]:
        """By the keys that the log tells half of, which say whom a limit is enforced for; and by its plan."""
        keys: dict[bytes, bytes] = {}
        for charge, label in zip(charges, labels, strict=True):
            if _LABEL.fullmatch(label):
                half = bytes.fromhex(label)
                nobodys = charge.limit.partition.fallbacks(head, logged.client)
                known = next((key for key in nobodys if key.startswith(half)), half + half)
                keys.setdefault(charge.key, known)
        plans = self._plans.bit_named(logged.plan) if logged.plan else 0
        return [self._recharged(each, head, keys.get(each.key, each.key), plans) for each in charges]

    def _by_hash(self, charges: list[Charge], logged: Logged, head: RequestHead) -> list[Charge]:
        """A log may name credentials as plans do (`weir hash`)."""
        digest = logged.credential.removeprefix(HASHED)
        plans = self._plans.bits_of_digest(bytes.fromhex(digest)) if _DIGEST.fullmatch(digest) else 0
        return [self._recharged(each, head, each.key, plans) for each in charges]

    def _recharged(self, charge: Charge, head: RequestHead, key: bytes, plans: int) -> Charge:
        limit = charge.limit
        return Charge(limit.terms_of(head, key, plans), key)


HASHED: Final = "sha256:"
_LABEL = re.compile("[0-9a-f]{16}")
_DIGEST = re.compile("[0-9a-f]{64}")

# Of Weir's own log: the request never came to the limits.
_BEFORE_LIMITS = frozenset(
    fault.reason
    for fault in (
        faults.MISSING_CREDENTIALS,
        faults.REPEATED_CREDENTIAL,
        faults.UNCLEAR_CREDENTIAL,
        faults.UNCLEAR_REQUEST,
        faults.BODY_TOO_LARGE,
    )
)
