"""What each logged request is charged, by the compiled policy that the gateway runs.

Requests that are alike in all that the limits look at are charged alike: they are asked for once
(docs/decisions/0024-a-log-in-a-minute.md). Knows nothing of buckets, files and formats.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from proxy import faults
from proxy.faults import Fault
from proxy.http1.refused_heads import UNREAD
from proxy.policy.decision import Charge
from proxy.tuning.routes import UNREADABLE, Routes, holds_no_odd_letter
from proxy.tuning.told_heads import ToldHeads, said

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.config.sections.limits import LimitSettings
    from proxy.config.settings import Settings
    from proxy.http1.head import RequestHead
    from proxy.policy.limits import Limit
    from proxy.rules.rules import Rules
    from proxy.tuning.logged import Logged
    from proxy.tuning.told_heads import Said

DUES_KNOWN: Final = 50_000  # 30 MB
LETTERS_KNOWN: Final = 4096  # of a line that is remembered; nearly all have 200
LABEL_LETTERS: Final = 128  # of a key; Weir's own have 16
CLIENT_LETTERS: Final = 256  # the peer of a Unix socket is its path

# Of a target: what every parser takes.
_IS_PLAIN: Final = re.compile(r"/[!-\"$-~]*").fullmatch

# Statuses of the service that may do something to tokens: `cost_304`, `on_upstream_401` and `_429`.
_TELLING: Final = (304, 401, 429)


class LoggedDue:
    """What a request is charged."""

    __slots__ = ("charges", "client", "exempt", "head", "is_single", "labels", "may_be_new")

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
        self.head = head  # of one of those that are charged so
        self.client = client
        # With a credential that the service may not have vouched for.
        self.may_be_new = any(_may_be_new(charge, head, client) for charge in charges)


NOTHING: Final = LoggedDue((), (), (), UNREAD, "")


class Answered:
    """A request whose answer may do something to its tokens, so long after it came."""

    __slots__ = ("delay_us", "due", "status")

    def __init__(self, due: LoggedDue, status: int, delay_us: int) -> None:
        self.due = due
        self.status = status
        self.delay_us = delay_us


class Charging:
    """Charges what a log tells, by one config."""

    def __init__(self, settings: Settings, rules: Rules, logged: Sequence[LimitSettings] = ()) -> None:
        """`logged` are the limits of the config that wrote the log, where that is another one."""
        self._rules = rules
        self._plans = settings.plan_keys
        self._heads = ToldHeads(settings, logged)
        self._routes = Routes(settings, logged)
        named = (*settings.limits, *logged)
        # No limit reads whom it charges from a request's line.
        self._goes_by_routes = self._routes.are_few and all(
            limit.partition.is_static for limit in rules.limits
        )
        self._has_one_route = self._goes_by_routes and self._routes.is_one
        self._asks_query = any(
            part.kind == "query" for limit in settings.limits for spec in limit.key for part in spec.parts
        )
        self._asks_headers = any(
            limit.match.headers or limit.match.absent or limit.exempt.headers for limit in named
        )
        self._knows_preflights = not rules.cors.is_idle
        limits = rules.limits
        self._vouches = limits.vouches
        self._has_effects = limits.gives_back or limits.empties or limits.vouches
        # Two generations: what was not asked for while one filled up goes.
        self._known: dict[tuple[object, ...], LoggedDue] = {}
        self._old: dict[tuple[object, ...], LoggedDue] = {}

    def charged(self, items: list[tuple[int, Logged]]) -> list[tuple[int, LoggedDue | Answered]]:
        """What each is due, with its moment."""
        return [(at, self.charge(logged)) for at, logged in items]

    def charge(self, logged: Logged) -> LoggedDue | Answered:
        due = self.due(logged)
        if due.charges and logged.fault in NO_SERVER:
            return Answered(due, NOT_ASKED, int((logged.duration_ms - logged.waited_ms) * 1000))
        if self._has_effects and due.charges and self._is_telling(logged):
            return Answered(due, logged.status, int(logged.upstream_ms * 1000))
        return due

    def due(self, logged: Logged) -> LoggedDue:
        if self._knows_preflights and _is_preflight(logged):
            return NOTHING
        kind = self._kind(logged)
        due = self._known.get(kind)
        if due is None:
            due = self._old.pop(kind, None)
            if due is None:
                due = self._work_out(logged)
                if _is_long(logged):
                    return due
            if len(self._known) >= DUES_KNOWN // 2:
                self._old, self._known = self._known, {}
            self._known[kind] = due
        return due

    def _is_telling(self, logged: Logged) -> bool:
        """The service's answer may do something to the tokens."""
        status = logged.status
        if not status or logged.source != "upstream":
            return False
        return self._vouches or status in _TELLING

    def _kind(self, logged: Logged) -> tuple[object, ...]:
        """All that the limits look at."""
        is_asked = self._asks_headers or logged.fault in _BEFORE_LIMITS
        spoken = bytes(logged.limits) if is_asked else b""
        payer = bytes(logged.keys), logged.credential, logged.client, logged.fault, logged.plan
        return *payer, spoken, self._line(logged)

    def _line(self, logged: Logged) -> object:
        method, target = logged.method, logged.target
        if self._has_one_route:
            is_plain = _IS_PLAIN(target) is not None and self._routes.has_method(method)
            return 0 if is_plain else (method, target)
        path, _, query = target.partition("?")
        if query and not holds_no_odd_letter(query):
            return method, target
        if self._goes_by_routes:
            number = self._routes.number(method, path)
            return (method, target) if number == UNREADABLE else number
        return method, target if self._asks_query else path

    def _work_out(self, logged: Logged) -> LoggedDue:
        if len(logged.client) > CLIENT_LETTERS:
            return NOTHING
        told = said(logged)
        head = self._heads.head(logged, told)
        if head is None or (logged.fault in _BEFORE_LIMITS and not bytes(logged.limits)):
            return NOTHING
        fault = self._rules.edge.refusal(head, logged.client)
        if fault is not None and fault is not faults.MISSING_CREDENTIALS:  # of which logs do not tell
            return NOTHING
        found = self._rules.limits.charges(head, logged.client)
        if isinstance(found, Fault):
            return NOTHING
        charges, exempt = found
        labels = _labels(charges, told)
        if told.keys:
            charges = self._as_logged(charges, labels, logged, head)
        elif logged.credential.startswith(HASHED):
            charges = self._by_hash(charges, logged, head)
        return LoggedDue(charges, exempt, labels, head if self._vouches else UNREAD, logged.client)

    def _as_logged(
        self, charges: list[Charge], labels: Sequence[str], logged: Logged, head: RequestHead
    ) -> list[Charge]:
        """The terms that the log tells: by keys of which it has half, which say whom a limit is enforced for,
        and by its plan.
        """
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


