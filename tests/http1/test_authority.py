"""Hosts: test_head.py has the table of what is refused; here is what is the same host."""

import pytest

from proxy.http1.authority import is_authority, is_same_authority


@pytest.mark.parametrize(
    ("one", "other", "scheme", "is_same"),
    [
        (b"a.example", b"A.Example", b"http", True),
        (b"a.example:80", b"a.example", b"HTTP", True),
        (b"a.example", b"a.example:443", b"https", True),
        (b"a.example:80", b"a.example", b"https", False),
        (b"a.example:8080", b"a.example", b"http", False),
        (b"[::1]:80", b"[::1]", b"http", True),
        (b"a.example", b"b.example", b"http", False),
        (b"a.example", b"a.example.", b"http", False),
    ],
)
def test_same_host_and_port_are_the_same_authority(one, other, scheme, is_same):
    """The scheme's own port may be left out (RFC 9110 section 4.2.3)."""
    assert is_same_authority(one, other, scheme) is is_same
    assert is_same_authority(other, one, scheme) is is_same


@pytest.mark.parametrize("port", [b"0", b"1", b"080", b"65535"])
def test_port_is_a_number_of_16_bits(port):
    assert is_authority(b"a:" + port)
    assert not is_authority(b"a:" + port + b"x")


def test_authority_is_judged_in_linear_time():
    """Nothing in here backtracks: it would take hours."""
    assert not is_authority(b"a" * 8000 + b"%")
    assert not is_authority(b"%aa" * 2700 + b"\xff")


@pytest.mark.parametrize(
    ("value", "may_be"),
    [
        (b"a.example", True),
        (b"[2001:db8::7]:80", True),
        (b"[2001:db8::7::1]", False),
        (b"[v1.a]", False),
        (b"a:65536", False),
        (b":80", False),
        (b"", False),
        (b"a b", False),
    ],
)
def test_authority_is_a_host_and_perhaps_a_port(value, may_be):
    assert is_authority(value) is may_be
