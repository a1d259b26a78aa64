"""The proxies that are measured, the origin behind them and Redis: how each is written down and started.

All listen on loopback, on ports that were free a moment ago, and end with the benchmark. Each peer does the
same work: one limit for each X-Auth-Token, keep-alive on both sides, an access-log line, a request id,
X-Forwarded-For.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import compiled

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Path(__file__).parent
BODY = (
    '{"id":10657,"identifier":"M.Asset.10657","properties":{"Title":"'
    + "a" * 380
    + '"},"cultures":["en-US"]}'
)


@dataclass
class Server:
    """A process that listens on a port of loopback."""

    name: str
    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@dataclass
class Field:
    """Where a benchmark takes place: a folder, two cores, and all that runs."""

    folder: Path
    proxy_core: int = 0
    load_core: int = 1
    servers: list[Server] = field(default_factory=list)

    def start(self, name: str, command: list[str], port: int, core: int) -> Server:
        log = (self.folder / f"{name}.log").open("wb")
        process = subprocess.Popen(
            ["taskset", "-c", str(core), *command], stdout=log, stderr=subprocess.STDOUT, cwd=HERE.parent
        )
        server = Server(name, port, process)
        self.servers.append(server)
        _await_port(server, self.folder / f"{name}.log")
        return server

    def stop_all(self) -> None:
        while self.servers:
            self.servers.pop().stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await_port(server: Server, log: Path) -> None:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            break
        with suppress(OSError), socket.create_connection(("127.0.0.1", server.port), 0.2):
            return
        time.sleep(0.05)
    raise RuntimeError(f"{server.name} does not listen:\n{log.read_text(errors='replace')[-2000:]}")


# --- what stands behind and beside the proxies ---


def origin(place: Field) -> Server:
    """nginx with small answers made in memory and files of 64 KiB and 8 MiB."""
    port = free_port()
    files = place.folder / "files"
    files.mkdir(exist_ok=True)
    (files / "64k").write_bytes(os.urandom(64 * 1024))
    (files / "8m").write_bytes(os.urandom(8 * 1024 * 1024))
    place.folder.chmod(0o755)
    config = place.folder / "origin.conf"
    config.write_text(
        _nginx_head(place, "origin")
        + f"""
http {{
  access_log off; keepalive_requests 1000000000; sendfile on;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location /files/ {{ alias {files}/; }}
    location / {{
      default_type application/json; add_header ETag '"KEWz1VCr0123456789="'; return 200 '{BODY}';
    }}
  }}
}}
"""
    )
    return place.start("origin", ["nginx", "-c", str(config)], port, place.load_core)


def redis(place: Field) -> Server:
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    return place.start("redis", command, port, place.load_core)


def _nginx_head(place: Field, name: str) -> str:
    user = "user root;\n" if os.geteuid() == 0 else ""
    return f"""{user}worker_processes 1; daemon off; master_process off;
pid {place.folder}/{name}.pid; error_log {place.folder}/{name}.error.log;
events {{ worker_connections 16384; }}
"""


# --- the proxies ---


def weir(
    place: Field,
    upstream: Server,
    rate: int,
    store: Server | None,
    name: str = "weir",
    command: Sequence[str] = (sys.executable, "-m", "proxy"),
) -> Server:
    port = free_port()
    config = place.folder / f"{name}.yaml"
    url = f"redis://127.0.0.1:{store.port}" if store else "memory"
    config.write_text(f"""
listen: 127.0.0.1:{port}
admin: {{listen: 127.0.0.1:{free_port()}}}
upstream: {{servers: ["{upstream.url}"]}}
store: {{url: "{url}"}}
limits:
  - {{name: per-user, key: ["header:X-Auth-Token"], rate: {rate}/s, burst: {rate}}}
drain: {{delay: 0s, timeout: 1s}}
log: {{access: {place.folder}/{name}.access.log, level: warning}}
""")
    return place.start(name, [*command, "run", "--config", str(config)], port, place.proxy_core)


def weir_compiled(place: Field, upstream: Server, rate: int, store: Server | None) -> Server:
    """The same, built ahead of time (docs/decisions/0008-compiled-ahead-of-time.md)."""
    return weir(place, upstream, rate, store, "weir-compiled", compiled.command())


def haproxy(place: Field, upstream: Server, rate: int, store: Server | None) -> Server:  # noqa: ARG001 - in memory
    port = free_port()
    config = place.folder / "haproxy.cfg"
    config.write_text(f"""
global
  nbthread 1
  maxconn 9000
  log stdout format raw local0
defaults
  mode http
  log global
  option httplog
  option forwardfor
  timeout client 60s
  timeout server 140s
  timeout connect 5s
  http-reuse always
