"""How an exchange ends: what the client is told when it is not the upstream's answer, and what is settled.

`Ending` is what a lane has of its exchange, and the ways out of it; the way up to there is the story in
`gateway`. `_finish` is called exactly once for each exchange, whatever happened.
"""

from __future__ import annotations

from functools import wraps
from time import monotonic, time
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Protocol, TypeVar

from proxy import faults
from proxy import phases as life
from proxy.contract.etags import Budget
from proxy.exchange import FAULTED, REFUSED, SERVED, UPSTREAM
from proxy.http1.serialise import connection_line
from proxy.phases import CLOSE, FINISH, NEXT
from proxy.policy.decision import spared
from proxy.policy.retries import RetryBudget
from proxy.policy.upstream_429 import emptied, retry_after_us
from proxy.telemetry.evidence import Evidence

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.contract.filters import BodyFilter
    from proxy.contract.problem import Problems
    from proxy.exchange import Exchange
    from proxy.faults import Fault
    from proxy.http1.head import RequestHead, ResponseHead
    from proxy.limiter.store import Store
    from proxy.net.downstream import DownstreamConnection
    from proxy.net.pool import Pool
    from proxy.net.upstream import UpstreamConnection
    from proxy.rules import Known, Rules
    from proxy.telemetry.access_log import AccessLog
    from proxy.telemetry.metrics import Metrics

IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"))  # RFC 9110 section 9.2.2


class Fenced(Protocol):
    def crashed(self, error: Exception) -> None: ...


_P = ParamSpec("_P")
_Lane = TypeVar("_Lane", bound=Fenced)


