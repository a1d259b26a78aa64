"""The load: requests as bytes, the generator (load.c) on its own core, and what it printed."""

from __future__ import annotations

import json
import random
import struct
import subprocess
from dataclasses import dataclass

from benchmarks import programs

HEADERS = (
    b"User-Agent: python-requests/2.32\r\n"
    b"Accept: application/json\r\n"
    b"Accept-Encoding: gzip, deflate\r\n"
    b"Connection: keep-alive\r\n"
)


@dataclass(frozen=True)
class Load:
    """One run's outcome. Times in milliseconds."""

    requests: int
    per_second: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    refused: int  # answers of 4xx and 5xx
    errors: int  # connections that broke, answers that are none
    bytes: int


def requests(path: str, users: int, body_bytes: int = 0, more: bytes = b"", first: int = 0) -> bytes:
    """One request for each user, as the generator reads them; in any order.

    `more` are header lines; the numbers of the users begin with `first`.
    """
    names = [f"benchmark-user-{number:05d}-0123456789abcdef" for number in range(first, first + users)]
    random.Random(1).shuffle(names)
    return b"".join(_framed(_request(path, name, body_bytes, more)) for name in names)


def _request(path: str, user: str, body_bytes: int, more: bytes) -> bytes:
    lines = b"Host: api.example.com\r\n%b%bX-Auth-Token: %b\r\n" % (HEADERS, more, user.encode())
    if not body_bytes:
        return b"GET %b HTTP/1.1\r\n%b\r\n" % (path.encode(), lines)
    lines += b"Content-Type: application/json\r\nContent-Length: %d\r\n" % body_bytes
    body = b'{"a":"' + b"x" * (body_bytes - 8) + b'"}'
    return b"POST %b HTTP/1.1\r\n%b\r\n%b" % (path.encode(), lines, body)


def _framed(request: bytes) -> bytes:
    return struct.pack("<I", len(request)) + request


def run(
    port: int,
    data: bytes,
    *,
    connections: int,
    seconds: float,
    core: int,
    mixed: bool = False,
    rate: float = 0,
) -> Load:
    """As fast as it goes, or at `rate` requests a second. Bounded by `seconds` and a little."""
    command = ["taskset", "-c", str(core), str(programs.load_generator()), "127.0.0.1", str(port)]
    command += [str(connections), str(seconds), str(rate), "mixed" if mixed else "own"]
    done = subprocess.run(command, input=data, capture_output=True, timeout=seconds + 30, check=False)
    if done.returncode:
        raise RuntimeError(f"the load ended with {done.returncode}: {done.stderr.decode()[-500:]}")
    return parse(done.stdout)


def parse(text: bytes) -> Load:
    return Load(**json.loads(text))
