"""Credentials that must earn their freedom: who invents new ones pays by address.

Whoever sends a new credential with each request has a new bucket each time, as long as the service lets it
try. So a credential that the service has not yet answered with other than 401 is charged twice: to its own
bucket, and to one that all such credentials of its address share. The answer proves it, and the shared bucket
gets its tokens back: sixty new users behind one address are not in each other's way for longer than an answer
takes, and none of them has two bursts. Knows nothing of how proven credentials are kept.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple, Protocol

from proxy.policy.decision import LOCAL, Charge

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from proxy.http1.head import RequestHead
    from proxy.policy.decision import Decision, Verdict

# They say nothing of the credential: a service may be too busy, or too broken, to look at it.
UNAUTHORIZED = 401
TOO_MANY = 429
BROKEN = 500  # and above


class ProvenKeys(Protocol):
    def __contains__(self, key: object, /) -> bool: ...


class Word(NamedTuple):
    """What an answer of the service says of the credentials of its request."""

    proven: list[bytes]
    back: list[Charge]  # to be given back
    taken: list[Charge]  # to be taken in their place


NOTHING = Word([], [], [])


def with_newcomers(
    charges: Sequence[Charge], head: RequestHead, client: str, proven: ProvenKeys
) -> Sequence[Charge]:
    """The charges, and for each limit one more where a credential is not proven."""
    for charge in charges:
        if charge.terms.newcomer is not None and charge.key not in proven:
            break
    else:  # nearly all: proven
        return charges
    every: list[Charge] = []
    for limit, group in groupby(charges, lambda charge: charge.limit):
        own = [*group]
        every += own
        unknown = [each for each in own if each.terms.newcomer is not None and each.key not in proven]
        if unknown:
            nobodys = limit.partition.fallbacks(head, client)
            unknown = [each for each in unknown if each.key not in nobodys]
        if unknown:
            strictest = next((each for each in unknown if not each.terms.is_shadow), unknown[0])
            newcomer = strictest.terms.newcomer
            assert newcomer is not None
            every.append(Charge(newcomer, limit.partition.newcomers_key(head, client)))
    return every


def heard(decision: Decision, status: int, head: RequestHead, client: str) -> Word:
    """The verdicts tell of it."""
    if status == UNAUTHORIZED:
        return _moved(decision, head, client)
    if status == TOO_MANY or status >= BROKEN:
        return NOTHING
    newcomers = [verdict for verdict in decision.verdicts if verdict.terms.is_newcomer]
    if not newcomers:
        return NOTHING
    limits = {verdict.limit for verdict in newcomers}
    proven = [
        verdict.charge.key
        for verdict in decision.verdicts
        if verdict.limit in limits and not verdict.terms.is_newcomer
    ]
    # Tokens of a free 304 come back anyway.
    back = _returned(
        decision, [verdict for verdict in newcomers if status != 304 or not verdict.limit.is_free_304]
    )
    return Word(proven, back, [])


def _moved(decision: Decision, head: RequestHead, client: str) -> Word:
    """A 401 is paid by the address, where a limit says so (`on_upstream_401`)."""
    moving = []
    taken: dict[object, Charge] = {}
    for verdict in decision.verdicts:
        limit, terms = verdict.limit, verdict.terms
        if not limit.moves_401s or terms.is_newcomer or not verdict.is_admitted:
            continue
        if verdict.charge.key not in limit.partition.fallbacks(head, client):
            moving.append(verdict)
            taken.setdefault(limit, Charge(terms.own, limit.partition.address_key(head, client)))
    return Word([], _returned(decision, moving), [*taken.values()])


def _returned(decision: Decision, verdicts: Iterable[Verdict]) -> list[Charge]:
    """Nothing of what was decided without the store: those tokens are counted elsewhere."""
    back = []
    for verdict in verdicts:
        if verdict.is_admitted and decision.via != LOCAL:
            verdict.debt = max(verdict.debt - verdict.terms.cost_units, 0)
            back.append(verdict.charge)
    return back
