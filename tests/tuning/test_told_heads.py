"""Heads made of what a log tells: who shares a bucket with whom, and nothing that a log could smuggle in."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.loader import loads
from proxy.rules.rules import Rules
from proxy.tuning.charging import NOTHING, Charging
from proxy.tuning.logged import Logged
from proxy.tuning.told_heads import said

KEYS = ["header:X-Auth-Token", "header:Authorization", "cookie:sid", "jwt:sub", "query:api_key"]


def charging(*limits, logged=None, **blocks):
    def settings(each):
        return loads(
            json.dumps({"upstream": {"servers": ["http://a"]}, "limits": list(each), **blocks}), "f", {}
        )

    tried = settings(limits)
    return Charging(tried, Rules(tried), settings(logged).limits if logged is not None else tried.limits)


def limit(name="a", key=("header:X-Auth-Token", "client-ip"), **more):
    return {"name": name, "rate": "1/s", "key": list(key), **more}


def own(keys=None, limits=None, **more):
    """A line of Weir's own log."""
    raw = {"keys": msgspec.Raw(json.dumps(keys).encode())} if keys is not None else {}
    raw |= {"limits": msgspec.Raw(json.dumps(limits).encode())} if limits is not None else {}
    return Logged(client="192.0.2.1", method="GET", target="/a", **raw, **more)


def buckets(charges, logged):
    return [(charge.limit.name, charge.key) for charge in charges.due(logged).charges]


VALUES = [
    "ann",
    "ben",
    "a b",
    "a;b",
    'a"b',
    "a,b",
    "\u00e9\u00df",
    "x" * 200,
    "a\r\nX-Evil: 1",
    "=",
    "%41",
]


@pytest.mark.parametrize("key", [*KEYS, "header:X-Auth-Token+path:1", "query:api_key+method"])
def test_values_that_differ_have_buckets_that_differ(key):
    """Wherever the limit reads its key from, and whatever the value holds."""
    charges = charging(limit(key=[key]))
    logged = [Logged(client="192.0.2.1", method="GET", target="/a", credential=value) for value in VALUES]
    found = [buckets(charges, each) for each in logged]

    assert all(len(each) == 1 for each in found)
    assert len({each[0] for each in found}) == len(VALUES)
    assert found == [buckets(charges, each) for each in logged]


def test_scheme_is_no_part_of_the_credential():
    charges = charging(limit(key=["header:Authorization"]))

    assert buckets(charges, own(credential="Bearer ann")) == buckets(charges, own(credential="ann"))


@pytest.mark.parametrize("keys", [KEYS, [*KEYS, "client-ip"], KEYS[1:]])
def test_one_credential_is_charged_once(keys):
    """However many places a limit could read it from, and beside a limit that has but one."""
    charges = charging(limit(key=keys), limit("b", key=["header:Authorization"]))

    assert [name for name, _ in buckets(charges, own(credential="ann"))] == ["a", "b"]


def test_credential_that_is_not_there_leaves_the_address():
    charges = charging(limit())
    nobody = Logged(client="192.0.2.1", method="GET", target="/a")
    other = Logged(client="192.0.2.2", method="GET", target="/a")

    assert buckets(charges, nobody) != buckets(charges, other)
    assert buckets(charges, nobody) == buckets(charges, Logged(client="192.0.2.1", method="PUT", target="/b"))


def test_keys_of_the_own_log_tell_who_is_who():
    charges = charging(limit(), limit("b", key=["client-ip"]))

    assert (
        buckets(charges, own({"a": "00", "b": "11"}))[0]
        == buckets(charges, own({"a": "00"}, source="weir"))[0]
    )
    assert buckets(charges, own({"a": "00"}))[0] != buckets(charges, own({"a": "01"}))[0]
    assert charges.due(own({"a": "00", "b": "11"})).labels == ["00", "11"]


def test_candidate_under_another_name_counts_the_same_keys():
    charges = charging(limit("new"), logged=[limit("old")])

    assert len({buckets(charges, own({"old": key}))[0] for key in ("00", "01", "02")}) == 3


def test_several_credentials_are_several_charges():
    charges = charging(limit(key=["header:X-Auth-Token", "cookie:sid", "client-ip"]))

    assert len(buckets(charges, own({"a": ["00", "01"]}))) == 2
    assert charges.due(own({"a": ["00", "01"]})).labels == ["00", "01"]


