"""The middleware of ASGI services: FastAPI, Starlette, Django, Litestar and whatever else speaks it.

Refusals never reach the service. It starts and ends the limiter with the service's lifespan; a service that
has none, such as Django's, gets one here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from proxy.middleware.limiter import GONE, Arrival, Limiter
from proxy.middleware.route import PLACE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from proxy.middleware.passage import OwnAnswer, Passage

    AsgiMessage = MutableMapping[str, Any]
    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[AsgiMessage]]
    Send = Callable[[AsgiMessage], Awaitable[None]]
    Service = Callable[[Scope, Receive, Send], Awaitable[None]]

_PATH_SAFE = "/:@!$&'()*+,;=~-._"  # RFC 3986 section 3.3
_CRUMBLING = ("2", "2.0", "3", "3.0")
_DENIAL = "websocket.http.response"  # the extension by which a handshake gets an HTTP answer
_BODIES = ("http.response.body", f"{_DENIAL}.body")
_TRY_AGAIN = 1013  # the close code of a WebSocket that is refused otherwise (IANA's registry)


class LimitMiddleware:
    def __init__(self, app: Service, limiter: Limiter) -> None:
        self.app = app
        self.limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "lifespan":
            await Lifespan(self.limiter, receive, send).run(self.app, scope)
        elif kind in ("http", "websocket"):
            await self._pass(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        passage = await self.limiter.begin(_request(scope))
        error: BaseException | None = None
        try:
            answer = await passage.admit()
            if answer is not None:
                await _send(answer, scope, receive, send)
                return
            scope[PLACE] = passage
            await self._serve(passage, scope, receive, send)
        except BaseException as broken:
            error = broken
            raise
        finally:
            passage.end(error)

    async def _serve(self, passage: Passage, scope: Scope, receive: Receive, send: Send) -> None:
        telling = Telling(passage, send)
        try:
            await self.app(scope, receive, telling.send)
        except Exception:  # Refused, or what a framework has made of it
            if passage.answer is None or telling.has_begun:
                raise
        if passage.answer is not None and not telling.has_begun:
            await _send(passage.answer, scope, receive, send)


class Telling:
    """Passes the service's answer on, with the RateLimit fields; one that a refusal stands for is dropped."""

    def __init__(self, passage: Passage, send: Send) -> None:
        self.has_begun = False
        self._passage = passage
        self._send = send

    async def send(self, message: AsgiMessage) -> None:
        kind = message["type"]
        if not self.has_begun:
            if self._passage.answer is not None:
                return  # what the framework makes of Refused
            if kind in ("http.response.start", "websocket.accept", "websocket.http.response.start"):
                self.has_begun = True
                headers = [(bytes(name).lower(), bytes(value)) for name, value in message.get("headers", ())]
                more = self._passage.answered(message.get("status", 101), headers)
                message = {**message, "headers": [*headers, *more]}
        await self._send(message)
        if kind in _BODIES and not message.get("more_body"):
            self._passage.vacate()  # a framework may have tasks to do before it returns


class Lifespan:
    """The limiter lives as long as the service."""

    def __init__(self, limiter: Limiter, receive: Receive, send: Send) -> None:
        self._limiter = limiter
        self._receive_next = receive
        self._send_on = send
        self._phase = ""  # what has been heard last
        self._is_answered = False
        self._is_over = False  # it has ended, or its start has failed

    async def run(self, app: Service, scope: Scope) -> None:
        try:
            await app(scope, self._receive, self._send)
        except Exception:
            if self._phase == "lifespan.shutdown" or self._is_answered:
                raise
            # It knows no lifespan, so there is nothing to wait for.
        while not self._is_over:
            if self._is_answered or not self._phase:
                await self._receive()
            else:
                await self._send({"type": f"{self._phase}.complete"})

    async def _receive(self) -> AsgiMessage:
        message = await self._receive_next()
        self._phase, self._is_answered = message["type"], False
        if self._phase == "lifespan.startup":
            await self._limiter.start()
        return message

    async def _send(self, message: AsgiMessage) -> None:
        if message["type"] != "lifespan.startup.complete":
            self._is_over = True
            await self._limiter.close()
        self._is_answered = True
        await self._send_on(message)


def _request(scope: Scope) -> Arrival:
    path = (
        scope.get("raw_path") or quote(scope.get("path", "/"), _PATH_SAFE, errors="surrogateescape").encode()
    )
    query = scope.get("query_string", b"")
    return Arrival(
        scope.get("method", "GET"),
        path.partition(b"?")[0] + (b"?" + query if query else b""),
        scope["headers"],
        _peer(scope),
        scope.get("scheme", "http"),
        has_crumbs=scope.get("http_version", "1.1") in _CRUMBLING,
    )


def _peer(scope: Scope) -> str:
    """Servers name no client on a Unix socket, nor one of TCP that was gone before they asked."""
    client, server = scope.get("client"), scope.get("server")
    if client and client[0]:
        return str(client[0])
    return GONE if server and server[1] is not None else ""


async def _send(answer: OwnAnswer, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()  # websocket.connect
        if _DENIAL not in (scope.get("extensions") or {}):
            await send({"type": "websocket.close", "code": _TRY_AGAIN})
            return
    kind = _DENIAL if scope["type"] == "websocket" else "http.response"
    await send({"type": f"{kind}.start", "status": answer.status, "headers": answer.headers})
    await send({"type": f"{kind}.body", "body": answer.body})
