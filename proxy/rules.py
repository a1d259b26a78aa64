"""What one config means to an exchange: compiled once from the settings, swapped whole between two requests.

Knows the settings and the pure floors; knows nothing of sockets, connections or stores.
"""

from __future__ import annotations

import re
from random import getrandbits
from typing import TYPE_CHECKING, NamedTuple

from proxy import faults
from proxy.clients.networks import Networks
from proxy.contract.etags import Tag, is_taggable
from proxy.contract.filters import HoldFilter, ReplaceFilter, WatchFilter
from proxy.contract.leaks import is_examined
from proxy.contract.location import public_location
from proxy.contract.problem import Problems, form_of, problem_head_lines
from proxy.contract.promises import Contract
from proxy.contract.redaction import WITHHELD, Redaction
from proxy.http1.forwarded import client_address, way_lines
from proxy.http1.framing import CHUNKED
from proxy.http1.headers import (
    REQUEST_DROPS,
    RESPONSE_DROPS,
    RESPONSE_DROPS_LIMITED,
    asks_upgrade,
    named_by,
    request_lines,
    response_lines,
)
from proxy.http1.serialise import status_line
from proxy.policy import fields as limit_fields
from proxy.policy.edge import Edge
from proxy.policy.limits import compile_limits

if TYPE_CHECKING:
    from proxy.config.settings import Settings
    from proxy.contract.etags import Budget
    from proxy.contract.filters import BodyFilter
    from proxy.contract.redaction import Original
    from proxy.exchange import Exchange
    from proxy.faults import Fault
    from proxy.http1.head import RequestHead, ResponseHead
    from proxy.policy.decision import Charge, Decision
    from proxy.policy.limits import Limit

    # Of an answer of our own; by the fault's reason, or by the status of the answer that it replaces.
    Kind = tuple[str | int, bytes, tuple[bytes, tuple[str, ...]], bytes, bool, int]

# What a client may choose as the id of its request: safe in a log, a header and a URL.
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
_TRACE_ID = re.compile("(?!0{32})[0-9a-f]{32}")
# W3C Trace Context, version 00 and unknown later ones.
_TRACEPARENT = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?"
)
_TRACE_FIELDS = frozenset((b"traceparent", b"tracestate"))  # without a valid parent the state means nothing
KEPT_BYTES = 256  # of header fields that a page may hold: what is longer will hardly come again
PAGES_MAX = 512  # a kind is new in each second, since the Date is a part of it
_LATER = b"Retry-After: 1\r\n"  # RFC 9110 section 10.2.3: the queue moves on within seconds
_OF_UNCHANGED = frozenset(b"cache-control content-location date etag expires vary".split())
_CHALLENGE = b"WWW-Authenticate: Bearer\r\n"  # RFC 9110 section 11.6.1, RFC 6750 section 3


class Page(NamedTuple):
    """One kind of whole answer of our own: it differs from others of its kind in the request id alone."""

    pieces: list[bytes]  # between the request ids
    body_bytes: int


