"""Credentials that are not proven yet, and what the service's answers say of them."""

from __future__ import annotations

import pytest

from proxy.policy.decision import LOCAL, STORE, Decision, Verdict, spared
from proxy.policy.vouching import heard, with_newcomers
from tests.policy.heads import head, limits
from tests.policy.tokens import token

ADDRESS = "192.0.2.1"
UNPROVEN = {"unproven": {"rate": "60/s"}}
TOKEN = head(headers={"X-Auth-Token": "t"})


def charged(made, request=TOKEN, client=ADDRESS, proven=()):
    charges, _ = made.charges(request, client)
    return with_newcomers(charges, request, client, proven)


def admitted(charges, via=STORE):
    return Decision(True, [Verdict(charge, True, charge.terms.cost_units) for charge in charges], via)


def test_new_credential_is_charged_to_its_address_too():
    """To a bucket that is not that of requests without a credential."""
    made = limits(UNPROVEN)
    own, newcomer = charged(made)
    (anonymous,) = charged(made, head())

    assert (own.terms.burst, newcomer.terms.burst, newcomer.terms.is_newcomer) == (15, 60, True)
    assert len({own.key, newcomer.key, anonymous.key}) == 3
    assert charged(made, head(headers={"X-Auth-Token": "u"}))[1].key == newcomer.key
    assert charged(made, client="192.0.2.2")[1].key != newcomer.key


@pytest.mark.parametrize("request_of_it", [head(), head(headers={"X-Other": "x"})])
def test_who_shows_no_credential_has_nothing_to_prove(request_of_it):
    assert len(charged(limits(UNPROVEN), request_of_it)) == 1
    assert len(charged(limits(UNPROVEN | {"key": ["header:X-Auth-Token"]}), request_of_it)) == 1


def test_proven_credential_is_charged_to_its_own_bucket_alone():
    made = limits(UNPROVEN)
    proven = heard(admitted(charged(made)), 200, TOKEN, ADDRESS).proven

    assert len(charged(made, proven=proven)) == 1
    assert len(charged(made, head(headers={"X-Auth-Token": "u"}), proven=proven)) == 2


def test_several_new_credentials_are_charged_to_the_address_once():
    """Beside a proven one too."""
    both = head(headers={"X-Auth-Token": "t", "Authorization": "Bearer u"})
    made = limits(UNPROVEN)
    first, second, newcomer = charged(made, both)

    assert newcomer.terms.is_newcomer
    assert len(charged(made, both, proven=[first.key])) == 3
    assert len(charged(made, both, proven=[first.key, second.key])) == 2


def test_each_limit_counts_new_credentials_apart_and_in_its_place():
    """Charges of one limit stand side by side."""
    made = limits({}, UNPROVEN | {"name": "a"}, UNPROVEN | {"name": "b"})

    assert [charge.terms.name for charge in charged(made)] == ["limit-0", "a", "a", "b", "b"]


@pytest.mark.parametrize(
    ("status", "is_proof"),
    [
        (101, True),
        (200, True),
        (304, True),
        (403, True),
        (404, True),
        (401, False),
        (429, False),
        (503, False),
    ],
)
def test_answer_other_than_401_proves(status, is_proof):
    """A service that is too busy or broken may not have looked at the credential."""
    charges = charged(limits(UNPROVEN))
    decision = admitted(charges)
    word = heard(decision, status, TOKEN, ADDRESS)

    assert word.proven == ([charges[0].key] if is_proof else [])
    assert word.back == ([charges[1]] if is_proof else [])
    assert word.moves == []
    assert decision.verdicts[1].remaining == (60 if is_proof else 59)


def test_what_was_decided_without_the_store_proves_and_gives_nothing_back():
    charges = charged(limits(UNPROVEN))
    word = heard(admitted(charges, LOCAL), 200, TOKEN, ADDRESS)

    assert (word.proven, word.back) == ([charges[0].key], [])


@pytest.mark.parametrize("status", [200, 304])
def test_token_of_newcomers_does_not_come_back_twice(status):
    """Neither with the service's own 304, nor with one that Weir makes of its 200."""
    own, newcomer = charged(limits(UNPROVEN | {"cost_304": 0}))
    decision = admitted([own, newcomer])

    assert heard(decision, status, TOKEN, ADDRESS).back == [newcomer]
    assert spared(decision) == [own]


