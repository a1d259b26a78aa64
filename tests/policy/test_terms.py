"""By what rate, at what cost and for whom a limit is enforced."""

from __future__ import annotations

import pytest

from proxy.config.plan_keys import key_hash
from proxy.config.settings import Settings
from proxy.config.units import EMPTIED_MAX_US
from proxy.policy.limits import compile_limits
from proxy.policy.terms import NONE_RESERVED, Reserved
from tests.policy.heads import head, limit, slot_limit

TOKEN = "dGhlLXRva2Vu"
CLAIMS = "e30.eyJzdWIiOiJhZGEifQ.e30"  # {"sub":"ada"}


def limits_of(limit, *plans):
    """One limit, with plans of the names a, b and so on for whom these texts name."""
    made = [
        {"name": name, "rate": f"{100 + n}/s", "keys": [key_hash(text) for text in texts]}
        for n, (name, texts) in enumerate(zip("abc", plans, strict=False))
    ]
    settings = Settings.model_validate(
        {
            "upstream": {"servers": ["http://a"]},
            "plans": made,
            "limits": [{"name": "x", "rate": "9/s"} | limit],
        }
    )
    return compile_limits(settings.limits, b"", plans=settings.plan_keys)


def terms_of(limits, request, client="192.0.2.1"):
    charges, _ = limits.charges(request, client)
    return [charge.terms for charge in charges]


# --- plans ---


@pytest.mark.parametrize(
    ("key", "named", "request_of_it", "client"),
    [
        ("header:X-Auth-Token", TOKEN, head(headers={"X-Auth-Token": f"\t{TOKEN} "}), ""),
        ("header:Authorization", TOKEN, head(headers={"Authorization": f"Bearer {TOKEN}"}), ""),
        ("header:Authorization", TOKEN, head(headers={"Authorization": f"bEARER   {TOKEN}"}), ""),
        ("header:Authorization", "YWRhOg==", head(headers={"Authorization": "Basic YWRhOg=="}), ""),
        ("header:Authorization", TOKEN, head(headers={"Authorization": TOKEN}), ""),
        ("jwt:sub", "ada", head(headers={"Authorization": f"Bearer {CLAIMS}"}), ""),
        ("cookie:sid", TOKEN, head(headers={"Cookie": f"a=b; sid={TOKEN}"}), ""),
        ("query:api_key", "a b", head(target="/x?api_key=a%20b"), ""),
        ("path:2", "acme", head(target="/t/acme/x"), ""),
        ("host", "api.example.com", head(headers={"Host": "API.example.com:8080"}), ""),
        ("client-ip", "192.0.2.7", head(), "192.0.2.7"),
        ("client-ip", "::ffff:192.0.2.7", head(), "192.0.2.7"),
        ("client-ip", "2001:DB8:0::7", head(), "2001:db8::7"),
        ("client-ip", "2001:db8::/64", head(), "2001:db8::9"),
        ("header:X-App+client-ip", "app", head(headers={"X-App": "app"}), "192.0.2.7"),
    ],
)
def test_plan_names_who_pays_as_an_operator_writes_it(key, named, request_of_it, client):
    limits = limits_of({"key": [key], "plans": ["a"]}, [named])
    (found,) = terms_of(limits, request_of_it, client)
    (other,) = terms_of(limits_of({"key": [key], "plans": ["a"]}, ["x"]), request_of_it, client)

    assert (found.plan, found.burst) == ("a", 100)
    assert (other.plan, other.burst) == ("", 9)


def test_address_within_a_network_has_its_own_plan():
    """One bucket for the network, whose members need not be told apart for that."""
    limits = limits_of({"key": ["client-ip"], "plans": ["a"]}, ["2001:db8::7"])

    assert [terms_of(limits, head(), f"2001:db8::{n}")[0].plan for n in (7, 8, 7)] == ["a", "", "a"]


def test_first_plan_of_the_limit_that_names_the_key_counts():
    """A plan that the limit does not name is none of it."""
    texts = [TOKEN], [TOKEN], [TOKEN]
    request = head(headers={"X-Auth-Token": TOKEN})

    assert [terms.plan for terms in terms_of(limits_of({"plans": ["b", "a"]}, *texts), request)] == ["b"]
    assert [terms.plan for terms in terms_of(limits_of({}, *texts), request)] == [""]


def test_each_credential_is_charged_by_its_own_plan():
    request = head(headers={"X-Auth-Token": TOKEN, "Authorization": "Bearer other"})

    assert [terms.plan for terms in terms_of(limits_of({"plans": ["a"]}, [TOKEN]), request)] == ["a", ""]


def test_bucket_does_not_move_with_the_plan():
    request = head(headers={"X-Auth-Token": TOKEN})
    keys = [
        limits_of({"plans": ["a"]}, texts).charges(request, "")[0][0].key for texts in ([TOKEN], ["other"])
    ]

    assert keys[0] == keys[1]


def test_key_that_was_looked_up_is_not_looked_up_again(monkeypatch):
    limits = limits_of({"plans": ["a"]}, [TOKEN])
    request = head(headers={"X-Auth-Token": TOKEN})
    before = terms_of(limits, request)
    monkeypatch.setattr("proxy.policy.keys.Partition.texts", None)

    assert terms_of(limits, request) == before


# --- costs ---

COSTS = [
    {"match": {"methods": ["POST"], "paths": ["/api/*"]}, "cost": 5},
    {"match": {"headers": {"X-Batch": "*"}}, "cost": 3},
]


