from __future__ import annotations

import json
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.telemetry.safe_text import (
    ESCAPES_MAX,
    HEADER_CHARS,
    METHOD_CHARS,
    PARAMETERS_MAX,
    QUERIES_KNOWN,
    TARGET_CHARS,
    _known_queries,
    header_text,
    method_text,
    target_text,
)
from tests.support.cost import cpu_seconds

SECRETS = (
    "token", "access_token", "refresh-token", "X-Amz-Security-Token", "X-Amz-Signature", "X-Amz-Credential", "key",
    "api_key", "apikey", "apiKey", "subscription-key", "password", "passwd", "pwd", "user[password]", "secret",
    "client_secret", "sig", "signature", "auth", "authorization", "code", "sid", "sessionid", "JSESSIONID", "jwt",
    "id_token", "otp", "ticket", "Key-Pair-Id", "SAMLResponse", "PHPSESSID", "code_verifier", "passcode", "cvv",
    "card-cvc", "csrf", "_xsrf", "csrfmiddlewaretoken", "user_code", "device_code", "totp", "recovery-code", "pw",
)  # fmt: skip
PLAIN = (
    "q",
    "skip",
    "take",
    "author",
    "keyword",
    "keywords.sort",
    "design",
    "postcode",
    "page",
    "culture",
    "tok",
    "country_code",
    "status_code",
    "spinning",
    "cvvx",
)


@pytest.mark.parametrize("name", SECRETS)
def test_masks_the_value_of_a_secret(name):
    """Whatever the case, wherever in the query, also where the name is escaped."""
    for written in (name, name.upper(), quote(name, safe=""), f"%{ord(name[0]):02x}{name[1:]}"):
        shown = target_text(f"/a?q=x&{written}=S3CR3T&z=1".encode())

        assert shown == f"/a?q=x&{written}=***&z=1"


@pytest.mark.parametrize("name", PLAIN)
def test_shows_the_value_of_anything_else(name):
    """The query is there to be read."""
    assert target_text(f"/a?{name}=value".encode()) == f"/a?{name}=value"


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        (b"/a", "/a"),
        (b"/a?", "/a?"),
        (b"/a?token", "/a?token"),
        (b"/a?token=", "/a?token="),
        (b"/a?token=x=y", "/a?token=***"),
        (b"/a?q=1;token=S", "/a?q=1;token=***"),
        (b"/a?to=/b?token=S&q=1", "/a?to=/b?token=***&q=1"),
        (b"/a?url=https%3A%2F%2Fblob%2Fx%3Fse%3D1%26sig%3DS3", "/a?url=***"),
        (b"/a?url=https%3A%2F%2Fblob%2Fx%3Fse%3D1", "/a?url=https%3A%2F%2Fblob%2Fx%3Fse%3D1"),
        (b"/token=S", "/token=S"),
    ],
)
def test_masks_parameters_of_the_query_only(target, shown):
    """Old separators and URLs within URLs included; a path is no query."""
    assert target_text(target) == shown


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        (b"https://u:S3CR3T@h/p?x=1", "https://***@h/p?x=1"),
        (b"/x?redirect=https://u:S3CR3T@h/&a=1", "/x?redirect=https://***@h/&a=1"),
        (b"/x?dsn=postgres://u:S3/CR3T@h/db", "/x?dsn=postgres://***@h/db"),
        (b"/x?to=https%3A%2F%2Fu%3AS3CR3T%40h%2F&a=1", "/x?to=***&a=1"),
        (b"/fetch/https://S3CR3T@h/x.git", "/fetch/https://***@h/x.git"),
        (b"/https://h:8080/@name", "/https://h:8080/@name"),
        (b"/https://h/@name?mail=a@b.example", "/https://h/@name?mail=a@b.example"),
    ],
)
def test_masks_who_logs_in_by_a_url(target, shown):
    """Wherever the URL stands; what else has an @ stays."""
    assert target_text(target) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"https://h/p?x=1#access_token=S3CR3T&y=2", "https://h/p?x=1#access_token=***&y=2"),
        (b"https://h/p#id_token=S3CR3T", "https://h/p#id_token=***"),
        (b"https://h/p#chapter?x=1", "https://h/p#chapter?x=1"),
    ],
)
def test_masks_parameters_of_a_fragment(value, shown):
    """Where a login has left them."""
    assert header_text(value) == shown


