from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.names import parse_key
from proxy.policy.keys import KEY_BYTES, TOKEN_BYTES, Partition, claim_of
from tests.policy.heads import head


def key(spec, headers=(), client="192.0.2.7", secret=b""):
    specs = [parse_key(each) for each in ([spec] if isinstance(spec, str) else spec)]
    return Partition(specs, secret).key(head(headers=headers).fields, client)


def is_absent(spec, headers):
    return key([spec, "const"], headers) == key("const")


def token(claims, scheme="Bearer", *, urlsafe=True):
    payload = claims if isinstance(claims, bytes) else json.dumps(claims, ensure_ascii=False).encode()
    encoded = base64.urlsafe_b64encode(payload) if urlsafe else base64.b64encode(payload)
    return f"{scheme} eyJhbGciOiJub25lIn0.{encoded.rstrip(b'=').decode()}.c2ln"


@pytest.mark.parametrize(
    ("entry", "value", "headers"),
    [
        ("header:X-Auth-Token", " alice ", {"X-Auth-Token": "alice"}),
        ("header:Authorization", "Bearer  abc", {"Authorization": "bearer abc"}),
        ("cookie:sid", "s1", {"Cookie": "a=b; sid=s1"}),
        ("jwt:sub", "ada", {"Authorization": token({"sub": "ada"})}),
        ("client-ip", "2001:db8::1", {}),
        ("const", "", {}),
    ],
)
def test_key_of_a_named_client_is_that_of_its_requests(entry, value, headers):
    """By whatever entry."""
    asked = Partition([parse_key(entry)], b"s").key_of(entry, value)

    assert asked == key(entry, headers, "2001:db8::1", b"s")


def test_nobody_has_the_key_of_another_entry_or_of_no_value():
    partition = Partition([parse_key("header:X-Auth-Token")], b"")

    assert partition.key_of("header:Authorization", "x") is None
    assert partition.key_of("header:X-Auth-Token", " ") is None


# --- headers ---


def test_other_credentials_have_other_keys():
    one, other = {"X-Auth-Token": "alice"}, {"X-Auth-Token": "bob"}

    assert key("header:X-Auth-Token", one) != key("header:X-Auth-Token", other)
    assert len(key("header:X-Auth-Token", one)) == KEY_BYTES


def test_credential_cannot_be_read_from_its_key():
    """Without the secret, a key cannot even be compared with a guess."""
    headers = {"X-Auth-Token": "alice"}

    assert b"alice" not in key("header:X-Auth-Token", headers)
    assert key("header:X-Auth-Token", headers, secret=b"a") != key(
        "header:X-Auth-Token", headers, secret=b"b"
    )
    assert key("header:X-Auth-Token", headers, secret=b"a") != key("header:X-Auth-Token", headers)


def test_secret_of_any_length_will_do():
    """BLAKE2b itself takes 64 bytes."""
    headers = {"X-Auth-Token": "alice"}
    long = b"s" * 500

    assert key("header:X-Auth-Token", headers, secret=long) != key(
        "header:X-Auth-Token", headers, secret=long[:64]
    )


@pytest.mark.parametrize("value", ["alice", " alice", "alice\t ", "\talice"])
def test_white_space_around_a_value_does_not_count(value):
    assert key("header:X-Auth-Token", {"X-Auth-Token": value}) == key(
        "header:X-Auth-Token", {"X-Auth-Token": "alice"}
    )


@pytest.mark.parametrize("name", ["X-Auth-Token", "Authorization"])
def test_white_space_that_a_head_left_does_not_count(name):
    """Whoever read the head, the key is the same."""
    partition = Partition([parse_key(f"header:{name}")], b"")

    def of(value):
        return partition.key({name.lower().encode(): value}, "")

    assert of(b" \talice ") == of(b"alice")
    assert of(b" \t ") == partition.key({}, "")


def test_case_of_a_header_name_does_not_count():
    assert key("header:x-auth-token", {"X-AUTH-TOKEN": "alice"}) == key(
        "header:X-Auth-Token", {"x-auth-token": "alice"}
    )


def test_case_of_a_value_counts():
    assert key("header:X-Auth-Token", {"X-Auth-Token": "Alice"}) != key(
        "header:X-Auth-Token", {"X-Auth-Token": "alice"}
    )


