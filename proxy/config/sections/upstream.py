"""Towards the service: its servers and how long they may take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from proxy.config import checks
from proxy.config.kinds import ServerUrl, Timeout
from proxy.config.sections.section import Section, setting

if TYPE_CHECKING:
    from proxy.config.addresses import Server


class UpstreamTimeouts(Section):
    connect: Timeout = setting("For a connection to a server, TLS included.", "5s")
    response: Timeout = setting(
        "For the head of a response, and then between two pieces of its body.", "140s"
    )
    idle: Timeout = setting(
        "For a connection at rest in the pool; keep it below the service's own keep-alive time.", "55s"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        checks.require(checks.keep_alive(self.idle))
        return self


def _servers(servers: tuple[Server, ...]) -> tuple[Server, ...]:
    checks.require(checks.repeated(servers, "the server"))
    return servers


class UpstreamSettings(Section):
    servers: Annotated[tuple[ServerUrl, ...], Field(min_length=1), AfterValidator(_servers)] = setting(
        "The service's servers: http://host:port, https://host:port or http+unix:///path."
    )
    host: Literal["preserve", "upstream"] = setting(
        "Host of forwarded requests: preserve keeps the client's, upstream puts the server's.", "preserve"
    )
    timeouts: UpstreamTimeouts = setting("How long a server may take.", {})
