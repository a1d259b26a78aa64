"""The proxies that are measured: how each is written down and started.

Each does the same work as far as it can: one limit for each X-Auth-Token, keep-alive on both sides, a line of
access log for each request (but for "HAProxy without a log"), a request id, X-Forwarded-For. What a proxy
cannot do of that is said beside it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from benchmarks.peers import caddy, envoy, haproxy, naive, nginx, node, weir

if TYPE_CHECKING:
    from benchmarks.peers.task import Start

WEIR = "Weir"
SOURCE = "Weir, source build"
NGINX = "nginx"
LUA = "nginx+Lua+Redis"
HAPROXY = "HAProxy without a log"
HAPROXY_LOG = "HAProxy"
NAIVE = "naive aiohttp"

PEERS: dict[str, Start] = {
    WEIR: partial(weir.start, is_compiled=True),
    SOURCE: partial(weir.start, is_compiled=False),
    NGINX: nginx.limit_req,
    "nginx 1.26": partial(nginx.limit_req, is_trixie=True),
    LUA: nginx.lua_redis,
    "nginx+Lua+Redis 1.26": partial(nginx.lua_redis, is_trixie=True),
    HAPROXY: partial(haproxy.start, has_log=False),
    HAPROXY_LOG: haproxy.start,
    "HAProxy 3.0 without a log": partial(haproxy.start, has_log=False, is_trixie=True),
    "HAProxy 3.0": partial(haproxy.start, is_trixie=True),
    "Envoy": envoy.start,
    "Caddy (no limit)": caddy.start,  # Debian's has none
    "Node gateway": node.start,
    NAIVE: naive.start,
}
