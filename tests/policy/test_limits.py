from __future__ import annotations

from ipaddress import ip_network

import pytest

from proxy import faults
from proxy.config.limit_checks import MET_MAX
from proxy.config.settings import Settings
from proxy.policy.decision import Charge
from proxy.policy.limits import Limits, compile_limits
from tests.policy.heads import head, limit, limits, slot_limit


def test_limit_counts_in_whole_numbers():
    one = limit(rate="15/s", burst=30, cost=2, mode="shadow", on_store_error="deny")

    assert (one.terms.interval, one.terms.scale, one.terms.burst_units, one.terms.cost_units) == (
        200_000,
        3,
        6_000_000,
        400_000,
    )
    assert (one.terms.count, one.terms.period_us, one.terms.burst, one.terms.cost) == (15, 1_000_000, 30, 2)
    assert one.is_shadow
    assert one.on_store_error == "deny"
    assert [str(spec) for spec in one.key_spec] == [
        "header:X-Auth-Token",
        "header:Authorization",
        "client-ip",
    ]
    assert repr(one) == "Limit(per-user, Terms(per-user, 15 in 1 s, burst 30, cost 2, shadow))"


# --- what matches ---


def test_limit_without_match_counts_everything():
    assert limit().match.holds(head("BREW", "*"))


def test_methods_match_exactly():
    one = limit(match={"methods": ["POST", "PUT"]})

    assert [one.match.holds(head(method)) for method in ("POST", "PUT", "GET", "post")] == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("target", "matches"),
    [
        ("/api/entities", True),
        ("/api/entities?x=/other", True),
        ("/api/../api/entities", True),
        ("/%61pi/entities", True),
        ("//api//entities", True),
        ("/api%2Fentities", True),
        ("/other/../api/x", True),
        ("/api/../other", True),
        ("/other?/api/x", False),
        ("/API/entities", True),
        ("/api;v=1/entities", True),
        ("/%2561pi/entities", True),
        ("/apix", False),
    ],
)
def test_paths_match_in_any_reading(target, matches):
    """No spelling of a path evades its limit."""
    assert limit(match={"paths": ["/api/**"]}).match.holds(head(target=target)) is matches


@pytest.mark.parametrize(
    ("target", "matches"),
    [
        ("/sign-in.json", True),
        ("/sign-in.", True),
        ("/Sign-In.tar.gz/", True),
        ("/sign-in%2ejson", True),
        ("/sign-in%3Fx=y", True),
        ("/sign-in%23", True),
        ("/sign-in%253F", True),
        ("/sign-in.json/x", False),
        ("/sign-inx.json", False),
        ("/x%3F/sign-in", False),
    ],
)
def test_limit_is_not_evaded_by_a_format_or_a_query_in_disguise(target, matches):
    """Services that route `/a.json` as `/a`, or look for `?` in what they have decoded."""
    assert limit(match={"paths": ["/sign-in"]}).match.holds(head(target=target)) is matches


def test_limit_that_is_exact_tells_formats_apart():
    exact = limit(match={"paths": ["/sign-in"], "exact": True})

    assert not exact.match.holds(head(target="/sign-in.json"))
    assert not limit(exempt={"paths": ["/health"]}).exemption.holds(head(target="/health.json"), "")


@pytest.mark.parametrize(
    ("headers", "matches"),
    [
        ({"X-Client": "mobile-7", "X-Plan": ""}, True),
        ({"x-client": " mobile- ", "x-plan": "gold"}, True),
        ({"X-Client": "mobile-7"}, False),
        ({"X-Client": "Mobile-7", "X-Plan": "gold"}, True),
        ({"X-Client": "other, mobile-7", "X-Plan": "gold"}, True),
        ([("X-Client", "other"), ("X-Client", "mobile-7"), ("X-Plan", "gold")], True),
        ({"X-Client": "a mobile-7", "X-Plan": "gold"}, False),
        ({"X-Plan": "gold"}, False),
        ({}, False),
    ],
)
def test_all_headers_must_match(headers, matches):
    """`*` is satisfied by any value, also an empty one, but not by none."""
    one = limit(match={"headers": {"X-Client": "mobile-*", "X-Plan": "*"}})

    assert one.match.holds(head(headers=headers)) is matches


