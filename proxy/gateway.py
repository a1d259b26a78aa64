"""THE STORY of one exchange: who, which limits, may it pass, forward, answer, finish.

A `Lane` belongs to one client connection and lives through its exchanges one after the other. Its methods
stand in the order in which they happen; each is called by the connection on which it happens and acts at
once, so that no exchange costs a task. The phases and what may follow them are `http1.lifecycle`; what can
go wrong is `faults`; `_finish` is called exactly once for each exchange, whatever happened.
docs/life-of-an-exchange.md tells the same in prose.
"""

from __future__ import annotations

import logging
from functools import wraps
from time import monotonic
from typing import TYPE_CHECKING, Concatenate, ParamSpec

from proxy import faults
from proxy.contract.leaks import EXAMINED_BYTES, is_examined
from proxy.contract.ration import Ration
from proxy.exchange import ABANDONED, FAULTED, REFUSED, SERVED, TUNNELLED, UPSTREAM, Exchange
from proxy.http1 import lifecycle as life
from proxy.http1.framing import chunk, last_chunk
from proxy.http1.head import CHUNKED
from proxy.http1.lifecycle import (
    ADMIT,
    ANSWER,
    ASK,
    CLOSE,
    CONNECT,
    EXAMINE,
    FINISH,
    NEXT,
    REDACT,
    RETRY,
    SWITCH,
)
from proxy.http1.serialise import connection_line, interim_head, switching_head
from proxy.policy.retries import RetryBudget
from proxy.rules import new_request_id
from proxy.telemetry.log import event
from proxy.telemetry.masking import method_text, target_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.contract.problem import Problems
    from proxy.contract.redaction import Original
    from proxy.faults import Fault
    from proxy.http1.head import RequestHead, ResponseHead
    from proxy.limiter.store import Store
    from proxy.net.downstream import Downstream
    from proxy.net.pool import Pool
    from proxy.net.ports import Trailers
    from proxy.net.server import Server
    from proxy.net.upstream import Upstream
    from proxy.policy.decision import Decision
    from proxy.rules import Known, Rules
    from proxy.telemetry.access_log import AccessLog
    from proxy.telemetry.metrics import Metrics

REDACT_BYTES = 256 * 1024  # of an answer that is replaced, read before its connection is dropped
REDACT_SECONDS = 1.0  # and how long: the client waits for its error object meanwhile
ORIGINALS_PER_SECOND, ORIGINALS_BURST = 20, 200  # replaced answers that the log takes, 16 KiB each at most
VIOLATIONS_PER_SECOND, VIOLATIONS_BURST = (
    1,
    10,
)  # of the contract that the log takes: samples, the metric counts
IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"))  # RFC 9110 section 9.2.2

_log = logging.getLogger("weir.gateway")
_P = ParamSpec("_P")


