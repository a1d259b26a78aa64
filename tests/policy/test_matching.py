"""Why a rule does not match, against whether it does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.sections.limits import Match as MatchSettings
from proxy.policy.matching import HEADER, MEMBERS_MAX, METHOD, PATH, Matcher
from tests.policy.heads import head, limits

MATCHES = st.builds(
    lambda methods, paths, headers, absent, exact: Matcher(
        MatchSettings.model_validate(
            {"methods": methods, "paths": paths, "headers": headers, "absent": absent, "exact": exact}
        )
    ),
    st.lists(st.sampled_from(["GET", "POST"]), unique=True),
    st.lists(st.sampled_from(["/a", "/b/*", "/b/**"]), max_size=2),
    st.dictionaries(st.sampled_from(["X-A", "X-B"]), st.sampled_from(["1", "*"])),
    st.lists(st.sampled_from(["X-C", "X-D"]), max_size=2, unique=True),
    st.booleans(),
)


@given(
    MATCHES,
    st.sampled_from(["GET", "POST", "PUT"]),
    st.sampled_from(["/a", "/A/", "/b/c", "/b", "/c?x=/a"]),
    st.dictionaries(st.sampled_from(["X-A", "X-B", "X-C"]), st.sampled_from(["1", "2", ""])),
)
def test_reason_is_given_where_it_does_not_hold(match, method, target, headers):
    request = head(method, target, headers)

    assert (match.misfit(request) is None) is match.holds(request)


def test_first_reason_is_named():
    match = Matcher(
        MatchSettings.model_validate({"methods": ["GET"], "paths": ["/a"], "headers": {"X-A": "1"}})
    )

    assert match.misfit(head("PUT", "/b")) == METHOD
    assert match.misfit(head("GET", "/b")) == PATH
    assert match.misfit(head("GET", "/a")) == HEADER


TOKENS = {
    "nothing": {},
    "another field": {"Cookie": "sid=a", "X-Other": "a"},
    "no value": {"X-Auth-Token": "", "Authorization": " "},
    "blanks": {"X-Auth-Token": "\t "},
    "no member": {"X-Auth-Token": ", ,"},
    "no token behind the scheme": {"Authorization": "Bearer"},
    "a token": {"X-Auth-Token": "a"},
    "a token in another case": {"x-AUTH-token": "a", "Cookie": "sid=a"},
    "behind a scheme": {"Authorization": "bearer  a"},
    "in both": {"X-Auth-Token": "a", "Authorization": "Bearer b"},
}


@pytest.mark.parametrize("fields", TOKENS.values(), ids=TOKENS.keys())
def test_who_lacks_a_token_is_who_does_not_pay_by_one(fields):
    """So that two limits, one by the token and one for its absence, leave nobody out."""
    both = limits(
        {"key": ["header:X-Auth-Token", "header:Authorization"], "when_absent": "skip"},
        {"key": ["client-ip"], "match": {"absent": ["X-Auth-Token", "Authorization"]}},
    )
    charges, _ = both.charges(head(headers=fields), "192.0.2.1")

    assert len({charge.limit.name for charge in charges}) == 1


@pytest.mark.parametrize("exact", [False, True])
def test_limit_for_a_host_holds_for_who_names_none(exact):
    """HTTP/1.0: the service is sent a name of Weir's own, and may take it for its first host."""
    matcher = Matcher(MatchSettings(headers={"Host": "shop.example"}, exact=exact))

    assert matcher.holds(head())
    assert matcher.holds(head(headers={"Host": ""}))
    assert not matcher.holds(head(headers={"Host": "other.example"}))


def test_limit_on_get_holds_for_head():
    """Services do the same work for it, and leave out the body (RFC 9110 section 9.3.2)."""
    wide, exact = (Matcher(MatchSettings(methods=["GET"], exact=exact)) for exact in (False, True))
    asked = [head("GET"), head("HEAD"), head("POST")]

    assert [wide.holds(each) for each in asked] == [True, True, False]
    assert [exact.holds(each) for each in asked] == [True, False, False]
    assert not Matcher(MatchSettings(methods=["HEAD"])).holds(head("GET"))


@pytest.mark.parametrize(
    ("value", "holds"),
    [
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("application/json;x=1", True),
        ("application/json ; x=1", True),
        ("text/html, application/json;q=0.5", True),
        ("text/html;application/json", False),
        ("application/jsonx; a=1", False),
    ],
)
def test_parameters_behind_a_value_do_not_lead_out_of_a_limit(value, holds):
    """Any client can add some; `exact` takes the value as it is."""
    settings = {"headers": {"Content-Type": "application/json"}}
    request = head("POST", headers={"Content-Type": value})

    assert Matcher(MatchSettings.model_validate(settings)).holds(request) is holds
    exact = Matcher(MatchSettings.model_validate(settings | {"exact": True})).holds(request)
    assert exact is (value == "application/json")


@pytest.mark.parametrize(("count", "holds"), [(MEMBERS_MAX, False), (MEMBERS_MAX + 1, True)])
def test_value_of_too_many_members_fits_every_pattern(count, holds):
    """None of them is looked at."""
    made = Matcher(MatchSettings.model_validate({"headers": {"X-A": "wanted"}}))

    assert made.holds(head(headers={"X-A": ",".join(["other"] * count)})) is holds
