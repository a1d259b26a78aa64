"""Towards the service: its servers and how long they may take."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from proxy.config import adapting, checks
from proxy.config.kinds import (
    Count,
    HostName,
    Natural,
    ServerUrl,
    Span,
    Target,
    Text,
    Timeout,
    TlsVersion,
    Weight,
)
from proxy.config.sections.section import Section, setting


class UpstreamTimeouts(Section):
    fits = (checks.keep_alive,)

    connect: Timeout = setting("For a connection to a server, TLS included.", "5s")
    response: Timeout = setting(
        "For the head of a response, and then between two pieces of its body.", "140s"
    )
    idle: Timeout = setting(
        "For a connection at rest in the pool; keep it below the service's own keep-alive time.", "55s"
    )


class UpstreamLimits(Section):
    connections: Count | None = setting(
        "Most requests at once to each address of a server, in each worker; null: no bound.", None
    )
    queue: Natural = setting("Most requests that wait for their turn when all servers are full.", 100)
    wait: Timeout = setting("How long they wait before they get 503 with Retry-After.", "5s")


class UpstreamTls(Section):
    fits = (checks.cert_with_key,)

    ca: Text | None = setting(
        "Path of the authorities that servers' certificates must come from, PEM; null takes the system's.",
        None,
    )
    server_name: HostName | None = setting(
        "Name asked of servers (SNI), which their certificates must carry; null: each one's host.",
        None,
    )
    cert: Text | None = setting("Path of a client certificate, PEM, where servers ask for one.", None)
    key: Text | None = setting("Path of its private key, PEM.", None)
    min_version: TlsVersion = setting("Least version of TLS.", "1.2")


class HealthChecks(Section):
    fits = (checks.health,)
    adapts = adapting.health

    path: Target | None = setting(
        "What servers are asked for at intervals; those that answer 2xx or 3xx are well. null asks nothing.",
        None,
    )
    interval: Timeout = setting("Between two checks of a server.", "5s")
    timeout: Timeout = setting("For an answer; no longer than `interval`.", "2s")
    rise: Count = setting("Checks in a row that must pass until a server is used again.", 2)
    fall: Count = setting("Checks in a row that must fail until a server is left out.", 3)


class Ejection(Section):
    fits = (checks.ejection,)
    adapts = adapting.ejection

    failures: Count | None = setting(
        "In a row, then a server is left out for a while, but never more than half of them; null: never.",
        5,
    )
    first: Timeout = setting("How long the first time; each time after that twice as long.", "10s")
    longest: Timeout = setting("How long at most.", "5m")


class ServerSettings(Section):
    alone = "url"

    url: ServerUrl = setting("Its URL; all addresses of a name are used.")
    weight: Weight = setting("Its share of the requests, beside the others' weights.", 1)


class UpstreamSettings(Section):
    fits = (checks.of("servers", checks.servers),)

    servers: Annotated[tuple[ServerSettings, ...], Field(min_length=1)] = setting(
        "The service's servers: http://host:port, https://host:port or http+unix:///path."
    )
    host: Literal["preserve", "upstream"] = setting(
        "Host of forwarded requests: preserve keeps the client's, upstream puts the server's.", "preserve"
    )
    timeouts: UpstreamTimeouts = setting("How long a server may take.", {})
    tls: UpstreamTls = setting("For servers with https://. Their certificates are always verified.", {})
    limits: UpstreamLimits = setting("How much a server is given at once.", {})
    health: HealthChecks = setting("Asking servers how they are.", {})
    ejection: Ejection = setting("Leaving out servers that fail.", {})
    slow_start: Span = setting(
        "A server that is back gets its whole share only after this time; 0s: at once.", "10s"
    )
    resolve: Timeout = setting("Between two lookups of servers' names; the system's resolver caches.", "10s")
