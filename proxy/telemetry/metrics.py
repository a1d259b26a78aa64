"""What is counted, as plain integers: read only at a scrape (families.py).

A bound child's `inc()` costs 0.37 us and `labels()` 1.3 us; a dict entry costs 0.1 us. Labels come from the
config, the fault table and HTTP itself, never from what a client chose: a method HTTP does not know counts as
"other", a status without a name there as its class ("5xx"), since there are services whose status a client
chooses. Knows nothing of sockets or of stores: what they hold now is asked of the callables they provide.
"""

from __future__ import annotations

from bisect import bisect_left
from http import HTTPStatus
from time import monotonic, time
from typing import TYPE_CHECKING, Final, Protocol

from proxy import faults
from proxy.policy.decision import LOCAL, STORE
from proxy.telemetry.histogram import NOTED_MAX, Histogram
from proxy.telemetry.recent import Recent
from proxy.telemetry.safe_text import METHODS
from proxy.telemetry.top_keys import NEAR, NEAR_OF, NEAR_PARTS, OVER, TopKeys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from proxy.policy.decision import Decision, Verdict
    from proxy.policy.limits import Limit
    from proxy.record import Record

OTHER = b"other"  # a method that is none of METHODS
REGISTERED: Final = frozenset(map(int, HTTPStatus))  # IANA's registry, as Python has it
NOTHING_SENT = 0

Status = int | str  # by its number, or by its class

# The words of weir_limit_decisions_total.
ADMITTED = "admitted"
REFUSED = "refused"
SHADOW_REFUSED = "shadow_refused"
EXEMPT = "exempt"
DECISIONS = (ADMITTED, REFUSED, SHADOW_REFUSED, EXEMPT)

# From half a millisecond (a refusal takes less) to the service's own request timeout of 140 s.
SECONDS: Final = (
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    140.0,
)
# Of a call to the store, whose time-out is 0.05 s by default.
STORE_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5)
BATCH_SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)

# Reasons that lie in the bytes of a request: they are counted apart, by the table of faults.
DOOR_REASONS: Final = frozenset(
    fault.reason for fault in faults.FAULTS.values() if fault.counted == faults.HEADS
)


class Measured(Protocol):
    """What the metrics ask of a store of buckets."""

    @property
    def is_up(self) -> bool: ...


class Room(Protocol):
    """What they ask of the queues of who waits for a token, by limit."""

    waiting: dict[str, int]  # now
    waits: dict[str, int]  # that ended
    seconds: dict[str, float]  # which those took


class NoRoom:
    """Nobody waits."""

    def __init__(self) -> None:
        self.waiting: dict[str, int] = {}
        self.waits: dict[str, int] = {}
        self.seconds: dict[str, float] = {}


class StoreFigures:
    """What a store that is asked over a network counts up about its calls."""

    __slots__ = ("batch_size", "errors", "seconds")

    def __init__(self) -> None:
        self.batch_size: Histogram = Histogram(BATCH_SIZES)  # charges in one call
        self.seconds: Histogram = Histogram(STORE_SECONDS)  # of one call
        self.errors: dict[str, int] = {}  # by reason

    def count_error(self, reason: str) -> None:
        self.errors[reason] = self.errors.get(reason, 0) + 1


