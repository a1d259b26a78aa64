"""Who may ask the admin plane what. Strangers come without the token, from another site, or by another name.

Rules: everything but the probes and the page's own files wants the token where one is set. A page of another
site gets nothing (Origin, Sec-Fetch-Site). A name that strangers can register is not ours, so that a page
cannot have its own name resolve to this address (DNS rebinding): addresses, names without a dot or under a
domain nobody can register are believed, others must be in `admin.hosts`.
"""

from __future__ import annotations

import hmac
import socket
from http import HTTPStatus
from ipaddress import ip_address
from typing import TYPE_CHECKING

from aiohttp import hdrs, web

from proxy.admin.answers import problem
from proxy.admin.bounds import AdminConnection

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.typedefs import Handler

    from proxy.config.sections.front import AdminSettings

PROBES = frozenset(("/healthz", "/readyz"))  # open without a token: a kubelet has none
# Nobody can register these (RFC 6761, 6762, 8375, 9476, ICANN's .internal), or only within a cluster.
PRIVATE_DOMAINS = ("localhost", "local", "internal", "test", "home.arpa", "alt", "svc", "lan")


class Guard:
    """The settings are asked for each time, since a reload changes them."""

    def __init__(self, settings: Callable[[], AdminSettings], is_open: Callable[[str], bool]) -> None:
        """`is_open`: paths that tell strangers nothing."""
        self._settings = settings
        self._is_open = is_open
        self._own_name = host_name(socket.gethostname())

    @web.middleware
    async def check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in PROBES:  # they look for themselves whether they may tell more than yes or no
            return await handler(request)
        if not self.knows_host(request):
            detail = "the Host is no name of this admin plane: see admin.hosts"
            return problem(HTTPStatus.MISDIRECTED_REQUEST, detail=detail)
        if self._is_from_elsewhere(request):
            return problem(HTTPStatus.FORBIDDEN, detail="pages of other sites may not ask")
        if not self._is_open(request.path) and not self.has_token(request):
            return problem(HTTPStatus.UNAUTHORIZED, {"WWW-Authenticate": 'Bearer realm="weir"'})
        if isinstance(request.protocol, AdminConnection) and self.has_token(request):
            request.protocol.is_known = True
        return await handler(request)

    @property
    def is_guarded(self) -> bool:
        """A token is set."""
        return self._settings().token is not None

    def has_token(self, request: web.Request) -> bool:
        """True for everybody where none is set."""
        token = self._settings().token
        if token is None:
            return True
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        # aiohttp reads bytes beyond UTF-8 as surrogates.
        is_same = hmac.compare_digest(
            given.strip().encode("utf-8", "surrogateescape"), token.get_secret_value().encode()
        )
        return is_same and scheme.lower() == "bearer"

    def may_know(self, request: web.Request) -> bool:
        """What is open to a probe is not open to every page that a browser shows."""
        return self.has_token(request) and self.knows_host(request) and not self._is_from_elsewhere(request)

    def knows_host(self, request: web.Request) -> bool:
        name = host_name(request.headers.get(hdrs.HOST, ""))
        return is_unregistrable(name) or name in (self._own_name, *map(host_name, self._settings().hosts))

    def _is_from_elsewhere(self, request: web.Request) -> bool:
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is not None and origin.partition("://")[2] != request.headers.get(hdrs.HOST):
            return True
        site = request.headers.get("Sec-Fetch-Site", "none")
        if site in ("same-origin", "none"):
            return False
        is_followed = request.headers.get("Sec-Fetch-Mode") == "navigate" and request.method == hdrs.METH_GET
        return not (is_followed and self._is_open(request.path))  # a link to the page


def host_name(host: str) -> str:
    """The name in a Host field, without the port, however it is written: a final dot is the root (RFC 1034,
    3.1).
    """
    name = host.lower()
    if name.startswith("["):
        return name.partition("]")[0].removeprefix("[")
    return (name.rpartition(":")[0] if ":" in name else name).removesuffix(".")


def is_unregistrable(name: str) -> bool:
    """An address, or a name that no stranger can have resolve to where he likes."""
    name = name.removesuffix(".")
    try:
        ip_address(name)
    except ValueError:
        last = name.rpartition(".")
        if not last[0]:
            return bool(name) and not name.isdigit()  # 2130706433 is an address in disguise, and no name
        return any(name.endswith(f".{domain}") for domain in PRIVATE_DOMAINS)
    return True
