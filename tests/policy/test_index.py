"""The limits that are looked at, against those that a request meets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.limit_checks import MET_MAX
from proxy.faults import UNCLEAR_REQUEST
from proxy.policy.index import FEW, LimitIndex
from proxy.policy.matching import MEMBERS_MAX
from tests.policy.heads import head, limit, limits

SEGMENTS = st.sampled_from(["a", "b", "A", "ſ", "é", "*", "a*", "**", "b**", "a.v1", ".a"])
GLOBS = st.lists(SEGMENTS, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
VALUES = st.sampled_from(["x", "Y", "x y", "*", "x*", "é", "a.example:80"])
MATCHES = st.fixed_dictionaries(
    {},
    optional={
        "methods": st.lists(st.sampled_from(["GET", "POST"]), max_size=2, unique=True),
        "paths": st.lists(GLOBS, max_size=2),
        "headers": st.dictionaries(st.sampled_from(["X-A", "Host", "X-B"]), VALUES, max_size=2),
        "exact": st.booleans(),
    },
)
PATHS = st.lists(
    st.sampled_from(
        [
            "a",
            "b",
            "A",
            "%61",
            "..",
            ".",
            "",
            "b;v=1",
            "S",
            "%C3%A9",
            "%c3%89",
            "%2f",
            "c",
            "a.json",
            "a.v1.json",
            ".a",
            ".json",
            "b%2Ex",
        ]
    ),
    max_size=4,
).map(lambda parts: "/" + "/".join(parts))
FIELDS = st.dictionaries(
    st.sampled_from(["X-A", "Host", "X-B"]),
    st.sampled_from(["x", "X", "y, x", "x  y", "z", "A.example", "a.example:8080", "É".encode(), b"x, \xff"]),
)


@given(st.lists(MATCHES, max_size=12), st.sampled_from(["GET", "POST", "PUT"]), PATHS, FIELDS)
def test_no_limit_is_overlooked(matches, method, target, fields):
    every = limits(*[{"match": match} for match in matches])
    request = head(method, target, fields)
    found = LimitIndex(list(every)).find(request)

    assert [limit for limit in found if limit.match.holds(request)] == [
        limit for limit in every if limit.match.holds(request)
    ]


@pytest.mark.parametrize(
    ("match", "request_"),
    [
        (lambda n: {"paths": [f"/api/v1/t{n}/**"]}, head(target="/API/v1/t7/x")),
        (lambda n: {"paths": [f"/api/v1/t{n}/**"], "exact": True}, head(target="/api/v1/t7")),
        (lambda n: {"paths": ["/api/*"], "headers": {"Host": f"t{n}.example"}}, head(target="/api/a", headers={"Host": "T7.example:80"})),
        (lambda n: {"methods": ["GET"], "headers": {"X-Tenant": f"t{n}"}}, head(headers={"X-Tenant": "a, t7"})),
        (lambda n: {"methods": [f"M{n}"]}, head("M7")),
    ],
    ids=["path", "exact path", "host", "header", "method"],
)  # fmt: skip
def test_only_limits_that_can_match_are_looked_at(match, request_):
    """Of five hundred as of ten."""
    for count in (10, 500):
        every = limits(*[{"match": match(n)} for n in range(count)])
        found = LimitIndex(list(every)).find(request_)

        assert [limit.name for limit in found] == ["limit-7"]


@pytest.mark.parametrize(
    "target", ["/login.json", "/login.x/", "/LOGIN.v1.json", "/login%2Ejson", "/login;v=1.json"]
)
def test_format_behind_a_path_leads_round_no_limit(target):
    """However many limits there are: the ninth is looked up."""
    for count in (1, FEW + 1, 500):
        every = limits(
            *[{"match": {"paths": [f"/t{n}"]}} for n in range(count)], {"match": {"paths": ["/login"]}}
        )
        found = LimitIndex(list(every)).find(head("POST", target))

        assert [limit.name for limit in found if limit.match.holds(head("POST", target))] == [
            f"limit-{count}"
        ]


def test_limit_is_filed_by_what_the_fewest_others_share():
    """Twenty hosts with twenty paths each, of which half are below one folder."""
    every = limits(
        *[
            {"match": {"paths": [f"/all/p{n % 20}/**"], "headers": {"Host": f"h{n // 20}.example"}}}
            for n in range(400)
        ],
        {"match": {"headers": {"Host": "h1.example"}, "paths": ["/other"]}},
    )
    found = LimitIndex(list(every)).find(head(target="/all/p3/x", headers={"Host": "h1.example"}))

    assert len(found) <= 21


def test_limits_are_met_in_the_order_of_the_config():
    every = limits(
        {"match": {"paths": ["/a/**"]}}, {}, {"match": {"methods": ["GET"]}}, {"match": {"paths": ["/a"]}}
    )
    found = LimitIndex(list(every)).find(head(target="/a"))

    assert [limit.name for limit in found] == ["limit-0", "limit-1", "limit-2", "limit-3"]


def by_tenant(count, **more):
    return limits(*[{"match": {"headers": {"X-Tenant": f"t{n}"}}, **more} for n in range(count)])


def test_request_that_meets_too_many_limits_is_refused():
    """By a list of values: by one value it meets one."""
    every = by_tenant(500)
    some = ", ".join(f"t{n}" for n in range(MET_MAX))

    charges, _ = every.charges(head(headers={"X-Tenant": some}), "")
    assert len(charges) == MET_MAX
    assert every.charges(head(headers={"X-Tenant": some + ", t400"}), "") is UNCLEAR_REQUEST


def test_long_lists_are_not_looked_through():
    """They fit every limit that asks for a value of the field, be it by a glob or without one."""
    value = ",".join(["x"] * (MEMBERS_MAX + 1))
    few = by_tenant(2)
    charges, _ = few.charges(head(headers={"X-Tenant": value}), "")
    assert len(charges) == 2

    many = by_tenant(FEW + 1)
    charges, _ = many.charges(head(headers={"X-Tenant": value}), "")
    assert len(charges) == FEW + 1

    # A comma of full width is one for services that fold letters.
    charges, _ = many.charges(head(headers={"X-Tenant": value.replace(",", "\uff0c").encode()}), "")
    assert len(charges) == FEW + 1


def test_key_of_many_limits_is_hashed_once():
    every = by_tenant(500)
    assert len({id(limit.partition) for limit in every}) == 1


def test_limits_for_hosts_are_found_for_who_names_none():
    named = [limit(str(number), match={"headers": {"Host": f"{number}.example"}}) for number in range(20)]
    index = LimitIndex(named)

    assert [*index.find(head())] == [*index.find(head(headers={"Host": ""}))] == named
    assert [*index.find(head(headers={"Host": "7.example"}))] == [named[7]]
