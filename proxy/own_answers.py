"""Answers of our own: a refusal, what stands for an answer that must not leave, and 304.

Each ends its exchange. What they look like is `rules.pages`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.http1.serialise import connection_line
from proxy.record import SERVED, UPSTREAM
from proxy.settlement import give_back

if TYPE_CHECKING:
    from proxy.contract.redaction import Original
    from proxy.faults import Fault
    from proxy.gateway import Exchange
    from proxy.http1.head import ResponseHead
    from proxy.rules.pages import Frame, Page


def refuse(exchange: Exchange, fault: Fault, *, has_body: bool = True) -> None:
    """Answers by the fault's row. With nothing to answer, the connection just closes."""
    exchange.fault = fault
    keep = fault.keeps_client and exchange.may_keep()
    if fault.status:
        frame = _frame(exchange)
        exchange.status = frame.status_of(fault)
        if not has_body:
            frame = frame._replace(has_body=False)
        ending = exchange.shared.date_line + connection_line(exchange.head.minor, keep=keep)
        page = exchange.rules.pages.refusal(fault, exchange.decision, exchange.target, frame, ending)
        _give(exchange, page)
    exchange.finish(fault.outcome, keep=keep)


def replace(exchange: Exchange, original: Original) -> None:
    """An error object for an answer whose details must not leave."""
    exchange.status, exchange.redacted_status = original.shown_status, original.status
    exchange.source = UPSTREAM
    exchange.shared.evidence.replaced(exchange, original)
    keep = exchange.may_keep()
    decision, request_id, frame = exchange.decision, exchange.request_id, _frame(exchange)
    ending = exchange.shared.date_line + connection_line(exchange.head.minor, keep=keep)
    _give(exchange, exchange.rules.pages.replacement(original, decision, request_id, frame, ending))
    exchange.finish(SERVED, keep=keep)


def leave_unchanged(exchange: Exchange, head: ResponseHead) -> None:
    """304: the client has what this answer would bring."""
    give_back(exchange)
    exchange.status = 304
    keep = exchange.may_keep()
    lines = exchange.rules.pages.unchanged(head, exchange.decision, exchange.request_id)
    date = b"" if b"date" in head.lowered else exchange.shared.date_line
    ending = connection_line(exchange.head.minor, keep=keep)
    exchange.downstream.write(b"%b%b%b" % (lines, date, ending))
    exchange.finish(SERVED, keep=keep)


def _frame(exchange: Exchange) -> Frame:
    facts = exchange.facts
    frame = facts.frame
    if frame is None:
        frame = facts.frame = exchange.new_frame()
    return frame


def _give(exchange: Exchange, page: Page) -> None:
    exchange.bytes_out = page.body_bytes
    exchange.downstream.write(exchange.request_id.encode().join(page.pieces), True)  # noqa: FBT003 - keywords cost
