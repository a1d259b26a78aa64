"""By which terms a request is charged: its plan, its cost, its share of the keys, its credential."""

from __future__ import annotations

from proxy.config.plan_keys import key_hash
from proxy.config.settings import Settings
from proxy.policy.limits import PLANS_KNOWN, compile_limits
from tests.policy.heads import head

TWO = {"name": "step-2", "rate": "30/s", "keys": [key_hash("ben"), key_hash("192.0.2.9")]}


def compiled(*plans, **settings):
    entry = {"name": "per-user", "rate": "15/s", "key": ["header:X-Auth-Token", "client-ip"]} | settings
    made = Settings.model_validate(
        {"upstream": {"servers": ["http://a"]}, "plans": list(plans), "limits": [entry]}
    )
    return compile_limits(made.limits, b"secret", plans=made.plan_keys)


def terms_of(limits, headers=(), client="192.0.2.7", **more):
    (charge,), _ = limits.charges(head(headers=headers, **more), client)
    return charge.terms


def test_plan_of_a_key_replaces_rate_and_burst():
    limits = compiled(TWO, plans=["step-2"])

    for _ in range(2):  # the second time from memory
        assert terms_of(limits, {"X-Auth-Token": "ben"}).count == 30
        assert terms_of(limits, {"X-Auth-Token": "ana"}).count == 15
        assert terms_of(limits, client="192.0.2.9").count == 30


def test_usual_terms_are_those_of_the_plan_at_the_last_cost():
    limits = compiled(TWO, plans=["step-2"], cost=[{"match": {"methods": ["POST"]}, "cost": 5}])
    (limit,) = limits

    assert limits.usual_terms(limit, b"k" * 16, [b"ben"]).count == 30
    assert limits.usual_terms(limit, b"k" * 16, []).count == 15
    assert limits.usual_terms(limit, b"k" * 16, [b"ben"]).cost == 1


def test_cost_is_that_of_the_first_match():
    limits = compiled(cost=[{"match": {"methods": ["POST"]}, "cost": 5}, {"cost": 2}])

    assert [terms_of(limits, method=method).cost for method in ("POST", "GET")] == [5, 2]


def test_share_of_the_keys_is_enforced_and_always_the_same_ones():
    limits = compiled(enforce="50%")
    shadows = [terms_of(limits, {"X-Auth-Token": f"user-{n}"}).is_shadow for n in range(400)]

    assert 140 < sum(shadows) < 260
    assert shadows == [terms_of(limits, {"X-Auth-Token": f"user-{n}"}).is_shadow for n in range(400)]


def test_share_of_the_keys_holds_within_a_plan():
    """A key has its plan, and is enforced or not."""
    plan = {"name": "all", "rate": "30/s", "keys": [key_hash(f"user-{n}") for n in range(100)]}
    limits = compiled(plan, plans=["all"], enforce="50%")
    found = [terms_of(limits, {"X-Auth-Token": f"user-{n}"}) for n in range(100)]

    assert {terms.count for terms in found} == {30}
    assert 20 < sum(terms.is_shadow for terms in found) < 80


def test_newcomers_share_the_terms_of_their_address():
    """Of all plans; those that are in shadow apart."""
    limits = compiled(TWO, plans=["step-2"], unproven={"rate": "60/s", "burst": 60})
    ben, ana = (terms_of(limits, {"X-Auth-Token": name}) for name in ("ben", "ana"))

    assert ben.newcomer is ana.newcomer
    assert (ben.newcomer.count, ben.newcomer.burst, ben.newcomer.is_newcomer) == (60, 60, True)
    assert ben.newcomer in list(next(iter(limits)))


def test_plan_that_the_limit_does_not_name_is_not_for_it():
    """Ben has it, this limit does not."""
    other = {"name": "other", "rate": "99/s", "keys": [key_hash("zoe")]}
    limits = compiled(TWO, other, plans=["other"])

    assert terms_of(limits, {"X-Auth-Token": "ben"}).count == 15
    assert terms_of(limits, {"X-Auth-Token": "zoe"}).count == 99


def test_plan_of_an_address_is_not_that_of_its_neighbour():
    """They share a bucket by their network, so what is known of one is not remembered for both."""
    plan = {"name": "step-2", "rate": "30/s", "keys": [key_hash("2001:db8::9")]}
    limits = compiled(plan, plans=["step-2"])

    assert terms_of(limits, client="2001:db8::9").count == 30
    assert terms_of(limits, client="2001:db8::7").count == 15


def test_what_is_known_of_keys_is_bounded():
    limits = compiled(TWO, plans=["step-2"])
    limits._plans_known.update({n.to_bytes(16): 0 for n in range(PLANS_KNOWN)})

    for name in ("ana", "ben", "cem", "ben", "ana"):
        assert terms_of(limits, {"X-Auth-Token": name}).count == (30 if name == "ben" else 15)
    assert len(limits._plans_known) == 3
