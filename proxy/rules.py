"""What one config means to an exchange: compiled once from the settings, swapped whole between two requests.

Knows the settings and the pure floors; knows nothing of sockets, connections or stores.
"""

from __future__ import annotations

import re
from random import getrandbits
from typing import TYPE_CHECKING

from proxy import faults
from proxy.contract.checks import violations
from proxy.contract.location import public_location
from proxy.contract.problem import Problems
from proxy.contract.redaction import Redaction
from proxy.http1.forwarded import Trust, client_address, forwarded_lines
from proxy.http1.head import CHUNKED, UNTIL_CLOSE
from proxy.http1.headers import REQUEST_DROPS, RESPONSE_DROPS, asks_upgrade, request_lines, response_lines
from proxy.policy import fields as limit_fields
from proxy.policy.limits import compile_limits

if TYPE_CHECKING:
    from proxy.config.settings import Settings
    from proxy.exchange import Exchange
    from proxy.faults import Fault
    from proxy.http1.head import RequestHead, ResponseHead
    from proxy.policy.decision import Decision

# What a client may choose as the id of its request: safe in a log, a header and a URL.
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
# W3C Trace Context, version 00 and unknown later ones.
_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
_ALLOW = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
_LEGACY_FIELDS = frozenset((b"x-ratelimit-limit", b"x-ratelimit-remaining", b"x-ratelimit-reset"))


class Rules:
    """One config, compiled. Also what downstream connections must know of it (`net.ports.DownstreamLimits`)."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        downstream = settings.downstream
        self.line_bytes = downstream.limits.request_line
        self.head_bytes = downstream.limits.head
        self.headers_max = downstream.limits.headers
        self.body_bytes = downstream.limits.body
        self.head_timeout = downstream.timeouts.head
        self.body_timeout = downstream.timeouts.body
        self.idle_timeout = downstream.timeouts.idle

        secret = settings.store.key_secret
        self.limits = compile_limits(settings.limits, secret.get_secret_value().encode() if secret else b"")
        self.problems = Problems.from_settings(settings.errors)
        self.redaction = Redaction.from_settings(settings.errors)
        self._trust = Trust(settings.forwarded.trust)
        self._allowed = frozenset(method.encode() for method in settings.contract.allow_methods)
        self.allow_line = b"Allow: %b\r\n" % (", ".join(settings.contract.allow_methods).encode() or _ALLOW)
        self._dialect = settings.ratelimit_fields
        self._keeps_host = settings.upstream.host == "preserve"
        public_url = settings.contract.public_url
        self._public_origin = public_url.encode() if public_url else b""
        self._origins = tuple(server.origin.encode() for server in settings.upstream.servers)
        self._response_drops = RESPONSE_DROPS | _LEGACY_FIELDS if self._dialect == "legacy" else RESPONSE_DROPS

    # --- the request ---

    def client(self, head: RequestHead, peer: str) -> str:
        return client_address(head, peer, self._trust)

    def refusal(self, head: RequestHead) -> Fault | None:
        """Why the request may not even ask the limiter."""
        if head.repeated and not self.limits.credential_names.isdisjoint(head.repeated):
            return faults.REPEATED_CREDENTIAL
        if self._allowed and head.method not in self._allowed:
            return faults.METHOD_NOT_ALLOWED
        return None

    def request(self, head: RequestHead, exchange: Exchange, scheme: bytes, authority: bytes) -> bytes:
        """The head of the request to the server."""
        fields = head.fields
        host = fields.get(b"host", authority) if self._keeps_host else authority
        is_trusted = self._trust.covers(exchange.peer)
        lines = [
            b"%b %b HTTP/1.1\r\nHost: %b\r\n" % (head.method, head.target, host),
            request_lines(head, REQUEST_DROPS),
            forwarded_lines(head, exchange.peer, scheme, is_trusted=is_trusted),
            b"X-Request-Id: %b\r\n" % exchange.request_id.encode(),
        ]
        parent = fields.get(b"traceparent")
        if parent is None or not _TRACEPARENT.fullmatch(parent):
            lines.append(new_traceparent())
        length = head.body_length
        if length == CHUNKED:
            lines.append(b"Transfer-Encoding: chunked\r\n")
        if b"expect" in fields and head.minor == 1:
            lines.append(b"Expect: 100-continue\r\n")
        upgrade = asks_upgrade(head)
        lines.append(b"Connection: Upgrade\r\nUpgrade: %b\r\n\r\n" % upgrade if upgrade else b"\r\n")
        return b"".join(lines)

    # --- the response ---

    def limit_lines(self, decision: Decision | None) -> bytes:
        return limit_fields.fields(decision, self._dialect) if decision is not None else b""

    def response(self, head: ResponseHead, exchange: Exchange, request: RequestHead, *, keep: bool) -> bytes:
        """The head of the server's response to the client."""
        status = head.status
        lines = [b"HTTP/1.1 %d %b\r\n" % (status, head.reason)]
        if status == 204:
            lines.append(response_lines(head, self._response_drops | {b"content-length"}))
        elif self._public_origin and b"location" in head.fields:
            lines.append(self._relocated(head))
        else:
            lines.append(response_lines(head, self._response_drops))
        if head.body_length in (CHUNKED, UNTIL_CLOSE) and request.minor == 1:
            lines.append(b"Transfer-Encoding: chunked\r\n")
        lines.append(self.limit_lines(exchange.decision))
        lines.append(b"X-Request-Id: %b\r\n" % exchange.request_id.encode())
        lines.append(connection_line(request, keep=keep))
        return b"".join(lines)

    def _relocated(self, head: ResponseHead) -> bytes:
        location = public_location(head.fields[b"location"], self._origins, self._public_origin)
        kept = response_lines(head, self._response_drops | {b"location"})
        return b"%bLocation: %b\r\n" % (kept, location)

    def violations(self, head: ResponseHead) -> tuple[str, ...]:
        return violations(head.status, head.fields)


def connection_line(request: RequestHead | None, *, keep: bool) -> bytes:
    """The Connection field of a response, and the empty line that ends its head."""
    if not keep:
        return b"Connection: close\r\n\r\n"
    return b"\r\n" if request is None or request.minor == 1 else b"Connection: keep-alive\r\n\r\n"


def request_id(head: RequestHead) -> str:
    """The client's own id where it is a decent one, else a new one."""
    given = head.fields.get(b"x-request-id")
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given.decode("ascii")
    return "%032x" % getrandbits(128)


def new_traceparent() -> bytes:
    """A W3C traceparent that leaves sampling to the service: flag 01, as if the service had begun the trace itself."""
    noise = b"%048x" % (getrandbits(192) | 1)
    return b"traceparent: 00-%b-%b-01\r\n" % (noise[:32], noise[32:])
