"""How an operator and a plan name whom a part of a key is about."""

from __future__ import annotations

import pytest

from proxy.config.key_names import parse_key
from proxy.policy.readings import (
    credential_field,
    field_of,
    is_of_section,
    judge_of,
    named_value,
    text_of,
    texts_of,
)


def part_of(spec):
    (part,) = parse_key(spec).parts
    return part


@pytest.mark.parametrize(
    ("spec", "text", "value"),
    [
        ("header:X-User", " ana ", b"ana"),
        ("header:Authorization", "Bearer abc", b"abc"),
        ("host", "A.Example:80", b"a.example"),
        ("path:1", "Ä", "ä".encode()),
        ("query:a", "b  c", b"b c"),
        ("header:X-User", "a, b", None),
        ("client-ip", "192.0.2.7", b"\xc0\x00\x02\x07"),
        ("const", "", b""),
    ],
)
def test_name_is_read_as_the_requests_of_who_has_it(spec, text, value):
    found = named_value(part_of(spec), text, 64)

    assert found is value or (found is not None and found.endswith(value))


def test_plans_name_a_value_an_address_or_what_follows_the_scheme():
    assert texts_of(part_of("client-ip"), b"", "192.0.2.7", 64) == [b"192.0.2.7"]
    assert texts_of(part_of("const"), b"x", "", 64) == []
    assert texts_of(part_of("header:X-User"), b"ana", "", 64) == [b"ana"]
    value = named_value(part_of("header:Authorization"), "Bearer YWJj", 64)
    assert texts_of(part_of("header:Authorization"), value, "", 64) == [b"YWJj"]


@pytest.mark.parametrize(
    "value",
    [
        "abc",
        "Bearer abc",
        "bearer  abc",
        "Basic dXNlcjpwdw==",
        "jwt abc",
        'Token token="abc"',
        'Digest username="ana", realm="x"',
    ],
)
@pytest.mark.parametrize("tail", ["", " ", "\r\n"])
def test_text_to_be_hashed_is_one_that_plans_are_asked_by(value, tail):
    part = part_of("header:Authorization")
    read = named_value(part, value, 64)

    assert text_of(value + tail).encode() in texts_of(part, read, "", 64)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a b", "a b"),
        ('"a"', "a"),
        ("Zoë", "Zoë"),
        ("192.0.2.7", "192.0.2.7"),
        ("a,b", ""),
        ("Basic =", ""),
        (" ", ""),
    ],
)
def test_text_without_a_scheme_is_that_of_a_header_or_a_claim(value, text):
    assert text_of(value) == text


@pytest.mark.parametrize(
    ("spec", "field", "must_be_single", "of_section"),
    [
        ("header:X-User", b"x-user", b"x-user", True),
        ("header:User-Agent", b"user-agent", None, True),
        ("cookie:sid", b"cookie", b"cookie", True),
        ("jwt:sub", b"authorization", b"authorization", True),
        ("query:a", None, None, False),
        ("path:1", None, None, False),
        ("method", None, None, False),
        ("client-ip", None, None, True),
    ],
)
def test_part_is_read_from_its_field(spec, field, must_be_single, of_section):
    part = part_of(spec)

    assert (field_of(part), credential_field(part), is_of_section(part)) == (
        field,
        must_be_single,
        of_section,
    )


def test_claim_is_read_from_its_token():
    judge = judge_of(part_of("jwt:sub"))

    assert judge(b"Bearer e30.eyJzdWIiOiJhZGEifQ.e30").endswith(b"ada")
    assert not judge(b"Bearer abc")
