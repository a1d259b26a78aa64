from __future__ import annotations

import re

import pytest

from proxy.config.sections.answers import ContractRule
from proxy.contract.promises import TABLE, Contract

violations = Contract().violations


def broken(rule, fields, status=200):
    """What an answer breaks of one entry of `contract.rules`."""
    lower = {name.lower().encode(): value.encode() for name, value in fields.items()}
    return Contract([ContractRule(**{"status": status} | rule)]).violations(status, lower)


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
    """Unique for their status."""
    for status, checks in Contract().checks.items():
        rules = [check.rule for check in checks]

        assert status in TABLE
        assert len(set(rules)) == len(rules)
        assert all(re.fullmatch("[a-z_]+", rule) for rule in rules)


# --- contract.rules ---


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({"status": 201, "headers": ["Location"]}, "has Location"),
        ({"status": 201, "body": "required"}, "has Location, has X-Global-Identifier, has a body"),
        ({"status": "200-202", "headers": ["ETag"], "body": "any"}, "has ETag"),
        (
            {"status": "200-299", "media_types": ["application/json", "text/*"]},
            "has Location, has X-Global-Identifier, is application/json or text/*",
        ),
    ],
)
def test_entry_replaces_what_it_names_and_no_more(rule, says):
    rows = dict(Contract([ContractRule(**rule)]).rows(lambda status: status == 201))

    assert rows == {"201": says}


def test_entry_may_take_a_status_out_of_the_table():
    """An empty list asks for nothing."""
    contract = Contract([ContractRule(status=401, headers=[]), ContractRule(status=204, body="any")])

    assert set(TABLE) - set(contract.checks) == {204, 401}


def test_rows_join_neighbours_that_promise_the_same():
    contract = Contract([ContractRule(status="200-299", media_types=["a/b"])])

    assert contract.rows(lambda status: status < 401) == [
        ("200", "is a/b"),
        ("201", "has Location, has X-Global-Identifier, is a/b"),
        ("202-203", "is a/b"),
        ("204", "has no body"),
        ("205-299", "is a/b"),
        ("304", "has no body"),
    ]


@pytest.mark.parametrize(
    ("fields", "rules"),
    [
        ({"ETag": "x", "X-Page": "1"}, ()),
        ({"etag": "x"}, ("missing_page",)),
        ({"ETag": ""}, ("missing_etag", "missing_page")),
    ],
)
def test_headers_must_be_there(fields, rules):
    """In any case, and not empty."""
    assert broken({"headers": ["ETag", "X-Page"]}, fields) == rules


@pytest.mark.parametrize(
    "media_type", ["application/json", "Application/JSON; charset=utf-8", "text/plain", "a/vnd.x+json"]
)
def test_media_type_that_matches(media_type):
    globs = {"media_types": ["application/json", "TEXT/*", "a/*+json"]}

    assert broken(globs, {"Content-Type": media_type, "Content-Length": "2"}) == ()
    assert broken(globs, {"Content-Type": media_type}) == ()


@pytest.mark.parametrize(
    "media_type",
    ["text/html", "application/jsonx", "xapplication/json", "json", "", "a/b", "text/plain, a/b", "text/a/b"],
)
def test_media_type_that_does_not(media_type):
    globs = {"media_types": ["application/json", "text/plain", "text/x*", "a/*+json"]}

    assert broken(globs, {"Content-Type": media_type, "Content-Length": "2"}) == ("media_type",)
    assert broken(globs, {"Content-Type": media_type, "Transfer-Encoding": "chunked"}) == ("media_type",)


def test_answer_without_a_body_has_no_media_type():
    """Nor is one judged that says nothing of either."""
    rule = {"media_types": ["application/json"]}

    assert broken(rule, {"Content-Length": "0", "Content-Type": "text/html"}) == ()
    assert broken(rule, {}) == ()
    assert broken(rule, {"Content-Type": "text/html"}) == ("media_type",)
    assert broken({**rule, "status": "200-299"}, {"Content-Type": "text/html"}, 204) == ()


@pytest.mark.parametrize(
    ("fields", "has_one", "has_none"),
    [
        ({"Content-Length": "1"}, True, False),
        ({"Content-Length": "10"}, True, False),
        ({"Content-Length": "0"}, False, True),
        ({"Content-Length": "00 "}, False, True),
        ({"Transfer-Encoding": "chunked"}, True, False),
        ({"Connection": "close"}, True, True),
    ],
)
def test_body_is_judged_by_the_head(fields, has_one, has_none):
    """What it does not tell is believed."""
    assert (broken({"body": "required"}, fields) == ()) is has_one
    assert (broken({"body": "none"}, fields) == ()) is has_none
    assert broken({"body": "any", "headers": []}, fields) == ()


def test_no_body_is_asked_of_a_204_within_a_range():
    """RFC 9110: it has none, whatever the range says of its neighbours."""
    rule = {"status": "200-299", "body": "required"}

    assert broken(rule, {"Content-Length": "2"}, 204) == ("unexpected_body",)
    assert broken(rule, {}, 204) == ()
    assert broken(rule, {"Content-Length": "0"}, 202) == ("missing_body",)


def test_long_media_type_costs_no_time():
    """It comes from the service, but a mistake there must not stop this process."""
    fields = {"Content-Type": "a" * 60_000 + "/" + "b" * 60_000}

    assert broken({"media_types": ["*a/*b", "*b/*a"]}, fields) == ()
    assert broken({"media_types": ["*b/*a"]}, fields) == ("media_type",)
