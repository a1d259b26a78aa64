"""A reverse proxy as most would write it with aiohttp: the yardstick for what Weir's design is worth.

Usage: python naive_aiohttp.py PORT UPSTREAM RATE [REDIS_URL]
"""

from __future__ import annotations

import logging
import sys
import time

import aiohttp
from aiohttp import web
from redis.asyncio import Redis

SCRIPT = """
local now = redis.call('TIME')
local t = now[1] + now[2] / 1000000
local rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local bucket = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = math.min(burst, (tonumber(bucket[1]) or burst) + (t - (tonumber(bucket[2]) or t)) * rate)
local allowed = 0
if tokens >= 1 then tokens = tokens - 1; allowed = 1 end
redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', tostring(t))
redis.call('EXPIRE', KEYS[1], math.ceil(burst / rate) + 1)
return allowed
"""
DROPPED = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "content-length", "host"}
buckets: dict[str, tuple[float, float]] = {}


def take(token: str, rate: float) -> bool:
    now = time.monotonic()
    tokens, at = buckets.get(token, (rate, now))
    tokens = min(rate, tokens + (now - at) * rate)
    buckets[token] = (tokens - 1 if tokens >= 1 else tokens, now)
    return tokens >= 1


def application(upstream: str, rate: float, redis_url: str | None) -> web.Application:
    async def proxy(request: web.Request) -> web.StreamResponse:
        token = request.headers.get("X-Auth-Token", request.remote or "")
        if script is not None:
            allowed = bool(await script(keys=[f"limit:{token}"], args=[rate, rate]))
        else:
            allowed = take(token, rate)
        if not allowed:
            return web.json_response({"title": "Too many requests"}, status=429, headers={"Retry-After": "1"})
        headers = {name: value for name, value in request.headers.items() if name.lower() not in DROPPED}
        headers["X-Forwarded-For"] = request.remote or ""
        async with request.app["session"].request(
            request.method,
            upstream + request.path_qs,
            headers=headers,
            data=request.content,
            allow_redirects=False,
        ) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in DROPPED}
            response = web.StreamResponse(status=answer.status, headers=kept)
            response.content_length = answer.content_length
            await response.prepare(request)
            async for data in answer.content.iter_chunked(64 * 1024):
                await response.write(data)
            await response.write_eof()
            return response

    async def session(app: web.Application):
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:
            app["session"] = client
            yield

    script = Redis.from_url(redis_url).register_script(SCRIPT) if redis_url else None
    app = web.Application()
    app.cleanup_ctx.append(session)
    app.router.add_route("*", "/{tail:.*}", proxy)
    return app


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, filename="/dev/null")
    port, upstream_url, per_second = int(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    redis = sys.argv[4] if len(sys.argv) > 4 else None
    web.run_app(application(upstream_url, per_second, redis), host="127.0.0.1", port=port, print=None)
