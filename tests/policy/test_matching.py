"""Why a rule does not match, against whether it does."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.config.sections.limits import Match as MatchSettings
from proxy.policy.matching import HEADER, METHOD, PATH, Matcher
from tests.policy.heads import head

MATCHES = st.builds(
    lambda methods, paths, headers, exact: Matcher(
        MatchSettings.model_validate({"methods": methods, "paths": paths, "headers": headers, "exact": exact})
    ),
    st.lists(st.sampled_from(["GET", "POST"]), unique=True),
    st.lists(st.sampled_from(["/a", "/b/*", "/b/**"]), max_size=2),
    st.dictionaries(st.sampled_from(["X-A", "X-B"]), st.sampled_from(["1", "*"])),
    st.booleans(),
)


@given(
    MATCHES,
    st.sampled_from(["GET", "POST", "PUT"]),
    st.sampled_from(["/a", "/A/", "/b/c", "/b", "/c?x=/a"]),
    st.dictionaries(st.sampled_from(["X-A", "X-B"]), st.sampled_from(["1", "2", ""])),
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