BOTH = head(headers={"X-Auth-Token": "t", "Authorization": "Bearer u"})


@pytest.mark.parametrize(
    "made",
    [
        limits(UNPROVEN),
        limits(UNPROVEN | {"key": ["header:X-Auth-Token"]}, {"key": ["header:Authorization"]}),
        limits(UNPROVEN | {"key": ["header:X-Auth-Token", "header:Authorization"]}, {"key": ["jwt:sub"]}),
    ],
)
def test_what_came_with_another_credential_is_proven_in_its_company_only(made):
    """Of a decoy beside a good credential the service has not looked at the decoy, in whatever limit it is."""
    proven = heard(admitted(charged(made, BOTH)), 200, BOTH, ADDRESS).proven
    alone, again = charged(made, proven=proven), charged(made, BOTH, proven=proven)
    other = head(headers={"X-Auth-Token": "t", "Authorization": "Bearer v"})

    assert any(charge.terms.is_newcomer for charge in alone)
    assert not any(charge.terms.is_newcomer for charge in again)
    assert any(charge.terms.is_newcomer for charge in charged(made, other, proven=proven))


@pytest.mark.parametrize(
    "key",
    [
        ["header:Authorization", "jwt:sub"],
        ["header:Authorization", "header:Authorization+path:1"],
        ["header:Authorization", "path:1"],
    ],
)
def test_one_credential_that_is_read_twice_is_one(key):
    claims = head(headers={"Authorization": token({"sub": "ada"})})
    made = limits(UNPROVEN | {"key": key})
    proven = heard(admitted(charged(made, claims)), 200, claims, ADDRESS).proven

    assert set(proven) == {charge.key for charge in charged(made, claims, proven=proven)}


def test_options_prove_nothing():
    """Services answer them whoever asks: browsers ask without a credential."""
    asks = head("OPTIONS", headers={"X-Auth-Token": "t"})

    assert heard(admitted(charged(limits(UNPROVEN), asks)), 204, asks, ADDRESS) == ([], [], [])


def test_limit_in_shadow_for_a_key_is_so_for_its_newcomers():
    made = limits(UNPROVEN | {"enforce": "50%"})
    pairs = [charged(made, head(headers={"X-Auth-Token": f"t{n}"})) for n in range(40)]

    assert {(own.terms.is_shadow, new.terms.is_shadow) for own, new in pairs} == {
        (True, True),
        (False, False),
    }


def test_cost_holds_for_newcomers_too():
    own, newcomer = charged(limits(UNPROVEN | {"cost": 7}))

    assert (own.terms.cost, newcomer.terms.cost) == (7, 7)


# --- who pays for a 401 ---

MOVES = {"on_upstream_401": "address"}


def test_401_is_paid_by_the_address():
    """From the bucket of requests without a credential."""
    made = limits(MOVES)
    (own,) = charged(made)
    (anonymous,) = charged(made, head())
    decision = admitted([own])
    word = heard(decision, 401, TOKEN, ADDRESS)
    (move,) = word.moves

    assert (word.proven, word.back, move.back, move.verdicts) == ([], [], [own], decision.verdicts)
    assert (move.taken.key, move.taken.terms) == (anonymous.key, anonymous.terms)
    assert heard(admitted([own]), 200, TOKEN, ADDRESS) == ([], [], [])


def test_401_without_a_credential_stays_where_it_is():
    (anonymous,) = charged(limits(MOVES), head())

    assert heard(admitted([anonymous]), 401, head(), ADDRESS) == ([], [], [])


def test_new_credential_with_a_401_stays_charged_to_the_newcomers():
    """However many credentials it shows, the address pays once."""
    both = head(headers={"X-Auth-Token": "t", "Authorization": "Bearer u"})
    charges = charged(limits(UNPROVEN | MOVES), both)
    word = heard(admitted(charges), 401, both, ADDRESS)

    (move,) = word.moves
    assert move.back == [*charges[:2]]


def test_401_of_what_was_decided_without_the_store_stays_where_it_is():
    assert heard(admitted(charged(limits(MOVES)), LOCAL), 401, TOKEN, ADDRESS) == ([], [], [])


def test_limits_without_it_do_not_move_401s():
    assert heard(admitted(charged(limits(UNPROVEN))), 401, TOKEN, ADDRESS) == ([], [], [])
