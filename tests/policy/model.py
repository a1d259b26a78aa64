"""A reference for every store: token buckets as one would write them down, in fractions, that fill as time goes by.

It shares nothing with the arithmetic it judges: tokens instead of debts, the last look at a bucket instead of the moment
at which it is full.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil

US = 1_000_000


class Model:
    def __init__(self):
        self._buckets = {}  # (limit's name, key) -> (tokens, moment of that number)

    def take(self, charges, now_us):
        """(is admitted, [(limit's name, fits, tokens left, tokens to wait for, and seconds: until the cost fits, to a token
        more, to wait)])."""
        asked = [(charge, self._tokens(charge, now_us)) for charge in charges]
        fits = [tokens + _ahead(charge.terms) >= charge.terms.cost for charge, tokens in asked]
        is_admitted = all(fit or charge.terms.is_shadow for (charge, _), fit in zip(asked, fits, strict=True))
        verdicts = []
        for (charge, tokens), fit in zip(asked, fits, strict=True):
            left = tokens - charge.terms.cost if is_admitted and fit else tokens
            self._buckets[charge.terms.name, charge.key] = left, now_us
            verdicts.append(_verdict(charge.terms, left, fits=fit))
        return is_admitted, verdicts

    def _tokens(self, charge, now_us):
        terms = charge.terms
        tokens, before = self._buckets.get((terms.name, charge.key), (Fraction(terms.burst), now_us))
        return min(Fraction(terms.burst), tokens + Fraction((now_us - before) * terms.count, terms.period_us))


def _ahead(terms):
    """Tokens that may be taken before they are there, by whoever waits for them."""
    return Fraction(terms.limit.max_wait_us * terms.count, terms.period_us)


def _verdict(terms, tokens, *, fits):
    seconds_a_token = Fraction(terms.period_us, terms.count * US)
    whole = max(0, tokens.numerator // tokens.denominator)
    retry_after = Fraction(0) if fits else (terms.cost - tokens - _ahead(terms)) * seconds_a_token
    next_token = Fraction(0) if tokens == terms.burst else (whole + 1 - tokens) * seconds_a_token
    wait = max(Fraction(0), -tokens) if fits else Fraction(0)
    return terms.name, fits, whole, ceil(wait), retry_after, next_token, wait * seconds_a_token


def as_told(decision):
    """A decision of a store in the model's words, without rounding."""
    return decision.is_admitted, [
        (
            verdict.terms.name,
            verdict.is_admitted,
            verdict.remaining,
            ceil(Fraction(_wait(verdict), verdict.terms.interval)),
            Fraction(verdict.retry_units, verdict.terms.scale * US),
            Fraction(_until_next(verdict), verdict.terms.scale * US),
            Fraction(_wait(verdict), verdict.terms.scale * US),
        )
        for verdict in decision.verdicts
    ]


def _until_next(verdict):
    missing = verdict.debt - verdict.terms.burst_units + (verdict.remaining + 1) * verdict.interval
    return missing if verdict.debt > 0 else 0


def _wait(verdict):
    return verdict.wait_units if verdict.is_admitted else 0