def _ends_here(step: Callable[Concatenate[Lane, _P], None]) -> Callable[Concatenate[Lane, _P], None]:
    """For steps that the loop itself asks for: what they raise ends the exchange and goes no further."""

    @wraps(step)
    def guarded(lane: Lane, /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            step(lane, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - the same fence that the connections have around their input
            lane.crashed(error)

    return guarded


class Gateway:
    """What the lanes of a worker share; `rules` and `pool` are swapped whole at a reload."""

    def __init__(
        self, rules: Rules, pool: Pool, store: Store, metrics: Metrics, access_log: AccessLog
    ) -> None:
        self.rules = rules
        self.pool = pool
        self.store = store
        self.metrics = metrics
        self.access_log = access_log
        self.retries = RetryBudget()
        self.originals = Ration(ORIGINALS_PER_SECOND, ORIGINALS_BURST)
        self.violations = Ration(VIOLATIONS_PER_SECOND, VIOLATIONS_BURST)
        self.date_line = b""  # for answers of our own, renewed by the sweep
        self.is_draining = False  # every answer is the last one of its connection

    def lane(self, downstream: Downstream) -> Lane:
        return Lane(self, downstream)


class Lane:
    __slots__ = (
        "_aside",
        "_downstream",
        "_exchange",
        "_gateway",
        "_head",
        "_held",
        "_is_chunked_in",
        "_is_chunked_out",
        "_is_endless",
        "_keep",
        "_known",
        "_original",
        "_phase",
        "_rules",
        "_upstream",
    )

    def __init__(self, gateway: Gateway, downstream: Downstream) -> None:
        # connection
        self._gateway = gateway
        self._downstream = downstream
        self._phase = life.IDLE
        # exchange
        self._rules = gateway.rules
        self._head: RequestHead | None = None
        self._known: Known | None = None
        self._exchange: Exchange = None  # type: ignore[assignment]  # set by `begin`, before anything reads it
        self._upstream: Upstream | None = None
        self._is_chunked_in = False
        self._is_chunked_out = False
        self._is_endless = False  # the answer ends with the client's connection
        self._keep = True  # the client's connection outlives the exchange
        self._original: Original | None = None  # the answer that is being replaced, or may have to be
        self._aside: Callable[[bytes], bool] | None = None  # has the answer's data first; True: it keeps them
        self._held = b""  # of an answer whose beginning is not yet known

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
        charges, exchange.exempt = known.charges or rules.limits.charges(head, known.client)
        if not charges:
            self._forward()
            return
        decision = gateway.store.take(charges, self)
        if decision is not None:
            self._judge(decision)

    @_ends_here
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

    @_ends_here
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

    def _forward_again(self, avoid: Server | None = None) -> None:
        """By another server, if there is one to avoid, else on a fresh connection."""
        self._phase = NEXT[self._phase][RETRY]
        upstream = self._gateway.pool.acquire(self, avoid, fresh=avoid is None)
        if upstream is not None:
            self._send_request(upstream)

    @_ends_here
    def connected(self, upstream: Upstream) -> None:
        """The pool's answer, if it did not come at once."""
        if self._phase == life.CONNECTING:
            self._send_request(upstream)
        else:  # the client has left meanwhile
            upstream.hand_back()

    def _send_request(self, upstream: Upstream) -> None:
        self._phase = NEXT[self._phase][CONNECT]
        self._upstream = upstream
        head, known, exchange = self._head, self._known, self._exchange
        assert head is not None
        assert known is not None
        server = upstream.server
        exchange.server = server.name
        exchange.upstream_started = monotonic()
        data = self._rules.request(known, exchange, server.authority)
        length = head.body_length
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
        status = head.status
        if status == 101:
            self._switch(head)
            return
        if self._rules.redaction.covers(status):
            self._begin_redaction(self._rules.redaction.original(head))
            return
        for rule in self._rules.violations(head):
            self._note_violation(status, rule)
        if self._rules.guards_leaks and is_examined(head):
            self._begin_examination(head)
        else:
            self._answer(head)

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
        if self._aside is not None and self._aside(data):
            return
        self._exchange.bytes_out += len(data)
        self._downstream.write(chunk(data) if self._is_chunked_out else data)

    def response_end(self, trailers: Trailers) -> None:
        self._upstream = None
        if self._aside is not None and self._ends_aside():
            return
        if self._is_chunked_out:
            self._downstream.write(last_chunk(trailers))
        self._finish(SERVED, keep=self._keep)

    # --- 3a. ... or replaced, since its details must not leave ---

    def _begin_redaction(self, original: Original) -> None:
        self._phase = NEXT[self._phase][REDACT]
        self._original = original
        self._aside = self._swallow
        if self._upstream is not None:
            self._upstream.expect_within(REDACT_SECONDS)

    def _swallow(self, data: bytes) -> bool:
        assert self._original is not None
        self._original.feed(data)
        if self._original.size > REDACT_BYTES:
            self._drop_upstream()
            self._answer_redacted()
        return True

    def _ends_aside(self) -> bool:
        """At the end of the answer; True if the client has been told something else."""
        if self._phase != life.REDACTING:
            self._judge_beginning()
        if self._phase == life.REDACTING:
            self._answer_redacted()
            return True
        return False

    def _answer_redacted(self) -> None:
        original, exchange = self._original, self._exchange
        assert original is not None
        exchange.status, exchange.redacted_status = original.shown_status, original.status
        exchange.source = UPSTREAM
        self._gateway.metrics.count_redaction(original.status)
        self._log_original(original)
        keep = self._may_keep()
        lines, body = self._rules.redacted(original, exchange, self._problems())
        if self._head is not None and self._head.method == b"HEAD":
            body = b""
        exchange.bytes_out = len(body)
        self._downstream.write(b"%b%b%b" % (lines, self._ending(keep=keep), body))
        self._finish(SERVED, keep=keep)

    def _log_original(self, original: Original, word: str = "redacted") -> None:
        """Once, with the request id the client was given; a storm of failures must not fill the disk."""
        originals = self._gateway.originals
        if originals.admits(monotonic()):
            fields = {"request_id": self._exchange.request_id, **original.for_log()}
            if passed_over := originals.take_passed_over():
                fields["passed_over"] = passed_over
            _log.warning(word, extra={"fields": fields})

    def _note_violation(self, status: int, rule: str) -> None:
        """Counted always, logged now and then: the answer passes."""
        gateway, exchange = self._gateway, self._exchange
        gateway.metrics.count_violation(status, rule)
        if gateway.violations.admits(monotonic()):
            method, target = method_text(exchange.method), target_text(exchange.target)
            event(
                _log,
                logging.WARNING,
                "violation",
                status=status,
                rule=rule,
                request_id=exchange.request_id,
                request=f"{method} {target}",
                passed_over=gateway.violations.take_passed_over(),
            )

    # --- 3b. ... or examined, since what looks like an answer may tell of a failure ---

    def _begin_examination(self, head: ResponseHead) -> None:
        self._original = self._rules.redaction.original(head)
        if self._rules.redacts_leaks:
            self._phase = NEXT[self._phase][EXAMINE]
            self._aside = self._hold
        else:
            self._aside = self._watch
            self._answer(head)

    def _hold(self, data: bytes) -> bool:
        assert self._original is not None
        self._held += data
        self._original.feed(data)
        if self._original.size >= EXAMINED_BYTES:
            self._judge_beginning()
        return True

    def _watch(self, data: bytes) -> bool:
        assert self._original is not None
        self._original.feed(data)
        if self._original.size >= EXAMINED_BYTES:
            self._judge_beginning()
        return False

    def _judge_beginning(self) -> None:
        original, held = self._original, self._held
        assert original is not None
        self._aside, self._held = None, b""
        if original.examine():
            self._gateway.metrics.count_leak(original.status, original.leak)
            if self._phase == life.EXAMINING:
                self._begin_redaction(original)
            else:
                self._log_original(original, "leak")
        elif self._phase == life.EXAMINING:
            self._answer(original.head)
            if held:
                self.response_data(held)

    # --- 3c. ... or turned into a tunnel ---

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

    # --- 4. What the client is told when it is not the upstream's answer ---

    def _refuse(self, fault: Fault, *, keep: bool = True, has_body: bool = True) -> None:
        """An answer of our own, by the fault's row. With nothing to answer, the connection just closes."""
        exchange, head = self._exchange, self._head
        exchange.fault = fault
        exchange.outcome = REFUSED if fault.side == faults.DOWNSTREAM else FAULTED
        keep = keep and head is not None and self._may_keep()
        if fault.status:
            exchange.status = fault.status
            has_body = has_body and not (head is not None and head.method == b"HEAD")
            ending = self._ending(keep=keep)
            page = self._rules.page(fault, exchange, self._problems(), ending, has_body=has_body)
            exchange.bytes_out = page.body_bytes
            self._downstream.write(exchange.request_id.encode().join(page.pieces))
        self._finish(exchange.outcome, keep=keep)

    def _problems(self) -> Problems:
        """Error objects in the form that the client asked for, as far as it is known."""
        return self._known.problems if self._known is not None else self._rules.problems

    def _ending(self, *, keep: bool) -> bytes:
        """What stands last in a head of our own, with the empty line."""
        return self._gateway.date_line + connection_line(self._head, keep=keep)

    # --- 5. What may go wrong on the way ---

    @_ends_here
    def fail(self, fault: Fault) -> None:
        """The client's side broke a rule or ran out of time."""
        self._drop_upstream()
        if self._phase in (life.ANSWERING, life.TUNNELLING):
            self._break_off(fault)
        elif self._phase not in (life.IDLE, life.OVER):
            self._refuse(fault, keep=False)

    @_ends_here
    def connect_failed(self, server: Server, fault: Fault) -> None:
        """No connection to the server could be had: nothing of the request has left."""
        self._count_failure(server.name, fault)
        if self._phase != life.CONNECTING:  # the client has left meanwhile
            return
        gateway, exchange = self._gateway, self._exchange
        is_first = not exchange.server
        exchange.server = server.name
        if is_first and fault.is_retryable and gateway.pool.has_other(server) and gateway.retries.spend():
            self._forward_again(avoid=server)
        else:
            self._refuse(fault)

    @_ends_here
    def turned_away(self, fault: Fault) -> None:
        """No server may take the request, or none could in time."""
        self._gateway.metrics.count_upstream_failure("", fault.reason)
        self._refuse(fault)

    @_ends_here
    def upstream_failed(self, fault: Fault) -> None:
        """The connection to the server is no more."""
        self._upstream = None
        phase = self._phase
        if phase == life.TUNNELLING:
            self._finish(TUNNELLED, keep=False)
            return
        self._count_failure(self._exchange.server, fault)
        if phase == life.REDACTING:
            self._answer_redacted()
        elif phase == life.WAITING and self._may_retry(fault):
            self._forward_again()
        elif phase in (life.WAITING, life.EXAMINING):
            self._refuse(fault)
        elif phase == life.ANSWERING:
            self._break_off(fault)

    def _break_off(self, fault: Fault) -> None:
        """The client has part of an answer: it must see that there is no more, never a clean end."""
        self._exchange.fault = fault
        if self._is_endless:
            self._downstream.reset()
        self._finish(FAULTED, keep=False)

    @_ends_here
    def client_left(self) -> None:
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

    # --- 6. Flow: whoever is slower sets the pace ---

    def client_paused(self) -> None:
        if self._upstream is not None:
            self._upstream.pause_reading()

    def client_resumed(self) -> None:
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

    # --- 7. The end ---

    def _finish(self, outcome: str, *, keep: bool) -> None:
        exchange, gateway = self._exchange, self._gateway
        keep = keep and not gateway.is_draining
        exchange.outcome = outcome
        exchange.finished = monotonic()
        self._phase = NEXT[self._phase][FINISH if keep else CLOSE]
        # What rests must be small: a head may take 100 KiB.
        self._head = self._known = self._upstream = self._original = self._aside = None
        self._held = b""
        self._is_chunked_in = self._is_chunked_out = self._is_endless = False
        gateway.metrics.record(exchange)
        gateway.access_log.write(exchange)
        if keep:
            self._downstream.finish()
        else:
            self._downstream.linger()

    # --- what the steps ask ---

    def _may_keep(self) -> bool:
        """The client's connection can carry another request after this one."""
        known, downstream = self._known, self._downstream
        if known is None or known.wants_close or self._gateway.is_draining:
            return False
        return not downstream.is_body_pending or (downstream.can_discard_body and not self._awaits_continue())

    def _awaits_continue(self) -> bool:
        return self._head is not None and b"expect" in self._head.fields

    def _may_retry(self, fault: Fault) -> bool:
        """Nothing of the request can have been processed, it is idempotent, and it is all in our hands."""
        head = self._head
        assert head is not None
        return (
            fault.is_retryable
            and head.method in IDEMPOTENT
            and head.body_length == 0
            and self._gateway.retries.spend()
        )

    def _drop_upstream(self) -> None:
        if self._upstream is not None:
            self._upstream.close()
            self._upstream = None
        elif self._phase == life.CONNECTING:
            self._gateway.pool.forget(self)

    def _count_failure(self, server: str, fault: Fault) -> None:
        if server and fault.side == faults.UPSTREAM:
            self._gateway.metrics.count_upstream_failure(server, fault.reason)
