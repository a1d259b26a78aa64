"""The Forwarded field: what hops said in it, and the element that Weir adds."""

from __future__ import annotations

import time
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.clients.networks import Networks
from proxy.http1.forwarded import FORWARDED, client_address, way_lines
from proxy.http1.forwarded_field import element, hops
from tests.http1.test_forwarded import PROXY, TRUSTED, head

FIELDS = {
    b"for=192.0.2.60": ["192.0.2.60"],
    b"for=192.0.2.60;proto=http;by=203.0.113.43": ["192.0.2.60"],
    b"For=192.0.2.43, FOR=198.51.100.17": ["192.0.2.43", "198.51.100.17"],
    b'for="[2001:db8:cafe::17]:4711"': ["[2001:db8:cafe::17]:4711"],
    b'for="192.0.2.43:47011"': ["192.0.2.43:47011"],
    b"for=unknown, for=_gazonk": ["unknown", "_gazonk"],
    b'for="a\\"b,c;for=1.1.1.1", for=2.2.2.2': ['a"b,c;for=1.1.1.1', "2.2.2.2"],
    b"proto=https": [""],
    b"for=1.1.1.1;for=2.2.2.2": [""],
    b"": [],
    b" , for=1.1.1.1 ,, ": ["1.1.1.1"],
    b"for=1.1.1.1 2.2.2.2": [],
    b'for="1.1.1.1': [],
    b"for=[2001:db8::1]": [],
    b"for = 1.1.1.1": [],
    b"for=1.1.1.1\x00": [],
    b"for=" + b"1" * 9000: [],
}


@pytest.mark.parametrize(("value", "found"), FIELDS.items(), ids=lambda value: repr(value)[:40])
def test_hops_are_read_in_one_way_or_not_at_all(value, found):
    assert hops(value) == found


@given(st.binary() | st.text(' \t,;="for\\1.', max_size=60).map(str.encode))
def test_any_value_can_be_read(value):
    assert all(isinstance(hop, str) for hop in hops(value))


@pytest.mark.parametrize(
    "value", [b" " * 8000 + b"x y", b"a=" * 4000, b'a="' * 2700, b"," * 8000, b";" * 8000]
)
def test_time_is_linear(value):
    begin = time.process_time()
    hops(value)
    assert time.process_time() - begin < 0.1


@pytest.mark.parametrize(
    ("value", "client"),
    [
        (b"for=198.51.100.7", "198.51.100.7"),
        (b"for=1.1.1.1, for=198.51.100.7", "198.51.100.7"),
        (b'for="198.51.100.7:99", for=10.0.0.2', "198.51.100.7"),
        (b'for="[2001:db8::7]:99", for=10.0.0.2', "2001:db8::7"),
        (b"for=1.1.1.1, for=unknown, for=10.0.0.2", "10.0.0.2"),
        (b"for=1.1.1.1, for=_hidden", PROXY),
        (b'for=1.1.1.1, for="', PROXY),
    ],
)
def test_walk_goes_right_to_left_and_ends_at_what_is_not_known(value, client):
    request = head(b"Forwarded: " + value, b"X-Forwarded-For: 9.9.9.9")
    assert client_address(request, PROXY, TRUSTED, FORWARDED) == client


@given(st.text(' ,;="for:[]1.2unknow_', max_size=80))
def test_who_is_not_trusted_cannot_choose_who_is_charged(claim):
    """Neither alone nor through a trusted hop that adds what it saw."""
    value = claim.encode()
    assert client_address(head(b"Forwarded: " + value), "198.51.100.7", TRUSTED, FORWARDED) == "198.51.100.7"
    added = b"%b, for=198.51.100.7" % value if value else b"for=198.51.100.7"
    seen = client_address(head(b"Forwarded: " + added), PROXY, TRUSTED, FORWARDED)
    assert seen in ("198.51.100.7", PROXY)


@pytest.mark.parametrize(
    ("address", "host", "written"),
    [
        ("192.0.2.1", b"example.com", b"for=192.0.2.1;proto=http;host=example.com"),
        ("2001:db8::1", b"example.com:81", b'for="[2001:db8::1]";proto=http;host="example.com:81"'),
        ("", b"", b"for=unknown;proto=http"),
        ("fe80::1%eth0", b"[::1]", b'for="[fe80::1]";proto=http;host="[::1]"'),
        ("::ffff:192.0.2.1", b"a", b"for=192.0.2.1;proto=http;host=a"),
    ],
)
def test_own_element(address, host, written):
    assert element(address, host, b"http") == written
    assert len(hops(b"for=1.1.1.1, " + written)) == 2


def test_service_is_told_by_one_field_only():
    """What the other one says is nobody's word."""
    claims = [
        b"Forwarded: for=1.1.1.1",
        b"X-Forwarded-For: 2.2.2.2",
        b"X-Forwarded-Proto: https",
        b"X-Real-IP: 3.3.3.3",
    ]
    request = head(*claims)
    own = b"for=10.0.0.1;proto=http;host=a.example"
    told = way_lines(request, "10.0.0.1", b"http", FORWARDED, is_trusted=True)
    assert told == b"Via: 1.1 weir\r\nForwarded: for=1.1.1.1, " + own + b"\r\n"
    told = way_lines(request, "10.0.0.1", b"http", FORWARDED, is_trusted=False)
    assert told == b"Via: 1.1 weir\r\nForwarded: " + own + b"\r\n"
    malformed = way_lines(head(b'Forwarded: for="'), "10.0.0.1", b"http", FORWARDED, is_trusted=True)
    assert malformed == told  # our own element would stand within its quotes
    assert b"Forwarded: " not in way_lines(request, "10.0.0.1", b"http", is_trusted=True).replace(b"X-", b"")


def test_nobody_is_believed_where_nobody_is_trusted():
    assert (
        client_address(
            head(b"Forwarded: for=1.1.1.1"), PROXY, Networks([ip_network("192.0.2.0/24")]), FORWARDED
        )
        == PROXY
    )