def test_method_path_and_headers_must_all_match():
    one = limit(match={"methods": ["GET"], "paths": ["/a"], "headers": {"X": "1"}})

    assert one.match.holds(head("GET", "/a", {"X": "1"}))
    assert not one.match.holds(head("PUT", "/a", {"X": "1"}))
    assert not one.match.holds(head("GET", "/b", {"X": "1"}))
    assert not one.match.holds(head("GET", "/a", {"X": "2"}))


# --- who is exempt ---


def test_any_exemption_is_enough():
    exempt = {
        "cidrs": [ip_network("10.0.0.0/8")],
        "paths": ["/health"],
        "headers": {"X-Probe": "yes", "X-Key": "k*"},
    }
    one = limit(exempt=exempt)

    assert one.exemption.holds(head(), "10.1.2.3")
    assert one.exemption.holds(head(), "::ffff:10.1.2.3")
    assert one.exemption.holds(head(target="/health"), "192.0.2.7")
    assert one.exemption.holds(head(headers={"x-probe": "yes"}), "192.0.2.7")
    assert one.exemption.holds(head(headers={"X-Key": "k1"}), "192.0.2.7")
    assert not one.exemption.holds(head(headers={"X-Probe": "no"}), "192.0.2.7")
    assert not one.exemption.holds(head(), "unix:")


@pytest.mark.parametrize(
    "target",
    ["/HEALTH", "/health/", "/health;x", "//health", "/%68ealth", "/health%20", "/x/../health", "/health%2f"],
)
def test_only_the_very_path_is_exempt(target):
    """What a lenient service makes of another one need not be what it makes of this."""
    assert not limit(exempt={"paths": ["/health"]}).exemption.holds(head(target=target), "192.0.2.7")


@pytest.mark.parametrize(
    ("target", "is_exempt"),
    [
        ("/static/a", True),
        ("/static/caf%C3%A9", True),
        ("/static/a%20b", True),
        ("/static/a%2Fb", True),
        ("/static/a;v=1", True),
        ("/static/..;/api", False),
        ("/static/..%2fapi", False),
        ("/static/%2e%2e/api", False),
        ("/static/%252e%252e%252fapi", False),
        ("/static/..\\api", False),
    ],
)
def test_path_is_exempt_if_it_is_in_every_reading(target, is_exempt):
    assert limit(exempt={"paths": ["/static/**"]}).exemption.holds(head(target=target), "") is is_exempt


@pytest.mark.parametrize(
    ("headers", "is_exempt"),
    [
        ([("X-Probe", "yes")], True),
        ([("X-Probe", "YES")], False),
        ([("X-Probe", "no, yes")], False),
        ([("X-Probe", "yes"), ("X-Probe", "no")], False),
        ([("X-Probe", "yes"), ("x-probe", "yes")], True),
    ],
)
def test_header_exempts_if_each_of_its_values_does(headers, is_exempt):
    assert (
        limit(exempt={"headers": {"X-Probe": "yes"}}).exemption.holds(head(headers=headers), "") is is_exempt
    )


def test_wildcard_exempts_no_field_that_is_sent_twice_with_another_value():
    one = limit(exempt={"headers": {"X-Plan": "gold*"}})

    assert not one.exemption.holds(head(headers=[("X-Plan", "gold"), ("X-Plan", "free")]), "")


@pytest.mark.parametrize(
    "host", ["api.example.com", "API.example.com:443", "api.example.com.", "%61pi.example.com"]
)
def test_host_matches_in_any_spelling(host):
    one = limit(match={"headers": {"Host": "Api.example.com:8443"}})

    assert one.match.holds(head(headers={"Host": host}))


@pytest.mark.parametrize(
    ("match", "request_of_it"),
    [
        ({"paths": ["/api/entities"]}, {"target": "/API/entities"}),
        ({"paths": ["/api/entities"]}, {"target": "/api/entities/"}),
        ({"headers": {"X-Client": "mobile"}}, {"headers": {"X-Client": "Mobile"}}),
        ({"headers": {"Host": "a"}}, {"headers": {"Host": "a:80"}}),
    ],
)
def test_limit_that_is_exact_is_for_services_that_tell_them_apart(match, request_of_it):
    assert limit(match=match).match.holds(head(**request_of_it))
    assert not limit(match=match | {"exact": True}).match.holds(head(**request_of_it))


