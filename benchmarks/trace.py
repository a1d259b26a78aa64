"""python -m benchmarks.trace [--figures]: every call that one plain GET makes in Weir, in order.

The GET comes on a connection that is open already, from another user than the one before: its header section
has not been seen, its server's connection rests in the pool. No socket is opened; what both sides send is
handed to the connections. Counted are functions of Weir's own, but not the frames of comprehensions, which
newer Pythons do not have. A test holds docs/architecture.md to the figures.
"""

from __future__ import annotations

import asyncio
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import proxy
from proxy.assembly import assemble
from proxy.config.loader import loads

if TYPE_CHECKING:
    from types import FrameType

    from proxy.net.server_address import ServerAddress

ROOT = Path(proxy.__file__).parent
CONFIG = """
upstream: {servers: ["http://127.0.0.1:9000"]}
log: {access: /dev/null}
limits:
  - {name: per-user, key: [header:X-Auth-Token, client-ip], rate: 15/s}
"""
REQUEST = (
    b"GET /api/entities/10657 HTTP/1.1\r\nHost: api.example.com\r\nAccept: application/json\r\n"
    b"User-Agent: python-requests/2.32\r\nX-Auth-Token: %b\r\n\r\n"
)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class Call(NamedTuple):
    file: str  # below proxy/
    function: str


class Figures(NamedTuple):
    calls: int
    files: int
    changes: int  # of file, from one call to the next


class Wire:
    """The transport of a connection that nobody has at its other end."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 50000) if name == "peername" else None

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def nothing(self) -> None: ...

    pause_reading = resume_reading = write_eof = close = abort = nothing


async def traced() -> list[Call]:
    """The calls, in their order."""
    servers: list[asyncio.Protocol] = []

    async def dial(_: ServerAddress, upstream: asyncio.Protocol) -> None:
        upstream.connection_made(Wire())  # type: ignore[arg-type]  # as far as it is asked
        servers.append(upstream)

    parts = assemble(loads(CONFIG, "weir.yaml", environ={}), dial=dial)
    client = parts.frontend()
    client.connection_made(Wire())  # type: ignore[arg-type]  # as far as it is asked

    async def exchange(user: bytes) -> None:
        client.data_received(REQUEST % user)
        await _ticks()
        servers[0].data_received(ANSWER)
        await _ticks()

    await exchange(b"ana")
    await exchange(b"ben")
    calls: list[Call] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_name[0] != "<" and ROOT in Path(code.co_filename).parents:
            calls.append(Call(str(Path(code.co_filename).relative_to(ROOT)), code.co_qualname))

    sys.setprofile(note)
    try:
        await exchange(b"cem")
    finally:
        sys.setprofile(None)
    await parts.stop()
    return calls


async def _ticks() -> None:
    """What was written goes out at the end of a tick; a new connection takes one more."""
    for _ in range(3):
        await asyncio.sleep(0)


def figures(calls: list[Call]) -> Figures:
    files = [call.file for call in calls]
    changes = sum(one != other for one, other in pairwise(files))
    return Figures(len(calls), len(set(files)), changes)


def main() -> None:
    calls = asyncio.run(traced())
    if "--figures" not in sys.argv:
        for before, call in zip([None, *calls], calls, strict=False):
            is_same = before is not None and before.file == call.file
            print(f"{'' if is_same else call.file:28} {call.function}")
    print("{} calls, {} files, {} changes of file".format(*figures(calls)))


if __name__ == "__main__":
    main()
