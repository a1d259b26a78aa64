"""What a response says of its limits: RateLimit fields (IETF draft 10) or the older X-RateLimit-*, and Retry-After.

Lines ready for a head, each with its CRLF. Times are whole seconds, rounded up; `t` says when there is one more token, or
on a refusal when the request fits, so that Retry-After is never earlier than `t` (draft 10, section 4). Shadow limits are
not shown.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.policy.decision import Decision, Verdict
    from proxy.policy.limits import Limit

DRAFT10, LEGACY, OFF = "draft10", "legacy", "off"


def fields(decision: Decision, dialect: str) -> bytes:
    if dialect == OFF:
        return b""
    shown = [verdict for verdict in decision.verdicts if not verdict.limit.is_shadow]
    if not shown:
        return b""
    return _draft10(shown) if dialect == DRAFT10 else _legacy(shown)


def _draft10(verdicts: list[Verdict]) -> bytes:
    if len(verdicts) == 1:
        verdict = verdicts[0]
        return b'RateLimit-Policy: %b\r\nRateLimit: "%b";r=%d;t=%d\r\n' % (
            verdict.limit.policy_member,
            verdict.limit.name.encode(),
            verdict.remaining if verdict.is_admitted else 0,
            seconds(verdict),
        )
    policies = b", ".join([verdict.limit.policy_member for verdict in verdicts])
    members = b", ".join(
        [
            b'"%b";r=%d;t=%d'
            % (verdict.limit.name.encode(), verdict.remaining if verdict.is_admitted else 0, seconds(verdict))
            for verdict in verdicts
        ]
    )
    return b"RateLimit-Policy: %b\r\nRateLimit: %b\r\n" % (policies, members)


def _legacy(verdicts: list[Verdict]) -> bytes:
    """Of the limit nearest to its end; Reset is in seconds from now."""
    verdict = min(verdicts, key=lambda each: (each.is_admitted, each.remaining, -each.next_token))
    return b"X-RateLimit-Limit: %d\r\nX-RateLimit-Remaining: %d\r\nX-RateLimit-Reset: %d\r\n" % (
        verdict.limit.burst,
        verdict.remaining if verdict.is_admitted else 0,
        seconds(verdict),
    )


def seconds(verdict: Verdict) -> int:
    """Until there is more for this client: at least 1."""
    return max(1, ceil(verdict.next_token if verdict.is_admitted else verdict.retry_after))


def retry_after(decision: Decision) -> int:
    """Whole seconds until the request would pass, at least 1 (RFC 9110 section 10.2.3)."""
    return max((seconds(verdict) for verdict in decision.refusals), default=1)