def test_limit_that_is_exact_cannot_be_evaded_by_escapes():
    one = limit(match={"paths": ["/api/entities"], "exact": True})

    for target in ("/api/entities", "/%61pi/entities", "//api/./entities", "/api/entities;x"):
        assert one.match.holds(head(target=target)), target


def test_exempt_limit_is_named_and_not_charged():
    both = limits({"name": "a", "exempt": {"paths": ["/health"]}}, {"name": "b"})
    charges, exempt = both.charges(head(target="/health"), "192.0.2.7")

    assert [charge.limit.name for charge in charges] == ["b"]
    assert [each.name for each in exempt] == ["a"]


def test_limit_that_does_not_match_exempts_nobody():
    one = limits({"match": {"methods": ["POST"]}, "exempt": {"paths": ["/health"]}})

    assert one.charges(head(target="/health"), "192.0.2.7") == ([], [])


# --- charges ---


def test_every_credential_is_charged_by_each_limit():
    both = limits({"name": "a"}, {"name": "b", "key": ["client-ip"]})
    charges, _ = both.charges(head(headers={"X-Auth-Token": "x", "Authorization": "Bearer y"}), "192.0.2.7")

    assert [charge.limit.name for charge in charges] == ["a", "a", "b"]
    assert len({charge.key for charge in charges}) == 3


@pytest.mark.parametrize("others", [[], [{"name": "b", "key": ["const"]}]])
def test_request_with_an_unclear_credential_is_refused(others):
    both = limits({"name": "a", "key": ["cookie:sid"]}, *others)

    assert both.charges(head(headers={"Cookie": "sid=a; sid=b"}), "") is faults.UNCLEAR_CREDENTIAL


@pytest.mark.parametrize("others", [[], [{"name": "b", "key": ["const"]}]])
def test_request_without_any_credential_may_be_charged_nothing(others):
    both = limits({"name": "a", "key": ["header:X-A"], "when_absent": "skip"}, *others)

    assert [charge.limit.name for charge in both.charges(head(), "")[0]] == [each["name"] for each in others]


def test_request_that_meets_more_limits_than_it_may_is_refused():
    """Each costs a bucket and a member of the fields. `weir check` sees such a config; readings it cannot foresee."""
    many = limits(*({"name": f"limit-{n}"} for n in range(MET_MAX + 1)))
    as_many = limits(*({"name": f"limit-{n}"} for n in range(MET_MAX)))
    half = limits(*({"match": {"methods": ["GET" if n % 2 else "PUT"]}} for n in range(MET_MAX + 1)))

    assert many.charges(head(), "192.0.2.7") is faults.UNCLEAR_REQUEST
    assert len(as_many.charges(head(), "192.0.2.7")[0]) == MET_MAX
    assert len(half.charges(head(), "192.0.2.7")[0]) < MET_MAX


def test_limits_with_equal_entries_can_differ_in_what_absence_means():
    both = limits(
        {"name": "a", "key": ["header:X-A"], "when_absent": "skip"}, {"name": "b", "key": ["header:X-A"]}
    )

    assert [charge.limit.name for charge in both.charges(head(), "")[0]] == ["b"]


def test_every_matching_limit_is_charged_in_order():
    three = limits(
        {"name": "a"}, {"name": "b", "match": {"methods": ["POST"]}}, {"name": "c", "key": ["const"]}
    )

    def names(request):
        return [charge.limit.name for charge in three.charges(request, "192.0.2.7")[0]]

    assert names(head("POST")) == ["a", "b", "c"]
    assert names(head("GET")) == ["a", "c"]


@pytest.mark.parametrize(
    "settings", [{}, {"match": {"methods": ["GET"]}}, {"exempt": {"paths": ["/health"]}}]
)
def test_charge_is_the_same_on_the_short_way(settings):
    """One limit for everything is charged on a way of its own: with the same key."""
    request = head(headers={"X-Auth-Token": "alice"})
    (charge,), exempt = limits({"name": "a"} | settings).charges(request, "192.0.2.7")
    (first, _), _ = limits({"name": "a"}, {"name": "b"}).charges(request, "192.0.2.7")

    assert charge.limit.name == "a"
    assert charge.key == first.key
    assert exempt == []


def test_one_limit_for_everything_takes_the_short_way(monkeypatch):
    """The path is not read and nothing is matched."""
    one = limits({})
    monkeypatch.setattr("proxy.policy.matching.Matcher.holds", None)
    monkeypatch.setattr("proxy.http1.head.RequestHead.paths", None)

    assert one._only
    assert len(one.charges(head(), "192.0.2.7")[0]) == 1