class Rules:
    """One config, compiled. It is also what connections must know of it (`net.ports`)."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        downstream = settings.downstream
        self.line_bytes = downstream.limits.request_line
        self.head_bytes = downstream.limits.head
        self.headers_max = downstream.limits.headers
        self.body_bytes = downstream.limits.body
        self.head_timeout = downstream.timeouts.head
        self.body_timeout = downstream.timeouts.body
        self.idle_timeout = downstream.timeouts.idle
        self.connections_max = downstream.limits.connections
        self.connections_per_address = downstream.limits.connections_per_address

        secret = settings.store.key_secret
        self.limits = compile_limits(settings.limits, secret.get_secret_value().encode() if secret else b"")
        self._pages: dict[Kind, Page] = {}
        self._forms = Problems.from_settings(settings.errors)
        self.problems = self._forms["problem"]
        self.redaction = Redaction.from_settings(settings.errors)
        self._tells_cause = settings.errors.proxy_status
        self._guards_leaks = settings.errors.leak_guard != "off"
        self._redacts_leaks = settings.errors.leak_guard == "redact"
        self._makes_etags = settings.contract.edge_etags
        self.contract = Contract(settings.contract.rules)
        self.passes = self._passing().__contains__  # whether answers of a status need no judgement
        self._promised = {
            status: names
            for status, names in self.contract.headers_alone.items()
            if status not in self._judged() and not self.redaction.covers(status)
        }
        self._trust = Networks(settings.forwarded.trust)
        self._told_by = settings.forwarded.field.encode()
        self._edge = Edge(settings.contract)
        self._has_edge = not self._edge.is_idle
        self._dialect = settings.ratelimit_fields
        self._keeps_host = settings.upstream.host == "preserve"
        public_url = settings.contract.public_url
        self._public_origin = public_url.encode() if public_url else b""
        self._origins = tuple(server.url.origin.encode() for server in settings.upstream.servers)
        self._response_drops = RESPONSE_DROPS_LIMITED if self._dialect == "legacy" else RESPONSE_DROPS

    def is_trusted(self, peer: str) -> bool:
        """A proxy in front, which speaks for many clients."""
        return self._trust.covers(peer)

    # --- the request ---

    def known(self, head: RequestHead, peer: str, scheme: bytes) -> Known:
        """What the header section alone decides; worked out once for as long as the client repeats it."""
        facts = head.section.facts
        if isinstance(facts, Known) and facts.rules is self:
            return facts
        known = head.section.facts = self._study(head, peer, scheme)
        return known

    def _study(self, head: RequestHead, peer: str, scheme: bytes) -> Known:
        fields = head.fields
        client = client_address(head, peer, self._trust, self._told_by)
        host = fields.get(b"host") if self._keeps_host else None
        upgrade = asks_upgrade(head)
        has_trace = bool(_TRACEPARENT.fullmatch(fields.get(b"traceparent", b"")))
        lines = [
            b"Host: %b\r\n" % host if host else b"",
            request_lines(head, REQUEST_DROPS if has_trace else REQUEST_DROPS | _TRACE_FIELDS),
            way_lines(head, peer, scheme, self._told_by, is_trusted=self._trust.covers(peer)),
            b"Transfer-Encoding: chunked\r\n" if head.section.body_length == CHUNKED else b"",
            b"Expect: 100-continue\r\n" if b"expect" in fields and head.minor == 1 else b"",
            b"Connection: Upgrade\r\nUpgrade: %b\r\n" % upgrade if upgrade else b"",
        ]
        return Known(
            rules=self,
            client=client,
            charges=self.limits.charges(head, client) if self.limits.is_static else None,
            lines=b"".join(lines),
            has_host=bool(host),
            request_id=_given_id(fields),
            has_trace=has_trace,
            wants_close=head.section.wants_close,
            upgrade=upgrade,
            problems=self._forms.get(form_of(fields.get(b"accept", b"")), self.problems),
        )

    def refusal(self, head: RequestHead) -> Fault | None:
        """Why the request may not even ask the limiter."""
        repeated = head.section.repeated
        if repeated and not self.limits.credential_names.isdisjoint(repeated):
            return faults.REPEATED_CREDENTIAL
        if self._has_edge and (fault := self._edge.refusal(head)):
            return fault
        if self.body_bytes is not None and head.section.body_length > self.body_bytes:
            return faults.BODY_TOO_LARGE
        return None

    def request(self, known: Known, exchange: Exchange, authority: bytes) -> bytes:
        """The head of the request to the server."""
        request_id = exchange.request_id
        trace = "" if known.has_trace else new_traceparent(request_id)
        return b"%b %b HTTP/1.1\r\n%b%bX-Request-Id: %b\r\n\r\n" % (
            exchange.method,
            exchange.target,
            b"" if known.has_host else b"Host: %b\r\n" % authority,
            known.lines,
            f"{request_id}{trace}".encode(),
        )

    # --- the response ---

    def limit_lines(self, decision: Decision | None) -> bytes:
        return limit_fields.fields(decision, self._dialect) if decision is not None else b""

    def response(self, head: ResponseHead, exchange: Exchange, request: RequestHead, ending: bytes) -> bytes:
        """The head of the response to the client; `ending` is its Connection field and the empty line."""
        status = head.status
        if status == 204:
            lines = response_lines(head, self._response_drops | {b"content-length"})
        elif self._public_origin and b"location" in head.lowered:
            lines = self._relocated(head)
        else:
            lines = response_lines(head, self._response_drops)
        is_chunked = head.body_length < 0 and request.minor == 1
        return b"HTTP/1.1 %d %b\r\n%b%b%bX-Request-Id: %b\r\n%b" % (
            status,
            head.reason,
            lines,
            b"Transfer-Encoding: chunked\r\n" if is_chunked else b"",
            self.limit_lines(exchange.decision),
            exchange.request_id.encode(),
            ending,
        )

    def _relocated(self, head: ResponseHead) -> bytes:
        location = public_location(head.fields[b"location"], self._origins, self._public_origin)
        kept = response_lines(head, self._response_drops | {b"location"})
        return b"%bLocation: %b\r\n" % (kept, location)

    def keeps_promise(self, head: ResponseHead) -> bool:
        """Whether it has the fields that its status promises, and nothing else is to be judged."""
        names = self._promised.get(head.status)
        return names is not None and all(map(head.lowered.get, names))

    def _passing(self) -> frozenset[int]:
        judged = self._judged() | set(self.contract.checks)
        return frozenset(
            status for status in range(200, 600) if status not in judged and not self.redaction.covers(status)
        )

    def _judged(self) -> set[int]:
        """Statuses that are looked at for more than what they promise, and are not replaced."""
        judged = set()
        if self._guards_leaks:
            judged |= set(range(200, 500))
        if self._makes_etags:
            judged.add(200)
        if self.limits.gives_back:
            judged.add(304)
        if self.limits.empties:
            judged.add(429)
        return judged

    def violations(self, head: ResponseHead) -> tuple[str, ...]:
        """The rules of the contract that the answer breaks; what is replaced is beyond them."""
        if head.status not in self.contract.checks or self.redaction.covers(head.status):
            return ()
        return self.contract.violations(head.status, head.lowered)

    def body_filter(self, request: RequestHead, head: ResponseHead, budget: Budget) -> BodyFilter | None:
        """What stands between the answer and the client; None where it passes as it comes."""
        if self.redaction.covers(head.status):
            return ReplaceFilter(self.redaction.original(head))
        original = self.redaction.original(head) if self._guards_leaks and is_examined(head) else None
        if self._makes_etags and is_taggable(request, head):
            tag = Tag(request.fields.get(b"if-none-match"), budget)
            return HoldFilter(head, original, tag, redacts=self._redacts_leaks)
        if original is None:
            return None
        return (
            HoldFilter(head, original, None, redacts=True) if self._redacts_leaks else WatchFilter(original)
        )

    def unchanged(self, head: ResponseHead, exchange: Exchange) -> bytes:
        """The head of a 304 in the place of a 200: what RFC 9110 section 15.4.5 asks for, if it came."""
        named = named_by(head.lowered.get(b"connection", b""))
        lines = [
            b"%b: %b\r\n" % header
            for header in head.headers
            if (name := header[0].lower()) in _OF_UNCHANGED and name not in named
        ]
        return self._own_head(304, b"".join(lines) + self.limit_lines(exchange.decision), exchange)

    # --- answers of our own ---

    def page(
        self, fault: Fault, exchange: Exchange, problems: Problems, ending: bytes, *, has_body: bool
    ) -> Page:
        """A refusal; `ending` is what stands last in its head, empty line included."""
        decision = exchange.decision
        if decision is None or decision.is_admitted:
            told: tuple[bytes, tuple[str, ...]] = (self.limit_lines(decision), ())
        else:
            told = limit_fields.refusal(decision, self._dialect)
        if fault.status == 405:
            told = (told[0] + self._edge.allow_line(exchange.target), told[1])
        id_bytes = len(exchange.request_id)
        kind = (fault.reason, problems.content_type, told, ending, has_body, id_bytes)
        return self._pages.get(kind) or self._page(fault, problems, kind)

    def _page(self, fault: Fault, problems: Problems, kind: Kind) -> Page:
        _, _, (lines, violated), ending, has_body, id_bytes = kind
        if fault.status == 401:
            lines += _CHALLENGE
        elif fault.status == 503 and fault.side == faults.UPSTREAM:
            lines += _LATER
        if self._tells_cause:
            lines += b"Proxy-Status: weir;error=%b\r\n" % fault.proxy_error.encode()
        if fault is not faults.LIMITED:
            violated = ()
        head, body = problems.pieces(fault.status, fault.detail, id_bytes, violated)
        lines = b"%b%b%b" % (status_line(fault.status), head, lines)
        return self._kept(kind, _laid_out(lines, ending, body if has_body else [], id_bytes))

    def _kept(self, kind: Kind, page: Page) -> Page:
        if len(self._pages) >= PAGES_MAX:
            self._pages.clear()
        self._pages[kind] = page
        return page

    def replacement(
        self, original: Original, exchange: Exchange, problems: Problems, ending: bytes, *, has_body: bool
    ) -> Page:
        """What stands for an answer whose details must not leave; `ending` as for a page."""
        kept = original.kept_lines(self._response_drops)
        lines = kept + self.limit_lines(exchange.decision)
        status, members, id_bytes = original.shown_status, original.members(), len(exchange.request_id)
        kind = (original.status, problems.content_type, (lines, ()), ending, has_body, id_bytes)
        if not members and kind in self._pages:
            return self._pages[kind]
        if members:
            content_type, text = problems.body(status, WITHHELD, exchange.request_id, members=members)
            head, body = problem_head_lines(content_type, text), [text]
        else:
            head, body = problems.pieces(status, WITHHELD, id_bytes)
        if self._tells_cause:
            head += b"Proxy-Status: weir;received-status=%d\r\n" % original.status
        lines = b"%b%b%b" % (status_line(status), head, lines)
        page = _laid_out(lines, ending, body if has_body else [], id_bytes)
        return page if members or len(kept) > KEPT_BYTES else self._kept(kind, page)

    def _own_head(self, status: int, lines: bytes, exchange: Exchange) -> bytes:
        return b"%b%bX-Request-Id: %b\r\n" % (status_line(status), lines, exchange.request_id.encode())


def _laid_out(lines: bytes, ending: bytes, body: list[bytes], id_bytes: int) -> Page:
    """`lines` are those before the request id, `body` is in pieces between its places."""
    first, *others = body or [b""]
    body_bytes = sum(map(len, body)) + len(others) * id_bytes
    return Page([b"%bX-Request-Id: " % lines, b"\r\n%b%b" % (ending, first), *others], body_bytes)


# Behind Rules: compiled ahead of time, a NamedTuple looks up what its annotations name.
class Known(NamedTuple):
    """What a header section says, whatever the target: the same for every request that repeats it."""

    rules: Rules  # by which it was worked out
    client: str  # the address that is charged
    charges: (
        tuple[list[Charge], list[Limit]] | None
    )  # and exempt limits; None if they depend on method or target
    lines: bytes  # what goes on to the server
    has_host: bool  # ... Host among it
    request_id: str | None  # the client's own
    has_trace: bool
    wants_close: bool
    upgrade: bytes  # the protocol that the client wants to switch to
    problems: Problems  # in the form that the client asks for


def _given_id(fields: dict[bytes, bytes]) -> str | None:
    """The client's own id of its request, where it is a decent one."""
    given = fields.get(b"x-request-id")
    return given.decode("ascii") if given is not None and _REQUEST_ID.fullmatch(given) else None


def new_request_id() -> str:
    """Random, 32 hexadecimal digits: also a W3C trace id."""
    return f"{getrandbits(128):032x}"


def new_traceparent(request_id: str) -> str:
    """A further header line: flag 01, so that the service samples as if it had begun the trace itself."""
    trace_id = request_id if _TRACE_ID.fullmatch(request_id) else new_request_id()
    return f"\r\ntraceparent: 00-{trace_id}-{getrandbits(64) | 1:016x}-01"
