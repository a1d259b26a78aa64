"""The admin plane, a site of its own for operators and probes; docs/observability.md names its paths.

Rules: every answer is `no-store` and names no server version; who may ask is guard.py's; whatever fails is a
small JSON object. Knows nothing of the data plane but its sources.
"""

from __future__ import annotations

import asyncio
import logging
import time
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client.exposition import choose_encoder

from proxy import __version__
from proxy.admin import audit, page
from proxy.admin.answers import DRESS, json_answer, problem
from proxy.admin.buckets import NotAppliedError
from proxy.admin.guard import Guard
from proxy.admin.scrapes import Scrapes
from proxy.admin.viewers import Viewers
from proxy.telemetry.log import event

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

    from proxy.admin.sources import AdminSources

BODY_BYTES_MAX = 64 * 1024  # a key's value is in a head of 32 KiB at most
BODY_SECONDS = 10.0

_log = logging.getLogger("weir.admin")


def admin_app(sources: AdminSources) -> web.Application:
    """The application; the caller gives it a site."""
    guard = Guard(sources.settings, page.is_page)
    refusals = audit.refusals(lambda: {limit.name for limit in sources.limits()}, time.monotonic)
    app = web.Application(
        middlewares=[refusals, _failures_as_json, guard.check], client_max_size=BODY_BYTES_MAX
    )
    app.on_response_prepare.append(_dress)
    app.add_routes([*_probes(sources, guard), *_figures(sources), *page.routes(), *_verbs(sources, guard)])
    _add_events(app, sources, guard)
    return app


def _probes(sources: AdminSources, guard: Guard) -> list[web.RouteDef]:
    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok")  # the loop runs: that is all it says

    async def readyz(request: web.Request) -> web.Response:
        """Strangers learn no more than a balancer needs."""
        is_ready, details = sources.readiness()
        code = HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE
        return json_answer({"ready": is_ready} | (dict(details) if guard.may_know(request) else {}), code)

    return [web.get("/healthz", healthz), web.get("/readyz", readyz)]


def _figures(sources: AdminSources) -> list[web.RouteDef]:
    scrapes = Scrapes(sources.refresh, sources.reading)

    async def metrics(request: web.Request) -> web.Response:
        _, content_type = choose_encoder(request.headers.get("Accept", ""))
        body = await scrapes.body(is_openmetrics="openmetrics" in content_type)
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def status(_: web.Request) -> web.Response:
        sights = await sources.look(asyncio.get_running_loop().time())
        return json_answer({"version": __version__, **sources.status(), "top_keys": sights.keys})

    return [web.get("/metrics", metrics), web.get("/status", status)]


def _verbs(sources: AdminSources, guard: Guard) -> list[web.RouteDef]:
    return [web.post(f"/limits/{{name}}/{verb}", _verb(sources, guard, verb)) for verb in sources.verbs]


def _verb(sources: AdminSources, guard: Guard, verb: str) -> Handler:
    async def apply(request: web.Request) -> web.Response:
        if not guard.is_guarded:  # any program on this machine could send it
            return problem(HTTPStatus.FORBIDDEN, detail="admin.token must be set for this")
        assert sources.keys is not None
        try:
            told = await sources.keys.apply(verb, request.match_info["name"], await _body(request))
        except NotAppliedError as error:
            return problem(error.code, detail=str(error))
        return json_answer(told)

    return apply


def _add_events(app: web.Application, sources: AdminSources, guard: Guard) -> None:
    viewers = Viewers(sources)

    async def events(request: web.Request) -> web.StreamResponse:
        return await viewers.watch(request, lambda: guard.has_token(request))

    async def close(_: web.Application) -> None:
        viewers.close()

    app.router.add_get("/events", events, allow_head=False)
    app.on_shutdown.append(close)


async def _body(request: web.Request) -> bytes:
    """Raises HTTPRequestTimeout, and HTTPRequestEntityTooLarge beyond BODY_BYTES_MAX."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout from None


@web.middleware
async def _failures_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    # What is pipelined takes turns; from Python 3.12 on aiohttp would answer it at once.
    await asyncio.sleep(0)
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