def test_limits_with_equal_entries_charge_the_same_key(monkeypatch):
    """They are told apart by their names; it is hashed once."""
    both = limits(
        {"name": "a", "key": ["const"]}, {"name": "b", "key": ["const"]}, {"name": "c", "key": ["client-ip"]}
    )
    charges, _ = both.charges(head(), "192.0.2.7")

    assert charges[0].key == charges[1].key != charges[2].key
    assert charges[0].limit.partition is charges[1].limit.partition


def test_key_does_not_move_when_other_limits_come_and_go():
    request = head(headers={"X-Auth-Token": "alice"})
    (alone,), _ = limits({"name": "b"}, secret=b"s").charges(request, "")
    (_, second, _), _ = limits(
        {"name": "a", "key": ["const"]}, {"name": "b"}, {"name": "c"}, secret=b"s"
    ).charges(request, "")

    assert alone.key == second.key


def test_no_limits_charge_nothing():
    none = limits()

    assert none.charges(head(), "") == ([], [])
    assert none.credential_names == frozenset()
    assert len(none) == 0


def test_limits_say_what_of_an_exchange_concerns_them():
    """What concerns none of them costs no request anything."""
    plain = limits({})
    slots = {"rate": None, "burst": None, "concurrency": 2}
    others = limits(
        slots,
        {"cost_304": 0, "on_upstream_401": "address", "key": ["header:X-A", "client-ip"]},
        {"on_upstream_429": "drain", "max_wait": "1s", "enforce": "50%"},
    )

    for name in ("has_slots", "gives_back", "vouches", "empties", "may_wait"):
        assert (getattr(plain, name), getattr(others, name)) == (False, True), name
    assert (plain.watched_waits, others.watched_waits) == ((), ("limit-2",))


@pytest.mark.parametrize(
    ("settings", "is_static"),
    [
        ({}, True),
        ({"match": {"headers": {"X": "1"}}}, True),
        ({"exempt": {"headers": {"X": "1"}}}, True),
        ({"match": {"methods": ["GET"]}}, False),
        ({"match": {"paths": ["/a"]}}, False),
        ({"exempt": {"paths": ["/a"]}}, False),
        ({"key": ["host", "cookie:a"]}, True),
        ({"key": ["query:a"]}, False),
        ({"key": ["header:X+path:1"]}, False),
        ({"key": ["method"]}, False),
    ],
)
def test_limits_are_static_if_neither_method_nor_path_matters(settings, is_static):
    """Then a connection that repeats its header fields is charged the same again."""
    assert limits({"name": "a"}, {"name": "b"} | settings).is_static is is_static


TWICE = head(target="/api/a", headers=[("X-A", "a"), ("X-A", "b")])
READS = {"key": ["header:X-A", "client-ip"]}


@pytest.mark.parametrize("shadow", [{"mode": "shadow"}, {"enforce": "0%"}])
@pytest.mark.parametrize("others", [[], [{"name": "b", "key": ["client-ip"]}]])
@pytest.mark.parametrize(
    "request_", [TWICE, head(headers={"X-A": "Foo, Inc"}), head(headers={"X-A": b"\xfc"})]
)
def test_limit_in_shadow_counts_a_credential_that_is_unclear_as_absent(request_, others, shadow):
    """It refuses nobody: the address pays."""
    made = limits({"name": "a"} | READS | shadow, *others)
    charges, _ = made.charges(request_, "192.0.2.1")
    (absent, *_), _ = made.charges(head(), "192.0.2.1")

    assert not made.repeats(request_, "192.0.2.1")
    assert (charges[0].terms, charges[0].key) == (absent.terms, absent.key)
    assert len(charges) == 1 + len(others)


def test_limit_that_enforces_refuses_it_also_beside_one_in_shadow():
    made = limits({"name": "a", "mode": "shadow"} | READS, {"name": "b"} | READS)

    assert made.charges(TWICE, "") is faults.UNCLEAR_CREDENTIAL
    assert made.repeats(TWICE, "")


