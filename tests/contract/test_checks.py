from __future__ import annotations

import re

import pytest

from proxy.contract.checks import CHECKS, violations


def test_a_201_without_its_fields_breaks_two_rules():
    """Location and X-Global-Identifier are what the service promises of a new resource."""
    assert violations(201, {}) == ("missing_location", "missing_global_identifier")
    assert violations(201, {b"location": b"/api/entities/1"}) == ("missing_global_identifier",)
    assert violations(201, {b"location": b"/e/1", b"x-global-identifier": b"a1"}) == ()


def test_an_empty_field_is_a_missing_one():
    """`Location:` says nothing."""
    assert violations(201, {b"location": b"", b"x-global-identifier": b"a1"}) == ("missing_location",)


@pytest.mark.parametrize(
    ("status", "name", "rule"),
    [
        (401, b"www-authenticate", "missing_www_authenticate"),
        (405, b"allow", "missing_allow"),
        (429, b"retry-after", "missing_retry_after"),
    ],
)
def test_statuses_that_owe_a_field(status, name, rule):
    """RFC 9110 asks for the first two, the service's own page for the third."""
    assert violations(status, {}) == (rule,)
    assert violations(status, {name: b"x"}) == ()


def test_a_204_has_no_body():
    """A length of zero is none."""
    assert violations(204, {}) == ()
    assert violations(204, {b"content-length": b"0"}) == ()
    assert violations(204, {b"content-length": b"2"}) == ("unexpected_body",)
    assert violations(204, {b"transfer-encoding": b"chunked"}) == ("unexpected_body",)


def test_a_304_may_say_the_length_of_the_200():
    """RFC 9110 section 15.4.5; but nothing may be transferred."""
    assert violations(304, {b"content-length": b"512"}) == ()
    assert violations(304, {b"transfer-encoding": b"chunked"}) == ("unexpected_body",)


@pytest.mark.parametrize("status", [200, 202, 302, 400, 403, 404, 409, 500, 599])
def test_other_statuses_owe_nothing(status):
    """No rule, no violation."""
    assert violations(status, {}) == ()


def test_rules_are_words_fit_for_a_label():
    """Unique for their status, and each with a promise that people can read."""
    for checks in CHECKS.values():
        rules = [check.rule for check in checks]

        assert len(set(rules)) == len(rules)
        assert all(re.fullmatch("[a-z_]+", rule) for rule in rules)
        assert all(re.match("has ", check.promise) for check in checks)
    assert CHECKS[401][0].promise == "has WWW-Authenticate"
