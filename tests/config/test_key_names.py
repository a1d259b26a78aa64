"""Partition keys as the config names them: what is read and what is said of the rest."""

from __future__ import annotations

import pytest

from proxy.config.key_names import KeyPart, parse_key


def said(value):
    with pytest.raises(ValueError) as caught:
        parse_key(value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("header:X-Auth-Token", [("header", "X-Auth-Token")]),
        ("header: X-Auth-Token", [("header", "X-Auth-Token")]),
        ("cookie:sid", [("cookie", "sid")]),
        ("jwt:https://example.com/user", [("jwt", "https://example.com/user")]),
        ("query:user_id", [("query", "user_id")]),
        ("path:2", [("path", "2")]),
        ("host", [("host", "")]),
        ("method", [("method", "")]),
        ("client-ip", [("client-ip", "")]),
        ("const", [("const", "")]),
        ("header:X-A+path:1", [("header", "X-A"), ("path", "1")]),
        ("client-ip+host+method", [("client-ip", ""), ("host", ""), ("method", "")]),
        ("cookie:a+b+host", [("cookie", "a+b"), ("host", "")]),
        ("cookie:a+hostess", [("cookie", "a+hostess")]),
    ],
)
def test_key_has_parts_of_a_kind_and_perhaps_a_name(text, parts):
    """A plus within a name is part of it."""
    spec = parse_key(text)

    assert spec.parts == tuple(KeyPart(*part) for part in parts)
    assert parse_key(str(spec)) == parse_key(spec) == spec


KNOWN = (
    "header:NAME, cookie:NAME, jwt:CLAIM, query:NAME, path:N, host, method, client-ip or const,"
    " or some of them joined by +"
)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"header": "X-Auth-Token"}, "write header:X-Auth-Token without the space after the colon"),
        ({"path": 1}, "write path:1 without the space after the colon"),
        ("ip", f"must be {KNOWN}, not 'ip'; did you mean client-ip?"),
        ("client_ip", f"must be {KNOWN}, not 'client_ip'; did you mean client-ip?"),
        ("Header:X", f"must be {KNOWN}, not 'Header:X'; did you mean header?"),
        ("headers:X", f"must be {KNOWN}, not 'headers:X'; did you mean header?"),
        ("param:x", f"must be {KNOWN}, not 'param:x'; did you mean query?"),
        ("X-Auth-Token", f"must be {KNOWN}, not 'X-Auth-Token'"),
        ("client-ip:v4", "client-ip takes no name: write client-ip"),
        ("host:a", "host takes no name: write host"),
        ("header", "header needs a name: write header:NAME"),
        ("jwt:", "jwt needs a name: write jwt:sub"),
        ("path:", "path needs a name: write path:1"),
        ("query", "query needs a name: write query:NAME"),
        ("jwt:a b", "the name of a claim has no spaces and at most 128 characters, not 'a b'"),
        ("header:X Y", "the name of a header holds letters, digits and !#$%&'*+-.^_`|~ only, not 'X Y'"),
        ("cookie:a=b", "the name of a cookie holds letters, digits and !#$%&'*+-.^_`|~ only, not 'a=b'"),
        ("query:a&b", "the name of a query parameter holds letters, digits and -_.~$@!*()' only, not 'a&b'"),
        ("query:a[]", "the name of a query parameter holds letters, digits and -_.~$@!*()' only, not 'a[]'"),
        ("path:0", "path takes the number of a segment, 1 to 64: path:1, not '0'"),
        ("path:65", "path takes the number of a segment, 1 to 64: path:1, not '65'"),
        ("path:api", "path takes the number of a segment, 1 to 64: path:1, not 'api'"),
        ("header:Cookie", "any further cookie would make another key: name the cookie, as in cookie:sid"),
        ("header:TE", "TE never reaches the service, so no key can be read from it"),
        (
            "header:proxy-authorization",
            "proxy-authorization never reaches the service, so no key can be read from it",
        ),
        ("host+host", "names a part twice: 'host+host'"),
        ("const+header:A", "const adds nothing to another part: leave it out"),
        ("+".join(f"path:{n}" for n in range(1, 10)), "at most 8 parts make one key, not 9"),
        (7, f"must be {KNOWN}, not 7"),
        ({"colour": "red"}, f"must be {KNOWN}, not a block of settings"),
        (None, f"must be {KNOWN}, not null"),
    ],
)
def test_key_that_is_none_says_what_to_write(value, message):
    assert said(value) == message


@pytest.mark.parametrize(
    ("text", "is_address"),
    [
        ("client-ip", True),
        ("const", True),
        ("client-ip+host", True),
        ("client-ip+path:1", True),
        ("client-ip+header:A", False),
        ("header:A", False),
        ("host", False),
        ("method", False),
    ],
)
def test_key_is_an_address_or_something_that_a_request_carries(text, is_address):
    assert parse_key(text).is_address is is_address


@pytest.mark.parametrize(
    ("text", "answer"), [("host", True), ("client-ip+method", True), ("host+path:1", False)]
)
def test_some_keys_every_request_has(text, answer):
    assert parse_key(text).is_always_present is answer


def test_entries_that_are_one_are_folded_alike():
    """Names of header fields in any case, parts in any order; a cookie's name is what it is."""
    one, other = parse_key("header:X-User+cookie:Sid"), parse_key("cookie:Sid+header:x-user")

    assert one.folded == other.folded == "cookie:Sid+header:x-user"
    assert parse_key("cookie:sid").folded != parse_key("cookie:Sid").folded
