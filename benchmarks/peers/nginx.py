"""nginx: its own limit_req, a leaky bucket in memory; or Lua with a token bucket in Redis."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import programs
from benchmarks.field import free_port, nginx_head

if TYPE_CHECKING:
    from benchmarks.field import Server
    from benchmarks.peers.task import Task

SCRIPT = Path(__file__).parent / "token_bucket.lua"
MODULES = ("ndk_http_module.so", "ngx_http_lua_module.so")


def limit_req(task: Task, *, is_trixie: bool = False) -> Server:
    rate = task.rate
    zone = f"  limit_req_zone $http_x_auth_token zone=users:16m rate={rate}r/s; limit_req_status 429;"
    return _start(
        task, "nginx", zone, f"      limit_req zone=users burst={rate} nodelay;", is_trixie=is_trixie
    )


def lua_redis(task: Task, *, is_trixie: bool = False) -> Server:
    assert task.store is not None
    root = programs.trixie() if is_trixie else Path("/")
    lua = root / "usr/share/lua/5.1"
    if not (lua / "nginx/redis.lua").exists():
        raise programs.MissingError("libnginx-mod-http-lua lua-nginx-redis")
    script = task.place.folder / "limit.lua"
    script.write_text(
        SCRIPT.read_text().replace("@PORT@", str(task.store.port)).replace("@RATE@", str(task.rate))
    )
    paths = f'  lua_package_path "{lua}/?.lua;{lua}/?/init.lua;;";'
    call = f"      access_by_lua_file {script};"
    return _start(task, "nginx-lua", paths, call, is_trixie=is_trixie, has_lua=True)


def _start(
    task: Task, name: str, http: str, location: str, *, is_trixie: bool, has_lua: bool = False
) -> Server:
    programs.need("nginx")
    name += "-trixie" if is_trixie else ""
    place, port = task.place, free_port()
    root = programs.trixie() if is_trixie else Path("/")
    modules = "".join(f"load_module {root}/usr/lib/nginx/modules/{each};\n" for each in MODULES)
    config = place.folder / f"{name}.conf"
    config.write_text(
        (modules if has_lua else "")
        + nginx_head(place, name)
        + f"""
http {{
  log_format line '$time_iso8601 $request_id $remote_addr "$request" $status $body_bytes_sent $request_time';
  access_log {place.folder}/{name}.access.log line buffer=64k flush=1s;
  client_body_temp_path {place.folder}/body; proxy_temp_path {place.folder}/proxy;
  fastcgi_temp_path {place.folder}/1; uwsgi_temp_path {place.folder}/2; scgi_temp_path {place.folder}/3;
  keepalive_requests 1000000000; client_max_body_size 0;
  upstream origin {{ server 127.0.0.1:{task.origin.port}; keepalive 512; keepalive_requests 1000000000; }}
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
    program = programs.in_trixie("usr/sbin/nginx") if is_trixie else ["nginx"]
    return place.start(name, [*program, "-c", str(config)], port, place.proxy_core)