frontend front
  bind 127.0.0.1:{port}
  unique-id-format %{{+X}}o\\ %ci:%cp_%fi:%fp_%Ts_%rt:%pid
  unique-id-header X-Request-Id
  stick-table type string len 64 size 100k expire 10s store http_req_rate(1s)
  http-request track-sc0 req.hdr(X-Auth-Token)
  http-request deny deny_status 429 hdr Retry-After 1 if {{ sc_http_req_rate(0) gt {rate} }}
  default_backend back
backend back
  server origin 127.0.0.1:{upstream.port}
""")
    return place.start("haproxy", ["haproxy", "-db", "-f", str(config)], port, place.proxy_core)


def _nginx_proxy(place: Field, name: str, upstream: Server, port: int, http: str, location: str) -> Path:
    config = place.folder / f"{name}.conf"
    config.write_text(
        _modules()
        + _nginx_head(place, name)
        + f"""
http {{
  log_format line '$time_iso8601 $request_id $remote_addr "$request" $status $body_bytes_sent $request_time';
  access_log {place.folder}/{name}.access.log line buffer=64k flush=1s;
  keepalive_requests 1000000000; client_max_body_size 0;
  upstream origin {{ server 127.0.0.1:{upstream.port}; keepalive 128; keepalive_requests 1000000000; }}
{http}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
{location}
      proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Request-Id $request_id; add_header X-Request-Id $request_id;
    }}
  }}
}}
"""
    )
    return config


def _modules() -> str:
    folder = Path("/etc/nginx/modules-enabled")
    wanted = [*sorted(folder.glob("*http-ndk.conf")), *sorted(folder.glob("*http-lua.conf"))]
    return "".join(f"include {each};\n" for each in wanted)


def nginx_limit_req(place: Field, upstream: Server, rate: int, store: Server | None) -> Server:  # noqa: ARG001 - in memory
    port = free_port()
    config = _nginx_proxy(
        place,
        "nginx",
        upstream,
        port,
        f"  limit_req_zone $http_x_auth_token zone=users:16m rate={rate}r/s; limit_req_status 429;",
        f"      limit_req zone=users burst={rate} nodelay;",
    )
    return place.start("nginx", ["nginx", "-c", str(config)], port, place.proxy_core)


def nginx_lua_redis(place: Field, upstream: Server, rate: int, store: Server | None) -> Server:
    assert store is not None
    port = free_port()
    script = (
        (HERE / "token_bucket.lua")
        .read_text()
        .replace("@PORT@", str(store.port))
        .replace("@RATE@", str(rate))
    )
    (place.folder / "limit.lua").write_text(script)
    paths = 'lua_package_path "/usr/share/lua/5.1/?.lua;/usr/share/lua/5.1/?/init.lua;;";'
    config = _nginx_proxy(
        place,
        "nginx-lua",
        upstream,
        port,
        f"  {paths}",
        f"      access_by_lua_file {place.folder}/limit.lua;",
    )
    return place.start("nginx-lua", ["nginx", "-c", str(config)], port, place.proxy_core)


def naive(place: Field, upstream: Server, rate: int, store: Server | None) -> Server:
    port = free_port()
    command = [sys.executable, str(HERE / "naive_aiohttp.py"), str(port), upstream.url, str(rate)]
    if store is not None:
        command.append(f"redis://127.0.0.1:{store.port}")
    return place.start("naive", command, port, place.proxy_core)


PEERS = {
    "weir": (weir, ()),
    "weir compiled": (weir_compiled, ("gcc",)),
    "haproxy": (haproxy, ("haproxy",)),
    "nginx": (nginx_limit_req, ("nginx",)),
    "nginx+lua+redis": (nginx_lua_redis, ("nginx",)),
    "naive aiohttp": (naive, ()),
}


def missing_tools(*, needs_redis: bool) -> str:
    """What no case can be measured without: the load, the origin, the cores. Empty if all is there."""
    tools = {"wrk": "wrk", "nginx": "nginx", "taskset": "util-linux"}
    if needs_redis:
        tools["redis-server"] = "redis-server"
    return " ".join(package for program, package in tools.items() if shutil.which(program) is None)


def missing(peer: str) -> str:
    """What would have to be installed for a peer, or nothing."""
    programs = [program for program in PEERS[peer][1] if shutil.which(program) is None]
    if peer == "weir compiled" and not programs:
        return compiled.trouble()
    if peer == "nginx+lua+redis" and not programs:
        has_lua = Path("/etc/nginx/modules-enabled").is_dir() and any(
            "lua" in each.name for each in Path("/etc/nginx/modules-enabled").iterdir()
        )
        if not has_lua or not list(Path("/usr/share/lua/5.1").glob("**/redis.lua")):
            programs = ["libnginx-mod-http-lua", "lua-nginx-redis"]
    return " ".join(programs)
