"""THE STORY of one exchange: who, which limits, may it pass, forward, answer, finish.

An `Exchange` is one request and its response: made when the head has come, owner of all that belongs to the
two, gone when they have ended. Its methods stand in the order in which they happen; each is called by whom it
happens to and acts at once, so that no exchange costs a task. What may follow what is `phases`, what can go
wrong is `faults`; docs/architecture.md tells the same in prose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy import faults
from proxy import phases as life
from proxy.faults import Fault
from proxy.fence import ends_here
from proxy.filtering import heed, send_through
from proxy.http1.chunked import chunk, last_chunk
from proxy.http1.lines import DATED
from proxy.http1.refused_heads import UNREAD
from proxy.http1.serialise import connection_line, interim_head
from proxy.mishaps import client_failed, client_left, crashed, may_search_on, server_failed
from proxy.own_answers import refuse
from proxy.phases import ADMIT, ANSWER, ASK, CLOSE, CONNECT, FINISH, NEXT
from proxy.policy.limits import UNCHARGED
from proxy.policy.vouching import UNAUTHORIZED, with_newcomers
from proxy.record import SERVED, UPSTREAM, WEIR, Record
from proxy.rules.heads import Facts
from proxy.rules.request_ids import drawn, new_request_id
from proxy.settlement import give_back_all, settle, vacate, vouch
from proxy.tunnelling import server_ended, switch
from proxy.waiting import forgo, keeps_others_waiting, leave, turns, wait

if TYPE_CHECKING:
    from proxy.contract.filters import BodyFilter
    from proxy.http1.head import RequestHead, ResponseHead
    from proxy.net.downstream import DownstreamConnection
    from proxy.net.interfaces import Trailers
    from proxy.net.server_address import ServerAddress
    from proxy.net.upstream import UpstreamConnection
    from proxy.policy.decision import Decision
    from proxy.rules.pages import Frame
    from proxy.shared import Shared


class Exchange(Record):
    __slots__ = (
        "attempts",
        "body_filter",
        "downstream",
        "facts",
        "has_crashed",
        "head",
        "is_chunked",
        "is_endless",
        "keep",
        "phase",
        "rules",
        "shared",
        "upstream",
    )

    def __init__(self, shared: Shared, downstream: DownstreamConnection, head: RequestHead) -> None:
        rules = shared.rules
        self.shared = shared
        self.downstream = downstream
        self.rules = rules
        self.head = head
        self.facts = rules.heads.unread
        self.phase = life.IDLE
        self.upstream: UpstreamConnection | None = None
        self.attempts = 0  # times that a connection was asked for
        self.body_filter: BodyFilter | None = None  # has the answer's data before the client
        self.has_crashed = False
        self.is_chunked = self.is_endless = False  # how the client sees the answer's end; endless: by closing
        self.keep = True  # the client's connection outlives the exchange
        # What is told of it, as `Record` has it: written out, that saves a call.
        self.method = head.method
        self.target = head.target
        self.peer = self.client = downstream.peer
        self.started = shared.clock()
        self.finished = self.waited = self.upstream_started = self.upstream_seconds = 0.0
        self.request_id = self.server = self.outcome = ""
        self.decision = self.fault = self.trace = None
        self.charges = self.exempt = self.headers = self.would_wait = ()
        self.source = WEIR
        self.status = self.redacted_status = self.bytes_in = self.bytes_out = 0

    # --- 1. A head came: who is it, which limits apply, may it pass? ---

    def begin(self) -> None:
        downstream, head, rules = self.downstream, self.head, self.rules
        self.phase = NEXT[self.phase][ASK]
        facts = self.facts = rules.heads.facts(head, downstream.peer, downstream.scheme)
        self.client = facts.client
        self.request_id = facts.request_id or (drawn.pop() if drawn else new_request_id())
        if self.shared.traces is not None:
            self.trace = self.shared.traces.begin(head.fields, downstream.scheme)
        is_plain = rules.edge.is_idle and not head.section.repeated
        fault = None if is_plain else rules.edge.refusal(head, self.client)
        due = fault or facts.charges or rules.limits.charges(head, facts.client)
        if fault is None and not rules.cors.is_idle and rules.cors.is_preflight(head):
            due = UNCHARGED
        if isinstance(due, Fault):
            refuse(self, due)
            return
        self.charges, self.exempt = due
        if rules.limits.vouches:
            self.charges = with_newcomers(self.charges, head, self.client, self.shared.store.proven)
        if not self.charges:
            self.forward(ADMIT)
            return
        decision = self.shared.store.take(self.charges, self)
        if decision is not None:
            self._judge(decision)

    def decided(self, decision: Decision) -> None:
        """The store's answer, if it did not come at once."""
        try:  # `ends_here`, written out: it would pack and unpack arguments for every request
            if self.phase == life.DECIDING:
                self._judge(decision)
            else:  # the client has left meanwhile
                forgo(self, decision)
        except Exception as error:  # noqa: BLE001 - the fence
            self.crashed(error)

    def _judge(self, decision: Decision) -> None:
        self.decision = decision
        if self.trace is not None:
            self.trace.decided = self.shared.clock()
        if not decision.is_admitted:
            refuse(self, decision.fault)
        elif self.rules.limits.may_wait and (waits := turns(self, decision)):
            wait(self, decision, waits)
        else:
            self.forward(ADMIT)

    @ends_here
    def turn_came(self, waited: float) -> None:
        """Its tokens are there."""
        self.waited = waited
        self.forward(ADMIT)

    @ends_here
    def turn_is_too_late(self, waited: float) -> None:
        """This process ends before they are."""
        self.waited = waited
        give_back_all(self)
        refuse(self, faults.DRAINING)

    @ends_here
    def refuse_head(self, fault: Fault, line: tuple[bytes, bytes], *, has_body: bool = True) -> None:
        """Refused at the door: there is no request that could be told apart from the rest of the bytes.

        `line` is told of it: method and target. What looks like a HEAD has no body in its answer.
        """
        self.method, self.target = line
        self.phase = NEXT[self.phase][ASK]
        self.request_id = new_request_id()
        if self.head.fields:  # what came of it tells which app asks
            self.facts = Facts(self.rules.heads, self.client)
        refuse(self, fault, has_body=has_body)

    # --- 2. It may: a connection to a server, the head, then the body as it comes ---

    def forward(self, why: int, avoid: ServerAddress | None = None, *, fresh: bool = False) -> None:
        """`avoid` is the address at which it failed before: another one is taken, if there is one."""
        self.phase = NEXT[self.phase][why]
        self.attempts += 1
        upstream = self.shared.pool.acquire(self, avoid, fresh=fresh)
        if upstream is not None:
            self._send_request(upstream)

    @ends_here
    def connected(self, upstream: UpstreamConnection) -> None:
        """The pool's answer, if it did not come at once. Who has left is not told (`Pool.forget`)."""
        self._send_request(upstream)

    def _send_request(self, upstream: UpstreamConnection) -> None:
        """The body follows by itself: each connection passes it on as it comes (`net.request_body`)."""
        self.phase = NEXT[self.phase][CONNECT]
        self.upstream = upstream
        address, downstream, head = upstream.address, self.downstream, self.head
        self.server = address.name
        self.upstream_started = self.shared.clock()
        data = self.rules.heads.request(head, self.facts, self.request_id, address.authority)
        if self.trace is not None:
            data = self.trace.carried(data)
        length = head.section.body_length
        upstream.send_head(self, head.method, data, length)
        if downstream.is_write_paused:  # since the answer before this one
            upstream.pause_reading()
        if length:
            downstream.pass_body(upstream)

    def trailers_onward(self, trailers: Trailers) -> Trailers:
        """Behind the body: none that the client is known by."""
        return self.rules.heads.read.unread(trailers)

    # --- 3. The answer: judged by its head, then passed on as it comes ---

    def interim(self, head: ResponseHead) -> None:
        """100 Continue, 103 Early Hints (RFC 9110 section 15.2); HTTP/1.0 does not know them."""
        if self.head.minor == 1:
            self.downstream.write(interim_head(head.status, self.rules.judgement.interim_lines(head)))

    def reassure(self) -> None:
        """Its client sends no more, and others may wait for it: 102 (RFC 2518 section 10.1).

        Who has left answers with a reset; who waits passes over it (RFC 9110 section 15.2).
        """
        if self.head.minor == 1 and self.phase in life.UNANSWERED and keeps_others_waiting(self):
            self.downstream.write(interim_head(102, b""))

    def response_head(self, upstream: UpstreamConnection, head: ResponseHead, data: bytes) -> None:
        """`data` is what came of the body with it."""
        shared, judgement = self.shared, self.rules.judgement
        self.upstream_seconds = shared.clock() - self.upstream_started
        shared.answered += 1
        if self.rules.limits.vouches and (len(self.charges) > 1 or head.status == UNAUTHORIZED):
            vouch(self, head)
        if judgement.passes(head.status) or judgement.keeps_promise(head):
            self.answer(head, data)
        elif head.status == 101:
            switch(self, upstream, head)
        else:
            self._judge_answer(head, data)

    def _judge_answer(self, head: ResponseHead, data: bytes) -> None:
        shared, judgement = self.shared, self.rules.judgement
        for rule in judgement.violations(head):
            shared.evidence.violated(self, head.status, rule)
        settle(self, head)
        body_filter = judgement.body_filter(self.head, head, shared.budget)
        if body_filter is None:
            self.answer(head, data)
            return
        send_through(self, body_filter)
        if data:
            self.response_data(data)

    def answer(self, head: ResponseHead, data: bytes) -> None:
        request, is_http11 = self.head, self.head.minor == 1
        if head.body_length < 0:
            self.is_chunked = is_http11
            self.is_endless = not is_http11
        keep = self.keep = not self.is_endless and self.may_keep()
        ending = b"\r\n" if keep and is_http11 else connection_line(request.minor, keep=keep)
        if not head.marks & DATED:  # RFC 9110 section 6.6.1
            ending = self.shared.date_line + ending
        lines = self.rules.heads.response(head, request, self.decision, self.request_id, ending)
        self.phase = NEXT[self.phase][ANSWER]  # from here on nothing else can be answered
        self.status, self.source, self.bytes_out = head.status, UPSTREAM, len(data)
        if len(data) == head.body_length:
            self.downstream.write(lines + data, True)  # noqa: FBT003 - hot: keywords cost
        else:
            self.downstream.write(lines + (chunk(data) if self.is_chunked and data else data))

    def response_data(self, data: bytes) -> None:
        body_filter = self.body_filter
        if body_filter is not None:
            heed(self, body_filter, *body_filter.feed(data))
        else:
            self.pass_on(data)

    def pass_on(self, data: bytes) -> None:
        self.bytes_out += len(data)
        self.downstream.write(chunk(data) if self.is_chunked else data)

    def response_end(self, trailers: Trailers) -> None:
        self.upstream = None
        body_filter = self.body_filter
        if body_filter is not None:
            heed(self, body_filter, *body_filter.end())
        if self.phase != life.ANSWERING:  # it was replaced
            return
        if self.is_chunked:
            self.downstream.write(last_chunk(trailers))
        self.finish(SERVED, keep=self.keep)

    # --- 3a. ... or through a filter (filtering.py) ---

    @ends_here
    def response_late(self) -> None:
        """The answer is not whole within what it was given; it may go on."""
        if self.body_filter is not None:
            heed(self, self.body_filter, *self.body_filter.late())

    # --- 3b. ... or turned into a tunnel (tunnelling.py) ---

    def server_ended(self) -> bool:
        """The server's side of a tunnel: whether it goes on the other way."""
        return server_ended(self)

    # --- 4. What may go wrong on the way (mishaps.py) ---

    @ends_here
    def fail(self, fault: Fault) -> None:
        """The client's side broke a rule or ran out of time."""
        client_failed(self, fault)

    def may_search_on(self, fault: Fault) -> bool:
        return may_search_on(self, fault)

    @ends_here
    def connect_failed(self, address: ServerAddress, fault: Fault) -> None:
        """No connection could be had, this address was the last one: nothing of the request has left."""
        self.server = address.name
        give_back_all(self)
        refuse(self, fault)

    @ends_here
    def turned_away(self, fault: Fault) -> None:
        """No server may take the request, or none could in time."""
        self.shared.metrics.count_upstream_failure("", fault.reason)
        give_back_all(self)
        refuse(self, fault)

    @ends_here
    def upstream_failed(self, upstream: UpstreamConnection, fault: Fault) -> None:
        """The connection to the server is no more."""
        server_failed(self, upstream, fault)

    @ends_here
    def client_left(self) -> None:
        client_left(self)

    def crashed(self, error: Exception) -> None:
        crashed(self, error)

    # --- 5. Flow: whoever is slower sets the pace ---

    def client_paused(self) -> None:
        if self.upstream is not None:
            self.upstream.pause_reading()

    def client_resumed(self) -> None:
        if self.upstream is not None:
            self.upstream.resume_reading()

    def upstream_paused(self) -> None:
        self.downstream.pause_body()

    def upstream_resumed(self, upstream: UpstreamConnection) -> None:
        self.downstream.resume_body(upstream)

    # --- 6. The end ---

    def finish(self, outcome: str, *, keep: bool) -> None:
        """Exactly once for each exchange, whatever happened."""
        shared, downstream = self.shared, self.downstream
        if self.rules.limits.has_slots:
            vacate(self.decision, shared.store)
        self.outcome = outcome
        self.finished = shared.clock()
        self.phase = NEXT[self.phase][FINISH if keep else CLOSE]
        body = downstream.body
        if body is not None:
            self.bytes_in = body.size
        if self.body_filter is not None:
            self.body_filter.drop()
        if wanted := shared.access_log.headers:
            self.headers = [self.head.fields.get(name, b"") for name in wanted]
        # Whoever keeps the record must not keep what belongs to it: a head may take 100 KiB.
        self.head, self.facts, self.body_filter, self.upstream = UNREAD, self.rules.heads.unread, None, None
        shared.metrics.record(self)
        shared.access_log.write(self)
        if self.trace is not None and shared.traces is not None:
            shared.traces.sink.offer(self)
            shared.metrics.note_exemplar(self)
        if keep:
            downstream.finish()
        else:
            downstream.linger()

    # --- what the steps ask ---

    def new_frame(self) -> Frame:
        return self.rules.pages.frame(self.head, self.request_id)

    def may_keep(self) -> bool:
        """The client's connection can carry another request after this one."""
        if self.head.section.wants_close or self.shared.is_draining:
            return False
        body = self.downstream.body
        return body is None or body.is_over or (body.can_discard and b"expect" not in self.head.fields)

    def drop_upstream(self) -> None:
        if self.upstream is not None:
            self.upstream.close()
            self.upstream = None
        elif self.phase == life.CONNECTING:
            self.shared.pool.forget(self)
        elif self.phase == life.QUEUED:
            leave(self)
