"""Caddy as Debian has it: a reverse proxy with an access log, without a limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import programs
from benchmarks.field import free_port

if TYPE_CHECKING:
    from benchmarks.field import Server
    from benchmarks.peers.task import Task


def start(task: Task) -> Server:
    programs.need("caddy")
    place, port = task.place, free_port()
    config = place.folder / "Caddyfile"
    config.write_text(f"""
{{
  admin off
  auto_https off
}}
http://:{port} {{
  bind 127.0.0.1
  log {{
    output file {place.folder}/caddy.access.log
  }}
  header X-Request-Id {{http.request.uuid}}
  reverse_proxy 127.0.0.1:{task.origin.port} {{
    header_up X-Request-Id {{http.request.uuid}}
    transport http {{
      keepalive_idle_conns_per_host 512
    }}
  }}
}}
""")
    command = ["caddy", "run", "--config", str(config), "--adapter", "caddyfile"]
    environ = {"HOME": str(place.folder), "GOMAXPROCS": "1"}
    return place.start("caddy", command, port, place.proxy_core, environ)
