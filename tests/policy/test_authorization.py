"""One value for every spelling of a credential in Authorization, and none for what could be read in two ways."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.authorization import TOKEN_BYTES, claim_of, credential_of
from tests.policy.tokens import token

JWT = token({"sub": "alice"})


# --- one credential, one value ---


@pytest.mark.parametrize(
    "value",
    [
        "Bearer X",
        "bearer X",
        "BEARER   X",
        " Bearer X ",
        "Bearer\tX",
        "Bearer \t\t X\t",
        "Bearer ,X",
        "Bearer X,",
        "Bearer X, X",
        "Token X",
        "Anything X",
    ],
)
def test_spelling_of_a_credential_does_not_count(value):
    """Case, white space, empty members of a list, and a scheme that many services do not look at."""
    assert credential_of(value.encode()) == b"X"


@pytest.mark.parametrize("value", ["Bearer x", "Bearer", "BearerX", "X", "Bearer XX"])
def test_other_credentials_have_other_values(value):
    """A word without a scheme is another credential than one with it."""
    assert credential_of(value.encode()) not in (b"X", b"", None)


@pytest.mark.parametrize("value", ["", " ", "\t ", ","])
def test_no_credential_has_no_value(value):
    assert credential_of(value.encode()) == b""


@pytest.mark.parametrize(
    "value",
    [
        "Bearer invented valid",
        "Bearer invented, valid",
        "Bearer invented,valid",
        "Bearer invented, Bearer valid",
        "Bearer Bearer valid",
        "Bearer invented\tvalid",
        "Basic Zm9v, Bearer valid",
        "invented,valid",
        "Bearer, valid",
        "Bearer caf\u00e9\u200b",
        b"Bearer caf\xe9",
        b"Bearer x\x1cvalid",
        b"Bearer valid\xa0",
        b"valid\x85",
    ],
)
def test_what_services_read_differently_has_no_value(value):
    """The last word, the first member, what is left without odd characters: nobody knows which."""
    assert credential_of(value if isinstance(value, bytes) else value.encode()) is None


# --- user and password ---


@pytest.mark.parametrize("text", ["dXNlcjpwYXM=", "dXNlcjpwYXM", "dXNlcjpwYXM=="])
def test_user_and_password_have_one_value(text):
    """With or without padding."""
    assert credential_of(b"basic " + text.encode()) == base64.b64encode(b"user:pas").rstrip(b"=")


@pytest.mark.parametrize(
    "text", ["dXNlcjpwYXN=", "dXNl-cjpwYXM=", "dXNlcjpw.YXM=", "dXNlcjpwYXM=!", "d", "dX=NlcjpwYXM="]
)
def test_user_and_password_that_are_not_base64_have_no_value(text):
    """Lenient decoders skip what is none: one credential would have as many spellings as one likes."""
    assert credential_of(b"Basic " + text.encode()) is None


# --- signed requests ---


@pytest.mark.parametrize(
    ("value", "signer"),
    [
        ('Digest username="ada", realm="r", nonce="1", response="2"', b"ada"),
        ('Digest nonce="7", response="8" , USERNAME=ada', b"ada"),
        ("Digest username*=UTF-8''%61da, nonce=1", b"ada"),
        (
            "AWS4-HMAC-SHA256 Credential=AKID/20261123/eu/s3/aws4_request, SignedHeaders=host, Signature=f",
            b"AKID",
        ),
        (
            "AWS4-HMAC-SHA256 Credential=AKID/20261124/eu/s3/aws4_request,SignedHeaders=a;b,Signature=0",
            b"AKID",
        ),
        ('Signature keyId="k1",algorithm="x",headers="(request-target) date",signature="s="', b"k1"),
        ('OAuth realm="", oauth_consumer_key="c", oauth_token="t", oauth_nonce="9"', b"t"),
        ('Hawk id="dh37", ts="1353832234", nonce="j4h3g2", mac="6R4="', b"dh37"),
        ('Digest username="a\\"da", nonce=1', b'a"da'),
        ('OAuth oauth_consumer_key="c", oauth_token="", oauth_nonce="9"', b"c"),
        ("AWS AKID:c2lnbmF0dXJl=", b"AKID"),
        ("SharedKey account:c2ln/+dXJl=", b"account"),
        ("SharedKeyLite account:c2lu", b"account"),
        ("OSS  ak:c2lu", b"ak"),
        ("hmac ada:7:c2lu", b"ada"),
        ("EG1-HMAC-SHA256 client_token=c;access_token=a;timestamp=1;nonce=n;signature=s=", b"c"),
        ("EG1-HMAC-SHA256 client_token=c; access_token=a; signature=s", b"c"),
        ("SDK-HMAC-SHA256 Access=AK, SignedHeaders=host;x-date, Signature=0", b"AK"),
        ('vapid t="eyJ0.e30.x", k="BDd3"', b"BDd3"),
    ],
)
def test_signed_request_is_that_of_its_signer(value, signer):
    """All else in it is new with each request."""
    assert credential_of(value.encode()) == signer


@pytest.mark.parametrize(
    "value",
    [
        'MediaBrowser Token="abc"',
        'MediaBrowser Client="c", Device="d", TOKEN="abc", Version="1"',
        'Emby UserId="7",Token=abc',
        "GoogleLogin auth=abc",
        "GoogleLogin auth=abc, n=1",
        'ApiKey n=2 ,key="abc"',
        "ApiKey n=2;key=abc",
        'WRAP access_token="abc"',
    ],
)
def test_parameter_that_is_added_does_not_count(value):
    """Services pass over what they do not know: else each would be another client."""
    assert credential_of(value.encode()) == b"abc"


def test_only_parameter_names_somebody_whatever_its_name():
    assert credential_of(b'Custom a="1"') == credential_of(b"custom A=1") == b"a=1"


@pytest.mark.parametrize(
    "value",
    [
        'Digest username="a", username="b"',
        "Custom a=1, a=2",
        'Digest username="a, nonce=1',
        "Custom a=1, b=2",
        "Digest username=a, username*=UTF-8''b",
        'OAuth oauth_token="valid", username="r"',
        'OAuth oauth_consumer_key="c", oauth_token="valid", id="r"',
        'Hawk id="valid", keyid="r"',
        "AWS4-HMAC-SHA256 Credential=AKID/x, Signature=0, username=r",
        "AWS4-HMAC-SHA256 Credential=AKID/x, SignedHeaders=host;username=r, Signature=0",
        'MediaBrowser Token="valid", id="r"',
        'WRAP access_token="valid", client_token="r"',
    ],
)
def test_decoy_beside_the_parameter_that_names_somebody_has_no_value(value):
    """A service takes the one that it knows, and nobody knows which."""
    assert credential_of(value.encode()) is None


@pytest.mark.parametrize(
    "value",
    [
        "Negotiate YIIKnwYGKwYBBQUCoIIKkzCCCo8",
        "NTLM TlRMTVNTUAABAAAAB4IIogAAAA==",
        "ntlm TlRMTVNTUAAB",
        'MediaBrowser Client="Web", DeviceId="7", Version="10"',
        'Digest username=""',
    ],
)
def test_what_names_nobody_who_stays_the_same_is_absent(value):
    """A token of one request, and an app before its login: the address pays."""
    assert credential_of(value.encode()) == b""


# --- tokens ---


@pytest.mark.parametrize("ending", ["", "Q", "Qw", "QwA", "QwAB", "QwABQ"[:4]])
def test_web_token_is_what_it_says(ending):
    text = f"eyJhbGciOiJub25lIn0.e30.{ending}"
    if len(ending) == 1:  # is no Base64 of anything
        assert credential_of(f"Bearer {text}".encode()) is None
    else:
        assert credential_of(f"Bearer {text}".encode()) == text.encode()


@pytest.mark.parametrize("ending", ["Qx", "QwB", "Qw=", "Qw==", "Q!w", "Q.w+", "Qw/", "Qw;x"])
def test_web_token_in_another_spelling_has_no_value(ending):
    """Lenient decoders read the same signature out of each."""
    assert credential_of(f"Bearer eyJhbGciOiJub25lIn0.e30.{ending}".encode()) is None


@pytest.mark.parametrize("text", ["eyJpdiI6Ijx=", "a.b.c!", "1|x", "user:key", "session=abc"])
def test_other_tokens_are_what_they_say(text):
    assert credential_of(f"Bearer {text}".encode()) == text.encode()


@given(st.binary(max_size=60))
def test_no_value_breaks_the_reader(noise):
    credential_of(noise)
    credential_of(b"Bearer " + noise)
    credential_of(b"Digest a=" + noise)


def test_long_values_are_read_in_linear_time():
    """Nothing in here backtracks: it would take hours."""
    for value in (
        b"a=" * 9000,
        b"Digest " + b'a="' * 6000,
        b"Digest " + b"a=b, " * 4000 + b"(",
        b"x " * 9000,
        b"Custom a=" + b";" * 9000,
        b"Custom a=" + b";b" * 9000 + b'"',
        b"Custom " + b"a=1;" * 4000 + b"(",
        b"Custom " + b"a=1;b;" * 4000 + b"(",
    ):
        credential_of(value)
        claim_of(value, "sub")


# --- claims ---


@pytest.mark.parametrize(
    ("claims", "value"),
    [
        ({"sub": "alice"}, b"alice"),
        ({"sub": 4711}, b"4711"),
        ({"sub": 10**30}, b"1" + b"0" * 30),
        ({"sub": -1.5}, b"-1.5"),
        ({"sub": 0}, b"0"),
        ({"sub": 4711.0}, b"4711"),
        ({"sub": "\u00e9\u4e2d"}, "\u00e9\u4e2d".encode()),
        ({"aud": "x", "sub": "alice", "exp": 1}, b"alice"),
        ({"aud": "sub", "sub": "alice", "of": {"sub": "bob"}}, b"alice"),
        (b'{"s\\u0075b": "alice"}', b"alice"),
        (b'{"sub": "alice", "sub": "alice"}', b"alice"),
        (b'{"sub": "al\\u0069ce", "Sub": "alice"}', b"alice"),
    ],
)
def test_claim_is_read(claims, value):
    """Numbers count by their value."""
    assert claim_of(token(claims).encode(), "sub") == value


@pytest.mark.parametrize("before", ["Bearer ", "bearer ", "BEARER\t\t", " Bearer  ", "JWT ", ""])
def test_claim_is_read_whatever_stands_before_the_token(before):
    bare = JWT.removeprefix("Bearer ")

    assert claim_of((before + bare).encode(), "sub") == b"alice"


def test_lone_surrogate_is_a_value():
    assert claim_of(token(b'{"sub": "\\ud800"}').encode(), "sub") == b"\xed\xa0\x80"


@pytest.mark.parametrize(
    "claims",
    [
        b'{"sub": "alice", "sub": "bob"}',
        b'{"sub": "alice", "Sub": "bob"}',
        b'{"sub": "alice", "s\\u0075b": "bob"}',
        b'{"sub": "alice", "sub": null}',
    ],
)
def test_claim_that_is_there_twice_is_none(claims):
    """Some readers take the first, some the last, and some in any case."""
    assert claim_of(token(claims).encode(), "sub") is None


@pytest.mark.parametrize(
    "authorization",
    [
        JWT + "=",
        JWT.replace(".c2ln", "=.c2ln"),
        JWT.replace(".c2ln", "!!!!.c2ln"),
        "Bearer a.\u00e9.c",
        JWT + " x",
        JWT + ", " + JWT,
        "Bearer x " + JWT.removeprefix("Bearer "),
    ],
)
def test_token_in_a_lenient_spelling_is_none(authorization):
    assert claim_of(authorization.encode(), "sub") is None


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer a.b",
        "Bearer YQ..c2ln",
        "Bearer ..",
        "Bearer YQ.e30.Yw.d",
        'Digest username="ada", nonce="1"',
        JWT.rpartition(".")[0],
        JWT + ".tag.more",
        token({"sub": ""}),
        token({"sub": None}),
        token({"sub": True}),
        token({"sub": ["alice"]}),
        token({"sub": {"a": 1}}),
        token({"user": "alice"}),
        token({"Sub": "alice"}),
        token([1]),
        token(b'"alice"'),
        token(b'"\\"sub\\" \\"sub\\""'),
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


@given(st.binary(max_size=60))
def test_no_token_breaks_the_reader(noise):
    claim_of(b"Bearer " + noise, "sub")
    claim_of(b"Bearer YQ." + base64.urlsafe_b64encode(noise).rstrip(b"=") + b".Yw", "sub")


def test_alphabet_is_that_of_urls():
    """RFC 7515 section 2: - and _ where plain Base64 has + and /."""
    claims = {"sub": "alice", "name": "\u00ff\u00fb>?>?>?"}

    assert token(claims) != token(claims, urlsafe=False)
    assert claim_of(token(claims).encode(), "sub") == b"alice"
    assert claim_of(token(claims, urlsafe=False).encode(), "sub") is None
