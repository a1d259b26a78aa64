"""A FastAPI service under each limiter, and what benchmarks.limiters has it do, in a process of its own."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

# Annotations are left as they are: FastAPI reads those of the routes.
App = Callable[[Any, Any, Any], Awaitable[None]]

CALLS = 3000
AT_ONCE = 32
OUTAGE_CALLS = 20
OPEN = 1_000_000  # an hour: nobody is refused


def bare(_store: str, _count: int) -> App:
    from fastapi import FastAPI, Request

    app = FastAPI()

    @app.get("/")
    async def home(request: Request) -> dict[str, str]:
        return {"hello": "world"}

    return app


def weir(store: str, count: int) -> App:
    from proxy.middleware import Limiter, LimitMiddleware

    limit = {"name": "user", "key": ["header:X-Auth-Token", "client-ip"], "rate": f"{count}/h"}
    return LimitMiddleware(bare(store, count), Limiter([limit], store))


def slowapi(store: str, count: int) -> App:
    from fastapi import FastAPI, Request
    from slowapi import Limiter, _rate_limit_exceeded_handler
    from slowapi.errors import RateLimitExceeded

    limiter = Limiter(key_func=_token, storage_uri="memory://" if store == "memory" else store)
    app = FastAPI()
    app.state.limiter = limiter
    app.add_exception_handler(RateLimitExceeded, _rate_limit_exceeded_handler)

    @app.get("/")
    @limiter.limit(f"{count}/hour")
    async def home(request: Request) -> dict[str, str]:
        return {"hello": "world"}

    return app


def fastapi_limiter(store: str, count: int) -> App:
    from fastapi import Depends, FastAPI, Request
    from fastapi_limiter.depends import RateLimiter
    from pyrate_limiter import BucketFactory, Duration, InMemoryBucket, Limiter, Rate, RateItem, RedisBucket
    from redis.asyncio import Redis

    rates = [Rate(count, Duration.HOUR)]
    client = None if store == "memory" else Redis.from_url(store)

    class Factory(BucketFactory):
        """A bucket for each key, as its documentation shows."""

        def __init__(self) -> None:
            self.buckets: dict[str, Any] = {}

        def wrap_item(self, name: str, weight: int = 1) -> Any:
            return RateItem(name, time.time_ns() // 1_000_000, weight=weight)

        async def get(self, item: Any) -> Any:
            bucket = self.buckets.get(item.name)
            if bucket is None:
                bucket = (
                    InMemoryBucket(rates)
                    if client is None
                    else await RedisBucket.init(rates, client, item.name)
                )
                self.schedule_leak(bucket)
                self.buckets[item.name] = bucket
            return bucket

    async def identifier(request: Request) -> str:
        return _token(request)

    app = FastAPI()
    limited = RateLimiter(limiter=Limiter(Factory()), identifier=identifier)

    @app.get("/", dependencies=[Depends(limited)])
    async def home(request: Request) -> dict[str, str]:
        return {"hello": "world"}

    return app


def limits(store: str, count: int) -> App:
    from limits import RateLimitItemPerHour
    from limits.aio.strategies import FixedWindowRateLimiter
    from limits.storage import storage_from_string

    if store == "memory":
        storage = storage_from_string("async+memory://")
    else:
        storage = storage_from_string(f"async+{store}", implementation="redispy")
    limiter, item = FixedWindowRateLimiter(storage), RateLimitItemPerHour(count)

    async def passes(key: str) -> bool:
        return await limiter.hit(item, key)

    return _gated(bare(store, count), passes)


def throttled(store: str, count: int) -> App:
    from throttled.asyncio import MemoryStore, RedisStore, Throttled, rate_limiter

    throttle = Throttled(
        using="token_bucket",
        quota=rate_limiter.per_hour(count, burst=count),
        store=MemoryStore() if store == "memory" else RedisStore(server=store),
    )

    async def passes(key: str) -> bool:
        return not (await throttle.limit(key)).limited

    return _gated(bare(store, count), passes)


PEERS: dict[str, Callable[[str, int], App]] = {
    "Weir": weir,
    "slowapi": slowapi,
    "fastapi-limiter": fastapi_limiter,
    "limits": limits,
    "throttled-py": throttled,
}


def _token(request: Any) -> str:
    found: str = request.headers["x-auth-token"]
    return found


def _gated(app: App, passes: Callable[[str], Awaitable[bool]]) -> App:
    """What one writes around a library that has no middleware."""

    async def gate(scope: Any, receive: Any, send: Any) -> None:
        token = next(value for name, value in scope["headers"] if name == b"x-auth-token")
        if await passes(token.decode()):
            await app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 429, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    return gate


async def _status(app: App, user: str = "alice") -> int:
    """500 for an exception, of which a server makes one."""
    found = [500]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            found[0] = message["status"]

    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "path": "/"}
    headers = [(b"host", b"a"), (b"accept", b"*/*"), (b"x-auth-token", user.encode())]
    scope |= {"raw_path": b"/", "query_string": b"", "headers": headers, "client": ("127.0.0.1", 1)}
    try:
        await app(scope | {"scheme": "http", "server": ("a", 80), "root_path": ""}, receive, send)
    except Exception:
        return 500
    return found[0]


async def cost(peer: str, store: str) -> float:
    """CPU time of a request in microseconds above that of the bare service."""
    return await _seconds(PEERS[peer](store, OPEN), store) - await _seconds(bare(store, OPEN), store)


async def _seconds(app: App, store: str) -> float:
    at_once = 1 if store == "memory" else AT_ONCE

    async def work(number: int, count: int) -> None:
        for _ in range(count):
            if await _status(app, f"user-{number}") != 200:
                raise RuntimeError("refused")

    await asyncio.gather(*(work(number, 20) for number in range(at_once)))
    before = time.process_time()
    await asyncio.gather(*(work(number, CALLS // at_once) for number in range(at_once)))
    return (time.process_time() - before) / CALLS * 1e6


async def burst(peer: str, store: str, count: int, at: float) -> int:
    """How many of as many requests of one user pass as all processes together may have."""
    app = PEERS[peer](store, count)
    await _status(app, "warm")
    await asyncio.sleep(max(0.0, at - time.time()))
    found: list[int] = []
    for _ in range(count // 10):
        found += await asyncio.gather(*(_status(app) for _ in range(10)))
    return found.count(200)


async def outage(peer: str, store: str) -> dict[str, float]:
    """What becomes of requests, one after another, once the parent has said `go`."""
    app = PEERS[peer](store, OPEN)
    for _ in range(20):
        await _status(app)
    print("ready", flush=True)
    sys.stdin.readline()
    found, slowest = [], 0.0
    for _ in range(OUTAGE_CALLS):
        began = time.monotonic()
        found.append(await _status(app))
        slowest = max(slowest, time.monotonic() - began)
    served = found.count(200)
    return {"served": served, "failed": len(found) - served, "slowest_ms": slowest * 1000}
