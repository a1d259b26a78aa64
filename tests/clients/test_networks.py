from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.clients.networks import CLIENTS_KNOWN, Networks, address_texts, partition_of


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff"),
        ("2001:db8:1:2::1", "2001:DB8:1:2:0:0:0:9"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::ffff:c000:207", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::1%eth1"),
        ("fe80::1%eth0", "fe80::2"),
    ],
)
def test_addresses_of_one_subscriber_share_a_bucket(one, other):
    """IPv6 by /64, IPv4 within IPv6 is IPv4, zones do not count."""
    assert partition_of(one) == partition_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("192.0.2.7", "192.0.2.8"),
        ("2001:db8:1:2::1", "2001:db8:1:3::1"),
        ("::192.0.2.7", "192.0.2.7"),  # deprecated form, an IPv6 address of its own
        ("unix:/run/a.sock", "unix:/run/b.sock"),
        ("192.0.2.7", "unix:"),
        ("", "0.0.0.0"),
        ("1.2.3.4", "\x01\x02\x03\x04"),
    ],
)
def test_other_clients_have_buckets_of_their_own(one, other):
    assert partition_of(one) != partition_of(other)


@pytest.mark.parametrize(
    "client", ["", "unix:", "/run/weir.sock", "1.2.3", "1.2.3.4.5", "01.2.3.4", ":::", "%", "\udcff"]
)
def test_what_is_no_address_stands_for_itself(client):
    """Peers of Unix sockets have no address; nothing crashes."""
    assert partition_of(client) == b"=" + client.encode("utf-8", "surrogatepass")
    assert not Networks((ip_network("0.0.0.0/0"), ip_network("::/0"))).covers(client)


@given(st.ip_addresses(v=6))
def test_every_ipv6_address_is_its_network(address):
    """The first 64 bits decide, but for IPv4 within IPv6."""
    network = ip_network((int(address) >> 64 << 64, 64))
    ipv4 = address.ipv4_mapped is not None or address in ip_network("64:ff9b::/96")
    expected = b"4" + address.packed[-4:] if ipv4 else b"6" + network.network_address.packed[:8]

    assert partition_of(str(address)) == expected
    assert partition_of(address.exploded) == expected


@pytest.mark.parametrize(
    ("prefix", "one", "other", "shares"),
    [
        (64, "2001:db8:0:1::1", "2001:db8:0:1:ffff::1", True),
        (64, "2001:db8:0:1::1", "2001:db8:0:2::1", False),
        (48, "2001:db8:0:1::1", "2001:db8:0:2::1", True),
        (48, "2001:db8:0::1", "2001:db8:1::1", False),
        (60, "2001:db8:0:10::1", "2001:db8:0:1f::1", True),
        (60, "2001:db8:0:10::1", "2001:db8:0:20::1", False),
        (128, "2001:db8::1", "2001:db8::2", False),
        (128, "2001:db8::1", "2001:db8:0::1", True),
    ],
)
def test_client_is_as_many_bits_as_are_said(prefix, one, other, shares):
    assert (partition_of(one, prefix) == partition_of(other, prefix)) is shares


def test_client_behind_nat64_is_its_ipv4_address():
    """All of them would share one /64 (RFC 6052)."""
    assert partition_of("64:ff9b::192.0.2.7") == partition_of("192.0.2.7")
    assert partition_of("64:ff9b::192.0.2.8") != partition_of("64:ff9b::192.0.2.7")
    assert partition_of("64:ff9b:1::192.0.2.7") != partition_of("192.0.2.7")


def test_address_behind_nat64_is_in_the_network_of_its_ipv4_address():
    """It shares a bucket with it; but a proxy that is trusted to speak for others is no other than it says."""
    networks = (ip_network("192.0.2.0/24"),)

    assert Networks(networks).covers("64:ff9b::192.0.2.7")
    assert not Networks(networks).covers("64:ff9b::198.51.100.7")
    assert not Networks(networks, is_strict=True).covers("64:ff9b::192.0.2.7")
    assert Networks((ip_network("64:ff9b::/96"),), is_strict=True).covers("64:ff9b::192.0.2.7")


