"""python -m benchmarks.core: microseconds for the pure functions of the hot path, best of five."""

from __future__ import annotations

import timeit
from typing import TYPE_CHECKING

from proxy.config.loader import loads
from proxy.faults import Fault
from proxy.http1.chunked import ChunkedDecoder
from proxy.http1.head import RequestHead, ResponseHead, request_head, response_head
from proxy.http1.headers import request_lines, response_lines
from proxy.limiter.memory import MemoryStore
from proxy.policy.fields import DRAFT10, fields
from proxy.record import Record
from proxy.rules.rules import Rules

if TYPE_CHECKING:
    from collections.abc import Callable

REQUEST = (
    b"GET /api/entities/10657?loadLevel=2 HTTP/1.1\r\nHost: api.example.com\r\n"
    b"User-Agent: python-requests/2.32\r\n"
    b"Accept-Encoding: gzip, deflate\r\nAccept: application/json\r\nConnection: keep-alive\r\n"
    b'X-Auth-Token: 0123456789abcdef0123456789abcdef\r\nIf-None-Match: "KEWz1VCr0123456789="\r\n\r\n'
)
RESPONSE = (
    b"HTTP/1.1 200 OK\r\nServer: Kestrel\r\nDate: Mon, 23 Nov 2026 02:00:00 GMT\r\n"
    b"Content-Type: application/json\r\n"
    b'Content-Length: 512\r\nConnection: keep-alive\r\nETag: "KEWz1VCr0123456789="\r\n\r\n'
)
CHUNKED = b"200\r\n" + b"x" * 512 + b"\r\n0\r\n\r\n"
CONFIG = """
upstream: {servers: ["http://127.0.0.1:9000"]}
limits:
  - {name: per-user, rate: 1000000/s, burst: 1000000}
  - {name: once, rate: 1/d, burst: 1, match: {paths: ["/never"]}}
"""


def main() -> None:
    for name, call in rows():
        print(f"{name:44} {microseconds(call):6.2f} us")


def microseconds(call: Callable[[], object], number: int = 20_000) -> float:
    return min(timeit.repeat(call, number=number, repeat=5)) / number * 1e6


def rows() -> list[tuple[str, Callable[[], object]]]:
    rules = Rules(loads(CONFIG, "weir.yaml", environ={}))
    head = request_head(REQUEST, 8192, 100)
    answer = response_head(RESPONSE, b"GET")
    assert isinstance(head, RequestHead)
    assert isinstance(answer, ResponseHead)
    store = MemoryStore()
    store.configure(rules.limits)
    due = rules.limits.charges(head, "10.1.2.3")
    assert not isinstance(due, Fault)
    charges, _ = due
    exchange = Record(b"GET", b"/api/entities/10657", "10.1.2.3", 0.0)
    exchange.request_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    decision = exchange.decision = store.take(charges, _Nobody())
    facts = rules.heads.facts(head, "10.1.2.3", b"http")
    return [
        ("a request's head, judged", lambda: request_head(REQUEST, 8192, 100)),
        ("... that repeats the one before", lambda: request_head(REQUEST, 8192, 100, head)),
        ("its lines to the server", lambda: request_lines(head)),
        ("charges, with the hash of the key", lambda: rules.limits.charges(head, "10.1.2.3")),
        ("take from a bucket in memory", lambda: store.take(charges, _Nobody())),
        ("RateLimit fields", lambda: fields(decision, DRAFT10)),
        (
            "the request's head to the server, written",
            lambda: rules.heads.request(head, facts, exchange.request_id, b"127.0.0.1:9000"),
        ),
        ("a response's head, judged", lambda: response_head(RESPONSE, b"GET")),
        ("its lines to the client", lambda: response_lines(answer)),
        (
            "the response's head to the client, written",
            lambda: rules.heads.response(answer, head, decision, exchange.request_id, b"\r\n"),
        ),
        ("an error object", lambda: rules.pages.problems.pieces(429, "x", 32, ("per-user",))),
        ("a chunked body of 512 bytes", lambda: ChunkedDecoder().decode(CHUNKED)),
    ]


class _Nobody:
    """Waits for nothing: the memory store answers at once."""

    def decided(self, decision: object) -> None:
        raise AssertionError(decision)


if __name__ == "__main__":
    main()
