"""Credentials that must earn their freedom: who invents new ones pays by address.

Whoever sends a new credential with each request has a new bucket each time, as long as the service lets it
try. So a credential that the service has not yet answered with other than 401 is charged twice: to its own
bucket, and to one that all such credentials of its address share. The answer proves it, and the shared bucket
gets its tokens back: sixty new users behind one address are not in each other's way for longer than an answer
takes, and none of them has two bursts. Several that come together are proven together, for nobody can tell
which of them the service has looked at. Knows nothing of how proven credentials are kept.
"""

from __future__ import annotations

from hashlib import blake2b
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple, Protocol

from proxy.policy.decision import LOCAL, Charge, Verdict
from proxy.policy.keys import KEY_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from proxy.http1.head import RequestHead
    from proxy.policy.decision import Decision

# They say nothing of the credential: a service may be too busy, or too broken, to look at it, and answers
# OPTIONS whoever asks, since browsers ask without one (Fetch section 3.2).
UNAUTHORIZED = 401
TOO_MANY = 429
BROKEN = 500  # and above
OPTIONS = b"OPTIONS"


class ProvenKeys(Protocol):
    def __contains__(self, key: object, /) -> bool: ...


class Transfer(NamedTuple):
    """What the address is to pay in place of keys, if its bucket has as much; else it stays with them."""

    taken: Charge
    back: list[Charge]
    verdicts: list[Verdict]  # of what comes back


class Word(NamedTuple):
    """What an answer of the service says of the credentials of its request."""

    proven: list[bytes]
    back: list[Charge]  # to be given back
    moves: list[Transfer]


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
    if len(charges) > 1 and _together(charges) in proven:
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
    if status == TOO_MANY or status >= BROKEN or head.method == OPTIONS:
        return NOTHING
    newcomers = [verdict for verdict in decision.verdicts if verdict.terms.is_newcomer]
    if not newcomers:
        return NOTHING
    own = [verdict.charge for verdict in decision.verdicts if not verdict.terms.is_newcomer]
    if _is_one(own, head, client):
        limits = {verdict.limit for verdict in newcomers}
        proven = [charge.key for charge in own if charge.limit in limits]
    else:
        proven = [_together(own)]
    return Word(proven, _returned(decision, newcomers), [])


def _is_one(charges: Iterable[Charge], head: RequestHead, client: str) -> bool:
    """The request shows no second credential, which the answer may be due to."""
    limits = {charge.limit for charge in charges}
    return len({each for limit in limits for each in limit.partition.shown(head, client)}) < 2


def _together(charges: Iterable[Charge]) -> bytes:
    """The key of all credentials of a request, in whatever order."""
    keys = {charge.key for charge in charges if charge.limit.partition.has_credentials}
    return blake2b(b"".join(sorted(keys)), digest_size=KEY_BYTES, person=b"weir together").digest()


def _moved(decision: Decision, head: RequestHead, client: str) -> Word:
    """A 401 is paid by the address, where a limit says so (`on_upstream_401`)."""
    if decision.via == LOCAL:
        return NOTHING
    moves: dict[object, Transfer] = {}
    for verdict in decision.verdicts:
        limit, terms = verdict.limit, verdict.terms
        if not limit.moves_401s or terms.is_newcomer or not verdict.is_admitted:
            continue
        if verdict.charge.key not in limit.partition.fallbacks(head, client):
            if limit not in moves:
                address = Charge(terms.own, limit.partition.address_key(head, client))
                moves[limit] = Transfer(address, [], [])
            moves[limit].back.append(verdict.charge)
            moves[limit].verdicts.append(verdict)
    return Word([], [], [*moves.values()])


def _returned(decision: Decision, verdicts: Iterable[Verdict]) -> list[Charge]:
    """Nothing of what was decided without the store: those tokens are counted elsewhere."""
    back = []
    for verdict in verdicts:
        if verdict.is_admitted and decision.via != LOCAL:
            verdict.tell_returned()
            back.append(verdict.charge)
    return back
