"""Towards clients: where Weir listens, how much a client may send, which proxies stand in front."""

from __future__ import annotations

from typing import Literal

from proxy.config import adapting, checks
from proxy.config.addresses import split_address
from proxy.config.kinds import (
    AddressText,
    AddressValue,
    CorsOrigin,
    Count,
    Flag,
    HostName,
    Method,
    PrefixBits,
    Secret,
    Size,
    Text,
    Timeout,
    TlsVersion,
    Trusted,
)
from proxy.config.sections.section import Section, setting


class ListenCertificate(Section):
    cert: Text = setting("Path of a certificate chain, PEM.")
    key: Text = setting("Path of its private key, PEM.")


class ListenTls(Section):
    fits = (checks.listen_tls,)

    cert: Text | None = setting("Path of the certificate chain, PEM.", None)
    key: Text | None = setting("Path of the private key, PEM.", None)
    certs: tuple[ListenCertificate, ...] = setting(
        "More certificates: the one in whose names the client's (SNI) is serves it, else the first of all.",
        [],
    )
    client_ca: Text | None = setting(
        "Path of the authorities that client certificates must come from; null asks for none.", None
    )
    min_version: TlsVersion = setting("Least version of TLS.", "1.2")


class Listen(Section):
    alone = "address"
    fits = (checks.deciding,)

    address: AddressText = setting("host:port, [v6]:port or unix:/path.")
    tls: ListenTls | None = setting("Serve TLS with this certificate; null serves plain HTTP.", None)
    proxy_protocol: Flag = setting(
        "Require the PROXY protocol, version 1 or 2, at the start of each connection.", default=False
    )
    mode: Literal["forward", "decide"] = setting(
        "decide: forward nothing, and answer other proxies, who must be in forwarded.trust, who may pass.",
        "forward",
    )
    front: Literal["auto", "nginx", "traefik", "caddy", "envoy", "haproxy", "itself"] = setting(
        "With mode: decide, the kind of proxy that asks, which says where it tells the request."
        " auto: by what it sends; itself: by its own line.",
        "auto",
    )
    refuse_with: Literal[429, 403] = setting(
        "With mode: decide, the status of refusals; 403 for fronts that know nothing else, as nginx.", 429
    )
    on_bad_front: Literal["deny", "allow"] = setting(
        "With mode: decide, when a front leaves out or doubles what it must tell: refuse, or let pass.",
        "deny",
    )

    @property
    def host(self) -> str:
        return split_address(self.address).host

    @property
    def port(self) -> int:
        return split_address(self.address).port

    @property
    def unix_path(self) -> str | None:
        return split_address(self.address).unix_path


class AdminSettings(Section):
    fits = (checks.admin,)

    listen: AddressValue = setting(
        "Where the dashboard, /metrics, /status and the probes are served: host:port or unix:/path.",
        "127.0.0.1:9901",
        restart=True,
    )
    token: Secret | None = setting(
        "Required as `Authorization: Bearer` when set; must be set when `listen` is not loopback.", None
    )
    probes: AddressValue | None = setting(
        "Where /healthz and /readyz alone are served too, without a token: for a kubelet's httpGet.",
        None,
        restart=True,
    )
    hosts: tuple[HostName, ...] = setting(
        "Names that it is asked by, beside addresses, the machine's own name and private ones (without a dot;"
        " .internal, .svc ...).",
        [],
    )


class DownstreamTimeouts(Section):
    fits = (checks.keep_alive,)

    head: Timeout = setting("For a request's head to arrive whole.", "10s")
    body: Timeout = setting("Between two pieces of a request's body.", "30s")
    idle: Timeout = setting("For a connection at rest between two requests.", "60s")
    tunnel: Timeout = setting("For a tunnel (WebSocket) without a byte either way.", "1h")


class DownstreamLimits(Section):
    fits = (checks.downstream_limits,)
    adapts = adapting.downstream_limits

    request_line: Size = setting("Longest request line; beyond it 414.", "8KiB")
    head: Size = setting("Largest head, request line included; beyond it 431.", "32KiB")
    headers: Count = setting("Most header fields; beyond it 431.", 100)
    body: Size | None = setting(
        "Largest request body, counted while it streams; beyond it 413. null: no bound.", None
    )
    buffers: Size | None = setting(
        "Most bytes that clients of a worker may leave unread; beyond it the slowest of them are cut off."
        " null: no bound.",
        "48MiB",
    )
    connections: Count = setting("Most connections at once, in each worker.", 10000)
    connections_per_address: Count | None = setting(
        "Most connections of one client address in each worker, but of proxies in forwarded.trust;"
        " beyond it 503. null: no bound.",
        None,
    )


class DownstreamSettings(Section):
    timeouts: DownstreamTimeouts = setting("How long a client may take.", {})
    limits: DownstreamLimits = setting("How much a client may send.", {})
    methods: tuple[Method, ...] = setting(
        "More methods that pass, beside those of HTTP and WebDAV; any other is answered 501.", []
    )
    half_close: Literal["answer", "abort"] = setting(
        "A client that ends its side behind a whole request: answer it, or abort as if it had left.",
        "answer",
    )


class ForwardedSettings(Section):
    trust: tuple[Trusted, ...] = setting(
        "Networks of proxies in front, whose word about the client is believed; unix: for Unix sockets.", []
    )
    field: Literal["x-forwarded-for", "forwarded"] = setting(
        "Where they say it and the service is told: X-Forwarded-For, -Proto, -Host; or Forwarded (RFC 7239).",
        "x-forwarded-for",
    )
    ipv6_prefix: PrefixBits = setting("Bits of an IPv6 address that make a client.", 64)


class CorsSettings(Section):
    origins: tuple[CorsOrigin, ...] = setting(
        "Web origins that may read Weir's own answers; their preflights are not charged. * for any.", []
    )
