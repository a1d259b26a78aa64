"""The search for a connection on behalf of one exchange: address after address, until one opens.

An address that refuses has cost the service nothing: the next one is tried at once, those that are left out
among them. One that is slow to answer is raced by another, best of the other family (RFC 8305, "Happy
Eyeballs"): addresses that swallow everything must not cost a time-out. What opens too late is not wasted, it
goes to its pool. Knows nothing of requests.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from proxy.reach import RACE_SECONDS

if TYPE_CHECKING:
    from proxy.faults import Fault
    from proxy.net.interfaces import ExchangeEvents
    from proxy.net.pool import Pool
    from proxy.net.server_address import ServerAddress
    from proxy.net.upstream import UpstreamConnection

ADDRESSES_MAX: Final = 5  # of ten with half of them dead, five find a live one 99.6 times of 100


class Search:
    __slots__ = ("_exchange", "_is_over", "_pending", "_pool", "_timer", "_tried")

    def __init__(self, pool: Pool, exchange: ExchangeEvents) -> None:
        self._pool = pool
        self._exchange = exchange
        self._tried: list[ServerAddress] = []
        self._pending = 0  # attempts that have neither opened nor failed
        self._is_over = False
        self._timer: asyncio.TimerHandle | None = None

    def attempt(self, address: ServerAddress) -> None:
        self._tried.append(address)
        self._pending += 1
        address.connect(self)
        if len(self._tried) < ADDRESSES_MAX and self._pool.has_other(self._tried):
            patience = max(RACE_SECONDS, 2 * address.connect_seconds)
            self._timer = asyncio.get_running_loop().call_later(patience, self._race)

    def _race(self) -> None:
        """The last one tried is slow."""
        self._timer = None
        self._go_on()

    def _go_on(self) -> bool:
        """Tries the next address, if there is one."""
        address = self._pool.other(self._tried) if len(self._tried) < ADDRESSES_MAX else None
        if address is None:
            return False
        upstream = address.take_idle()
        if upstream is not None:
            self._found(upstream)
        else:
            self.attempt(address)
        return True

    def opened(self, upstream: UpstreamConnection) -> None:
        self._pending -= 1
        if self._is_over:
            upstream.hand_back()
        else:
            self._found(upstream)

    def failed(self, address: ServerAddress, fault: Fault) -> None:
        self._pending -= 1
        self._pool.count_failure(address, fault)
        if self._is_over:
            return
        self._stop_timer()
        if self._exchange.may_search_on(fault) and self._go_on():
            return
        if not self._pending:
            self.end()
            self._exchange.connect_failed(address, fault)

    def end(self) -> None:
        """Nobody waits any more; what is under way goes on."""
        self._is_over = True
        self._stop_timer()
        self._pool.searches.pop(self._exchange, None)

    def _found(self, upstream: UpstreamConnection) -> None:
        self.end()
        self._exchange.connected(upstream)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
