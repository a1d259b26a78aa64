"""THE STORY of one exchange: who, which limits, may it pass, forward, answer, finish.

A `Lane` belongs to one client connection and lives through its exchanges one after the other. Its methods
stand in the order in which they happen; each is called by the connection on which it happens and acts at
once, so that no exchange costs a task. The phases and what may follow them are `phases`; what can
go wrong is `faults`; what a lane holds and how its exchanges end is `endings`.
docs/life-of-an-exchange.md tells the same in prose.
"""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING

from proxy import faults
from proxy import phases as life
from proxy.contract.filters import KEEP, RELEASE, REPLACE, REPORT, SWALLOW, UNCHANGED, ReplaceFilter
from proxy.endings import Ending, Shared, ends_here
from proxy.exchange import ABANDONED, FAULTED, SERVED, TUNNELLED, UPSTREAM, Exchange
from proxy.http1.chunked import chunk, last_chunk
from proxy.http1.framing import CHUNKED
from proxy.http1.serialise import connection_line, interim_head, switching_head
from proxy.phases import ADMIT, ANSWER, ASK, CONNECT, NEXT, REDACT, RETRY, SWITCH
from proxy.rules import new_request_id
from proxy.telemetry.log import event

if TYPE_CHECKING:
    from proxy.contract.filters import BodyFilter
    from proxy.faults import Fault
    from proxy.http1.head import RequestHead, ResponseHead
    from proxy.net.downstream import DownstreamConnection
    from proxy.net.interfaces import Trailers
    from proxy.net.server_address import ServerAddress
    from proxy.net.upstream import UpstreamConnection
    from proxy.policy.decision import Decision

_log = logging.getLogger("weir.gateway")


class Gateway(Shared):
    """What makes the lanes of a worker."""

    def lane(self, downstream: DownstreamConnection) -> Lane:
        return Lane(self, downstream)


