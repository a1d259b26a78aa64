"""What the settings read of a request is what the service sees of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy import faults
from tests.rules.asked import request, rules, told

if TYPE_CHECKING:
    from proxy.rules.rules import Rules


def limited_by(key: str, more: str = "") -> Rules:
    return rules(f"limits: [{{name: a, rate: 1/s, key: [{key}]}}]\n{more}")


@pytest.mark.parametrize(
    "text",
    [
        "limits: [{name: a, rate: 1/s, key: 'header:X-Api-Key'}]",
        "limits: [{name: a, rate: 1/s, key: 'header:X-Api-Key+path:1'}]",
        "limits: [{name: a, rate: 1/s, match: {headers: {x-api-key: '*'}}}]",
        "limits: [{name: a, rate: 1/s, exempt: {headers: {X-Api-Key: '*'}}}]",
        "contract: {credentials: [X-API-Key]}",
    ],
)
def test_field_that_a_setting_reads_cannot_be_named_away(text):
    """Else it would be read, and the service would not see it."""
    _, facts = told(rules(text), "X-Api-Key: k", "X-Hop: 1", "Connection: X-Api-Key, X-Hop")

    assert b"X-Api-Key: k\r\n" in facts.lines
    assert b"X-Hop" not in facts.lines


def test_field_that_no_setting_reads_is_for_this_connection_if_it_is_named():
    _, facts = told(limited_by("client-ip"), "X-Api-Key: k", "Connection: X-Api-Key")

    assert b"X-Api-Key" not in facts.lines


@pytest.mark.parametrize(("key", "passes"), [("'header:X_Api_Key'", True), ("'header:X-Api-Key'", False)])
def test_field_with_an_underscore_is_passed_on_if_a_setting_reads_it(key, passes):
    _, facts = told(limited_by(key), "X_Api_Key: k", "X_Other: o")

    assert (b"X_Api_Key: k\r\n" in facts.lines) is passes
    assert b"X_Other" not in facts.lines


def test_field_with_an_underscore_must_have_no_twin():
    """A service that takes both for one would have two values of it."""
    by = limited_by("'header:X_Api_Key'")

    assert told(by, "X_Api_Key: k", "X-Api-Key: j")[1].charges is faults.REPEATED_CREDENTIAL
    assert told(by, "X-Api-Key: j")[1].charges is not faults.REPEATED_CREDENTIAL


def test_twin_of_a_field_that_only_a_limit_in_shadow_reads_refuses_nobody():
    by = rules("limits: [{name: a, rate: 1/s, mode: shadow, key: ['header:X_Api_Key']}]")

    assert told(by, "X_Api_Key: k", "X-Api-Key: j")[1].charges is not faults.REPEATED_CREDENTIAL


def test_twin_is_found_where_limits_depend_on_the_target_too():
    by = rules("limits: [{name: a, rate: 1/s, key: ['header:X_Api_Key', 'path:1']}]")

    assert told(by, "X_Api_Key: k", "X-Api-Key: j")[1].charges is faults.REPEATED_CREDENTIAL


@pytest.mark.parametrize("name", ["X-Forwarded-For", "X-Real-IP", "Forwarded", "X-Forwarded-Tenant"])
def test_claim_of_a_stranger_is_not_read(name):
    """The service does not see it either."""
    by = limited_by(f"'header:{name}'")
    head, facts = told(by, f"{name}: 10.0.0.1")
    nothing = told(by)[1].charges

    assert name.lower().encode() not in head.fields
    assert isinstance(nothing, tuple)
    assert isinstance(facts.charges, tuple)
    assert facts.charges[0][0].key == nothing[0][0].key


def test_claim_of_a_stranger_is_not_read_when_it_comes_again():
    """By a request that repeats the header section, and shares what was worked out."""
    by = limited_by("'header:X-Real-IP'", "contract: {credentials: [X-Real-IP]}")
    first, _ = told(by, "X-Real-IP: 10.0.0.1")
    again = request("X-Real-IP: 10.0.0.1", before=first)
    by.heads.facts(again, "192.0.2.7", b"http")

    assert again.section is first.section
    assert by.edge.refusal(again, "192.0.2.7") is faults.MISSING_CREDENTIALS


def test_claim_of_a_trusted_hop_is_read():
    by = limited_by("'header:X-Forwarded-Tenant', client-ip", "forwarded: {trust: [192.0.2.0/24]}")
    one, other = (told(by, f"X-Forwarded-Tenant: {name}")[1].charges for name in ("a", "b"))

    assert isinstance(one, tuple)
    assert isinstance(other, tuple)
    assert one[0][0].key != other[0][0].key


def test_exemption_cannot_be_claimed_by_a_stranger():
    by = rules("limits: [{name: a, rate: 1/s, exempt: {headers: {X-Forwarded-For: '10.*'}}}]")
    charges = told(by, "X-Forwarded-For: 10.0.0.1")[1].charges

    assert isinstance(charges, tuple)
    assert charges[1] == []


def test_field_that_is_read_does_not_come_behind_the_body():
    by = limited_by("'header:X-Api-Key'")

    assert by.heads.read.unread([(b"X-API-KEY", b"k"), (b"X-Sum", b"1")]) == [(b"X-Sum", b"1")]
