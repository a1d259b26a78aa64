"""Finished exchanges and decisions for the telemetry's tests, as the gateway would leave them."""

from __future__ import annotations

from proxy.config.sections.limits import LimitSettings
from proxy.policy.decision import Charge, Decision, Verdict
from proxy.policy.limits import Limit
from proxy.record import SERVED, UPSTREAM, Record


def limit(name="per-user", *, is_shadow=False):
    return Limit(LimitSettings(name=name, rate="15/s", mode="shadow" if is_shadow else "enforce"), b"secret")


def verdict(of, *, is_admitted=True, key=bytes(16)):
    terms = of.terms
    debt = terms.cost_units if is_admitted else terms.burst_units
    return Verdict(Charge(terms, key), is_admitted, debt)


def decision(*verdicts, via="store"):
    is_admitted = all(verdict.is_admitted or verdict.limit.is_shadow for verdict in verdicts)
    return Decision(is_admitted, list(verdicts), via)


def exchange(method=b"GET", target=b"/api/entities/10657", *, started=1000.0, seconds=0.25, **fields):
    made = Record(method, target, "10.1.2.3", started)
    made.finished = started + seconds
    made.request_id = "0123456789abcdef"
    made.status = 200
    made.source = UPSTREAM
    made.outcome = SERVED
    for name, value in fields.items():
        setattr(made, name, value)
    return made
