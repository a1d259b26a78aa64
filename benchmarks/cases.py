"""What is measured: each case is one kind of request at one number of connections, with fair peers."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.peers import HAPROXY, HAPROXY_LOG, LUA, NAIVE, NGINX, SOURCE, WEIR

OPEN = 1_000_000  # a second: nobody is refused
SHUT = 15  # nearly everybody is
MIXED_USERS = 10_000

BUILDS = (WEIR, SOURCE)
C_PEERS = (NGINX, HAPROXY, HAPROXY_LOG)
NEWER = ("nginx 1.26", "HAProxy 3.0 without a log", "HAProxy 3.0")
REDIS = (*BUILDS, LUA)
MEMORY = (*BUILDS, *C_PEERS)


@dataclass(frozen=True)
class Case:
    name: str
    title: str
    peers: tuple[str, ...]
    connections: int = 32
    users: int = 0  # 0: each connection is a user of its own; else so many, mixed over all connections
    path: str = "/api/entities/10657?loadLevel=2"
    body_bytes: int = 0  # of a POST
    rate: int = OPEN
    needs_redis: bool = False
    paced_by: str | None = None  # the load is half of what this peer can take


@dataclass(frozen=True)
class Target:
    """Weir's figure divided by a peer's, at most."""

    case: str
    against: str
    ratio: float
    figure: str = "cpu_us"


CASES = (
    Case(
        "redis-32",
        "admitted, limits in Redis, 32 connections, each its own user",
        (*REDIS, "nginx+Lua+Redis 1.26", "Node gateway", NAIVE),
        needs_redis=True,
    ),
    Case(
        "redis-mixed",
        "admitted, limits in Redis, 10 000 users mixed over 32 connections",
        (*REDIS, "nginx+Lua+Redis 1.26", "Node gateway"),
        users=MIXED_USERS,
        needs_redis=True,
    ),
    Case(
        "redis-256",
        "admitted, limits in Redis, 256 connections, each its own user",
        REDIS,
        256,
        needs_redis=True,
    ),
    Case("redis-4", "admitted, limits in Redis, 4 connections", REDIS, 4, needs_redis=True),
    Case("redis-1", "admitted, limits in Redis, 1 connection", REDIS, 1, needs_redis=True),
    Case(
        "post-4k", "POST of 4 KiB, limits in Redis, 32 connections", REDIS, body_bytes=4096, needs_redis=True
    ),
    Case(
        "refused",
        "refused with 429, limits in Redis, 32 connections",
        (*REDIS, NGINX, HAPROXY, HAPROXY_LOG, "Envoy"),
        rate=SHUT,
        needs_redis=True,
    ),
    Case(
        "memory-32",
        "admitted, limits in memory, 32 connections, each its own user",
        (*MEMORY, *NEWER, "Envoy", "Caddy (no limit)", "Node gateway", NAIVE),
    ),
    Case(
        "memory-mixed",
        "admitted, limits in memory, 10 000 users mixed over 32 connections",
        (*MEMORY, *NEWER, "Envoy"),
        users=MIXED_USERS,
    ),
    Case("memory-256", "admitted, limits in memory, 256 connections, each its own user", MEMORY, 256),
    Case("memory-4", "admitted, limits in memory, 4 connections", MEMORY, 4),
    Case("memory-1", "admitted, limits in memory, 1 connection", MEMORY, 1),
    Case("memory-refused", "refused with 429, limits in memory, 32 connections", MEMORY, rate=SHUT),
    Case("64k", "answers of 64 KiB, limits in memory, 4 connections", MEMORY, 4, path="/files/64k"),
    Case("8m", "answers of 8 MiB, limits in memory, 4 connections", MEMORY, 4, path="/files/8m"),
    Case(
        "half-load",
        "half of the load that nginx+Lua+Redis can take, limits in Redis, 32 connections",
        REDIS,
        needs_redis=True,
        paced_by=LUA,
    ),
)

TARGETS = (
    Target("redis-32", LUA, 0.75),
    Target("redis-mixed", LUA, 0.80),
    Target("redis-256", LUA, 0.75),
    Target("redis-4", LUA, 0.90),
    Target("redis-1", LUA, 1.0),
    Target("redis-1", LUA, 1.0, "p50_ms"),
    Target("refused", LUA, 0.45),
    Target("refused", NGINX, 1.3),
    Target("memory-32", NGINX, 1.3),
    Target("memory-mixed", NGINX, 1.5),
    Target("post-4k", LUA, 0.8),
    Target("64k", NGINX, 0.9),
    Target("8m", HAPROXY, 0.9),
    Target("half-load", LUA, 1.0, "p99_ms"),
)
REST_MIB = 45  # of one worker
CONNECTION_KIB = 4  # of one that is idle
