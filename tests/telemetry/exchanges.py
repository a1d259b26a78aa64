"""Finished exchanges and decisions for the telemetry's tests, as the gateway would leave them."""

from __future__ import annotations

from types import SimpleNamespace

from proxy.exchange import SERVED, UPSTREAM, Exchange


def limit(name="per-user", *, is_shadow=False):
    return SimpleNamespace(name=name, is_shadow=is_shadow)


def verdict(of, *, is_admitted=True):
    return SimpleNamespace(limit=of, is_admitted=is_admitted)


def decision(*verdicts, via="store"):
    return SimpleNamespace(verdicts=list(verdicts), via=via)


def exchange(method=b"GET", target=b"/api/entities/10657", *, started=1000.0, seconds=0.25, **fields):
    made = Exchange(method, target, "10.1.2.3", started)
    made.finished = started + seconds
    made.request_id = "0123456789abcdef"
    made.status = 200
    made.source = UPSTREAM
    made.outcome = SERVED
    for name, value in fields.items():
        setattr(made, name, value)
    return made
