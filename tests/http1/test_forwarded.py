"""Who the client is: trusted hops are walked right to left, and what a stranger claims counts for nothing."""

from ipaddress import ip_address, ip_network
from itertools import takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.clients.networks import Networks
from proxy.http1.forwarded import (
    FORWARDED,
    HOPS_MAX,
    bare_address,
    client_address,
    hops,
    strangers_way,
    way_lines,
)
from proxy.http1.head import request_head

TRUSTED = Networks([ip_network("10.0.0.0/8"), ip_network("fd00::/8")])
NOBODY = Networks([])
PROXY = "10.0.0.1"  # a trusted peer
STRANGER = "203.0.113.9"


def head(*fields, minor=1):
    return request_head(
        b"GET / HTTP/1.%d\r\nHost: a.example\r\n%b\r\n" % (minor, b"".join(f + b"\r\n" for f in fields)),
        8192,
        100,
    )


def client(hops, peer=PROXY, trust=TRUSTED):
    return client_address(head(b"X-Forwarded-For: " + hops), peer, trust)


# --- the client ---


def test_stranger_is_itself_whatever_it_claims():
    """Else it could be charged to somebody else, or to a new address each time."""
    assert client(b"198.51.100.7", STRANGER) == STRANGER
    assert client(b"10.0.0.2", STRANGER) == STRANGER
    assert client(b"198.51.100.7", PROXY, NOBODY) == PROXY


def test_peer_is_the_client_without_a_field():
    assert client_address(head(), PROXY, TRUSTED) == PROXY


@pytest.mark.parametrize(
    ("hops", "address"),
    [
        (b"198.51.100.7", "198.51.100.7"),
        (b"198.51.100.7, 10.0.0.2", "198.51.100.7"),
        (b"198.51.100.7,10.0.0.2,\t10.9.9.9 ", "198.51.100.7"),
        (b"192.0.2.66, 198.51.100.7", "198.51.100.7"),
        (b"10.0.0.66, 198.51.100.7, 10.0.0.2", "198.51.100.7"),
        (b"10.0.0.3, 10.0.0.2", "10.0.0.3"),
        (b"198.51.100.7:4711", "198.51.100.7"),
        (b"2001:db8::7", "2001:db8::7"),
        (b"[2001:db8::7]", "2001:db8::7"),
        (b"[2001:db8::7]:4711, fd00::1", "2001:db8::7"),
        (b"2001:DB8:0:0::7", "2001:db8::7"),
        (b"fe80::1%eth0", "fe80::1"),
        (b"[fe80::1%25eth0]:80", "fe80::1"),
        (b"::ffff:198.51.100.7", "198.51.100.7"),
        (b"[::ffff:198.51.100.7]:80, ::ffff:10.0.0.2", "198.51.100.7"),
        (b"198.51.100.7, [fd00::2]:80, 10.0.0.2:90", "198.51.100.7"),
    ],
)
def test_client_is_the_first_from_the_right_that_is_not_trusted(hops, address):
    """What stands further left was written by strangers; one address has one spelling."""
    assert client(hops) == address


@pytest.mark.parametrize(
    ("hops", "address"),
    [
        (b"", PROXY),
        (b",", PROXY),
        (b"unknown", PROXY),
        (b"_hidden", PROXY),
        (b"198.51.100.7, unknown", PROXY),
        (b"198.51.100.7, junk, 10.0.0.2", "10.0.0.2"),
        (b"198.51.100.7,, 10.0.0.2", "10.0.0.2"),
        (b"198.51.100.256", PROXY),
        (b"198.51.100.07", PROXY),
        (b"[2001:db8::7", PROXY),
        (b"[2001:db8::7]x", PROXY),
        (b"2001:db8::7]:80", PROXY),
        (b'"198.51.100.7"', PROXY),
        (b"a.example", PROXY),
        (b"\xff", PROXY),
        (b"1", PROXY),
    ],
)
def test_walk_ends_at_what_is_no_address(hops, address):
    """The last hop that was vouched for is charged then."""
    assert client(hops) == address


def test_walk_reads_repeated_fields_as_one():
    fields = head(b"X-Forwarded-For: 198.51.100.7", b"x-forwarded-for: 10.0.0.2")

    assert client_address(fields, PROXY, TRUSTED) == "198.51.100.7"


def test_walk_is_bounded():
    """A list of trusted hops that is longer than any real one is not read to its end."""
    hops = [b"198.51.100.7"] + [b"10.0.1.%d" % (hop % 250) for hop in range(HOPS_MAX + 8)]

    assert client(b", ".join(hops)) == ip_of(hops[-HOPS_MAX])
    assert client(b", ".join([hops[0], *hops[-HOPS_MAX + 1 :]])) == "198.51.100.7"


def ip_of(hop):
    return str(ip_address(hop.decode()))


addresses = st.one_of(
    st.sampled_from(["10.0.0.2", "10.1.2.3", "fd00::5"]), st.ip_addresses().map(str), st.just("junk")
)