def _is_preflight(logged: Logged) -> bool:
    """A request of Weir's own log that no limit met, by a method that browsers ask with first."""
    is_own = bool(logged.outcome) and logged.source == "upstream"
    return is_own and logged.method == "OPTIONS" and not bytes(logged.keys) and not bytes(logged.limits)


def _is_long(logged: Logged) -> bool:
    """Too long to be remembered: a line may have 128 KiB."""
    texts = logged.client, logged.credential, logged.method, logged.target, logged.fault, logged.plan
    letters = sum([len(text) for text in texts if text is not None])
    return letters + len(bytes(logged.keys)) + len(bytes(logged.limits)) > LETTERS_KNOWN


def _labels(charges: Sequence[Charge], told: Said) -> list[str]:
    """Those of a limit stand side by side, in the order in which the log tells its keys."""
    labels: list[str] = []
    last: Limit | None = None
    number = 0
    for charge in charges:
        number = number + 1 if charge.limit is last else 0
        last = charge.limit
        names = told.keys.get(charge.limit.name, [])
        labels.append(names[number][:LABEL_LETTERS] if number < len(names) else charge.key.hex()[:16])
    return labels


def _may_be_new(charge: Charge, head: RequestHead, client: str) -> bool:
    """It is paid by a credential, of a limit that asks whether the service knows it."""
    if charge.terms.newcomer is None:
        return False
    return charge.key not in charge.limit.partition.fallbacks(head, client)


NOT_ASKED: Final = 0  # in place of the status of a service that has not seen the request
# Of Weir's own log: no server could be had, so the tokens came back.
NO_SERVER: Final = frozenset(fault.reason for fault in faults.FAULTS.values() if fault.phase == "connect")

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