class Metrics:
    """The counters of one process. `record` is the hot path; the rest is counted where it is seen."""

    def __init__(self) -> None:
        self.ended: dict[tuple[bytes, Status, str, str], int] = {}  # (method, status, source, outcome)
        self.request_seconds: Histogram = Histogram(SECONDS)
        self.exemplars: dict[int, tuple[str, float, float]] = {}  # by bucket: trace, seconds, Unix time
        self.upstream_seconds: Histogram = Histogram(SECONDS)
        self.own_seconds: Histogram = Histogram(SECONDS)
        self.decisions: dict[tuple[str, str, str], int] = {}  # (limit, decision, via)
        self._limit_names: tuple[str, ...] = ()
        self.refused_heads: dict[str, int] = dict.fromkeys(sorted(DOOR_REASONS), 0)
        self.redactions: dict[Status, int] = {}  # the upstream's status
        self.leaks: dict[tuple[Status, str], int] = {}  # (the upstream's status, signature)
        self.contract_violations: dict[tuple[Status, str], int] = {}  # (status, rule)
        self.upstream_failures: dict[tuple[str, str], int] = {}  # (server, reason)
        self.ejections: dict[str, int] = {}  # by server
        self.store: StoreFigures = StoreFigures()
        self.is_reload_successful: bool = True
        self.worker_restarts: int = 0
        self.reload_time: float = 0.0  # Unix time at which the config in force was read
        self.certificate_failures: dict[str, int] = {}  # by the setting of the block
        self.certificates: Callable[[], Mapping[str, float]] = dict  # when they expire, by their setting
        self.connections: Callable[[], Mapping[tuple[str, str], int]] = dict  # by side and state
        self.servers: Callable[[], Mapping[tuple[str, str], int]] = dict  # addresses by server and state
        self.waiting: Callable[[], int] = int  # requests that wait for a server
        self.room: Room = NoRoom()  # ... and for a token
        self.in_flight: Callable[[], Mapping[str, int]] = dict  # requests that hold a slot, by limit
        self.shadow_waits: dict[str, int] = {}  # by limit: requests that would have waited
        self.shadow_wait_seconds: dict[str, float] = {}  # how long
        self.store_outages: int = 0
        self._was_store_up: bool = True
        self.is_store_up: Callable[[], bool] = lambda: True
        self.spans: Callable[[], Mapping[str, int]] = dict  # by what became of them
        self.top_keys = TopKeys()
        self.recent = Recent()
        self.is_draining: Callable[[], bool] = bool
        self.access_log_dropped: Callable[[], int] = int
        self.log_dropped: Callable[[], int] = int
        self.crowded_out: Callable[[], Mapping[str, int]] = dict  # clients, by what they held

    # --- every exchange ---

    def record(self, exchange: Record) -> None:
        """Counts one finished exchange."""
        status = exchange.status
        key = (exchange.method, status, exchange.source, exchange.outcome)
        try:
            self.ended[key] += 1
        except KeyError:
            self._first(key)
        started = exchange.started
        if status != 101:  # a tunnel lasts as long as it likes
            noted = self.request_seconds.noted
            noted.append(exchange.finished - started)
            self.own_seconds.noted.append(
                (exchange.upstream_started or exchange.finished) - started - exchange.waited
            )
            if len(noted) >= NOTED_MAX:
                self._count_seconds()
        if exchange.upstream_seconds:
            self.upstream_seconds.noted.append(exchange.upstream_seconds)
        decision = exchange.decision
        if decision is not None:
            self._decided(exchange, decision)
        if exchange.exempt or exchange.would_wait:
            self._exempted(exchange.exempt)
            self._would_have_waited(exchange.would_wait)
        fault = exchange.fault
        if fault is not None:
            if fault.reason in DOOR_REASONS:
                self.refused_heads[fault.reason] += 1
            self.recent.note(exchange)
        elif exchange.redacted_status:
            self.recent.note(exchange)

    def note_exemplar(self, exchange: Record) -> None:
        """Remembers a traced one, where its duration is counted."""
        if exchange.trace is not None and exchange.status != 101:
            seconds = exchange.finished - exchange.started
            place = bisect_left(self.request_seconds.bounds, seconds)
            self.exemplars[place] = (exchange.trace.trace_id, seconds, time())

    def _first(self, key: tuple[bytes, int, str, str]) -> None:
        method, status, source, outcome = key
        known = (method if method in METHODS else OTHER, known_status(status), source, outcome)
        self.ended[known] = self.ended.get(known, 0) + 1

    def _decided(self, exchange: Record, decision: Decision) -> None:
        decisions, verdicts = self.decisions, decision.verdicts
        via = decision.via
        is_near = False
        for verdict in verdicts if len(verdicts) == 1 else decision.told:
            terms = verdict.terms
            key = (terms.name, ADMITTED if verdict.is_admitted else word_of(verdict), via)
            try:
                decisions[key] += 1
            except KeyError:
                decisions[key] = 1
            if not verdict.is_admitted or verdict.debt * NEAR_OF >= terms.burst_units * NEAR_PARTS:
                is_near = True
        if is_near:
            self.top_keys.saw(decision.verdicts, exchange.finished)

    def _count_seconds(self) -> None:
        for histogram in (self.request_seconds, self.own_seconds, self.upstream_seconds):
            histogram.count()

    def _exempted(self, limits: Iterable[Limit]) -> None:
        for limit in limits:
            key = (limit.name, EXEMPT, LOCAL)  # no store is asked
            self.decisions[key] = self.decisions.get(key, 0) + 1

    def _would_have_waited(self, waits: Iterable[tuple[str, float]]) -> None:
        for name, seconds in waits:
            self.shadow_waits[name] = self.shadow_waits.get(name, 0) + 1
            self.shadow_wait_seconds[name] = self.shadow_wait_seconds.get(name, 0.0) + seconds

    # --- what happens now and then ---

    def count_leak(self, status: int, signature: str) -> None:
        key = (known_status(status), signature)
        self.leaks[key] = self.leaks.get(key, 0) + 1

    def count_redaction(self, status: int) -> None:
        known = known_status(status)
        self.redactions[known] = self.redactions.get(known, 0) + 1

    def count_violation(self, status: int, rule: str) -> None:
        key = (known_status(status), rule)
        self.contract_violations[key] = self.contract_violations.get(key, 0) + 1

    def count_upstream_failure(self, server: str, reason: str) -> None:
        key = (server, reason)
        self.upstream_failures[key] = self.upstream_failures.get(key, 0) + 1

    def count_ejection(self, server: str) -> None:
        self.ejections[server] = self.ejections.get(server, 0) + 1

    def configure(self, limits: Iterable[str]) -> None:
        """Shows a config's limits from zero, so that a first refusal is a rise; what is counted stays."""
        self._limit_names = names = tuple(limits)
        self.top_keys.configure(names)
        for name in names:
            self.decisions.setdefault((name, ADMITTED, STORE), 0)
            self.decisions.setdefault((name, REFUSED, STORE), 0)

    def watch_waits(self, limits: Iterable[str]) -> None:
        """Shows limits that let somebody wait in shadow from zero."""
        for name in limits:
            self.shadow_waits.setdefault(name, 0)
            self.shadow_wait_seconds.setdefault(name, 0.0)

    def reloaded(self, *, successful: bool, at: float) -> None:
        """A config was read, at the start or later; `at` is Unix time."""
        self.is_reload_successful = successful
        if successful:
            self.reload_time = at

    # --- what is asked for at a scrape, by the floors that know ---

    def provide_connections(self, connections: Callable[[], Mapping[tuple[str, str], int]]) -> None:
        self.connections = connections

    def provide_servers(
        self, states: Callable[[], Mapping[tuple[str, str], int]], waiting: Callable[[], int]
    ) -> None:
        self.servers = states
        self.waiting = waiting

    def provide_room(self, room: Room) -> None:
        self.room = room

    def provide_certificates(self, ends: Callable[[], Mapping[str, float]]) -> None:
        self.certificates = ends

    def provide_slots(self, in_flight: Callable[[], Mapping[str, int]]) -> None:
        self.in_flight = in_flight

    def provide_store(self, store: Measured) -> None:
        self.is_store_up = lambda: store.is_up

    def provide_access_log(self, dropped: Callable[[], int]) -> None:
        self.access_log_dropped = dropped

    def provide_log(self, dropped: Callable[[], int]) -> None:
        """Tells how many lines of the program's own log were lost."""
        self.log_dropped = dropped

    def provide_crowded_out(self, crowded_out: Callable[[], Mapping[str, int]]) -> None:
        self.crowded_out = crowded_out

    def provide_spans(self, spans: Callable[[], Mapping[str, int]]) -> None:
        self.spans = spans

    def provide_draining(self, is_draining: Callable[[], bool]) -> None:
        self.is_draining = is_draining

    # --- what is looked at by the sweep ---

    def watch_store(self) -> None:
        """Counts outages that begin and end between two scrapes."""
        is_up = self.is_store_up()
        if self._was_store_up and not is_up:
            self.store_outages += 1
        self._was_store_up = is_up

    # --- what others ask for ---

    @property
    def requests(self) -> dict[tuple[bytes, Status, str], int]:
        """How many there were, by method, status and source."""
        counts: dict[tuple[bytes, Status, str], int] = {}
        for (method, status, source, _), count in self.ended.items():
            key = (method, status, source)
            counts[key] = counts.get(key, 0) + count
        return counts

    @property
    def outcomes(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for (_, _, _, outcome), count in self.ended.items():
            counts[outcome] = counts.get(outcome, 0) + count
        return counts

    def limit_keys(self) -> dict[tuple[str, str], int]:
        """How many keys are remembered, by limit and state."""
        zeros = {(name, state): 0 for name in self._limit_names for state in (OVER, NEAR)}
        return zeros | self.top_keys.counts(monotonic())

    def limit_counts(self, limits: Iterable[str]) -> dict[str, dict[str, int]]:
        """How often each limit admitted, refused, would have refused and was not asked, in whatever way."""
        counts = {name: dict.fromkeys(DECISIONS, 0) for name in limits}
        for (name, decision, _), count in self.decisions.items():
            if name in counts:
                counts[name][decision] += count
        return counts


def known_status(status: int) -> Status:
    return status if status in REGISTERED or status == NOTHING_SENT else f"{status // 100}xx"


def word_of(verdict: Verdict) -> str:
    """The decision word of one limit's verdict."""
    if verdict.is_admitted:
        return ADMITTED
    return SHADOW_REFUSED if verdict.terms.is_shadow else REFUSED
