"""One address of a server: its connections, how to open more, when to let go of one, and how it stands.

The last connection used is the next one used, so that the rest can age and be closed before the server
closes them. Knows nothing of requests.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from typing import TYPE_CHECKING, Final

from proxy import faults
from proxy.background import in_turns
from proxy.contract.ration import Ration
from proxy.net.sweep import NEVER
from proxy.net.tls import ServerFront
from proxy.net.upstream import UpstreamConnection
from proxy.policy.standing import Standing
from proxy.telemetry.log import event

if TYPE_CHECKING:
    from proxy.faults import Fault
    from proxy.net.interfaces import Caller
    from proxy.net.pool import Pool, Server

SHORTAGES = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))  # ours, not the server's
MARGIN_SECONDS: Final = 1.0  # a connection that the server is about to close is not used any more
STALE_SECONDS = 3600.0  # between two lines of them: the metric counts
IDLE_MAX: Final = 1024  # connections at rest a server: as many as are used at once, seldom more

_log = logging.getLogger("weir.upstream")


class ServerAddress:
    """Its idle connections and how to open more."""

    def __init__(self, server: Server, pool: Pool, ip: str | None = None) -> None:
        """`ip` is one of the addresses that the server's name has; None: connects by the name."""
        settings = pool.settings
        self.server = server
        self.url = server.settings.url
        self.name = self.url.url
        self.ip = ip
        self.family = _family(ip)
        self.authority = self.url.authority.encode()
        self.standing = Standing(pool.trust)
        self.sweeper = pool.sweeper
        self.outbox = pool.outbox
        self.connect_timeout = settings.timeouts.connect
        self.response_timeout = settings.timeouts.response
        self.idle_timeout = settings.timeouts.idle
        self.idle: dict[UpstreamConnection, None] = {}  # the last one used comes last
        self.open: set[UpstreamConnection] = set()
        self.connecting: set[UpstreamConnection] = set()  # until they are open
        self.is_down = False  # the last connection could not be had
        self.connect_seconds = 0.0  # that the last one took
        self.knock_at = 0.0  # when it may next be asked whether it is back
        self.is_retired = False  # no longer in the settings: connections close as they become idle
        self.ssl = ServerFront.of(pool.tls) if pool.tls and self.url.scheme == "https" else None
        self.tls_name = pool.tls.name_for(self.url.host) if pool.tls and self.ssl else None
        self._stale_lines = Ration(1 / STALE_SECONDS, 1)
        self._pool = pool
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def load(self) -> int:
        """Requests that it has to answer now, those that wait for a connection included."""
        return len(self.open) - len(self.idle) + len(self.connecting)

    @property
    def label(self) -> str:
        """What logs call it: its URL, and which of its addresses."""
        return f"{self.name} ({self.ip})" if self.ip else self.name

    def take_idle(self) -> UpstreamConnection | None:
        while self.idle:
            upstream, _ = self.idle.popitem()
            if upstream.rest_seconds < NEVER and upstream.deadline <= asyncio.get_running_loop().time():
                upstream.close()  # the sweep is not as punctual as a server may be
            elif not upstream.transport.is_closing():
                upstream.is_reused = True
                return upstream
        return None

    def connect(self, caller: Caller) -> None:
        """Opens a connection for `caller`, which is told when it is there or cannot be had."""
        upstream = UpstreamConnection(self)
        self.connecting.add(upstream)
        task = asyncio.get_running_loop().create_task(self._connect(upstream, caller))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, upstream: UpstreamConnection, caller: Caller) -> None:
        fault: Fault | None = faults.INTERNAL
        try:
            fault = await self._open(upstream)
        except Exception as error:  # noqa: BLE001 - the fence: somebody waits for an answer
            event(_log, logging.ERROR, "crashed", error=error)
            if upstream in self.open:
                upstream.close()
        finally:
            self.connecting.discard(upstream)
        if fault is None:
            caller.opened(upstream)
        else:
            self._pool.has_room()
            caller.failed(self, fault)

    async def _open(self, upstream: UpstreamConnection) -> Fault | None:
        """What came in between, if anything, and what it says of the server."""
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            async with asyncio.timeout(self.connect_timeout):
                await self.reach(upstream)
        except OSError as error:
            fault = fault_of(error)
            if fault not in faults.OF_OUR_OWN:
                self._note_down(str(error) or "timeout")
                self.failed()
            return fault
        if upstream.transport.is_closing():  # accepted and closed at once
            self.failed()
            return faults.CONNECTION_LOST
        self.connect_seconds = clock() - began
        self._note_up()
        return None

    def _note_down(self, reason: str) -> None:
        """One line for an outage, however many requests meet it: the metric counts them."""
        if not self.is_down:
            self.is_down = True
            event(_log, logging.WARNING, "server_down", server=self.label, reason=reason)

    def _note_up(self) -> None:
        if self.is_down:
            self.is_down = False
            event(_log, logging.INFO, "server_up", server=self.label)
            self._pool.restore(self)

    async def reach(self, protocol: asyncio.Protocol) -> None:
        """Connects; on return the protocol has a connection to it. Raises OSError."""
        await self._pool.dial(self, protocol)

    def opened(self, upstream: UpstreamConnection) -> None:
        self.connecting.discard(upstream)
        self.open.add(upstream)
        self.sweeper.add(upstream)

    def closed(self, upstream: UpstreamConnection) -> None:
        self.open.discard(upstream)
        self.sweeper.discard(upstream)
        self.idle.pop(upstream, None)
        self._pool.has_room()

    def release(self, upstream: UpstreamConnection) -> None:
        """The exchange is over and the connection can carry another one."""
        if self.is_retired or len(self.idle) >= IDLE_MAX:
            upstream.close()
            return
        now = upstream.rested_at = self.sweeper.now
        upstream.deadline = now + min(self.idle_timeout, upstream.rest_seconds - MARGIN_SECONDS)
        if upstream.deadline <= now:
            upstream.close()
            return
        self.idle[upstream] = None
        if self._pool.waiting:
            self._pool.has_room()

    def met_stale(self, upstream: UpstreamConnection) -> None:
        """The server has closed a connection at rest as a request came: one line an hour says what to set."""
        if self._stale_lines.admits(self.sweeper.now):
            said = upstream.rest_seconds
            event(
                _log,
                logging.WARNING,
                "stale_connection",
                server=self.label,
                rested=round(self.sweeper.now - upstream.rested_at, 1),
                keep_alive=said if said < NEVER else None,
                idle_timeout=self.idle_timeout,
                passed_over=self._stale_lines.take_passed_over(),
            )

    def failed(self) -> None:
        """A failure of this server's own doing; several in a row, and it is left out for a while."""
        if self.standing.failed():
            self._pool.eject(self)

    def retire(self) -> None:
        self.is_retired = True
        in_turns([*self.idle], self._let_go)

    def _let_go(self, upstream: UpstreamConnection) -> None:
        """Unless a request has taken it meanwhile: then it closes behind that."""
        if upstream in self.idle:
            upstream.close()


def _family(ip: str | None) -> int:
    """4 or 6; 0 for a name that is not looked up yet, and for a path."""
    if ip is None:
        return 0
    return 6 if ":" in ip else 4


def fault_of(error: Exception) -> Fault:
    """The row of the fault table for a connection that could not be opened."""
    if isinstance(error, TimeoutError):
        return faults.CONNECT_TIMEOUT
    if isinstance(error, ssl.SSLError):
        return faults.TLS_FAILED
    if isinstance(error, socket.gaierror):
        return faults.DNS_FAILED
    if isinstance(error, OSError) and error.errno in SHORTAGES:
        return faults.SHORTAGE
    return faults.CONNECT_REFUSED
