"""Answers of our own: refusals by the fault's row, what stands for an answer that must not leave, and 304.

Whole answers are kept as pages that differ in the request id alone, since the same few are given again and
again. Knows the settings and the pure floors; knows nothing of sockets, connections or stores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from proxy import faults
from proxy.contract.problem import Problems, form_of, problem_head_lines
from proxy.contract.redaction import WITHHELD
from proxy.faults import REFUSED
from proxy.http1.headers import RESPONSE_DROPS, RESPONSE_DROPS_LIMITED, named_by
from proxy.http1.serialise import status_line
from proxy.policy import fields

if TYPE_CHECKING:
    from proxy.config.settings import Settings
    from proxy.contract.cors import Cors
    from proxy.contract.redaction import Original
    from proxy.faults import Fault
    from proxy.http1.head import RequestHead, ResponseHead
    from proxy.policy.decision import Decision
    from proxy.policy.edge import Edge

KEPT_BYTES = 256  # of header fields that a page may hold: what is longer will hardly come again
PAGES_MAX = 512  # a kind is new in each second, since the Date is a part of it
_PASSAGE = status_line(200)
_OF_UNCHANGED = frozenset(b"cache-control content-location date etag expires vary".split())


class Frame(NamedTuple):
    """What an answer of our own takes from its request, whatever it says."""

    problems: Problems  # in the form that the client asked for
    origin: bytes  # lines for a browser app of another origin
    has_body: bool
    id_bytes: int  # of the request id
    refuse_with: int = 0  # the status of refusals, for a proxy that knows no other; 0: each has its own
    refuse_from: int = 400  # ... of those whose own status is no smaller

    def status_of(self, fault: Fault) -> int:
        """401 is understood everywhere, and what is broken is no refusal."""
        status = fault.status
        if not self.refuse_with or status < self.refuse_from or status == 401 or fault.outcome != REFUSED:
            return status
        return self.refuse_with


class Kind(NamedTuple):
    """What answers have in common that differ in the request id alone."""

    cause: str | int  # the fault's reason, or the status of the answer that is replaced
    lines: bytes  # header lines of this request's own
    violated: tuple[str, ...]  # the limits that refused
    frame: Frame
    ending: bytes  # what stands last in its head, with the empty line


class Page(NamedTuple):
    """One kind of whole answer."""

    pieces: list[bytes]  # between the request ids
    body_bytes: int


class Pages:
    """The answers of one config."""

    def __init__(self, settings: Settings, edge: Edge, cors: Cors) -> None:
        self._edge = edge
        self._cors = cors
        self._forms = Problems.from_settings(settings.errors)
        self.problems = self._forms["problem"]
        self._tells_cause = settings.errors.proxy_status
        self._dialect = settings.ratelimit_fields
        self._drops = RESPONSE_DROPS_LIMITED if self._dialect == fields.LEGACY else RESPONSE_DROPS
        self._pages: dict[tuple[str | int, bytes, tuple[str, ...], Frame, bytes], Page] = {}  # by kind

    def frame(self, head: RequestHead, request_id: str) -> Frame:
        """The same for all requests that repeat the header section."""
        problems = self._forms.get(form_of(head.fields.get(b"accept", b"")), self.problems)
        return Frame(problems, self._cors.lines(head.fields), head.method != b"HEAD", len(request_id))

    # --- refusals ---

    def refusal(
        self, fault: Fault, decision: Decision | None, target: bytes, frame: Frame, ending: bytes
    ) -> Page:
        """`ending` is what stands last in its head, with the empty line."""
        lines = b""
        violated: tuple[str, ...] = ()
        if decision is not None and decision.is_admitted:
            lines = fields.fields(decision, self._dialect)
        elif decision is not None:
            tells = fields.refusal if fault.extra == faults.WAIT else fields.refusal_by_another
            lines, violated = tells(decision, self._dialect)
        if fault.extra == faults.ALLOW:
            lines += self._edge.allow_line(target)
        # A plain tuple is equal to a Kind, and to make that one is a twentieth of what a refusal costs.
        kind = (fault.reason, lines, violated, frame, ending)
        return self._pages.get(kind) or self._refusal(fault, Kind(*kind))

    def _refusal(self, fault: Fault, kind: Kind) -> Page:
        lines, frame = kind.lines, kind.frame
        status = frame.status_of(fault)
        if status != fault.status:
            lines += b"X-Refusal-Status: %d\r\n" % fault.status
        if ":" in fault.extra:
            lines += b"%b\r\n" % fault.extra.encode()
        if self._tells_cause:
            lines += b"Proxy-Status: weir;error=%b\r\n" % fault.proxy_error.encode()
        violated = kind.violated if fault in faults.OF_LIMITS else ()
        head, body = frame.problems.pieces(status, fault.detail, frame.id_bytes, violated)
        page = _laid_out(status, head + lines, body, kind)
        self._keep(kind, page)
        return page

    def _keep(self, kind: Kind, page: Page) -> None:
        if len(self._pages) >= PAGES_MAX:
            self._pages.clear()
        self._pages[kind] = page

    # --- to a proxy that asked who may pass ---

    def passage(self, decision: Decision | None, request_id: str, ending: bytes) -> bytes:
        told = fields.fields(decision, self._dialect) if decision is not None else b""
        return b"%bContent-Length: 0\r\nCache-Control: no-store\r\n%bX-Request-Id: %b\r\n%b" % (
            _PASSAGE,
            told,
            request_id.encode(),
            ending,
        )

    # --- in the place of an answer ---

    def replacement(
        self,
        original: Original,
        decision: Decision | None,
        request_id: str,
        frame: Frame,
        ending: bytes,
    ) -> Page:
        """What stands for an answer whose details must not leave; the service may say itself who reads it."""
        if b"access-control-allow-origin" in original.head.lowered:
            frame = frame._replace(origin=b"")
        kept = original.kept_lines(self._drops)
        lines = kept + fields.fields(decision, self._dialect) if decision is not None else kept
        kind = Kind(original.status, lines, (), frame, ending)
        members = original.members()
        if members:
            problems, status = frame.problems, original.shown_status
            content_type, text = problems.body(status, WITHHELD, request_id, members=members)
            head = problem_head_lines(content_type, text)
            return _laid_out(status, head + self._received(original) + lines, [text], kind)
        page = self._pages.get(kind)
        if page is None:
            page = self._replacement(original, kind)
            if len(kept) <= KEPT_BYTES:
                self._keep(kind, page)
        return page

    def _replacement(self, original: Original, kind: Kind) -> Page:
        status, frame = original.shown_status, kind.frame
        head, body = frame.problems.pieces(status, WITHHELD, frame.id_bytes)
        return _laid_out(status, head + self._received(original) + kind.lines, body, kind)

    def _received(self, original: Original) -> bytes:
        """RFC 9209 section 2.1.4."""
        return b"Proxy-Status: weir;received-status=%d\r\n" % original.status if self._tells_cause else b""

    def unchanged(self, head: ResponseHead, decision: Decision | None, request_id: str) -> bytes:
        """The head of a 304 in the place of a 200: what RFC 9110 section 15.4.5 asks for, if it came."""
        named = named_by(head.lowered.get(b"connection", b""))
        lines = [
            b"%b: %b\r\n" % header
            for header in head.headers
            if _is_of_unchanged(name := header[0].lower()) and name not in named
        ]
        if decision is not None:
            lines.append(fields.fields(decision, self._dialect))
        return b"%b%bX-Request-Id: %b\r\n" % (status_line(304), b"".join(lines), request_id.encode())


def _is_of_unchanged(name: bytes) -> bool:
    """Whether a 304 tells it: also what is for browser apps, which read one if they sent the condition."""
    return name in _OF_UNCHANGED or name.startswith(b"access-control-")


def _laid_out(status: int, lines: bytes, body: list[bytes], kind: Kind) -> Page:
    """`lines` are those before the request id, `body` is in pieces between its places."""
    first, *others = (body if kind.frame.has_body else []) or [b""]
    body_bytes = len(first) + sum(map(len, others)) + len(others) * kind.frame.id_bytes
    opening = b"%b%b%bX-Request-Id: " % (status_line(status), lines, kind.frame.origin)
    return Page([opening, b"\r\n%b%b" % (kind.ending, first), *others], body_bytes)
