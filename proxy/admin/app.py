"""The admin plane, a site of its own for operators and probes: /metrics, /healthz, /readyz, /status, resets.

Rules: every answer is `no-store` and names no server version; everything but the two probes wants the token
where one is set; whatever fails is a small JSON object. Knows nothing of the data plane but its sources.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

import msgspec
from aiohttp import web
from prometheus_client.exposition import choose_encoder

from proxy import __version__
from proxy.admin.buckets import NotResetError
from proxy.admin.scrapes import Scrapes
from proxy.telemetry.log import event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from aiohttp.typedefs import Handler, Middleware

    from proxy.telemetry.families import Reading

PROBES = frozenset(("/healthz", "/readyz"))  # open without a token: a kubelet has none
DRESS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}  # of every answer
BODY_BYTES_MAX = 64 * 1024  # a key's value is in a head of 32 KiB at most
BODY_SECONDS = 10.0

_log = logging.getLogger("weir.admin")


class Resetting(Protocol):
    async def reset(self, name: str, body: bytes) -> dict[str, object]:
        """What is told of it. Raises NotResetError."""


async def _nothing() -> None:
    """What is shown is at hand."""


@dataclass(frozen=True, slots=True)
class AdminSources:
    """What is shown, asked for anew at each request; none of it is secret."""

    reading: Callable[[], Reading]
    readiness: Callable[[], tuple[bool, Mapping[str, object]]]  # whether new requests may come, and why
    status: Callable[[], Mapping[str, object]]
    resets: Resetting | None = None
    refresh: Callable[[], Awaitable[None]] = _nothing  # is waited for before metrics and status


def admin_app(sources: AdminSources, token: str | None = None) -> web.Application:
    """The application; the caller gives it a site. Without a token nobody is asked for one."""
    middlewares = [_failures_as_json] if token is None else [_failures_as_json, _token_check(token)]
    app = web.Application(middlewares=middlewares, client_max_size=BODY_BYTES_MAX)
    app.on_response_prepare.append(_dress)

    scrapes = Scrapes(sources.refresh, sources.reading)

    async def metrics(request: web.Request) -> web.Response:
        _, content_type = choose_encoder(request.headers.get("Accept", ""))
        body = await scrapes.body(is_openmetrics="openmetrics" in content_type)
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok")  # the loop runs: that is all it says

    async def readyz(_: web.Request) -> web.Response:
        is_ready, details = sources.readiness()
        code = HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE
        return _json({"ready": is_ready, **details}, code)

    async def status(_: web.Request) -> web.Response:
        await sources.refresh()
        return _json({"version": __version__, **sources.status()})

    for path, answer in (
        ("/metrics", metrics),
        ("/healthz", healthz),
        ("/readyz", readyz),
        ("/status", status),
    ):
        app.router.add_get(path, answer)
    if sources.resets is not None:
        app.router.add_post("/limits/{name}/reset", _reset(sources.resets, is_guarded=token is not None))
    return app


def _reset(resets: Resetting, *, is_guarded: bool) -> Handler:
    async def reset(request: web.Request) -> web.Response:
        if not is_guarded:  # any page in a browser could send it to a loopback address
            return problem(HTTPStatus.FORBIDDEN, detail="admin.token must be set for this")
        try:
            return _json(await resets.reset(request.match_info["name"], await _body(request)))
        except NotResetError as error:
            return problem(error.code, detail=str(error))

    return reset


async def _body(request: web.Request) -> bytes:
    """Raises HTTPRequestTimeout, and HTTPRequestEntityTooLarge beyond BODY_BYTES_MAX."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout from None


def _token_check(token: str) -> Middleware:
    expected = token.encode()

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in PROBES or _is_bearer_of(expected, request):
            return await handler(request)
        return problem(HTTPStatus.UNAUTHORIZED, {"WWW-Authenticate": 'Bearer realm="weir"'})

    return check


def _is_bearer_of(token: bytes, request: web.Request) -> bool:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    # aiohttp reads bytes beyond UTF-8 as surrogates.
    is_same = hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), token)
    return is_same and scheme.lower() == "bearer"


@web.middleware
async def _failures_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as refusal:
        allow = refusal.headers.get("Allow")
        return problem(HTTPStatus(refusal.status), {"Allow": allow} if allow else {})
    except Exception as error:  # noqa: BLE001 - a source that fails must not show its traceback
        event(_log, logging.ERROR, "admin_failed", error=error, path=request.path)
        return problem(HTTPStatus.INTERNAL_SERVER_ERROR)


async def _dress(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(DRESS)
    response.headers.pop("Server", None)


def problem(code: HTTPStatus, headers: dict[str, str] | None = None, detail: str = "") -> web.Response:
    told = {"status": code.value, "title": code.phrase} | ({"detail": detail} if detail else {})
    return _json(told, code, headers)


def _json(
    content: object, code: HTTPStatus = HTTPStatus.OK, headers: dict[str, str] | None = None
) -> web.Response:
    body = msgspec.json.encode(content, enc_hook=str)
    return web.Response(body=body, status=code, headers=headers, content_type="application/json")
