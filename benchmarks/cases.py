"""What is measured: each case is one kind of request at one number of connections, with fair peers."""

from __future__ import annotations

from dataclasses import dataclass

OPEN = 1_000_000  # a second: nobody is refused
SHUT = 15  # nearly everybody is


@dataclass(frozen=True)
class Case:
    name: str
    title: str
    peers: tuple[str, ...]
    connections: int = 32
    path: str = "/api/entities/10657?loadLevel=2"
    rate: int = OPEN
    needs_redis: bool = False
    script: str = "users.lua"
    against: str = "haproxy"  # the peer that Weir's ratio is taken to
    target: float | None = None  # of that ratio


MEMORY = ("weir", "weir compiled", "haproxy", "nginx", "naive aiohttp")
REDIS = ("weir", "weir compiled", "nginx+lua+redis", "naive aiohttp")

CASES = (
    Case("memory-32", "admitted, limits in memory, 32 connections", MEMORY, target=2.0),
    Case(
        "memory-32-naive",
        "the same against a naive aiohttp proxy",
        ("weir", "weir compiled", "naive aiohttp"),
        against="naive aiohttp",
        target=0.25,
    ),
    Case("memory-4", "admitted, limits in memory, 4 connections", MEMORY, connections=4),
    Case("memory-1", "admitted, limits in memory, 1 connection", MEMORY, connections=1),
    Case(
        "changing-32",
        "admitted, no two requests of a connection with the same header fields",
        MEMORY,
        script="changing.lua",
    ),
    Case("refused-32", "refused with 429, limits in memory, 32 connections", MEMORY, rate=SHUT),
    Case(
        "redis-32",
        "admitted, limits in Redis, 32 connections",
        REDIS,
        needs_redis=True,
        against="nginx+lua+redis",
        target=1.0,
    ),
    Case(
        "redis-4",
        "admitted, limits in Redis, 4 connections",
        REDIS,
        connections=4,
        needs_redis=True,
        against="nginx+lua+redis",
        target=0.9,
    ),
    Case(
        "redis-1",
        "admitted, limits in Redis, 1 connection",
        REDIS,
        connections=1,
        needs_redis=True,
        against="nginx+lua+redis",
    ),
    Case(
        "redis-refused-32",
        "refused with 429, limits in Redis, 32 connections",
        REDIS,
        rate=SHUT,
        needs_redis=True,
        against="nginx+lua+redis",
        target=0.5,
    ),
    Case(
        "download-64k",
        "downloads of 64 KiB, 4 connections",
        ("weir", "weir compiled", "nginx", "haproxy"),
        connections=4,
        path="/files/64k",
        against="nginx",
        target=1.0,
    ),
    Case(
        "download-8m",
        "downloads of 8 MiB, 4 connections",
        ("weir", "weir compiled", "nginx", "haproxy"),
        connections=4,
        path="/files/8m",
        against="nginx",
        target=1.2,
    ),
)
