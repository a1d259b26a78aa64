"""What becomes of one request, by the compiled rules that the gateway runs: limits, keys, and both heads.

Goes the way of `gateway.Exchange.begin`, with buckets that are full. Knows nothing of files and sockets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from proxy.config.units import Rate, format_span
from proxy.faults import Fault
from proxy.http1.head import ResponseHead, request_head, response_head
from proxy.limiter.memory import MemoryStore
from proxy.policy.gcra import US
from proxy.policy.limits import UNCHARGED
from proxy.rules.pages import Frame
from proxy.rules.request_ids import new_request_id
from proxy.rules.rules import Rules

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.config.settings import Settings
    from proxy.http1.head import RequestHead
    from proxy.policy.decision import Charge, Decision
    from proxy.policy.limits import Limit
    from proxy.rules.heads import Facts

EXEMPT = "exempt"
PREFLIGHT = "preflight"  # of a browser: no limit is asked

Header = tuple[str, str]


class KeyFound(msgspec.Struct):
    source: str  # the entry of the limit's `key` that it was read from
    hash: str


class LimitExplained(msgspec.Struct):
    name: str
    matches: bool
    why_not: str | None  # method, path, header, exempt or preflight
    key: KeyFound | None  # the first of `keys`
    plan: str | None
    rate: str | None  # None of a limit on concurrency, and so is burst
    burst: int | None
    cost: int
    mode: str
    keys: list[KeyFound]  # of all buckets that are charged
    max_wait: str
    concurrency: int | None


class RequestSent(msgspec.Struct):
    line: str
    headers: list[Header]


class Refusal(msgspec.Struct):
    """Why the request goes no further, whatever the buckets hold."""

    status: int
    reason: str
    detail: str


class Explanation(msgspec.Struct):
    method: str
    target: str
    client: str
    limits: list[LimitExplained]
    request: RequestSent | None  # to the service; None if it is refused
    response_headers: list[Header]  # that Weir adds
    refused: Refusal | None


def explained(settings: Settings, head: bytes, peer: str, scheme: str) -> Explanation:
    """`head` as it came from `peer`."""
    rules = Rules(settings)
    bounds = rules.connections
    request = request_head(head, bounds.line_bytes, bounds.headers_max, None, bounds.methods)
    if isinstance(request, Fault):
        method, target, *_ = head.split(b" ", 2)
        request_id = new_request_id()
        frame = Frame(rules.pages.problems, b"", has_body=True, id_bytes=len(request_id))
        answer = _own_answer(rules, request, b"", frame, request_id)
        return Explanation(_text(method), _text(target), peer, [], None, answer, _refusal(request))
    return _Way(settings, rules, request, peer, scheme.encode()).explanation()


class _Way:
    """Takes one request through the rules."""

    def __init__(self, settings: Settings, rules: Rules, head: RequestHead, peer: str, scheme: bytes) -> None:
        self._settings = settings
        self._rules = rules
        self._head = head
        self._facts: Facts = rules.heads.facts(head, peer, scheme)
        self._request_id = self._facts.request_id or new_request_id()
        self._is_preflight = False

    def explanation(self) -> Explanation:
        head, facts, rules = self._head, self._facts, self._rules
        is_plain = rules.edge.is_idle and not head.section.repeated
        fault = None if is_plain else rules.edge.refusal(head, facts.client)
        due = facts.charges or rules.limits.charges(head, facts.client)
        self._is_preflight = fault is None and rules.cors.is_preflight(head)
        if self._is_preflight:
            due = UNCHARGED
        if fault is None and isinstance(due, Fault):
            fault = due
        charges = due[0] if fault is None and not isinstance(due, Fault) else []
        return Explanation(
            method=_text(head.method),
            target=_text(head.target),
            client=facts.client,
            limits=[self._limit(limit, charges) for limit in rules.limits],
            request=None if fault is not None else self._sent(),
            response_headers=self._refused(fault) if fault is not None else self._answered(charges),
            refused=_refusal(fault) if fault is not None else None,
        )

    def _limit(self, limit: Limit, charges: Sequence[Charge]) -> LimitExplained:
        why_not = limit.match.misfit(self._head)
        if why_not is None and limit.exemption.holds(self._head, self._facts.client):
            why_not = EXEMPT
        if why_not is None and self._is_preflight:
            why_not = PREFLIGHT
        charged = {charge.key: charge.terms for charge in charges if charge.limit is limit}
        terms = next(iter(charged.values()), limit.terms)
        sources = limit.partition.sources(self._head, self._facts.client)
        keys = [KeyFound(source, key.hex()[:16]) for source, key in sources if key in charged]
        return LimitExplained(
            name=limit.name,
            matches=why_not is None,
            why_not=why_not,
            key=keys[0] if keys else None,
            plan=terms.plan or None,
            rate=str(Rate(terms.count, terms.period_us)) if not terms.slots else None,
            burst=terms.burst if not terms.slots else None,
            cost=terms.cost,
            mode="shadow" if terms.is_shadow else "enforce",
            keys=keys,
            max_wait=format_span(limit.max_wait_us / US),
            concurrency=terms.slots or None,
        )

    def _sent(self) -> RequestSent:
        authority = self._settings.upstream.servers[0].url.authority.encode()
        data = self._rules.heads.request(self._head, self._facts, self._request_id, authority)
        line, _, lines = data.partition(b"\r\n")
        return RequestSent(_text(line), _headers(lines))

    def _answered(self, charges: Sequence[Charge]) -> list[Header]:
        """What an answer of the service without a field of its own has, once it has passed."""
        answer = response_head(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"GET")
        assert isinstance(answer, ResponseHead)
        decision = self._decided(charges) if charges else None
        data = self._rules.heads.response(answer, self._head, decision, self._request_id, b"\r\n")
        return [each for each in _headers(data.partition(b"\r\n")[2]) if each[0] != "Content-Length"]

    def _decided(self, charges: Sequence[Charge]) -> Decision:
        store = MemoryStore(lambda: 0)
        store.configure(self._rules.limits)
        return store.take(charges, self)

    def decided(self, decision: Decision) -> None:
        """The store decides at once."""

    def _refused(self, fault: Fault) -> list[Header]:
        frame = self._rules.pages.frame(self._head, self._request_id)
        return _own_answer(self._rules, fault, self._head.target, frame, self._request_id)


def _own_answer(rules: Rules, fault: Fault, target: bytes, frame: Frame, request_id: str) -> list[Header]:
    """The head of Weir's own answer."""
    page = rules.pages.refusal(fault, None, target, frame, b"\r\n")
    data = request_id.encode().join(page.pieces)
    return _headers(data.partition(b"\r\n")[2].partition(b"\r\n\r\n")[0])


def _refusal(fault: Fault) -> Refusal:
    return Refusal(fault.status, fault.reason, fault.detail)


def _headers(lines: bytes) -> list[Header]:
    pairs = (_text(line).partition(":") for line in lines.split(b"\r\n") if line)
    return [(name, value.strip()) for name, _, value in pairs]


def _text(data: bytes) -> str:
    return data.decode("latin-1")