@pytest.mark.parametrize("value", ["bearer X", "Bearer X", "BEARER   X", " Bearer X "])
def test_case_of_an_authorization_scheme_does_not_count(value):
    """RFC 9110 section 11.1."""
    reference = key("header:Authorization", {"Authorization": "Bearer X"})

    assert key("header:Authorization", {"Authorization": value}) == reference


@pytest.mark.parametrize("value", ["Bearer x", "Basic X", "Bearer", "Bearer X y", "BearerX"])
def test_other_authorizations_have_other_keys(value):
    assert key("header:Authorization", {"Authorization": value}) != key(
        "header:Authorization", {"Authorization": "Bearer X"}
    )


@pytest.mark.parametrize("name", ["X-Auth-Token", "Authorization"])
@pytest.mark.parametrize("value", ["", " ", "\t "])
def test_empty_value_is_absent(name, value):
    assert is_absent(f"header:{name}", {name: value})


# --- the list ---


def test_first_present_entry_is_charged():
    both = {"X-Auth-Token": "alice", "Authorization": "Bearer X"}
    specs = ["header:X-Auth-Token", "header:Authorization", "client-ip"]

    assert key(specs, both) == key("header:X-Auth-Token", both)
    assert key(specs, {"Authorization": "Bearer X"}) == key("header:Authorization", both)
    assert key(specs) == key("client-ip")


def test_key_does_not_move_when_the_list_is_reordered():
    """A reload that adds an entry in front keeps the buckets of those who do not have it."""
    alice = {"X-Auth-Token": "alice"}

    assert key(["cookie:sid", "header:X-Auth-Token"], alice) == key(
        ["header:X-Auth-Token", "cookie:sid"], alice
    )


def test_without_any_entry_all_share_one_bucket():
    """The address is charged only where the list says so."""
    assert key("header:X-Auth-Token", client="192.0.2.7") == key("cookie:sid", client="192.0.2.8")
    assert key("header:X-Auth-Token") != key("client-ip")


def test_same_value_under_another_name_or_kind_is_another_bucket():
    """Nobody can spend the tokens of a cookie by sending its value as a header."""
    headers = {"A": "v", "B": "v", "Cookie": "A=v; B=v", "Authorization": token({"A": "v", "B": "v"})}
    specs = ["header:A", "header:B", "cookie:A", "cookie:B", "jwt:A", "jwt:B", "const", "client-ip"]

    assert len({key(spec, headers, client="v") for spec in specs} | {key("header:C")}) == len(specs) + 1


def test_const_is_one_bucket_for_all():
    assert key("const", {"A": "1"}, client="192.0.2.7") == key("const", {"A": "2"}, client="192.0.2.8")


def test_addresses_of_one_network_share_a_bucket():
    assert key("client-ip", client="2001:db8::1") == key("client-ip", client="2001:db8::2%eth0")
    assert key("client-ip", client="::ffff:192.0.2.7") == key("client-ip", client="192.0.2.7")
    assert key("client-ip", client="192.0.2.7") != key("client-ip", client="192.0.2.8")
    assert key("client-ip", client="") == key("client-ip", client="")


def test_fields_that_name_the_user_are_known():
    """A request that repeats one of them is refused: one value could be charged and another be served."""
    specs = [
        parse_key(spec) for spec in ("header:X-Auth-Token", "cookie:sid", "jwt:sub", "client-ip", "const")
    ]

    assert Partition(specs, b"").credential_names == {b"x-auth-token", b"cookie", b"authorization"}
    assert Partition(specs[3:], b"").credential_names == frozenset()


# --- cookies ---


@pytest.mark.parametrize(
    "cookie",
    [
        "sid=abc",
        "a=1; sid=abc; b=2",
        "a=1;sid=abc",
        "a=1;   sid = abc ",
        'sid="abc"',
        "sid=abc; sid=other",
        "xsid=other; sid=abc",
        "a=sid=other; sid=abc",
        "sidx=other; sid=abc",
        "SID=other; sid=abc",
    ],
)
def test_cookie_is_found(cookie):
    """The first of exactly that name; quotes are not part of its value."""
    assert key("cookie:sid", {"Cookie": cookie}) == key("cookie:sid", {"Cookie": "sid=abc"})


@pytest.mark.parametrize(
    "cookie",
    [
        "",
        "sid",
        "sid=",
        'sid=""',
        "sid= ",
        "sid=; sid=abc",
        "xsid=abc",
        "sidx=abc",
        "SID=abc",
        "a=b sid=abc",
        "; ;=;",
    ],
)
def test_cookie_is_absent(cookie):
    assert is_absent("cookie:sid", {"Cookie": cookie})


