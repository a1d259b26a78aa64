"""A reference for every store: token buckets as one would write them down, in fractions, that fill as time goes by.

It shares nothing with the arithmetic it judges: tokens instead of debts, the last look at a bucket instead of the moment
at which it is full.
"""

from __future__ import annotations

from fractions import Fraction

US = 1_000_000


class Model:
    def __init__(self):
        self._buckets = {}  # (limit's name, key) -> (tokens, moment of that number)

    def take(self, charges, now_us):
        """(is admitted, [(limit's name, fits, tokens left, seconds until the cost fits, seconds to a token more)])."""
        asked = [(charge, self._tokens(charge, now_us)) for charge in charges]
        fits = [tokens >= charge.limit.cost for charge, tokens in asked]
        is_admitted = all(fit or charge.limit.is_shadow for (charge, _), fit in zip(asked, fits, strict=True))
        verdicts = []
        for (charge, tokens), fit in zip(asked, fits, strict=True):
            left = tokens - charge.limit.cost if is_admitted and fit else tokens
            self._buckets[charge.limit.name, charge.key] = left, now_us
            verdicts.append(_verdict(charge.limit, left, fits=fit))
        return is_admitted, verdicts

    def _tokens(self, charge, now_us):
        limit = charge.limit
        tokens, before = self._buckets.get((limit.name, charge.key), (Fraction(limit.burst), now_us))
        return min(Fraction(limit.burst), tokens + Fraction((now_us - before) * limit.count, limit.period_us))


def _verdict(limit, tokens, *, fits):
    seconds_a_token = Fraction(limit.period_us, limit.count * US)
    whole = tokens.numerator // tokens.denominator
    retry_after = Fraction(0) if fits else (limit.cost - tokens) * seconds_a_token
    next_token = Fraction(0) if tokens == limit.burst else (whole + 1 - tokens) * seconds_a_token
    return limit.name, fits, whole, retry_after, next_token


def as_told(decision):
    """A decision of a store in the model's words, without rounding."""
    return decision.is_admitted, [
        (
            verdict.limit.name,
            verdict.is_admitted,
            verdict.remaining,
            Fraction(verdict.retry_units, verdict.limit.scale * US),
            Fraction(verdict.next_units, verdict.limit.scale * US),
        )
        for verdict in decision.verdicts
    ]
