"""What a 429 of the service itself does to the buckets that admitted the request (`on_upstream_429: drain`).

The buckets are emptied, so that the same request fits again when the service's Retry-After is over, and not
before; it is believed for a minute at most. Knows nothing of how buckets are stored, and no clock.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from proxy.config.units import EMPTIED_MAX_US
from proxy.policy.gcra import US

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.policy.decision import Charge, Decision

    Debt = tuple[Charge, int]  # the bucket, and the debt that it has at least from now on

_SECONDS = re.compile(rb"[0-9]+")
_DATE_FORMAT = "%a, %d %b %Y %H:%M:%S GMT"  # RFC 9110 section 5.6.7; the obsolete forms are not read
_DATE_BYTES = 29


def retry_after_us(fields: Mapping[bytes, bytes], now: float) -> int | None:
    """What Retry-After says (RFC 9110 section 10.2.3), a minute at most; None if it cannot be read.

    A date counts from that of the answer, as the service's clock may differ from ours; else from `now`, in
    Unix time.
    """
    text = fields.get(b"retry-after", b"").strip()
    if _SECONDS.fullmatch(text):
        # Three digits are beyond the bound anyway.
        return min(int(text.lstrip(b"0")[:3] or b"0") * US, EMPTIED_MAX_US)
    until = _moment(text)
    if until is None:
        return None
    since = _moment(fields.get(b"date", b"").strip())
    return min(max(int((until - (now if since is None else since)) * US), 0), EMPTIED_MAX_US)


def _moment(text: bytes) -> float | None:
    if len(text) != _DATE_BYTES:
        return None
    try:
        return datetime.strptime(text.decode("ascii"), _DATE_FORMAT).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def emptied(decision: Decision, wait_us: int | None) -> list[Debt]:
    """The buckets to empty; the verdicts tell of it. Without a time to wait it is a period of the rate."""
    debts: list[Debt] = []
    for verdict in decision.verdicts:
        terms = verdict.terms
        if terms.limit.empties and verdict.is_admitted and not terms.is_shadow and not terms.is_newcomer:
            wait = min(terms.period_us, EMPTIED_MAX_US) if wait_us is None else wait_us
            debt = terms.burst_units - terms.cost_units + wait * terms.scale
            verdict.debt = max(verdict.debt, debt)
            debts.append((verdict.charge, debt))
    return debts


def moved(charge: Charge, debt: int, renewed: Charge) -> Debt:
    """The same wait by the terms of a later config."""
    old, new = charge.terms, renewed.terms
    wait_us = (debt - old.burst_units + old.cost_units) // old.scale
    return renewed, new.burst_units - new.cost_units + wait_us * new.scale