@pytest.mark.parametrize("is_strict", [False, True])
def test_network_that_is_written_as_ipv4_within_ipv6_is_ipv4(is_strict):
    networks = Networks((ip_network("::ffff:10.0.0.0/104"),), is_strict=is_strict)

    assert networks.covers("10.1.2.3")
    assert networks.covers("::ffff:10.1.2.3")
    assert not networks.covers("11.0.0.1")
    assert Networks((ip_network("::/0"),), is_strict=is_strict).covers("2001:db8::1")


def test_peers_on_unix_sockets_are_covered_if_they_are_named():
    """Others than they have an address."""
    networks = Networks(("unix:", ip_network("10.0.0.0/8")))

    assert networks.covers("")
    assert networks.covers("10.0.0.1")
    assert not networks.covers("192.0.2.7")
    assert Networks(("unix:",))
    assert not Networks((ip_network("10.0.0.0/8"),)).covers("")


def test_networks_cover_what_is_in_them():
    networks = Networks((ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")))

    assert networks.covers("10.255.0.1")
    assert networks.covers("::ffff:10.0.0.1")
    assert networks.covers("2001:db8::1%eth0")
    assert not networks.covers("11.0.0.1")
    assert not networks.covers("2001:db9::1")
    assert not networks.covers("::a00:1")


def test_no_networks_are_false():
    assert not Networks(())
    assert Networks((ip_network("10.0.0.0/8"),))


def test_flood_of_clients_is_remembered_within_bounds():
    """Two answers a client are kept, for 4096 clients at most."""
    networks = Networks((ip_network("10.0.0.0/8"),))
    for number in range(3 * CLIENTS_KNOWN):
        client = str(ip_address(number))
        networks.covers(client)
        partition_of(client)

    assert len(networks._known) <= CLIENTS_KNOWN
    assert partition_of.cache_info().currsize <= CLIENTS_KNOWN
    assert networks.covers("10.0.0.1")
    assert not networks.covers("11.0.0.1")


@pytest.mark.parametrize(
    ("client", "texts"),
    [
        ("192.0.2.7", [b"192.0.2.7"]),
        ("2001:DB8::7", [b"2001:db8::7", b"2001:db8::/64"]),
        ("64:ff9b::192.0.2.7", [b"192.0.2.7"]),
        ("::ffff:192.0.2.7", [b"192.0.2.7"]),
        ("unix:/run/a.sock", [b"unix:/run/a.sock"]),
    ],
)
def test_operators_write_an_address_or_the_network_that_shares_its_bucket(client, texts):
    assert address_texts(client) == texts


def test_peers_on_unix_sockets_are_trusted_by_their_name():
    assert Networks(["unix:"]).covers("")
    assert not Networks([]).covers("")
    assert not Networks(["unix:"]).covers("192.0.2.7")


def test_network_covers_its_addresses_whenever_it_is_asked():
    """The second answer is a memory of the first."""
    networks = Networks([ip_network("192.0.2.0/24")])

    for _ in range(2):
        assert networks.covers("192.0.2.7")
        assert not networks.covers("198.51.100.7")


PARTS = st.sampled_from(
    ["0", "00", "01", "1", "99", "255", "256", "9999", "", "a", "\u0663", " 1", "1\n", "+1", "1_0"]
)


@given(st.lists(PARTS, min_size=3, max_size=5).map(".".join))
@example("1.2.3.256")
@example("1.2.3.01")
@example("1.2.3.4")
def test_short_way_takes_what_the_standard_library_takes(text):
    try:
        expected = b"4" + ip_address(text).packed
    except ValueError:
        expected = b"=" + text.encode()

    assert partition_of(text) == expected