@pytest.mark.parametrize(
    ("request_of_it", "cost"),
    [
        (head("POST", "/api/a"), 5),
        (head("POST", "/API/a/"), 5),
        (head("POST", "/api/a", {"X-Batch": "1"}), 5),
        (head("GET", "/api/a", {"X-Batch": "1"}), 3),
        (head("GET", "/api/a"), 1),
    ],
)
def test_first_cost_that_matches_counts(request_of_it, cost):
    """As limits match: widely. What no entry matches costs 1."""
    (terms,) = terms_of(limits_of({"cost": COSTS}), request_of_it)

    assert terms.cost == cost


def test_last_cost_may_match_all():
    assert terms_of(limits_of({"cost": [*COSTS, {"cost": 2}]}), head())[0].cost == 2


def test_costs_hold_for_plans_too():
    limits = limits_of({"cost": COSTS, "plans": ["a"]}, [TOKEN])
    (terms,) = terms_of(limits, head("POST", "/api/a", {"X-Auth-Token": TOKEN}))

    assert (terms.plan, terms.cost) == ("a", 5)


# --- for some keys only ---


def enforced_for(share, count=4000):
    limits = limits_of({"enforce": share})
    return {
        n for n in range(count) if not terms_of(limits, head(headers={"X-Auth-Token": f"t{n}"}))[0].is_shadow
    }


def test_limit_is_enforced_for_its_share_of_the_keys():
    """Always the same ones; who is in a small share is in a larger one."""
    few, many = enforced_for("25%"), enforced_for("60%")

    assert len(few) / 4000 == pytest.approx(0.25, abs=0.03)
    assert len(many) / 4000 == pytest.approx(0.60, abs=0.03)
    assert few < many
    assert enforced_for("25%") == few
    assert (len(enforced_for("100%", 50)), len(enforced_for("0%", 50))) == (50, 0)


def test_limit_in_shadow_is_enforced_for_nobody():
    limits = limits_of({"enforce": "50%", "mode": "shadow"})

    assert all(terms.is_shadow for limit in limits for terms in limit)


def test_keys_of_a_plan_are_enforced_by_their_share_too():
    """Whoever is in it, whatever the plan."""
    limits = limits_of({"enforce": "50%", "plans": ["a"]}, [f"t{n}" for n in range(100)])
    found = [terms_of(limits, head(headers={"X-Auth-Token": f"t{n}"}))[0] for n in range(200)]

    assert {(terms.plan, terms.is_shadow) for terms in found} == {
        (plan, is_shadow) for plan in ("a", "") for is_shadow in (True, False)
    }


# --- what they come to ---


def test_most_debt_is_the_burst_and_what_may_be_waited_for():
    terms = limit(rate="10/s", burst=20, max_wait="2s").terms

    assert terms.burst_units == 20 * terms.interval
    assert terms.ceiling_units == terms.most_units == 40 * terms.interval


def test_bucket_that_a_429_of_the_service_empties_may_owe_more():
    """It is closed for as long as the service says, in bounds."""
    closes, stays = limit(on_upstream_429="drain").terms, limit().terms

    assert closes.ceiling_units == stays.ceiling_units == stays.most_units
    assert closes.most_units == closes.burst_units + EMPTIED_MAX_US * closes.scale


def test_slot_is_a_unit_that_counts_as_a_microsecond():
    """The least that a refused client can be told, as nobody knows when one comes back."""
    terms = slot_limit(concurrency=4).terms

    assert (terms.slots, terms.burst, terms.cost) == (4, 4, 1)
    assert (terms.interval, terms.scale, terms.burst_units, terms.ceiling_units) == (1, 1, 4, 4)


def test_terms_of_slots_say_what_they_are():
    assert repr(slot_limit().terms) == "Terms(at-once, 3 at once)"
    assert repr(slot_limit(mode="shadow").terms) == "Terms(at-once, 3 at once, shadow)"


def test_terms_say_what_they_are():
    limits = limits_of({"key": ["header:X-Auth-Token"], "plans": ["a"], "mode": "shadow"}, ["ben"])
    ben, ana = (terms_of(limits, head(headers={"X-Auth-Token": name}))[0] for name in ("ben", "ana"))

    assert repr(ben) == "Terms(x, 100 in 1 s, burst 100, cost 1, plan a, shadow)"
    assert repr(ana) == "Terms(x, 9 in 1 s, burst 9, cost 1, shadow)"


@pytest.mark.parametrize(
    ("rate", "units"),
    [("1/s", 5 * 1_000_000), ("10/s", 5 * 100_000), ("1/m", 5 * 60_000_000), ("3/s", 5 * 1_000_000)],
)
def test_reserved_tokens_are_as_many_at_another_rate(rate, units):
    """Five seconds of one a second."""
    reserved = Reserved(5_000_000, limit(rate="1/s").terms.refill_rate, 7)

    assert reserved.units_by(limit(rate=rate).terms.refill_rate) == units
    assert NONE_RESERVED.units_by(limit(rate=rate).terms.refill_rate) == 0


def test_what_two_limits_have_reserved_is_the_larger_of_each():
    slow, fast = limit(rate="1/s").terms.refill_rate, limit(rate="2/s").terms.refill_rate
    one, two = Reserved(5_000_000, slow, 9), Reserved(2_000_000, fast, 4)

    for joined in (one.joined(two), two.joined(one)):
        assert (joined.wait_us, joined.rate, joined.until_us) == (5_000_000, fast, 9)
    assert one.joined(NONE_RESERVED) is NONE_RESERVED.joined(one) is one


def test_most_debt_is_worked_out_anew_when_others_wait_by_a_limit_of_before():
    after = limit(rate="1/s", burst=2)
    after.before = Reserved(5_000_000, after.terms.refill_rate, 7)
    after.terms.renew()

    assert after.terms.most_units == after.terms.burst_units + 5_000_000