@pytest.mark.parametrize("value", ['"', '"abc', 'abc"', "a=b", "a b", "\u00e9"])
def test_odd_cookie_values_are_values(value):
    """One quote alone is part of the value; an equals sign too."""
    assert not is_absent("cookie:sid", {"Cookie": f"sid={value}"})
    assert key("cookie:sid", {"Cookie": f"sid={value}"}) != key("cookie:sid", {"Cookie": "sid=abc"})


def test_name_of_a_cookie_is_no_pattern():
    assert is_absent("cookie:s.d", {"Cookie": "sid=abc"})
    assert not is_absent("cookie:s.d|x", {"Cookie": "s.d|x=abc"})


# --- claims ---


@pytest.mark.parametrize(
    ("claims", "value"),
    [
        ({"sub": "alice"}, b"alice"),
        ({"sub": 4711}, b"4711"),
        ({"sub": 10**30}, b"1" + b"0" * 30),
        ({"sub": -1.5}, b"-1.5"),
        ({"sub": 0}, b"0"),
        ({"sub": "\u00e9\u4e2d"}, "\u00e9\u4e2d".encode()),
        ({"aud": "x", "sub": "alice", "exp": 1}, b"alice"),
    ],
)
def test_claim_is_read(claims, value):
    """Numbers count by their text."""
    assert claim_of(token(claims).encode(), "sub") == value


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", " Bearer  "])
def test_claim_is_read_whatever_the_scheme_looks_like(scheme):
    assert claim_of(token({"sub": "alice"}, scheme).encode(), "sub") == b"alice"


def test_lone_surrogate_is_a_value():
    assert claim_of(token(b'{"sub": "\\ud800"}').encode(), "sub") == b"\xed\xa0\x80"


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer a.b",
        "Bearer a.b.c",
        "Bearer a..c",
        "Bearer ..",
        "Bearer a.e30.c.d",
        token({"sub": "alice"}).rpartition(".")[0],
        token({"sub": "alice"}) + ".tag.more",
        token({"sub": "alice"}).replace(".c2ln", "=.c2ln"),
        token({"sub": "alice"}).replace(".c2ln", "!!!!.c2ln"),
        "Bearer a.\u00e9.c",
        token({"sub": "alice"}, "Basic"),
        token({"sub": ""}),
        token({"sub": None}),
        token({"sub": True}),
        token({"sub": ["alice"]}),
        token({"sub": {"a": 1}}),
        token({"user": "alice"}),
        token([1]),
        token(b'"alice"'),
        token(b"{"),
        token(b'{"sub": "\xff"}'),
        token(b'{"sub": ' + b"9" * 5000 + b"}"),
        token(b"[" * 5000),
        token(b'{"sub":' * 800 + b"1" + b"}" * 800),
        token({"sub": "alice", "pad": "x" * TOKEN_BYTES}),
    ],
)
def test_token_that_is_not_one_has_no_claims(authorization):
    """Malformed, oversized or deep: absent, never an error."""
    assert claim_of(authorization.encode(), "sub") == b""
    assert is_absent("jwt:sub", {"Authorization": authorization.encode()})


@given(st.binary(max_size=60))
def test_no_token_breaks_the_reader(noise):
    claim_of(b"Bearer " + noise, "sub")
    claim_of(b"Bearer a." + base64.urlsafe_b64encode(noise).rstrip(b"=") + b".c", "sub")


def test_alphabet_is_that_of_urls():
    """RFC 7515 section 2: - and _ where plain Base64 has + and /."""
    claims = {"sub": "alice", "name": "\u00ff\u00fb>?>?>?"}

    assert token(claims) != token(claims, urlsafe=False)
    assert claim_of(token(claims).encode(), "sub") == b"alice"
    assert claim_of(token(claims, urlsafe=False).encode(), "sub") == b""


def test_two_tokens_of_one_user_share_a_bucket():
    """A refreshed token opens no new bucket."""
    old, new = token({"sub": "alice", "exp": 1}), token({"sub": "alice", "exp": 2})

    assert key("jwt:sub", {"Authorization": old}) == key("jwt:sub", {"Authorization": new})
    assert key("header:Authorization", {"Authorization": old}) != key(
        "header:Authorization", {"Authorization": new}
    )
