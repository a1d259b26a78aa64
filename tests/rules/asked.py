"""Requests and answers by a config that is written as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.config.loader import loads
from proxy.http1.head import RequestHead, ResponseHead, request_head, response_head
from proxy.rules.rules import Rules

if TYPE_CHECKING:
    from proxy.policy.decision import Charge
    from proxy.rules.heads import Facts

BASE = "upstream: {servers: ['http://a']}\n"
PEER = "192.0.2.7"
LIMIT = "limits: [{name: a, rate: 15/s, key: client-ip}]\n"


def rules(text: str = "", base: str = BASE) -> Rules:
    return Rules(loads(base + text, "weir.yaml", environ={}))


def request(*lines: str, line: str = "GET / HTTP/1.1", before: RequestHead | None = None) -> RequestHead:
    """`before` is the one that came on the same connection."""
    data = "\r\n".join([line, "Host: a", *lines, "", ""]).encode()
    head = request_head(data, 8192, 100, before)
    assert isinstance(head, RequestHead)
    return head


def charges_of(by: Rules, *lines: str, peer: str = PEER) -> list[Charge]:
    """Of a request that is clear."""
    due = by.limits.charges(request(*lines), peer)
    assert isinstance(due, tuple)
    return due[0]


def told(by: Rules, *lines: str, peer: str = PEER, **more: str) -> tuple[RequestHead, Facts]:
    """The head and what is worked out from it."""
    head = request(*lines, **more)
    return head, by.heads.facts(head, peer, b"http")


def answer(*lines: str, status: str = "200 OK") -> ResponseHead:
    """To a GET."""
    data = "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode()
    head = response_head(data, b"GET")
    assert isinstance(head, ResponseHead)
    return head