def test_headers_that_a_limit_asks_for_are_there_if_it_charged():
    inside = limit(match={"headers": {"X-Client": "batch-*"}})
    charges = charging(inside, limit("b", exempt={"headers": {"X-Portal": "yes"}}))

    assert [name for name, _ in buckets(charges, own({"a": "00", "b": "01"}))] == ["a", "b"]
    assert [name for name, _ in buckets(charges, own({"b": "01"}))] == ["b"]
    assert [each.name for each in charges.due(own({}, {"exempt": ["b"]})).exempt] == ["b"]


@pytest.mark.parametrize(
    "logged",
    [
        Logged(client="a", method="GET /x HTTP/1.1\r\nX-Auth-Token: eve\r\n\r\nGET", target="/"),
        Logged(client="a", method="GET", target="/ HTTP/1.1\r\nX-Auth-Token: eve\r\nX:"),
        Logged(client="a", method="", target=""),
        Logged(client="a", method="GET", target="http://["),
        Logged(client="a", method="GET", target="\u00e9"),
        Logged(client="a", method="CONNECT", target="a:1"),
    ],
)
def test_what_is_no_request_is_charged_nothing(logged):
    assert charging(limit()).due(logged) is NOTHING


def test_what_was_refused_before_the_limits_is_charged_nothing():
    charges = charging(limit(), contract={"known_paths": ["/b/**"]})

    assert charges.due(own({"a": "00"})) is NOTHING  # by its path, under this config
    assert charging(limit()).due(own(fault="missing_credentials")) is NOTHING
    assert (
        charging(limit(), contract={"credentials": ["X-Api-Key"]}).due(own()).charges
    )  # logs do not tell of it


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3), lambda each: st.lists(each, max_size=2) | st.dictionaries(st.text(max_size=2), each, max_size=2), max_leaves=4
)  # fmt: skip


@pytest.mark.measured
@given(ODD, ODD, st.text(max_size=8), st.text(max_size=8), st.text(max_size=8))
def test_anything_is_charged_something_or_nothing(keys, limits, method, target, client):
    """Never an error."""
    charges = charging(limit(), limit("b", match={"headers": {"X-A": "*"}}))
    logged = Logged(
        client=client, method=method, target=target, keys=msgspec.Raw(json.dumps({"a": keys}).encode()), limits=msgspec.Raw(json.dumps({"exempt": limits}).encode())
    )  # fmt: skip

    charges.due(logged)


@pytest.mark.parametrize("data", [b"", b"[]", b"7", b"{", b'{"a":[]}', b'{"a":{}}', b"[" * 100_000])
def test_keys_that_are_none_say_nothing(data):
    assert said(Logged(keys=msgspec.Raw(data))).keys == {}


def test_limit_that_would_have_charged_and_did_not_has_nothing_to_charge():
    """Its key was not there: the credential of another limit is not put in its place."""
    both = [limit("user"), limit("app", key=["header:X-App"], when_absent="skip")]
    silent, told = own({"user": "00"}), own({"user": "00", "app": "11"})

    assert [name for name, _ in buckets(charging(*both), silent)] == ["user"]
    assert [name for name, _ in buckets(charging(*both), told)] == ["user", "app"]


def test_limit_that_could_not_have_charged_then_reads_its_key_from_the_same_credential():
    """A candidate of the same name that looks at more paths."""
    both = [limit("user"), limit("app", key=["header:X-App"], when_absent="skip", match={"paths": ["/b"]})]
    wider = [both[0], limit("app", key=["header:X-App"], when_absent="skip")]

    assert [name for name, _ in buckets(charging(*wider, logged=both), own({"user": "00"}))] == [
        "user",
        "app",
    ]


def test_preflight_of_the_own_log_is_charged_nothing():
    """It met no limit then, and meets none now; another OPTIONS does, and so does one of another's log."""
    charges = charging(limit(), cors={"origins": ["*"]})

    def asked(**more):
        return Logged(client="192.0.2.1", method="OPTIONS", target="/a", **more)

    other = own({"a": "00"}, {"admitted": ["a"]}, outcome="served")
    other.method = "OPTIONS"

    assert charges.due(asked(outcome="served")) is NOTHING
    assert buckets(charging(limit()), asked(outcome="served"))
    assert buckets(charges, asked())
    assert buckets(charges, other)


def test_host_that_a_limit_counts_by_is_told_apart():
    """By a name that is no host of anybody (RFC 2606)."""
    charges = charging(limit(key=["host"]))
    found = [buckets(charges, own({"a": key})) for key in ("00" * 16, "11" * 16, "00" * 16)]

    assert found[0] == found[2]
    assert found[0] != found[1]
