"""Sockets that listen: bound here, or handed over by systemd (LISTEN_FDS), before anything serves on them.

With several workers each gets sockets of its own on the same address (SO_REUSEPORT): the kernel spreads
connections evenly, which it does not where processes share one socket. All are held by who opened them, so
that a queue outlives the worker that died. A port that another process listens on is an error all the same.
Knows nothing of what is served.
"""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from proxy.net.kernel import UNACKNOWLEDGED_SECONDS, watch_peer

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping

    from proxy.config.settings import Settings

BACKLOG = 1024  # connections that wait to be accepted (nginx: 511; the kernel's somaxconn bounds it: 4096)
FIRST_FD = 3  # sd_listen_fds(3): descriptors are handed over from here on

ListenSockets = list[list[socket.socket]]  # for each entry of `listen` its sockets


class StartError(Exception):
    """Weir cannot start; the message names the setting and fits on one line."""


class ListenAddress(Protocol):
    """Where to listen."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def unix_path(self) -> str | None: ...


class InheritedSockets:
    """Sockets that systemd has opened; each is used by the setting that has its port or path."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        """Raises StartError, with all closed."""
        self._sockets: list[socket.socket] = []
        # Taken out: they are not for our children.
        pid, count, _ = [environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")]
        if pid != str(os.getpid()):
            return
        if not (count.isascii() and count.isdigit()):
            raise StartError(f"LISTEN_FDS: must be a number, not {count!r}")
        try:
            for fd in range(FIRST_FD, FIRST_FD + int(count)):
                self._sockets.append(_inherited(fd))
        except StartError:
            close_sockets([self._sockets])
            raise

    def take(self, address: ListenAddress) -> list[socket.socket]:
        found = [sock for sock in self._sockets if _place(sock) == (address.unix_path or address.port)]
        self._sockets = [sock for sock in self._sockets if sock not in found]
        return found

    def require_none_left(self) -> None:
        if self._sockets:
            names = ", ".join(str(_place(sock)) for sock in self._sockets)
            close_sockets([self._sockets])
            raise StartError(
                f"LISTEN_FDS: {names} was handed over, but none of listen, admin.listen, admin.probes has it"
            )


def _inherited(fd: int) -> socket.socket:
    """Raises StartError."""
    wrong = StartError(f"LISTEN_FDS: descriptor {fd} is no socket that listens")
    try:
        os.set_inheritable(fd, False)  # noqa: FBT003 - a positional-only argument
        sock = socket.socket(fileno=fd)
    except OSError:
        raise wrong from None
    if sock.type != socket.SOCK_STREAM or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.close()
        raise wrong
    sock.settimeout(0)
    return sock


def _place(sock: socket.socket) -> object:
    address = sock.getsockname()
    return address[1] if isinstance(address, tuple) else address


class AdminSockets(NamedTuple):
    """Those of the admin plane, and of its probes where these have a listener of their own."""

    plane: list[socket.socket]
    probes: list[socket.socket]


class WorkerSockets:
    """The sockets of one process; one that is not alone has no admin plane."""

    def __init__(self, listeners: ListenSockets, admin: AdminSockets | None) -> None:
        self.listeners = listeners
        self.admin = admin

    def close(self) -> None:
        close_sockets([*self.listeners, *(self.admin or ())])


def open_worker_sockets(settings: Settings, inherited: InheritedSockets | None = None) -> WorkerSockets:
    """Opens those of one process alone. Raises StartError, with all closed."""
    listeners, admin = open_all(settings, 1, inherited or InheritedSockets({}))
    return WorkerSockets(listeners[0], admin)


def open_all(
    settings: Settings, copies: int, inherited: InheritedSockets
) -> tuple[list[ListenSockets], AdminSockets]:
    """Opens those of several: the sockets of each, and those of the admin plane. Raises StartError, with all
    closed.
    """
    opened = open_listeners(settings, copies, inherited)
    admin = AdminSockets([], [])
    try:
        admin.plane.extend(open_address(settings.admin.listen, "admin.listen", 1, inherited)[0])
        if settings.admin.probes is not None:
            admin.probes.extend(open_address(settings.admin.probes, "admin.probes", 1, inherited)[0])
        inherited.require_none_left()
    except StartError:
        for listeners in [*opened, admin]:
            close_sockets(listeners)
        raise
    return opened, admin


def open_listeners(settings: Settings, copies: int, inherited: InheritedSockets) -> list[ListenSockets]:
    """Opens for each of `copies` workers the sockets it serves on. Raises StartError, with all closed."""
    opened: list[ListenSockets] = [[] for _ in range(copies)]
    try:
        for number, listen in enumerate(settings.listen):
            setting = f"listen[{number}]" if len(settings.listen) > 1 else "listen"
            sockets = open_address(listen, setting, copies, inherited)
            for listeners, mine in zip(opened, sockets, strict=True):
                listeners.append(mine)
    except StartError:
        for listeners in opened:
            close_sockets(listeners)
        raise
    return opened


def close_sockets(listeners: Iterable[list[socket.socket]]) -> None:
    for sockets in listeners:
        for sock in sockets:
            sock.close()


def open_address(
    address: ListenAddress, setting: str, copies: int, inherited: InheritedSockets
) -> list[list[socket.socket]]:
    """Opens for each copy its sockets: one for each address that the host's name has."""
    taken = inherited.take(address)
    for sock in taken:
        _watch_clients(sock)
    if taken:
        return [[sock if first else sock.dup() for sock in taken] for first in _firsts(copies)]
    try:
        if address.unix_path is not None:
            shared = _unix(address.unix_path)
            return [[shared if first else shared.dup()] for first in _firsts(copies)]
        return _tcp(address.host, address.port, copies)
    except OSError as error:
        where = address.unix_path or f"{address.host}:{address.port}"
        raise StartError(f"{setting}: cannot listen on {where}: {_why(error)}") from None


def _firsts(copies: int) -> list[bool]:
    return [number == 0 for number in range(copies)]


def _tcp(host: str, port: int, copies: int) -> list[list[socket.socket]]:
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    places = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
    opened: list[list[socket.socket]] = [[] for _ in range(copies)]
    try:
        for family, address in places:
            first = _bound(family, address, is_shared=False)
            if copies == 1:
                opened[0].append(first)
                continue
            place = first.getsockname()  # with the port that 0 became
            first.close()  # it was bound alone: nobody else is there
            for mine in opened:
                mine.append(_bound(family, place, is_shared=True))
    except OSError:
        close_sockets(opened)
        raise
    return opened


def _bound(family: int, address: object, *, is_shared: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        _watch_clients(sock)
        sock.bind(address)  # type: ignore[arg-type]  # as getaddrinfo gave it
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _watch_clients(sock: socket.socket) -> None:
    """Connections have it from the socket that they came by."""
    if sock.family != socket.AF_UNIX:
        watch_peer(sock, UNACKNOWLEDGED_SECONDS)


def _unix(path: str) -> socket.socket:
    """Takes the place of a socket that nobody listens on any more."""
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.settimeout(0)
        if Path(path).exists() and stat.S_ISSOCK(Path(path).stat().st_mode) and not _is_answered(path):
            Path(path).unlink()
        sock.bind(path)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _is_answered(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(0)
        try:
            probe.connect(path)
        except BlockingIOError:
            return True  # its queue is full
        except OSError:
            return False
        return True


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
