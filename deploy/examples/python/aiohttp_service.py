"""An aiohttp service with limits: python aiohttp_service.py [PORT]"""

import os
import sys

from aiohttp import web

from proxy.middleware import Limiter
from proxy.middleware.aiohttp_app import protect

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


async def home(_: web.Request) -> web.Response:
    return web.json_response({"hello": "world"})


@exports
async def export(request: web.Request) -> web.Response:
    return web.json_response({"export": "done", "path": request.path})


app = web.Application()
app.add_routes([web.get("/", home), web.get("/export", export)])
protect(app, limiter)

if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]) if sys.argv[1:] else 8000)
