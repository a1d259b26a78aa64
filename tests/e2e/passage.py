"""What a passage through Weir adds to a request, and the two questions about it: what arrived, what came back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.messages import get
from tests.support.origin import Origin, answering

if TYPE_CHECKING:
    from tests.support.weir import Weir
    from tests.support.wire import Message, Request, Response

ADDED = frozenset(b"via x-forwarded-for x-forwarded-proto x-forwarded-host x-request-id".split())


def own(message: Message) -> list[tuple[bytes, bytes]]:
    """The headers without those that Weir adds."""
    return [(name, value) for name, value in message.headers if name.lower() not in ADDED]


async def forwarded(ask, weir: Weir, origin: Origin, data: bytes) -> Request:
    """The request as it reached the origin."""
    response = await ask(weir, data)
    assert response.status == 200, response
    assert len(origin.requests) == 1
    return origin.requests[0]


async def answered(ask, weir: Weir, origin: Origin, reply: bytes, data: bytes = b"") -> Response:
    """The origin's reply as it reached the client."""
    origin.script = answering(reply)
    return await ask(weir, data or get())
