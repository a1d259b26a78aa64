"""A Starlette service with limits: uvicorn starlette_service:app"""

import os

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from proxy.middleware import Limiter, LimitMiddleware

limiter = Limiter(
    limits=[
        {
            "name": "per-user",
            "key": ["header:X-Auth-Token", "client-ip"],
            "rate": "15/s",
            "unproven": {"rate": "60/s"},  # who invents tokens pays by address
        }
    ],
    store=os.environ.get("REDIS_URL", "memory"),
)
exports = limiter.limit("exports", "2/m", key=["header:X-Auth-Token", "client-ip"])


async def home(_: Request) -> JSONResponse:
    return JSONResponse({"hello": "world"})


@exports
async def export(request: Request) -> JSONResponse:
    return JSONResponse({"export": "done", "path": request.url.path})


app = Starlette(
    routes=[Route("/", home), Route("/export", export)],
    middleware=[Middleware(LimitMiddleware, limiter=limiter)],
)
