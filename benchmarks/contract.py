"""python -m benchmarks.contract [story] [sockets]: what keeping the contract costs, in CPU time of a request.

story     in this process: whole exchanges without sockets, with the judgement of answers and without
sockets   CPU of a Weir of its own over real sockets: a redacted 500 and others beside an ordinary answer
"""

from __future__ import annotations

import asyncio
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import timeit
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from benchmarks import accounting
from benchmarks.core import RESPONSE
from proxy.config.loader import loads
from proxy.gateway import Exchange
from proxy.http1.head import RequestHead, request_head, response_head
from proxy.limiter.memory import MemoryStore
from proxy.rules.rules import Rules
from proxy.shared import Shared
from proxy.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from proxy.http1.head import ResponseHead
    from proxy.net.upstream import UpstreamConnection

LIMIT = {"name": "per-user", "rate": "1000000/s", "burst": 1_000_000}
OPT_INS: dict[str, Any] = {"contract": {"edge_etags": True}, "errors": {"leak_guard": "redact"}}
REQUEST = (
    b"GET /%b HTTP/1.1\r\nHost: api.example.com\r\nAccept: application/json\r\n"
    b"X-Auth-Token: 0123456789abcdef\r\n%b\r\n"
)
BODY = b'{"id": 17, "name": "poster", "text": "' + b"x" * 470 + b'"}'
TRACE = (
    b"System.NullReferenceException: no session\n   at Acme.Hub.Open(String name) in /srv/Store.cs:line 42\n"
    * 20
)
CREATED = b"Location: /api/entities/18\r\nX-Global-Identifier: dT7ZL0w2K\r\n"


def main() -> None:
    for name in sys.argv[1:] or ["story", "sockets"]:
        print(f"\n{name}")
        {"story": story, "sockets": lambda: uvloop.run(sockets())}[name]()


def settings(port: int, origin: int, **changes: Any) -> str:
    base: dict[str, Any] = {
        "listen": f"127.0.0.1:{port}",
        "upstream": {"servers": [f"http://127.0.0.1:{origin}"]},
    }
    base |= {"admin": {"listen": f"127.0.0.1:{free_port()}"}, "limits": [LIMIT], "log": {"access": "off"}}
    return json.dumps(base | changes)


# --- story ---


class Unjudged(Exchange):
    """Every answer passes, whatever it is."""

    __slots__ = ()

    def response_head(self, upstream: UpstreamConnection, head: ResponseHead, data: bytes) -> None:  # noqa: ARG002 - as it is called
        self.answer(head, data)


class Socket:
    """Either side's connection, as an exchange sees it: takes everything."""

    peer, scheme, is_write_paused, body = "127.0.0.1", b"http", False, None
    name, authority = "127.0.0.1:9", b"127.0.0.1:9"

    def __init__(self) -> None:
        self.address = self

    def nothing(self, *_: object, **__: object) -> None: ...

    write = send_head = finish = linger = expect_within = close = hold = nothing

    def acquire(self, *_: object, **__: object) -> Socket:
        return self


def exchanges(kind: type[Exchange], answer: bytes, **changes: Any) -> float:
    """Microseconds of one, the least of many rounds."""
    both: Any = Socket()
    rules = Rules(loads(settings(1, 2, **changes), "weir.yaml", environ={}))
    store = MemoryStore()
    store.configure(rules.limits)
    shared = Shared(rules, both, store, Metrics(), Log())  # type: ignore[arg-type]  # a stand-in for the log
    head = request_head(REQUEST % (b"", b""), 8192, 100)
    assert isinstance(head, RequestHead)

    def run() -> None:
        exchange = kind(shared, both, head)
        exchange.begin()
        exchange.response_head(both, response_head(answer, b"GET"), BODY)  # type: ignore[arg-type]  # it is sound
        exchange.response_end([])

    return min(timeit.repeat(run, number=2000, repeat=60)) / 2000 * 1e6


class Log:
    def write(self, exchange: object) -> None: ...