def test_bounds_a_long_target():
    """A client's 8 KiB do not become the log's."""
    shown = target_text(b"/" + b"a" * 8000)

    assert len(shown) == TARGET_CHARS
    assert shown.endswith("~")


def test_masks_a_secret_that_is_cut():
    """What is left of a value where the target was cut is no less secret."""
    target = b"/a?q=" + b"x" * (TARGET_CHARS - 20) + b"&token=" + b"S" * 100

    assert "S" not in target_text(target)


@given(st.binary(max_size=TARGET_CHARS * 2))
def test_makes_any_bytes_plain_text(target):
    """One printable line of ASCII, bounded, and a JSON string that can be read back."""
    shown = target_text(target)

    assert shown.isascii()
    assert shown.isprintable()
    assert len(shown) <= TARGET_CHARS * len("\\xff")
    assert json.loads(msgspec.json.encode(shown)) == shown


@given(st.binary(max_size=100))
def test_makes_any_method_plain_text(method):
    """Also the ones nobody knows."""
    shown = method_text(method)

    assert shown.isascii()
    assert shown.isprintable() or shown == ""
    assert len(shown) <= METHOD_CHARS * len("\\xff")


def test_shows_bytes_that_are_no_text():
    """Escaped, so that they can be told."""
    assert target_text(b"/caf\xe9\n\x1b[31m") == r"/caf\xe9\x0a\x1b[31m"
    assert method_text(b"G\xc3T") == r"G\xc3T"
    assert target_text(rb"/a\x22\b") == r"/a\x5cx22\x5cb"  # what a client typed is no escape of ours


def test_field_is_shown_without_the_secrets_of_its_urls():
    """And shorter than a target may be."""
    assert header_text(b"https://app.example/?q=1&token=S3CR3T") == "https://app.example/?q=1&token=***"
    assert len(header_text(b"x" * 1000)) == HEADER_CHARS


def test_queries_that_are_remembered_are_bounded():
    """A stranger can invent as many as they like."""
    for number in range(QUERIES_KNOWN + 10):
        target_text(b"/a?q=%d" % number)

    assert len(_known_queries) <= QUERIES_KNOWN
    assert target_text(b"/a?q=1&token=S3CR3T") == "/a?q=1&token=***"


def many(count, parameter):
    return b"/p?" + b"&".join([parameter % number for number in range(count)])


@pytest.mark.parametrize(
    "target",
    [
        many(250, b"p%d=v"),
        many(200, b"token%d=S3CR3T"),
        many(250, b"p%d=%%41"),
        many(120, b"p%d=a%%3Ftoken%%3DS3CR3T"),
        many(120, b"p%d=%%E6%%97%%A5"),
        b"/p?" + b";" * 2000,
        b"/p?a=" + b"%3D" * 680,
        b"/p?" + b"a" * 1_000_000 + b"=1",
        b"/" + b"\xff" * 1_000_000,
        b"/" + b"\x00" * 8000,
        b"/p?" + b"%" * 8000,
        b"//a:" * 2000 + b"@",
        b"/?" + b"//a:b" * 2000 + b"@",
        b"/?u=" + b"%2F%2Fa%3A" * 800 + b"%40",
        b"/#" * 4000,
    ],
)
def test_no_target_is_dear(target):
    """Neither in time nor in the length of its line, however long it is and whatever is repeated."""
    _known_queries.clear()
    seconds = cpu_seconds(lambda: target_text(target))
    shown = target_text(target)

    assert seconds < 0.01
    assert len(shown) <= TARGET_CHARS
    assert b"S3CR3T" not in shown.encode()


def test_shows_parameters_up_to_a_count():
    """And no secret behind it."""
    target = many(PARAMETERS_MAX + 3, b"p%d=v") + b"&token=S3CR3T"

    assert target_text(target) == many(PARAMETERS_MAX, b"p%d=v").decode() + "&~"


def test_shows_letters_of_other_scripts_whole():
    """Only escapes of ASCII could hide the name of a secret."""
    target = "/p?q=" + quote("日本語" * 60)

    assert target_text(target.encode()) == target


def test_masks_behind_many_escapes():
    """They are cut where they are too many to be read."""
    shown = target_text(b"/p?" + b"%41" * (ESCAPES_MAX - 6) + b"=1&%74%6f%6b%65n=S3CR3T&b=" + b"%41" * 99)

    assert shown == "/p?" + "%41" * (ESCAPES_MAX - 6) + "=1&%74%6f%6b%65n=***&b=" + "%41" * 2 + "~"
