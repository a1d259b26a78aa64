"""Heads as they go on: what a request's header section means by one config, its head to the server, and the
head of an answer to the client.

Knows the settings and the pure floors; knows nothing of sockets, connections or stores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.clients.networks import CLIENTS_KNOWN
from proxy.contract.location import public_location
from proxy.faults import REPEATED_CREDENTIAL
from proxy.http1.forwarded import FORWARDED, client_address, strangers_way, way_lines
from proxy.http1.framing import CHUNKED
from proxy.http1.headers import (
    RESPONSE_DROPS,
    RESPONSE_DROPS_LIMITED,
    asks_upgrade,
    request_lines,
    response_lines,
    upgrade_lines,
)
from proxy.http1.lines import CONNECTS, TRACES
from proxy.policy.fields import LEGACY
from proxy.policy.fields import fields as limit_lines
from proxy.rules.fields_read import FieldsRead, without_claims
from proxy.rules.request_ids import given_id, has_trace

if TYPE_CHECKING:
    from proxy.clients.networks import Networks
    from proxy.config.settings import Settings
    from proxy.faults import Fault
    from proxy.http1.head import RequestHead, ResponseHead
    from proxy.policy.decision import Decision
    from proxy.policy.limits import Due, Limits
    from proxy.rules.pages import Frame


TOLD_BYTES = 128  # of a field that names clients: what is longer will hardly come again; 1 MiB in all


class Facts:
    """What a header section says, whatever the target: the same for every request that repeats it."""

    __slots__ = (
        "charges",
        "client",
        "fields",
        "frame",
        "has_host",
        "has_trace",
        "heads",
        "is_trusted",
        "lines",
        "request_id",
        "upgrade",
    )

    def __init__(self, heads: Heads, client: str, is_trusted: bool = False) -> None:  # noqa: FBT001, FBT002 - hot: keywords cost
        self.heads = heads  # by which it was worked out
        self.client = client  # the address that is charged
        self.is_trusted = is_trusted  # who says so
        self.fields: dict[bytes, bytes] | None = None  # that are read; None: all
        # And the exempt limits; None if they depend on method or target.
        self.charges: Due | Fault | None = None
        self.lines = b""  # what goes on to the server
        self.has_host = False  # ... Host among it
        self.request_id: str | None = None  # the client's own
        self.has_trace = False
        self.upgrade = b""  # the protocol that the client wants to switch to
        self.frame: Frame | None = None  # of answers of our own, once one was needed


class Heads:
    """The part of a config that heads are rewritten by."""

    def __init__(self, settings: Settings, limits: Limits, trust: Networks) -> None:
        self._limits = limits
        self._trust = trust
        self._has_trust = bool(trust)
        self.read = FieldsRead(settings)
        self._told_by = settings.forwarded.field.encode()
        self._clients: dict[bytes, str] = {}  # by what trusted peers say
        self._keeps_host = settings.upstream.host == "preserve"
        public_url = settings.contract.public_url
        self._public_origin = public_url.encode() if public_url else b""
        self._origins = tuple(server.url.origin.encode() for server in settings.upstream.servers)
        self._dialect = settings.ratelimit_fields
        self._drops_more = self._dialect == LEGACY  # fields of the service that ours take the place of
        self._response_drops = RESPONSE_DROPS_LIMITED if self._drops_more else RESPONSE_DROPS
        self.unread = Facts(self, "")  # of a head that could not be read

    # --- the request ---

    def facts(self, head: RequestHead, peer: str, scheme: bytes) -> Facts:
        """Worked out once for as long as the client repeats its header section."""
        facts = head.section.facts
        if not isinstance(facts, Facts) or facts.heads is not self:
            facts = head.section.facts = self._study(head, peer, scheme)
        if facts.fields is not None:
            head.fields = facts.fields
        return facts

    def judged(self, head: RequestHead, peer: str) -> Facts:
        """The same of a request that is not forwarded from here."""
        facts = head.section.facts
        if not isinstance(facts, Facts) or facts.heads is not self:
            facts = head.section.facts = self._study(head, peer, None)
        if facts.fields is not None:
            head.fields = facts.fields
        return facts

    def _study(self, head: RequestHead, peer: str, scheme: bytes | None) -> Facts:
        """Who it is, what goes on if it came by a scheme, and what it is charged."""
        section, fields = head.section, head.fields
        is_trusted = self._has_trust and self._trust.covers(peer)
        facts = Facts(self, self._client(head, peer) if is_trusted else peer, is_trusted)
        if self.read.has_claims and not is_trusted:
            head.fields = facts.fields = without_claims(fields)
        if b"x-request-id" in fields:
            facts.request_id = given_id(fields)
        if scheme is not None:
            self._put_onward(facts, head, peer, scheme)
        read = self.read
        if read.underscored and read.has_twins(section):
            facts.charges = REPEATED_CREDENTIAL
        elif self._limits.is_static:
            facts.charges = self._limits.charges(head, facts.client)
        return facts

    def _client(self, head: RequestHead, peer: str) -> str:
        """Whom a trusted peer names; the walk costs 3 us, and the same few clients come again and again."""
        told = head.fields.get(self._told_by, b"")
        client = self._clients.get(told)
        if client is None:
            client = client_address(head, peer, self._trust, self._told_by)
            # The peer itself, where it names nobody: another peer may say the same.
            if client != peer and len(told) <= TOLD_BYTES:
                if len(self._clients) >= CLIENTS_KNOWN:
                    self._clients.clear()
                self._clients[told] = client
        return client

    def _put_onward(self, facts: Facts, head: RequestHead, peer: str, scheme: bytes) -> None:
        section, fields, read = head.section, head.section.fields, self.read
        is_trusted = facts.is_trusted
        facts.has_host = self._keeps_host and b"host" in fields
        facts.has_trace = b"traceparent" in fields and has_trace(fields)
        facts.upgrade = asks_upgrade(head) if b"upgrade" in fields else b""
        if is_trusted or self._told_by == FORWARDED or b"via" in fields or head.minor == 0:
            way = way_lines(head, peer, scheme, self._told_by, is_trusted=is_trusted)
        else:  # nothing of it is the request's own but its Host
            way = b"%bX-Forwarded-Host: %b\r\n" % (strangers_way(peer, scheme), fields.get(b"host", b""))
        is_special = section.marks & (CONNECTS | TRACES)
        underscored = b"".join(read.underscored_lines(section)) if read.underscored else b""
        facts.lines = b"%b%b%b%b%b%b%b" % (
            b"Host: %b\r\n" % fields[b"host"] if facts.has_host else b"",
            request_lines(head, is_traced=facts.has_trace, kept=read.names)
            if is_special
            else section.passing,
            underscored,
            way,
            b"Transfer-Encoding: chunked\r\n" if section.body_length == CHUNKED else b"",
            b"Expect: 100-continue\r\n" if b"expect" in fields and head.minor == 1 else b"",
            b"Connection: Upgrade\r\nUpgrade: %b\r\n" % facts.upgrade if facts.upgrade else b"",
        )

    def request(self, head: RequestHead, facts: Facts, request_id: str, authority: bytes) -> bytes:
        """The head of the request to the server."""
        return b"%b %b HTTP/1.1\r\n%b%bX-Request-Id: %b\r\n\r\n" % (
            head.method,
            head.target,
            b"" if facts.has_host else b"Host: %b\r\n" % authority,
            facts.lines,
            request_id.encode(),
        )

    # --- the response ---

    def response(
        self,
        head: ResponseHead,
        request: RequestHead,
        decision: Decision | None,
        request_id: str,
        ending: bytes,
    ) -> bytes:
        """The head of the response to the client; `ending` is its Connection field and the empty line."""
        status = head.status
        if status == 204:
            lines = response_lines(head, self._response_drops | {b"content-length"})
        elif status == 426:
            lines = response_lines(head, self._response_drops) + upgrade_lines(head)
        elif self._public_origin and b"location" in head.lowered:
            lines = self._relocated(head)
        elif head.marks & CONNECTS or self._drops_more:
            lines = response_lines(head, self._response_drops)
        else:
            lines = head.passing
        is_chunked = head.body_length < 0 and request.minor == 1
        return b"HTTP/1.1 %d %b\r\n%b%b%bX-Request-Id: %b\r\n%b" % (
            status,
            head.reason,
            lines,
            b"Transfer-Encoding: chunked\r\n" if is_chunked else b"",
            limit_lines(decision, self._dialect) if decision is not None else b"",
            request_id.encode(),
            ending,
        )

    def _relocated(self, head: ResponseHead) -> bytes:
        location = public_location(head.fields[b"location"], self._origins, self._public_origin)
        kept = response_lines(head, self._response_drops | {b"location"})
        return b"%bLocation: %b\r\n" % (kept, location)
