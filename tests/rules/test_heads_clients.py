"""Whom trusted peers name: walked once, and then remembered by what they say."""

import pytest

from proxy.clients.networks import CLIENTS_KNOWN
from proxy.config.loader import loads
from proxy.http1.head import request_head
from proxy.rules.heads import TOLD_BYTES
from proxy.rules.rules import Rules

CONFIG = """
upstream: {servers: ["http://127.0.0.1:9000"]}
forwarded: {trust: [10.0.0.0/8]}
"""
ONE, OTHER, STRANGER = "10.0.0.1", "10.0.0.2", "203.0.113.9"


class Clients:
    def __init__(self) -> None:
        self.heads = Rules(loads(CONFIG, "weir.yaml", environ={})).heads

    def __call__(self, told, peer=ONE):
        data = b"GET / HTTP/1.1\r\nHost: shop.example\r\nX-Forwarded-For: %b\r\n\r\n" % told
        return self.heads.facts(request_head(data, 8192, 100), peer, b"http").client

    @property
    def known(self):
        return self.heads._clients


@pytest.fixture
def client():
    return Clients()


def test_client_is_the_same_whoever_tells_it(client):
    assert [client(b"198.51.100.7"), client(b"198.51.100.7", OTHER)] == ["198.51.100.7"] * 2
    assert len(client.known) == 1


def test_what_names_nobody_is_the_peer_who_says_it(client):
    """Remembered, one proxy's clients would be charged to another."""
    assert [client(b"unknown", ONE), client(b"unknown", OTHER)] == [ONE, OTHER]
    assert client(b"", OTHER) == OTHER


def test_stranger_is_not_believed_what_a_proxy_said_before(client):
    client(b"198.51.100.7", ONE)

    assert client(b"198.51.100.7", STRANGER) == STRANGER


def test_flood_of_clients_takes_no_memory(client):
    client(b"192.0.2.1, " * 20 + b"192.0.2.7")

    assert client.known == {}
    for number in range(CLIENTS_KNOWN + 10):
        client(b"100.64.%d.%d" % divmod(number, 256))
    assert len(client.known) <= CLIENTS_KNOWN
    assert max(map(len, client.known)) <= TOLD_BYTES
    assert client(b"100.64.0.0") == "100.64.0.0"
