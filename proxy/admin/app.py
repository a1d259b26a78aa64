"""The admin plane: /metrics, /healthz, /readyz and /status on a site of their own, for operators and probes.

Rules: every answer is `no-store` and names no server version; everything but the two probes wants the token
where one is set; whatever fails is a small JSON object. Knows nothing of the data plane but its sources.
"""

from __future__ import annotations

import hmac
import logging
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web
from prometheus_client.exposition import choose_encoder

from proxy.admin.report import readiness, status
from proxy.telemetry.log import event

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler, Middleware

    from proxy.admin.sources import AdminSources

PROBES = frozenset(("/healthz", "/readyz"))  # open without a token: a kubelet has none

_log = logging.getLogger("weir.admin")


def admin_app(sources: AdminSources) -> web.Application:
    """The application; the caller gives it a site."""
    app = web.Application(middlewares=[_failures_as_json, _token_check(sources)])
    app.on_response_prepare.append(_dress)

    async def metrics(request: web.Request) -> web.Response:
        encoder, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encoder(sources.registry), headers={"Content-Type": content_type})

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok")  # the loop runs: that is all it says

    async def readyz(_: web.Request) -> web.Response:
        is_ready, details = readiness(sources)
        return _json(details, HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE)

    async def show_status(_: web.Request) -> web.Response:
        return _json(status(sources))

    app.router.add_get("/metrics", metrics)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/status", show_status)
    return app


def _token_check(sources: AdminSources) -> Middleware:
    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        token = sources.token()
        if token is None or request.path in PROBES or _is_bearer_of(token, request):
            return await handler(request)
        challenge = {"WWW-Authenticate": 'Bearer realm="weir"'}
        return _problem(HTTPStatus.UNAUTHORIZED, challenge)

    return check


def _is_bearer_of(token: str, request: web.Request) -> bool:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    # aiohttp reads bytes beyond UTF-8 as surrogates.
    is_same = hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), token.encode())
    return scheme.lower() == "bearer" and is_same


@web.middleware
async def _failures_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as refusal:
        allow = refusal.headers.get("Allow")
        return _problem(HTTPStatus(refusal.status), {"Allow": allow} if allow else {})
    except Exception as error:  # noqa: BLE001 - a source that fails must not show its traceback
        event(_log, logging.ERROR, "admin_failed", error=error, path=request.path)
        return _problem(HTTPStatus.INTERNAL_SERVER_ERROR)


async def _dress(_: web.Request, response: web.StreamResponse) -> None:
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers.pop("Server", None)


def _problem(code: HTTPStatus, headers: dict[str, str] | None = None) -> web.Response:
    return _json({"status": code.value, "title": code.phrase}, code, headers)


def _json(
    content: object, code: HTTPStatus = HTTPStatus.OK, headers: dict[str, str] | None = None
) -> web.Response:
    body = msgspec.json.encode(content, enc_hook=str)
    return web.Response(body=body, status=code, headers=headers, content_type="application/json")