@pytest.mark.parametrize(
    ("settings", "repeats"),
    [
        ({}, True),
        ({"match": {"paths": ["/api/**"]}}, True),
        ({"match": {"paths": ["/other"]}}, False),
        ({"exempt": {"cidrs": ["192.0.2.0/24"]}}, False),
        ({"exempt": {"cidrs": ["10.0.0.0/8"]}}, True),
        ({"mode": "shadow"}, False),
        ({"enforce": "1%"}, True),
        ({"key": ["header:X-B"]}, False),
    ],
)
def test_field_that_comes_twice_matters_where_a_limit_charges_by_it(settings, repeats):
    made = limits({}, {"name": "a"} | READS | settings)

    assert made.repeats(TWICE, "192.0.2.1") is repeats
    assert not made.repeats(head(headers={"X-A": "a"}), "192.0.2.1")


def test_fields_of_all_limits_name_the_user():
    both = limits({"key": ["header:X-A", "client-ip"]}, {"key": ["cookie:sid", "jwt:sub"]})

    assert both.credential_names == {b"x-a", b"cookie", b"authorization"}
    assert [each.name for each in both] == ["limit-0", "limit-1"]


def test_no_representation_shows_a_credential():
    (charge,), _ = limits({"name": "a"}).charges(head(headers={"X-Auth-Token": "hunter2"}), "")

    assert repr(charge) == f"Charge(a, {charge.key.hex()})"


def test_charge_goes_on_by_the_terms_of_a_later_config():
    """A reload has overtaken its request."""
    before, after = limits({"name": "a"}), limits({"name": "b"}, {"name": "a", "rate": "9/s"})
    (charge,), _ = before.charges(head(), "192.0.2.7")
    renewed = after.renewed(charge)

    assert renewed is not None
    assert (renewed.key, renewed.terms.name, renewed.terms.count) == (charge.key, "a", 9)
    assert limits({"name": "b"}).renewed(charge) is None
    assert limits({"name": "a", "cost": 2}).renewed(charge) is None


def test_charge_goes_on_by_its_cost_and_as_what_it_was():
    """That of the bucket which new credentials share stays with it."""
    settings = {
        "name": "a",
        "cost": [{"match": {"methods": ["POST"]}, "cost": 5}],
        "enforce": "50%",
        "unproven": {"rate": "60/s"},
    }
    before, after = limits(settings), limits(settings)
    for terms in next(iter(before)):
        renewed = after.renewed(Charge(terms, b"k" * 16))

        assert renewed is not None
        alike = (renewed.terms.cost, renewed.terms.is_newcomer, renewed.terms.is_shadow)
        assert alike == (terms.cost, terms.is_newcomer, terms.is_shadow)


def test_charge_of_a_rate_does_not_go_on_as_a_slot():
    """Nor the other way: tokens do not come back when a request ends, and slots do."""
    rate, slots = limits({"name": "a"}), limits({"name": "a", "rate": None, "burst": None, "concurrency": 3})
    (token,), _ = rate.charges(head(), "192.0.2.7")
    (slot,), _ = slots.charges(head(), "192.0.2.7")

    assert slots.renewed(token) is None
    assert rate.renewed(slot) is None
    assert slots.renewed(slot) is not None


def test_limit_has_room_for_those_who_wait_by_the_one_before():
    """At the highest of its rates, and until the last of them has its turn."""
    settings = Settings(
        upstream={"servers": ["http://a"]},
        plans=[{"name": "big", "rate": "4/s", "keys": []}],
        limits=[{"name": "a", "rate": "1/s", "burst": 2, "max_wait": "5s", "plans": ["big"]}],
    )
    before = compile_limits(settings.limits, b"", plans=settings.plan_keys)
    after, later, last = [
        limits({"name": "a", "rate": "1/s", "burst": 2}, {"name": "other"}) for _ in range(3)
    ]
    after.replace(before, 1_000_000)
    later.replace(after, 5_900_000)
    last.replace(later, 6_000_000)
    own = 2 * 1_000_000

    found = [next(iter(each)).terms.most_units for each in (after, later, last)]
    assert found == [own + 5 * 4 * 1_000_000] * 2 + [own]


def test_limit_on_slots_has_nobody_who_waits_by_a_rate():
    before = limits({"name": "a", "rate": "1/s", "max_wait": "5s"})
    after = Limits([slot_limit("a")])
    after.replace(before, 0)
    most = next(iter(after)).terms.most_units
    after.replace(after, 0)

    assert next(iter(after)).terms.most_units == most == next(iter(after)).terms.burst_units