@given(st.lists(addresses, max_size=8))
def test_client_is_the_last_stranger(hops):
    """Of what was written by hops that can be read; the farthest of those if all are trusted."""
    readable = list(takewhile(lambda hop: hop != "junk", reversed(hops)))
    strangers = [hop for hop in readable if not TRUSTED.covers(hop)]

    assert client(", ".join(hops).encode()) == bare_address([*strangers, *readable[-1:], PROXY][0])


# --- trust ---


@pytest.mark.parametrize(
    ("address", "is_covered"),
    [
        ("10.255.255.255", True),
        ("11.0.0.0", False),
        ("::ffff:10.0.0.1", True),
        ("fd12::1", True),
        ("fd12::1%eth0", True),
        ("fe80::1", False),
        ("", False),
        ("junk", False),
    ],
)
def test_trust_covers_its_networks(address, is_covered):
    """Also in the spelling of a socket that takes both families; a peer on a Unix socket has no address."""
    assert TRUSTED.covers(address) is is_covered
    assert TRUSTED.covers(address) is is_covered  # as remembered
    assert not NOBODY.covers(address)


def test_trust_remembers_a_bounded_number_of_peers():
    trust = Networks([ip_network("10.0.0.0/8")])
    for number in range(5000):
        trust.covers(str(ip_address(0x0A000000 + number)))

    assert len(trust._known) <= 4096
    assert trust.covers("10.200.0.1")


# --- what the upstream is told ---


def told(*fields, peer=PROXY, scheme=b"http", is_trusted=False, minor=1):
    lines = way_lines(head(*fields, minor=minor), peer, scheme, is_trusted=is_trusted)
    assert lines.endswith(b"\r\n")
    return lines[:-2].split(b"\r\n")


def test_upstream_is_told_of_a_stranger_only_what_we_saw():
    """Whatever it claims of itself."""
    claims = [
        b"X-Forwarded-For: 1.1.1.1",
        b"X-Forwarded-Proto: https",
        b"X-Forwarded-Host: evil",
        b"X-Real-IP: 1.1.1.1",
    ]

    assert told(*claims, b"X-Forwarded-User: admin", peer=STRANGER) == [
        b"Via: 1.1 weir",
        b"X-Forwarded-For: 203.0.113.9",
        b"X-Forwarded-Proto: http",
        b"X-Forwarded-Host: a.example",
    ]


def test_trusted_peer_is_believed_and_appended():
    claims = [b"X-Forwarded-For: 1.1.1.1", b"x-forwarded-for: 2.2.2.2", b"X-Forwarded-Proto: https"]
    others = [
        b"x-forwarded-Port: 443",
        b"X-Real-IP: 1.1.1.1",
        b"X-Forwarded-Prefix: /a",
        b"X_Forwarded_User: admin",
        b"X-Forwarded-User_Name: admin",
    ]

    assert told(*claims, b"X-Forwarded-Host: b.example", *others, is_trusted=True) == [
        b"Via: 1.1 weir",
        b"X-Forwarded-For: 1.1.1.1, 2.2.2.2, 10.0.0.1",
        b"X-Forwarded-Proto: https",
        b"X-Forwarded-Host: b.example",
        b"x-forwarded-Port: 443",
        b"X-Real-IP: 1.1.1.1",
        b"X-Forwarded-Prefix: /a",
    ]


def test_trusted_peer_that_says_nothing_leaves_what_we_saw():
    assert told(is_trusted=True, scheme=b"https") == [
        b"Via: 1.1 weir",
        b"X-Forwarded-For: 10.0.0.1",
        b"X-Forwarded-Proto: https",
        b"X-Forwarded-Host: a.example",
    ]


@pytest.mark.parametrize("is_trusted", [True, False])
def test_via_is_appended_to(is_trusted):
    """RFC 9110 section 7.6.3: whoever sent it."""
    assert (
        told(b"Via: 1.0 a", b"via: 1.1 b (c)", is_trusted=is_trusted)[0] == b"Via: 1.0 a, 1.1 b (c), 1.1 weir"
    )
    assert told(minor=0, is_trusted=is_trusted)[0] == b"Via: 1.0 weir"


def test_peer_without_an_address_is_unknown():
    """RFC 7239 section 6.2; a Unix socket has none."""
    assert told(peer="")[1] == b"X-Forwarded-For: unknown"


def test_way_of_a_stranger_is_that_of_a_peer_who_says_nothing():
    """Worked out once for each peer: all but the Host, which is the request's."""
    assert strangers_way(STRANGER, b"http") + b"X-Forwarded-Host: a.example" == b"\r\n".join(
        told(peer=STRANGER)
    )
    assert b"X-Forwarded-For: unknown\r\n" in strangers_way("", b"http")


@pytest.mark.parametrize(
    ("is_trusted", "field"),
    [
        (True, b"Forwarded: for=1.1.1.1, for=10.0.0.1;proto=http;host=a.example\r\n"),
        (False, b"Forwarded: for=10.0.0.1;proto=http;host=a.example\r\n"),
    ],
)
def test_way_is_told_in_the_field_of_the_config(is_trusted, field):
    asked = head(b"Forwarded: for=1.1.1.1")

    assert hops(asked, FORWARDED) == ["1.1.1.1"]
    assert way_lines(asked, PROXY, b"http", FORWARDED, is_trusted=is_trusted).endswith(field)
