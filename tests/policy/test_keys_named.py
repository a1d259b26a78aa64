"""Keys of whom an operator names, what plans name them by, and the buckets of addresses."""

from __future__ import annotations

import pytest

from proxy.config.key_names import parse_key
from proxy.policy.keys import Partition
from tests.policy.heads import head

ANA = {"X-Auth-Token": "ana"}
ADDRESS = "2001:db8::7"


def partition(*specs, shares=True):
    return Partition([parse_key(each) for each in specs], b"secret", shares=shares)


@pytest.mark.parametrize(
    ("specs", "named", "headers", "client"),
    [
        (["header:X-Auth-Token", "client-ip"], {"header:X-Auth-Token": "ana"}, ANA, "192.0.2.7"),
        (["header:X-Auth-Token", "client-ip"], {"client-ip": "192.0.2.7"}, {}, "192.0.2.7"),
        (["const"], {"const": ""}, {}, "192.0.2.7"),
        (
            ["header:X-Auth-Token+client-ip"],
            {"header:X-Auth-Token": "ana", "client-ip": ADDRESS},
            ANA,
            ADDRESS,
        ),
    ],
)
def test_key_of_whom_an_operator_names_is_that_of_its_requests(specs, named, headers, client):
    made = partition(*specs)

    assert made.keys(head(headers=headers), client) == [made.key_of(named)]


@pytest.mark.parametrize(
    "named", [{}, {"header:X-Auth-Token": ""}, {"header:Other": "ana"}, {"header:X-Auth-Token": "a\x01"}]
)
def test_nobody_has_such_a_key(named):
    made = partition("header:X-Auth-Token")

    assert made.key_of(named) is None
    assert made.texts_of(named) == []


def test_plans_name_somebody_by_the_texts_of_each_part():
    """Of an IPv6 address also its network, of Authorization what follows the scheme."""
    made = partition("header:Authorization", "client-ip")
    request = head(headers={"Authorization": "Bearer YW5hcw"})
    (key,) = made.keys(request, ADDRESS)

    assert made.texts(request, ADDRESS, key) == [b"YW5hcw", b"YW5hcw=="]
    assert made.texts(request, ADDRESS, b"another") == []
    assert made.texts_of({"header:Authorization": "Bearer YW5hcw"}) == [b"YW5hcw", b"YW5hcw=="]
    assert made.texts_of({"client-ip": ADDRESS}) == [b"2001:db8::7", b"2001:db8::/64"]


def test_sources_say_what_each_key_was_read_from():
    made = partition("header:X-Auth-Token", "client-ip")
    request, bare = head(headers=ANA), head()

    assert [source for source, _ in made.sources(request, "192.0.2.7")] == ["header:X-Auth-Token"]
    assert [source for source, _ in made.sources(bare, "192.0.2.7")] == ["client-ip"]
    assert [source for source, _ in partition("header:X").sources(bare, "192.0.2.7")] == ["none"]
    assert partition("header:X", shares=False).sources(bare, "192.0.2.7") == []


def test_address_has_its_bucket_and_one_for_its_new_credentials():
    made = partition("header:X-Auth-Token", "client-ip")
    request = head(headers=ANA)
    by_address = made.address_key(request, "192.0.2.7")

    assert made.fallbacks(request, "192.0.2.7")[0] == by_address == made.keys(head(), "192.0.2.7")[0]
    assert made.newcomers_key(request, "192.0.2.7") not in (by_address, *made.keys(request, "192.0.2.7"))
    assert made.newcomers_key(request, "192.0.2.7") != made.newcomers_key(request, "192.0.2.8")


def test_only_ipv6_clients_share_a_key_by_their_network():
    assert partition("client-ip").is_by_network(ADDRESS)
    assert not partition("client-ip").is_by_network("192.0.2.7")
    assert not partition("header:X").is_by_network(ADDRESS)


def test_request_that_could_be_read_as_two_clients_has_no_key():
    """Its parameter says two things: one could be charged and the other be served."""
    request = head(target="/?a=1&a=2")

    assert partition("query:a").keys(request, "192.0.2.7") is None
    assert partition("client-ip+query:a").keys(request, "192.0.2.7") is None


def test_address_that_is_joined_with_something_absent_gives_way_to_the_next():
    """No first segment, so no bucket of it; one that could be read as two has none at all."""
    made = partition("client-ip+path:1", "client-ip")

    assert made.sources(head(target="/"), "192.0.2.7")[0][0] == "client-ip"
    assert made.sources(head(target="/a"), "192.0.2.7")[0][0] == "client-ip+path:1"
    assert partition("client-ip+path:1").keys(head(target="/a%2Fb/../c"), "192.0.2.7") is None
