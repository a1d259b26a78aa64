"""What one config means to an exchange: compiled once from the settings, swapped whole between two requests.

Each care has a part of its own. Knows the settings and the pure floors; knows nothing of sockets, connections
or stores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.clients.networks import Networks
from proxy.config.plan_keys import DIGEST_BYTES
from proxy.contract.cors import Cors
from proxy.http1.head import METHODS
from proxy.policy.edge import Edge
from proxy.policy.fields import FIELD_NAMES
from proxy.policy.limits import compile_limits
from proxy.rules.heads import Heads
from proxy.rules.judgement import Judgement
from proxy.rules.pages import Pages

if TYPE_CHECKING:
    from proxy.config.sections.plans import PlanSettings
    from proxy.config.settings import Settings


class Rules:
    """One config, compiled."""

    def __init__(self, settings: Settings) -> None:
        secret = settings.store.key_secret
        trust = Networks(settings.forwarded.trust, is_strict=True)
        self.limits = compile_limits(
            settings.limits,
            secret.get_secret_value().encode() if secret else b"",
            settings.forwarded.ipv6_prefix,
            settings.plan_keys,
        )
        self.plans = [_told(plan) for plan in settings.plans]  # for /status
        self.edge = Edge(settings.contract, self.limits.repeats, settings.downstream.limits.body)
        self.heads = Heads(settings, self.limits, trust)
        self.judgement = Judgement(settings, self.limits)
        exposed = FIELD_NAMES[settings.ratelimit_fields]
        self.cors = Cors(settings.cors, exposed, self.limits.credential_names)
        self.pages = Pages(settings, self.edge, self.cors)
        self.connections = ConnectionSettings(settings, trust)


def _told(plan: PlanSettings) -> dict[str, object]:
    """A figure as text, since those of several workers would add up."""
    keys = len(plan.digests) // DIGEST_BYTES
    return {"name": plan.name, "rate": str(plan.rate), "burst": str(plan.burst), "keys": str(keys)}


class ConnectionSettings:
    """What a client's connection must know of a config (`net.interfaces`)."""

    def __init__(self, settings: Settings, trust: Networks) -> None:
        limits, timeouts = settings.downstream.limits, settings.downstream.timeouts
        self.line_bytes = limits.request_line
        self.head_bytes = limits.head
        self.headers_max = limits.headers
        self.body_bytes = limits.body
        self.head_timeout = timeouts.head
        self.body_timeout = timeouts.body
        self.idle_timeout = timeouts.idle
        self.tunnel_timeout = timeouts.tunnel
        self.methods = METHODS.union(method.encode() for method in settings.downstream.methods)
        self.aborts_half_closed = settings.downstream.half_close == "abort"
        self.buffer_bytes = limits.buffers
        self.connections_max = limits.connections
        self.connections_per_address = limits.connections_per_address
        self.ipv6_prefix = settings.forwarded.ipv6_prefix
        self._trust = trust

    def is_trusted(self, peer: str) -> bool:
        """A proxy in front, which speaks for many clients."""
        return self._trust.covers(peer)
