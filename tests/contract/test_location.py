from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.contract.location import public_location

ORIGINS = (b"http://10.0.0.7:9000", b"http://app", b"https://secure.internal", b"http://[fd00::7]:9000")
PUBLIC = b"https://api.example.com"


@pytest.mark.parametrize(
    ("location", "public"),
    [
        (b"http://10.0.0.7:9000/api/entities/1", b"https://api.example.com/api/entities/1"),
        (b"HTTP://10.0.0.7:9000/a%2Fb?q=%7e#x", b"https://api.example.com/a%2Fb?q=%7e#x"),
        (b"http://app/x", b"https://api.example.com/x"),
        (b"http://APP:80/x", b"https://api.example.com/x"),
        (b"http://app:/x", b"https://api.example.com/x"),
        (b"http://app", b"https://api.example.com"),
        (b"http://app?x", b"https://api.example.com?x"),
        (b"https://secure.internal:443/x", b"https://api.example.com/x"),
        (b"http://[FD00::7]:9000/x", b"https://api.example.com/x"),
        (b"//10.0.0.7:9000/x", b"https://api.example.com/x"),
    ],
)
def test_the_origin_of_a_server_becomes_the_public_one(location, public):
    """Scheme and host in any case, the scheme's own port written or not; the rest byte for byte."""
    assert public_location(location, ORIGINS, PUBLIC) == public


@pytest.mark.parametrize(
    "location",
    [
        b"/api/entities/1",
        b"1?x=http://app/",
        b"",
        b"http://other/x",
        b"http://app.example.com/x",
        b"http://app:81/x",
        b"https://app/x",
        b"http://app:80@evil.example/x",
        b"http://user@app/x",
        b"http://10.0.0.7:9000.evil.example/x",
        b"http://app\\@evil.example/x",
        b"ftp://app/x",
        b"urn:app",
        b"\xff\xfe",
    ],
)
def test_anything_else_stays_as_it_is(location):
    """Relative references, other origins, and what only looks like ours."""
    assert public_location(location, ORIGINS, PUBLIC) == location


def test_a_public_url_with_a_slash_adds_none():
    """The path begins once."""
    assert (
        public_location(b"http://app/x", ORIGINS, b"https://api.example.com/") == b"https://api.example.com/x"
    )


@given(st.binary(max_size=60))
def test_never_fails_and_keeps_the_rest(location):
    """Any bytes behind an origin of ours stay, and any bytes at all are taken."""
    public_location(location, ORIGINS, PUBLIC)

    assert public_location(b"http://app/" + location, ORIGINS, PUBLIC) == PUBLIC + b"/" + location