def ends_here(step: Callable[Concatenate[_Lane, _P], None]) -> Callable[Concatenate[_Lane, _P], None]:
    """For steps that the loop itself asks for: what they raise ends the exchange and goes no further."""

    @wraps(step)
    def guarded(lane: _Lane, /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            step(lane, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - the same fence that the connections have around their input
            lane.crashed(error)

    return guarded


class Shared:
    """What the lanes of a worker share; `rules` and `pool` are swapped whole at a reload."""

    def __init__(
        self, rules: Rules, pool: Pool, store: Store, metrics: Metrics, access_log: AccessLog
    ) -> None:
        self.rules = rules
        self.pool = pool
        self.store = store
        self.metrics = metrics
        self.access_log = access_log
        self.evidence = Evidence(metrics)
        self.retries = RetryBudget()
        self.budget = Budget()
        self.date_line = b""  # for answers of our own, renewed by the sweep
        self.is_draining = False  # every answer is the last one of its connection


class Ending:
    __slots__ = (
        "_body_filter",
        "_downstream",
        "_exchange",
        "_gateway",
        "_head",
        "_is_chunked_in",
        "_is_chunked_out",
        "_is_endless",
        "_keep",
        "_known",
        "_phase",
        "_rules",
        "_unread",
        "_upstream",
    )

    def __init__(self, gateway: Shared, downstream: DownstreamConnection) -> None:
        # connection
        self._gateway = gateway
        self._downstream = downstream
        self._phase = life.IDLE
        self._unread: BodyFilter | None = None  # what was held of an answer, and the client has not taken yet
        # exchange
        self._rules = gateway.rules
        self._head: RequestHead | None = None
        self._known: Known | None = None
        self._exchange: Exchange = None  # type: ignore[assignment]  # set by `begin`, before anything reads it
        self._upstream: UpstreamConnection | None = None
        self._is_chunked_in = False
        self._is_chunked_out = False
        self._is_endless = False  # the answer ends with the client's connection
        self._keep = True  # the client's connection outlives the exchange
        self._body_filter: BodyFilter | None = None  # has the answer's data before the client

    # --- answers of our own ---

    def _refuse(self, fault: Fault, *, keep: bool = True, has_body: bool = True) -> None:
        """By the fault's row. With nothing to answer, the connection just closes."""
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

    def _replace(self, body_filter: BodyFilter) -> None:
        """An error object for an answer whose details must not leave."""
        exchange, original = self._exchange, body_filter.original
        assert original is not None
        exchange.status, exchange.redacted_status = original.shown_status, original.status
        exchange.source = UPSTREAM
        self._gateway.evidence.replaced(exchange, original)
        keep = self._may_keep()
        has_body = self._head is None or self._head.method != b"HEAD"
        ending = self._ending(keep=keep)
        page = self._rules.replacement(original, exchange, self._problems(), ending, has_body=has_body)
        exchange.bytes_out = page.body_bytes
        self._downstream.write(exchange.request_id.encode().join(page.pieces))
        self._finish(SERVED, keep=keep)

    def _leave_unchanged(self, head: ResponseHead) -> None:
        """304: the client has what this answer would bring."""
        self._give_back()
        exchange = self._exchange
        exchange.status = 304
        keep = self._may_keep()
        date = b"" if b"date" in head.lowered else self._gateway.date_line
        ending = connection_line(self._head, keep=keep)
        self._downstream.write(b"%b%b%b" % (self._rules.unchanged(head, exchange), date, ending))
        self._finish(SERVED, keep=keep)

    def _give_back(self) -> None:
        """The tokens that a 304 does not cost (`cost_304`)."""
        limits, decision = self._rules.limits, self._exchange.decision
        if limits.gives_back and decision is not None and self._known is not None and self._head is not None:
            charges, _ = self._known.charges or limits.charges(self._head, self._known.client)
            back = spared(charges, decision)
            if back:
                self._gateway.store.give_back(back)

    def _empty(self, head: ResponseHead) -> None:
        """The service says 429: the buckets that admitted the request are empty (`on_upstream_429`)."""
        limits, decision = self._rules.limits, self._exchange.decision
        if limits.empties and decision is not None and self._known is not None and self._head is not None:
            charges, _ = self._known.charges or limits.charges(self._head, self._known.client)
            debts = emptied(charges, decision, retry_after_us(head.fields, time()))
            if debts:
                self._gateway.store.empty(debts)

    def _problems(self) -> Problems:
        """Error objects in the form that the client asked for, as far as it is known."""
        return self._known.problems if self._known is not None else self._rules.problems

    def _ending(self, *, keep: bool) -> bytes:
        """What stands last in a head of our own, with the empty line."""
        return self._gateway.date_line + connection_line(self._head, keep=keep)

    # --- the end ---

    def _break_off(self, fault: Fault) -> None:
        """The client has part of an answer: it must see that there is no more, never a clean end."""
        self._exchange.fault = fault
        if self._is_endless:
            self._downstream.reset()
        self._finish(FAULTED, keep=False)

    def _finish(self, outcome: str, *, keep: bool) -> None:
        exchange, gateway = self._exchange, self._gateway
        keep = keep and not gateway.is_draining
        exchange.outcome = outcome
        exchange.finished = monotonic()
        self._phase = NEXT[self._phase][FINISH if keep else CLOSE]
        # What rests must be small: a head may take 100 KiB.
        self._head = self._known = self._upstream = None
        if self._body_filter is not None:
            self._body_filter.drop()
            self._body_filter = None
        self._is_chunked_in = self._is_chunked_out = self._is_endless = False
        gateway.metrics.record(exchange)
        gateway.access_log.write(exchange)
        if keep:
            self._downstream.finish()
        else:
            self._downstream.linger()

    # --- what is asked on the way there ---

    def _may_keep(self) -> bool:
        """The client's connection can carry another request after this one."""
        known, downstream = self._known, self._downstream
        if known is None or known.wants_close or self._gateway.is_draining:
            return False
        return not downstream.is_body_pending or (downstream.can_discard_body and not self._awaits_continue())

    def _forget_unread(self) -> None:
        if self._unread is not None:
            self._unread.drop()
            self._unread = None

    def _awaits_continue(self) -> bool:
        return self._head is not None and b"expect" in self._head.fields

    def _may_retry(self, fault: Fault) -> bool:
        """Nothing of the request can have been processed, it is idempotent, and it is all in our hands."""
        head = self._head
        assert head is not None
        return (
            fault.is_retryable
            and head.method in IDEMPOTENT
            and head.section.body_length == 0
            and self._gateway.retries.spend()
        )

    def _count_failure(self, server: str, fault: Fault) -> None:
        if server and fault.side == faults.UPSTREAM:
            self._gateway.metrics.count_upstream_failure(server, fault.reason)
