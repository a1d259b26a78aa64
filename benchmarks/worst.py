"""python -m benchmarks.worst: what the worst clients take of a worker's memory, two thousand of each kind.

Each kind meets a Weir of its own, with the default bound of `downstream.limits.buffers` and without one. Told
are the most memory that was resident, what each client has added, and how many of them are connected still.
The service answers without an end and does not read.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import resource
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import yaml

from benchmarks.field import free_port

if TYPE_CHECKING:
    from collections.abc import Callable

STEADY_SECONDS = 6.0  # in which what can pile up does
RECEIVE_BYTES = 4096  # of a client that does not read
DESCRIPTORS_EACH = 2
KIB, MIB = 1024, 1024 * 1024


class Kind(NamedTuple):
    """What a client says, and whether it says so again and again."""

    said: Callable[[], bytes]
    goes_on: bool = False
    is_secure: bool = False
    shakes_hands: bool = False


def hello() -> bytes:
    """The first words of a client of TLS."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


GET = b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n"
KINDS = {
    "says nothing": Kind(lambda: b""),
    "does not read its answer": Kind(lambda: GET),
    "sends ahead and does not read": Kind(lambda: GET * 2000, goes_on=True),
    "does not end a head of 30 KiB": Kind(lambda: GET[:-2] + b"X: " + b"y" * 30_000),
    "does not go on with its upload": Kind(
        lambda: b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000
    ),
    "uploads what nobody reads": Kind(
        lambda: b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n" + b"x" * 1_000_000,
        goes_on=True,
    ),
    "has sent 300 KB at once by TLS, and rests": Kind(
        lambda: b"POST /taken HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300_000,
        is_secure=True,
        shakes_hands=True,
    ),
    "says nothing, where TLS is spoken": Kind(lambda: b"", is_secure=True),
    "says half of a hello": Kind(lambda: hello()[:100], is_secure=True),
    "says a hello and no more": Kind(hello, is_secure=True),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worst")
    parser.add_argument("--clients", type=int, default=2000)
    parser.add_argument("--kinds", nargs="*", choices=list(KINDS), default=list(KINDS))
    options = parser.parse_args()
    needed = options.clients * DESCRIPTORS_EACH + 200
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (needed, max(needed, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    )
    print("| kind | buffers | at rest MiB | most MiB | each KiB | connected still |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for name in options.kinds:
        for bound in ("48MiB", None) if not KINDS[name].is_secure else ("48MiB",):
            with tempfile.TemporaryDirectory(prefix="weir-worst-") as folder:
                told = asyncio.run(measured(Path(folder), KINDS[name], bound, options.clients))
            print(f"| {name} | {bound} | " + " | ".join(told) + " |", flush=True)


async def measured(folder: Path, kind: Kind, bound: str | None, clients: int) -> list[str]:
    service = await asyncio.start_server(endless, "127.0.0.1", 0, backlog=1024)
    port = free_port()
    listen: dict[str, object] = {"address": f"127.0.0.1:{port}"}
    if kind.is_secure:
        listen["tls"] = papers(folder)
    settings = {
        "listen": [listen],
        "admin": {"listen": f"127.0.0.1:{free_port()}"},
        "upstream": {"servers": [f"http://127.0.0.1:{service.sockets[0].getsockname()[1]}"]},
        "downstream": {"limits": {"buffers": bound}, "timeouts": {"head": "60s"}},
        "limits": [],
        "log": {"access": "off"},
    }
    config = folder / "weir.yaml"
    config.write_text(yaml.safe_dump(settings))
    weir = subprocess.Popen(  # noqa: ASYNC220 - it is ended below
        [sys.executable, "-m", "proxy", "run", "--config", str(config)], stderr=subprocess.DEVNULL
    )
    socks: list[socket.socket] = []
    try:
        await ready(port)
        at_rest = resident(weir.pid, "VmRSS")
        socks = await crowd(port, kind, clients)
        most, until = 0, time.monotonic() + STEADY_SECONDS
        while time.monotonic() < until:
            say_more(socks, kind)
            most = max(most, resident(weir.pid, "VmHWM"))
            await asyncio.sleep(0.1)
        left = sum(map(is_open, socks))
    finally:
        for sock in socks:
            sock.close()
        weir.kill()
        weir.wait()
        service.close()
    each = (most - at_rest) / clients
    return [f"{at_rest / MIB:.0f}", f"{most / MIB:.0f}", f"{each / KIB:.1f}", str(left)]


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reads a head and no more; an upload has no answer."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        head = await reader.readuntil(b"\r\n\r\n")
        while head.startswith(b"POST"):
            await reader.readexactly(300_000)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
        reader._transport.pause_reading()  # type: ignore[attr-defined]  # noqa: SLF001 - a service that hangs
        if head.startswith(b"GET"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
            while True:
                writer.write(b"x" * 65536)
                await writer.drain()
        await asyncio.Event().wait()


def papers(folder: Path) -> dict[str, str]:
    """A certificate of its own."""
    cert, key = str(folder / "cert.pem"), str(folder / "key.pem")
    made = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    subprocess.run([*made, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return {"cert": cert, "key": key}


async def ready(port: int) -> None:
    for _ in range(200):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.1)
        else:
            writer.close()
            await asyncio.sleep(0.5)
            return
    raise SystemExit("weir does not start")


async def crowd(port: int, kind: Kind, clients: int) -> list[socket.socket]:
    socks = []
    for number in range(clients):
        sock = socket.socket()
        sock.settimeout(0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        sock.bind((f"127.0.1.{1 + number % 8}", 0))
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        if kind.shakes_hands:
            sock = await asyncio.to_thread(secured, sock, kind.said())
        else:
            with contextlib.suppress(OSError):
                sock.send(kind.said())
        socks.append(sock)
    return socks


def secured(sock: socket.socket, said: bytes) -> socket.socket:
    """Says it in one piece, as if it had waited for a worker that was busy."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    sock.settimeout(10)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing)
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            sock.sendall(outgoing.read())
            incoming.write(sock.recv(65536))
    tls.write(said)
    sock.sendall(outgoing.read())
    return sock


def say_more(socks: list[socket.socket], kind: Kind) -> None:
    for sock in socks if kind.goes_on else ():
        with contextlib.suppress(OSError):  # it takes no more, or has left
            sock.send(b"x" * MIB if kind.said().startswith(b"PUT") else GET * 2000)


def is_open(sock: socket.socket) -> bool:
    """What it was sent lies there, and no end behind it that could be seen."""
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == 1  # TCP_ESTABLISHED
    except OSError:
        return False


def resident(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * KIB
    raise AssertionError(name)


if __name__ == "__main__":
    main()