class Lane(Ending):
    __slots__ = ()

    # --- 1. A head came: who is it, which limits apply, may it pass? ---

    def begin(self, head: RequestHead) -> None:
        gateway, downstream = self._gateway, self._downstream
        self._phase = NEXT[self._phase][ASK]
        self._head = head
        exchange = self._exchange = Exchange(head.method, head.target, downstream.peer, monotonic())
        rules = self._rules = gateway.rules
        known = self._known = rules.known(head, downstream.peer, downstream.scheme)
        exchange.client = known.client
        exchange.request_id = known.request_id or new_request_id()
        fault = rules.refusal(head)
        if fault is not None:
            self._refuse(fault, keep=fault is not faults.BODY_TOO_LARGE)
            return
        exchange.charges, exchange.exempt = known.charges or rules.limits.charges(head, known.client)
        if not exchange.charges:
            self._forward()
            return
        decision = gateway.store.take(exchange.charges, self)
        if decision is not None:
            self._judge(decision)

    @ends_here
    def decided(self, decision: Decision) -> None:
        """The store's answer, if it did not come at once."""
        if self._phase == life.DECIDING:  # else the client has left meanwhile
            self._judge(decision)

    def _judge(self, decision: Decision) -> None:
        self._exchange.decision = decision
        if decision.is_admitted:
            self._forward()
        else:
            self._refuse(decision.fault)

    @ends_here
    def refuse_head(self, fault: Fault, *, has_body: bool = True) -> None:
        """Refused at the door: there is no request that could be told apart from the rest of the bytes.

        `has_body` is false for what looks like a HEAD, whose answer has none.
        """
        self._head = self._known = None
        self._rules = self._gateway.rules
        self._exchange = Exchange(b"", b"", self._downstream.peer, monotonic())
        self._exchange.request_id = new_request_id()
        self._phase = NEXT[self._phase][ASK]
        self._refuse(fault, keep=False, has_body=has_body)

    # --- 2. It may: a connection to a server, the head, then the body as it comes ---

    def _forward(self) -> None:
        self._phase = NEXT[self._phase][ADMIT]
        upstream = self._gateway.pool.acquire(self)
        if upstream is not None:
            self._send_request(upstream)

    def _forward_again(self, avoid: ServerAddress, *, fresh: bool) -> None:
        """By another server, if there is one."""
        self._phase = NEXT[self._phase][RETRY]
        upstream = self._gateway.pool.acquire(self, avoid, fresh=fresh)
        if upstream is not None:
            self._send_request(upstream)

    @ends_here
    def connected(self, upstream: UpstreamConnection) -> None:
        """The pool's answer, if it did not come at once."""
        if self._phase == life.CONNECTING:
            self._send_request(upstream)
        else:  # the client has left meanwhile
            upstream.hand_back()

    def _send_request(self, upstream: UpstreamConnection) -> None:
        self._phase = NEXT[self._phase][CONNECT]
        self._upstream = upstream
        head, known, exchange = self._head, self._known, self._exchange
        assert head is not None
        assert known is not None
        address = upstream.address
        exchange.server = address.name
        exchange.upstream_started = monotonic()
        data = self._rules.request(known, exchange, address.authority)
        length = head.section.body_length
        upstream.send_head(self, head.method, data, is_whole=length == 0)
        if self._downstream.is_write_paused:  # since the answer before this one
            upstream.pause_reading()
        if length:
            self._is_chunked_in = length == CHUNKED
            self._downstream.want_body()

    def request_data(self, data: bytes) -> None:
        upstream = self._upstream
        assert upstream is not None
        self._exchange.bytes_in += len(data)
        upstream.write(chunk(data) if self._is_chunked_in else data)

    def request_end(self, trailers: Trailers) -> None:
        upstream = self._upstream
        assert upstream is not None
        if self._is_chunked_in:
            upstream.write(last_chunk(trailers))
        upstream.request_sent()

    # --- 3. The answer: judged by its head, then passed on as it comes ---

    def interim(self, head: ResponseHead) -> None:
        """100 Continue, 103 Early Hints (RFC 9110 section 15.2); HTTP/1.0 does not know them."""
        if self._head is not None and self._head.minor == 1:
            self._downstream.write(interim_head(head))

    def response_head(self, head: ResponseHead) -> None:
        exchange, request = self._exchange, self._head
        assert request is not None
        exchange.upstream_seconds = monotonic() - exchange.upstream_started
        if self._rules.passes(head.status) or self._rules.keeps_promise(head):
            self._answer(head)
        else:
            self._judge_answer(head)

    def _judge_answer(self, head: ResponseHead) -> None:
        rules, status = self._rules, head.status
        if status == 101:
            self._switch(head)
            return
        for rule in rules.violations(head):
            self._gateway.evidence.violated(self._exchange, status, rule)
        assert self._head is not None
        if status == 304:
            self._give_back()
        elif status == 429:
            self._empty(head)
        body_filter = rules.body_filter(self._head, head, self._gateway.budget)
        if body_filter is None:
            self._answer(head)
        else:
            self._filter(body_filter)

    def _answer(self, head: ResponseHead) -> None:
        exchange, request = self._exchange, self._head
        assert request is not None
        is_http11 = request.minor == 1
        if head.body_length < 0:
            self._is_chunked_out = is_http11
            self._is_endless = not is_http11
        keep = self._keep = not self._is_endless and self._may_keep()
        data = self._rules.response(head, exchange, request, connection_line(request, keep=keep))
        self._phase = NEXT[self._phase][ANSWER]  # from here on nothing else can be answered
        exchange.status = head.status
        exchange.source = UPSTREAM
        self._downstream.write(data)

    def response_data(self, data: bytes) -> None:
        if self._body_filter is not None and self._heed(self._body_filter.feed(data)):
            return
        self._exchange.bytes_out += len(data)
        self._downstream.write(chunk(data) if self._is_chunked_out else data)

    def response_end(self, trailers: Trailers) -> None:
        self._upstream = None
        if self._body_filter is not None and self._heed(self._body_filter.end()):
            return
        if self._is_chunked_out:
            self._downstream.write(last_chunk(trailers))
        self._finish(SERVED, keep=self._keep)

    # --- 3a. ... or taken body_filter: watched, held until its beginning is known, or replaced ---

    def _filter(self, body_filter: BodyFilter) -> None:
        self._body_filter = body_filter
        if body_filter.event == ANSWER:
            self._answer(body_filter.head)
            return
        self._phase = NEXT[self._phase][body_filter.event]
        if body_filter.patience and self._upstream is not None:
            self._upstream.expect_within(body_filter.patience, is_final=body_filter.event == REDACT)

    @ends_here
    def response_late(self) -> None:
        """The answer is not whole within what it was given; it may go on."""
        if self._body_filter is not None:
            self._heed(self._body_filter.late())

    def _heed(self, step: int) -> bool:
        """Does what the body_filter says; true if what it was asked about does not go on to the client."""
        body_filter = self._body_filter
        assert body_filter is not None
        if step == REPORT and body_filter.original is not None:
            self._gateway.evidence.leaked(self._exchange, body_filter.original)
        if step == SWALLOW and body_filter.original is not None:
            body_filter.drop()
            self._filter(ReplaceFilter(body_filter.original))
        elif step == REPLACE:
            self._drop_upstream()
            self._replace(body_filter)
        elif step == UNCHANGED:
            self._leave_unchanged(body_filter.head)
        elif step in (RELEASE, REPORT) and self._phase == life.HOLDING:
            self._release(body_filter)
        return step >= KEEP

    def _release(self, body_filter: BodyFilter) -> None:
        """The head and what was held leave; it has its room for as long as the client does not take it."""
        self._body_filter, self._unread = None, body_filter
        self._answer(body_filter.head)
        if held := body_filter.take_held():
            self.response_data(held)
        if not self._downstream.is_write_paused:
            self._forget_unread()

    # --- 3b. ... or turned into a tunnel ---

    def _switch(self, head: ResponseHead) -> None:
        if self._known is None or not self._known.upgrade:
            self._drop_upstream()
            self.upstream_failed(faults.UNASKED_UPGRADE)
            return
        self._phase = NEXT[self._phase][SWITCH]
        upstream, exchange = self._upstream, self._exchange
        assert upstream is not None
        exchange.status = head.status
        exchange.source = UPSTREAM
        self._downstream.write(switching_head(head, exchange.request_id))
        upstream.become_tunnel()
        self._downstream.become_tunnel()

    # --- 4. What may go wrong on the way ---

    @ends_here
    def fail(self, fault: Fault) -> None:
        """The client's side broke a rule or ran out of time."""
        self._drop_upstream()
        if self._phase in (life.ANSWERING, life.TUNNELLING):
            self._break_off(fault)
        elif self._phase not in (life.IDLE, life.OVER):
            self._refuse(fault, keep=False)

    @ends_here
    def connect_failed(self, address: ServerAddress, fault: Fault) -> None:
        """No connection to the server could be had: nothing of the request has left."""
        self._count_failure(address.name, fault)
        if self._phase != life.CONNECTING:  # the client has left meanwhile
            return
        gateway, exchange = self._gateway, self._exchange
        is_first = not exchange.server
        exchange.server = address.name
        if is_first and fault.is_retryable and gateway.pool.has_other(address) and gateway.retries.spend():
            self._forward_again(address, fresh=False)
        else:
            self._refuse(fault)

    @ends_here
    def turned_away(self, fault: Fault) -> None:
        """No server may take the request, or none could in time."""
        self._gateway.metrics.count_upstream_failure("", fault.reason)
        self._refuse(fault)

    @ends_here
    def upstream_failed(self, fault: Fault) -> None:
        """The connection to the server is no more."""
        upstream, self._upstream = self._upstream, None
        phase = self._phase
        if phase == life.TUNNELLING:
            self._finish(TUNNELLED, keep=False)
            return
        self._count_failure(self._exchange.server, fault)
        if phase == life.REDACTING and self._body_filter is not None:
            self._replace(self._body_filter)
        elif phase == life.WAITING and upstream is not None and self._may_retry(fault):
            self._forward_again(upstream.address, fresh=True)  # more than one may have been closed at a time
        elif phase in (life.WAITING, life.HOLDING):
            self._refuse(fault)
        elif phase == life.ANSWERING:
            self._break_off(fault)

    @ends_here
    def client_left(self) -> None:
        self._forget_unread()
        exchange, upstream = self._exchange, self._upstream
        if self._phase in (life.IDLE, life.OVER):
            self._phase = life.OVER
        elif self._phase == life.TUNNELLING and upstream is not None:
            upstream.linger()
            self._finish(TUNNELLED, keep=False)
        else:
            self._drop_upstream()
            outcome = FAULTED if exchange.fault else ABANDONED  # a mistake of ours may have come before
            exchange.fault = exchange.fault or faults.CLIENT_GONE
            self._finish(outcome, keep=False)

    def crashed(self, error: Exception) -> None:
        """A mistake of ours: the one place where any exception ends up. The client learns nothing of it."""
        event(_log, logging.ERROR, "crashed", error=error)
        if self._phase in (life.IDLE, life.OVER) or self._exchange.fault is faults.INTERNAL:
            self._drop_upstream()
            self._downstream.abort()
        else:
            self._exchange.fault = faults.INTERNAL
            self.fail(faults.INTERNAL)

    # --- 5. Flow: whoever is slower sets the pace ---

    def client_paused(self) -> None:
        if self._upstream is not None:
            self._upstream.pause_reading()

    def client_resumed(self) -> None:
        self._forget_unread()
        if self._upstream is not None:
            self._upstream.resume_reading()

    def upstream_paused(self) -> None:
        if self._phase == life.TUNNELLING:
            self._downstream.pause_reading()
        else:
            self._downstream.pause_body()

    def upstream_resumed(self) -> None:
        if self._phase == life.TUNNELLING:
            self._downstream.resume_reading()
        elif self._downstream.is_body_pending:
            self._downstream.want_body()

    # --- what the steps ask ---

    def _drop_upstream(self) -> None:
        if self._upstream is not None:
            self._upstream.close()
            self._upstream = None
        elif self._phase == life.CONNECTING:
            self._gateway.pool.forget(self)
