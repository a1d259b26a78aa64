"""The middleware of aiohttp services: `protect(app, limiter)`."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

from aiohttp import web

from proxy.middleware.limiter import GONE, Arrival, Limiter
from proxy.middleware.route import PLACES, Refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from proxy.middleware.passage import OwnAnswer, Passage

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

PLACE: web.RequestKey[Passage] = web.RequestKey("weir.passage")
PLACES.append(PLACE)


def protect(app: web.Application, limiter: Limiter) -> None:
    """All of the app's routes, for as long as it lives."""

    async def live(_: web.Application) -> AsyncIterator[None]:
        await limiter.start()
        yield
        await limiter.close()

    @web.middleware
    async def limits(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await _pass(limiter, request, handler)

    app.middlewares.insert(0, limits)
    app.on_response_prepare.append(_tell)
    app.cleanup_ctx.append(live)


async def _pass(limiter: Limiter, request: web.Request, handler: Handler) -> web.StreamResponse:
    passage = await limiter.begin(_request(request))
    course = Course(passage)
    task = asyncio.current_task()
    assert task is not None
    task.add_done_callback(course.end)
    try:
        answer = await passage.admit()
        if answer is not None:
            return _response(answer)
        request[PLACE] = passage
        return await handler(request)
    except Refused as refusal:
        return _response(refusal.answer)
    except BaseException as broken:
        course.error = None if isinstance(broken, web.HTTPException) else broken
        raise


class Course:
    """From the first middleware to the last byte of the answer.

    aiohttp sends what a handler returns behind all middlewares, in the task that has called them. Each
    request has a task of its own, and ends with it, also if its client leaves.
    """

    def __init__(self, passage: Passage) -> None:
        self.error: BaseException | None = None  # of the handler
        self._passage = passage

    def end(self, task: asyncio.Task[Any]) -> None:
        """The task is done."""
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        self._passage.end(self.error or error)


async def _tell(request: web.Request, response: web.StreamResponse) -> None:
    """Every answer comes by here, also one that streams."""
    passage: Passage | None = request.get(PLACE)
    if passage is None or passage.answer is not None:
        return
    headers = [(_bytes(name.lower()), _bytes(value)) for name, value in response.headers.items()]
    for name, value in passage.answered(response.status, headers):
        response.headers.add(name.decode(), value.decode())


def _bytes(text: str) -> bytes:
    """The bytes of what aiohttp decoded, which may be no UTF-8."""
    return text.encode("utf-8", "surrogateescape")


def _request(request: web.Request) -> Arrival:
    target = request.raw_path if request.raw_path.startswith("/") else request.path_qs
    peer = request.remote or _unnamed(request)
    return Arrival(request.method, _bytes(target), request.raw_headers, peer, request.scheme)


def _unnamed(request: web.Request) -> str:
    """A peer without an address: on a Unix socket, or one of TCP that is gone before aiohttp asked for it."""
    sock = request.get_extra_info("socket")
    return "" if sock is not None and sock.family == socket.AF_UNIX else GONE


def _response(answer: OwnAnswer) -> web.Response:
    headers = [(name.decode(), value.decode()) for name, value in answer.headers]
    kept = [(name, value) for name, value in headers if name != "content-length"]
    response = web.Response(status=answer.status, body=answer.body)
    response.headers.clear()
    for name, value in kept:
        response.headers.add(name, value)
    return response
