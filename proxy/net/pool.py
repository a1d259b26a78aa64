"""The servers of the upstream: which one is next, who waits while all are full, who is left out.

A server's name stands for all of its addresses, looked up again and again; requests go to addresses. At most
half of those are ejected at once; if none is fit, all are tried: an attempt is better than a certain refusal
(Envoy: panic threshold). One that was ejected since it could not be reached is knocked at once a second, and
is back as soon as it opens. Requests that wait are served in the order in which they came.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from math import inf
from random import random
from typing import TYPE_CHECKING, Final

from proxy import faults
from proxy.background import AT_ONCE, in_turns, keep_doing
from proxy.net.dial import open_connection
from proxy.net.health import keep_checking
from proxy.net.resolver import keep_resolving
from proxy.net.search import Search
from proxy.net.server_address import ServerAddress
from proxy.net.tls import ServersTls
from proxy.policy.balancer import Balancer
from proxy.policy.standing import STATES, Trust
from proxy.telemetry.log import event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from proxy.config.sections.upstream import ServerSettings, UpstreamSettings
    from proxy.faults import Fault
    from proxy.net.connection import Outbox
    from proxy.net.dial import Dial
    from proxy.net.interfaces import ExchangeEvents
    from proxy.net.sweep import Sweeper
    from proxy.net.upstream import UpstreamConnection
    from proxy.telemetry.metrics import Metrics

KNOCK_SECONDS: Final = 1.0  # until the next knock: soon enough for a restart, and it costs nothing

_log = logging.getLogger("weir.upstream")


class Server:
    """One server of the settings, and its addresses."""

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self.addresses: list[ServerAddress] = []


class Pool:
    """All servers of the upstream, as long as their settings hold."""

    def __init__(
        self,
        settings: UpstreamSettings,
        sweeper: Sweeper,
        outbox: Outbox,
        metrics: Metrics,
        dial: Dial = open_connection,
    ) -> None:
        """Raises TlsError."""
        self.settings = settings
        self.dial = dial  # opens connections
        self.tls = ServersTls(settings.tls) if any(_has_tls(each) for each in settings.servers) else None
        self.sweeper = sweeper
        self.outbox = outbox
        self.trust = _trust(settings)
        self.waiting: dict[ExchangeEvents, float] = {}  # for their turn, with the time until which
        self.searches: dict[ExchangeEvents, Search] = {}  # for a connection
        self._metrics = metrics
        self._most = settings.limits.connections  # requests at once to each server
        self._is_changing = False  # a server is ejected, or has not yet its whole share
        self._is_serving = False  # those that wait, in the next tick
        self._tasks: list[asyncio.Task[None]] = []
        self._servers = [Server(each) for each in settings.servers]
        for server in self._servers:
            server.addresses.append(ServerAddress(server, self))
        self._balancer: Balancer[ServerAddress] = Balancer()
        self._only: ServerAddress | None = None  # to choose from
        self._weigh()

    def start(self, before: Pool | None = None) -> None:
        """Looks up names and checks health from now on; takes over from the pool `before`."""
        for server in self._servers:
            if server.settings.url.is_name:
                tell = partial(self.resolved, server)
                self._run(partial(keep_resolving, server.settings.url, self.settings.resolve, tell))
        health = self.settings.health
        if health.path is not None:
            self._run(partial(keep_checking, lambda: self.addresses, health, health.path, self.checked))
        if before is not None:
            self.waiting, before.waiting = before.waiting, {}
            self.has_room()

    @property
    def addresses(self) -> list[ServerAddress]:
        return [address for server in self._servers for address in server.addresses]

    # --- which server, which connection ---

    def acquire(
        self, exchange: ExchangeEvents, avoid: ServerAddress | None = None, *, fresh: bool = False
    ) -> UpstreamConnection | None:
        """A connection that is ready, or none.

        Then `exchange.connected`, `.connect_failed` or `.turned_away` is called, perhaps at once.
        """
        if avoid is not None:
            address = self._rather_than(avoid)
        else:
            address = self._only if self._only is not None else self._with_room()
        if address is None or self.waiting:
            self._wait(exchange)
            return None
        if not fresh:
            upstream = address.take_idle()
            if upstream is not None:
                return upstream
        self._search(exchange, address)
        return None

    def _search(self, exchange: ExchangeEvents, address: ServerAddress) -> None:
        search = self.searches[exchange] = Search(self, exchange)
        search.attempt(address)

    def _with_room(self) -> ServerAddress | None:
        address = self._balancer.choose()
        most = self._most
        if most is None or address.load < most:
            return address
        with_room = [other for other in self._balancer.choices if other.load < most]
        return min(with_room, key=_load) if with_room else None

    def _rather_than(self, avoid: ServerAddress) -> ServerAddress | None:
        """Another one, unless that is known to be out of reach."""
        other = self.other((avoid,))
        if other is not None and not other.is_down:
            return other
        return avoid if self._has_room(avoid) else other

    def other(self, tried: Sequence[ServerAddress]) -> ServerAddress | None:
        """The next to try: one that is fit and reachable, if any is; best of another family than the last."""
        family = tried[-1].family

        def order(address: ServerAddress) -> tuple[bool, bool, bool, float, float]:
            is_out, is_down = not address.standing.is_fit, address.is_down
            pressure, lot = address.load / _weight(address), random()  # noqa: S311 - no secret
            return is_out, is_down, address.family == family, pressure, lot

        untried = [each for each in self.addresses if each not in tried and self._has_room(each)]
        return min(untried, key=order, default=None)

    def has_other(self, tried: Sequence[ServerAddress]) -> bool:
        return any(address not in tried for address in self.addresses)

    def _has_room(self, address: ServerAddress) -> bool:
        return self._most is None or address.load < self._most

    def count_failure(self, address: ServerAddress, fault: Fault) -> None:
        self._metrics.count_upstream_failure(address.name, fault.reason)

    # --- who waits ---

    def _wait(self, exchange: ExchangeEvents) -> None:
        limits = self.settings.limits
        if len(self.waiting) >= limits.queue:
            exchange.turned_away(faults.QUEUE_FULL)
            return
        self.waiting[exchange] = self.sweeper.now + limits.wait
        self.has_room()

    def forget(self, exchange: ExchangeEvents) -> None:
        """Its client has left."""
        self.waiting.pop(exchange, None)
        search = self.searches.get(exchange)
        if search is not None:
            search.end()

    def has_room(self) -> None:
        """A server may take another request: of those that wait, if any do, in the next tick."""
        if self.waiting and not self._is_serving:
            self._is_serving = True
            asyncio.get_running_loop().call_soon(self._serve_waiting)

    def _serve_waiting(self) -> None:
        self._is_serving = False
        for _ in range(AT_ONCE):
            if not self.waiting or (address := self._with_room()) is None:
                return
            exchange = next(iter(self.waiting))
            del self.waiting[exchange]
            upstream = address.take_idle()
            if upstream is not None:
                exchange.connected(upstream)
            else:
                self._search(exchange, address)
        self.has_room()  # perhaps for more, in their turn

    # --- how they stand ---

    def eject(self, address: ServerAddress) -> None:
        """Unless half of them are out already: the rest could not bear it."""
        addresses = self.addresses
        out = [each for each in addresses if each.standing.ejected_until is not None]
        is_too_many = (len(out) + 1) * 2 > len(addresses)
        if address not in addresses or (is_too_many and not self._take_back_one(out)):
            return
        seconds = address.standing.eject(self.sweeper.now)
        self._metrics.count_ejection(address.name)
        event(_log, logging.WARNING, "server_ejected", server=address.label, seconds=seconds)
        address.knock_at = self.sweeper.now + KNOCK_SECONDS
        self._weigh()

    def _take_back_one(self, out: Sequence[ServerAddress]) -> bool:
        """Takes back one that is out and may be well again: better than one that surely is not."""
        now = self.sweeper.now
        for address in out:
            if not address.is_down and address.knock_at <= now:
                self.restore(address)
                return True
        return False

    def restore(self, address: ServerAddress) -> None:
        """It has shown that it is there: its ejection ends before its time."""
        if address.standing.ejected_until is not None:
            address.standing.restore(self.sweeper.now)
            event(_log, logging.INFO, "server_back", server=address.label)
            self._weigh()

    def _is_to_be_knocked_at(self, address: ServerAddress) -> bool:
        """It is out since it could not be reached."""
        is_out = address.standing.ejected_until is not None and address.is_down
        return is_out and address.knock_at <= self.sweeper.now and not address.connecting

    def _knock(self, address: ServerAddress) -> None:
        """So it is back as soon as it can be."""
        if self._is_to_be_knocked_at(address) and not address.is_retired:
            address.knock_at = self.sweeper.now + KNOCK_SECONDS
            address.connect(self)

    def opened(self, upstream: UpstreamConnection) -> None:
        """One that was knocked at."""
        upstream.hand_back()

    def failed(self, address: ServerAddress, fault: Fault) -> None:
        """It is out already."""

    def checked(self, address: ServerAddress, problem: str) -> None:
        """A health check's result: what was wrong, if anything."""
        if address.is_retired:  # since the check began
            return
        is_well = not problem
        if is_well:
            self.restore(address)
        if address.standing.checked(self.sweeper.now, is_well=is_well):
            if is_well:
                event(_log, logging.INFO, "server_healthy", server=address.label)
            else:
                event(_log, logging.WARNING, "server_unhealthy", server=address.label, reason=problem)
            self._weigh()

    def sweep(self, now: float) -> None:
        """What time changes: who has waited too long, whose ejection ends, whose share grows."""
        in_turns([each for each, until in self.waiting.items() if until <= now], self._turn_away)
        if self._is_changing:
            out = []
            for address in self.addresses:
                if address.standing.returns(now):
                    event(_log, logging.INFO, "server_back", server=address.label)
                elif self._is_to_be_knocked_at(address):
                    out.append(address)
            in_turns(out, self._knock)
            self._weigh()

    def _turn_away(self, exchange: ExchangeEvents) -> None:
        if self.waiting.get(exchange, inf) <= self.sweeper.now:
            del self.waiting[exchange]
            exchange.turned_away(faults.QUEUE_TIMEOUT)

    def _weigh(self) -> None:
        """Who may be chosen, and how often; a server's weight is shared out among its addresses."""
        now = self.sweeper.now
        addresses = self.addresses
        fit = [address for address in addresses if address.standing.is_fit] or addresses
        self._balancer.use((address, _weight(address) * address.standing.share(now)) for address in fit)
        # The usual config, one server without a bound, takes a short way.
        self._only = fit[0] if len(fit) == 1 and self._most is None else None
        self._is_changing = any(
            address.standing.ejected_until is not None or address.standing.share(now) < 1
            for address in addresses
        )
        self.has_room()  # one that is back, or new, may take those that wait

    # --- what the names say ---

    def resolved(self, server: Server, ips: Sequence[str]) -> None:
        """The addresses of a name. Those that are new are opened, those that are gone finish what they do."""
        known: dict[str | None, ServerAddress] = {address.ip: address for address in server.addresses}
        if known.keys() != set(ips):
            event(_log, logging.INFO, "resolved", server=server.settings.url.url, addresses=[*ips])
        server.addresses = [known.pop(ip) if ip in known else ServerAddress(server, self, ip) for ip in ips]
        for gone in known.values():
            gone.retire()
        self._weigh()

    # --- the end ---

    def retire(self) -> None:
        for task in self._tasks:
            task.cancel()
        for address in self.addresses:
            address.retire()

    def _run(self, work: Callable[[], Awaitable[None]]) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(keep_doing(_log, work)))

    # --- what the admin plane and the metrics ask for ---

    def status(self) -> list[dict[str, object]]:
        now = self.sweeper.now
        return [
            {
                "server": address.name,
                "address": address.ip,
                "state": address.standing.state(now),
                "active": address.load,
                "idle": len(address.idle),
            }
            for address in self.addresses
        ]

    def states(self) -> dict[tuple[str, str], int]:
        """Addresses by their server and state."""
        found = {(server.settings.url.url, state): 0 for server in self._servers for state in STATES}
        for address in self.addresses:
            found[address.name, address.standing.state(self.sweeper.now)] += 1
        return found

    def counts(self) -> dict[str, int]:
        addresses = self.addresses
        idle = sum(len(address.idle) for address in addresses)
        return {"active": sum(len(address.open) for address in addresses) - idle, "idle": idle}


def _load(address: ServerAddress) -> int:
    return address.load


def _weight(address: ServerAddress) -> float:
    return address.server.settings.weight / len(address.server.addresses)


def _has_tls(server: ServerSettings) -> bool:
    return server.url.scheme == "https"


def _trust(settings: UpstreamSettings) -> Trust:
    ejection, health = settings.ejection, settings.health
    return Trust(
        ejection.failures or 0,
        ejection.first,
        ejection.longest,
        settings.slow_start,
        health.rise,
        health.fall,
    )