def story() -> None:
    created = RESPONSE.replace(b"200 OK", b"201 Created")[:-2] + CREATED + b"\r\n"
    untagged = RESPONSE.replace(b"ETag", b"X-Tag")
    rows: list[tuple[str, bytes, dict[str, Any]]] = [
        ("200, everything on but opt-ins", RESPONSE, {}),
        ("201, whose fields are checked", created, {}),
        ("200 with leak_guard: report", RESPONSE, {"errors": {"leak_guard": "report"}}),
        ("200 with leak_guard: redact", RESPONSE, {"errors": {"leak_guard": "redact"}}),
        ("200 that gets an ETag here", untagged, {"contract": {"edge_etags": True}}),
        ("200 with both of them", untagged, OPT_INS),
    ]
    for name, answer, changes in rows:
        off, on = exchanges(Unjudged, answer, **changes), exchanges(Exchange, answer, **changes)
        print(f"{name:36} {off:7.2f} us unjudged {on:7.2f} us   {on - off:+6.2f} us")


# --- sockets ---

ANSWERS = {
    b"ordinary": (b"200 OK", b'Content-Type: application/json\r\nETag: "KEWz1VCr"\r\n', BODY),
    b"untagged": (b"200 OK", b"Content-Type: application/json\r\n", BODY),
    b"failing": (
        b"500 Oops",
        b"Content-Type: text/plain\r\nServer: Kestrel\r\nX-Powered-By: ASP.NET\r\n",
        TRACE,
    ),
    b"small failure": (b"500 Oops", b"Content-Type: application/json\r\n", BODY),
}
SAID = {
    name.replace(b" ", b"-"): b"HTTP/1.1 %b\r\n%bContent-Length: %d\r\n\r\n%b"
    % (status, lines, len(body), body)
    for name, (status, lines, body) in ANSWERS.items()
}
CONNECTIONS, REQUESTS, ROUNDS = 16, 6000, 5


class Origin(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(SAID[data[5 : data.index(b" HTTP/1.1")]])


class Client(asyncio.Protocol):
    """Asks for the same again and again; answers are counted by the length that the first one has."""

    def __init__(self, request: bytes, count: int) -> None:
        self.request, self.left, self.length, self.got = request, count, 0, b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.got += data
        end = self.got.find(b"\r\n\r\n") + 4
        if end < 4:
            return
        length = self.got.find(b"Content-Length: ", 0, end)
        body = int(self.got[length + 16 : self.got.index(b"\r\n", length)]) if length >= 0 else 0
        if len(self.got) < end + body:
            return
        self.got = b""
        self.left -= 1
        if self.left:
            self.transport.write(self.request)
        else:
            self.transport.close()
            self.done.set_result(None)


async def burst(port: int, request: bytes) -> None:
    loop = asyncio.get_running_loop()
    each = REQUESTS // CONNECTIONS
    clients = [
        (await loop.create_connection(lambda: Client(request, each), "127.0.0.1", port))[1]
        for _ in range(CONNECTIONS)
    ]
    await asyncio.gather(*(client.done for client in clients))


async def sockets() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Origin, "127.0.0.1", 0)
    origin = server.sockets[0].getsockname()[1]
    etag = b"If-None-Match: *\r\n"
    await compare(origin, {}, {"ordinary": b"", "failing": b"", "small-failure": b""})
    await compare(origin, OPT_INS, {"ordinary": b"", "untagged": b"", "untagged, 304": etag, "failing": b""})
    server.close()


async def compare(origin: int, changes: dict[str, Any], kinds: dict[str, bytes]) -> None:
    """Round about, so that a busy machine disturbs all of them alike."""
    print(f"with {json.dumps(changes)}")
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        file = Path(folder) / "weir.yaml"
        file.write_text(settings(port, origin, **changes))
        process = started(file)
        try:
            spent: dict[str, list[float]] = {kind: [] for kind in kinds}
            await ready(port, process)
            for _ in range(ROUNDS):
                for kind, line in kinds.items():
                    before = accounting.cpu_seconds(process.pid)
                    await burst(port, REQUEST % (kind.partition(",")[0].encode(), line))
                    spent[kind].append((accounting.cpu_seconds(process.pid) - before) / REQUESTS * 1e6)
        finally:
            process.terminate()
            process.wait()
    ordinary = statistics.median(spent["ordinary"])
    for kind, each in spent.items():
        us = statistics.median(each)
        print(f"{kind:16} {us:6.1f} us   {us / ordinary:5.2f} of an ordinary answer")


def started(file: Path) -> subprocess.Popen[bytes]:
    with (file.parent / "log").open("wb") as log:
        return subprocess.Popen([sys.executable, "-m", "proxy", "run", "--config", file], stderr=log)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def ready(port: int, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        try:
            await burst(port, REQUEST % (b"ordinary", b""))
        except OSError:
            await asyncio.sleep(0.1)
        else:
            return
    sys.exit("weir has not started")


if __name__ == "__main__":
    main()
