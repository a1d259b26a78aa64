"""One spelling for what lenient services read alike, none for what they differ in: test_readings.py has whole requests."""

from __future__ import annotations

import pytest

from proxy.policy.spelling import escaped, is_base64, plain, sole_member, web_token, word


@pytest.mark.parametrize(
    ("value", "spelled"),
    [
        (b"abc123", b"abc123"),
        (b"ab-c.1", b"ab-c.1"),
        (b" ab-c ", b"ab-c"),
        (b"a  b", b"a b"),
        (b"a,a", b"a"),
        (b",", b""),
        (b"a,b", None),
        (b"a\x01b", None),
        (b"caf\xc3\xa9", None),
        (b"Bearer ab", b"ab"),
        (b"bearer  a-b", b"a-b"),
        (b"TOKEN\tab", b"ab"),
        (b"JWT ab", b"ab"),
        (b"Basic YWI6YQ==", b"YWI6YQ=="),
        (b'"ab"', b"ab"),
        (b' Bearer "a-b" ', b"a-b"),
        (b"Bearer a b", b"Bearer a b"),
        (b"Bearer", b"Bearer"),
        (b"Anna ab", b"Anna ab"),
        (b'"', b'"'),
        (b'""', b'""'),
        (b'"a"b"', b'"a"b"'),
        (b"Bearer eyJhIjoxfQ.eyJiIjoyfQ.c2lnbm=", None),
    ],
)
def test_credential_has_one_spelling(value, spelled):
    assert word(value) == spelled


@pytest.mark.parametrize(
    ("value", "spelled"),
    [
        (b"", b""),
        (b"a\t b ", b"a b"),
        (b"cafe\xcc\x81", b"caf\xc3\xa9"),  # composed
        (b"\xff", None),  # no UTF-8
        (b"a\xe2\x80\x8bb", None),  # a space of no width
        (b"a\x7fb", None),
    ],
)
def test_text_has_one_spelling(value, spelled):
    assert plain(value) == spelled


@pytest.mark.parametrize(
    ("token", "spelled"),
    [
        (b"eyJhIjoxfQ.eyJiIjoyfQ.c2ln", b"eyJhIjoxfQ.eyJiIjoyfQ.c2ln"),
        (b"eyJhIjoxfQ.eyJiIjoyfQ.", b"eyJhIjoxfQ.eyJiIjoyfQ."),
        (b"eyJhIjoxfQ.eyJiIjoyfQ.c2lnbm=", None),  # padded
        (b"eyJhIjoxfQ.eyJiIjoyfQ.c2lnbn", None),  # bits that nobody reads
        (b"eyJhIjoxfQ.eyJiIjoyfQ", b"eyJhIjoxfQ.eyJiIjoyfQ"),  # none: two parts
    ],
)
def test_web_token_has_one_spelling(token, spelled):
    assert web_token(token) == spelled
    assert word(token) == spelled
    assert plain(token) == spelled


def test_list_of_one_is_its_member():
    assert sole_member(b"a, a,") == b"a"
    assert sole_member(b" , ") == b""
    assert sole_member(b"a, b") is None


@pytest.mark.parametrize(("value", "plus", "spelled"), [
    (b"%41b", False, b"Ab"),
    (b"a+b", False, b"a+b"),
    (b"a+b", True, b"a b"),
    (b"a%2Cb", False, b"a,b"),
    (b"%00", False, None),
])  # fmt: skip
def test_escapes_are_undone(value, plus, spelled):
    assert escaped(value, plus=plus) == spelled


def test_base64_has_one_alphabet_and_no_padding():
    assert is_base64(b"", b"-_")
    assert is_base64(b"ab-_", b"-_")
    assert not is_base64(b"ab-_", b"+/")
    assert not is_base64(b"abcde", b"-_")
