"""How many limits one request can meet, against requests that do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import crowding
from proxy.config.limit_checks import MET_MAX
from proxy.config.loader import ConfigError, loads
from proxy.config.sections.limits import Match
from tests.policy.heads import head, limits

SEGMENTS = st.sampled_from(["a", "b", "ab", "*", "a*", "**", "*b"])
GLOBS = st.lists(SEGMENTS, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
MATCHES = st.fixed_dictionaries(
    {},
    optional={
        "methods": st.lists(st.sampled_from(["GET", "POST"]), max_size=2, unique=True),
        "paths": st.lists(GLOBS, max_size=2),
        "headers": st.dictionaries(
            st.sampled_from(["X-A", "X-B"]), st.sampled_from(["x", "y", "x*", "*", "*y", "x*y"])
        ),
    },
)


@pytest.mark.measured
@given(
    st.lists(MATCHES, max_size=8),
    st.sampled_from(["GET", "POST"]),
    st.lists(st.sampled_from(["a", "b", "ab", "c"]), max_size=4),
    st.dictionaries(st.sampled_from(["X-A", "X-B"]), st.sampled_from(["x", "y", "xy", "z"])),
)
def test_no_plain_request_meets_more_limits_than_there_are_groups(matches, method, parts, fields):
    groups = crowding._groups([crowding.Traits(Match.model_validate(match)) for match in matches])
    request = head(method, "/" + "/".join(parts), fields)

    met = [limit for limit in limits(*[{"match": match} for match in matches]) if limit.match.holds(request)]

    assert len(met) <= len(groups)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"methods": ["GET"]}, {"methods": ["POST"]}),
        ({"headers": {"X-A": "x"}}, {"headers": {"X-A": "y"}}),
        ({"headers": {"X-A": "x*"}}, {"headers": {"X-A": "y"}}),
        ({"headers": {"X-A": "*-x"}}, {"headers": {"X-A": "*-y"}}),
        ({"headers": {"X-A": "x*xz"}}, {"headers": {"X-A": "x*yz"}}),
        ({"headers": {"X-A": "x*z"}}, {"headers": {"X-A": "xz*y"}}),
        ({"headers": {"X-A": "x*x"}}, {"headers": {"X-A": "x"}}),
        ({"paths": ["/a/**"]}, {"paths": ["/b/**"]}),
    ],
)
def test_no_request_fits_both(one, other):
    """By any one of what limits ask for; without it, one does."""
    first, second = (crowding.Traits(Match.model_validate(match)) for match in (one, other))

    assert first.is_apart(second)
    assert second.is_apart(first)
    assert not first.is_apart(first)


CONFIG = "upstream: {servers: ['http://a']}\nlimits:\n"


def config(count, match):
    return CONFIG + "".join(f"  - {{name: l{n}, rate: 9/s, match: {match(n)}}}\n" for n in range(count))


@pytest.mark.unmeasured
@pytest.mark.parametrize(
    "match",
    [
        lambda n: f'{{paths: ["/api/v1/t{n}/**"]}}',
        lambda n: f'{{paths: ["/*/t{n}"]}}',
        lambda n: f'{{paths: ["/t{n}x*"]}}',
        lambda n: f"{{headers: {{Host: t{n}.example}}}}",
        lambda n: f"{{headers: {{X-Tenant: t{n}-*}}}}",
        lambda n: f'{{headers: {{Host: "*.t{n}.example"}}}}',
        lambda n: f'{{headers: {{Host: t{n}.example}}}}' if n % 2 else f'{{paths: ["/t{n}/**"]}}',
        lambda n: f'{{methods: [{"GET" if n % 2 else "POST"}], paths: ["/t{n // 2}"]}}',
    ],
    ids=["path", "second segment", "text of a segment", "host", "glob of a header", "end of a host", "host or path", "method"],
)  # fmt: skip
def test_five_hundred_limits_can_be_told_apart(match):
    assert len(loads(config(500, match), "f", environ={}).limits) == 500


@pytest.mark.parametrize(
    "match",
    [
        lambda n: '{paths: ["/a' + "/a" * n + '", "/a/**"]}',
        lambda n: f'{{paths: ["/**/t{n}/**"]}}',
        lambda n: f"{{headers: {{X-{n}: a}}}}",
    ],
    ids=["one in the other", "anywhere", "other headers"],
)
def test_file_by_which_a_request_meets_too_many_is_refused(match):
    loads(config(MET_MAX, match), "f", environ={})
    with pytest.raises(
        ConfigError, match=r"f:3:3: limits: one request may meet 33 of these limits, such as l0, l1, l2"
    ):
        loads(config(MET_MAX + 1, match), "f", environ={})
