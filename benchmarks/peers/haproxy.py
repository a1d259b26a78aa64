"""HAProxy with a sliding window in a stick table. Its log lines go to stdout, which is a file here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import programs
from benchmarks.field import free_port

if TYPE_CHECKING:
    from benchmarks.field import Server
    from benchmarks.peers.task import Task


def start(task: Task, *, has_log: bool = True, is_trixie: bool = False) -> Server:
    place, port = task.place, free_port()
    if not is_trixie:
        programs.need("haproxy")
    name = "haproxy" + ("-trixie" if is_trixie else "") + ("" if has_log else "-silent")
    config = place.folder / f"{name}.cfg"
    config.write_text(f"""
global
  nbthread 1
  maxconn 9000
  log stdout format raw local0
defaults
  mode http
  {"log global" if has_log else "no log"}
  {"option httplog" if has_log else ""}
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
  http-request deny deny_status 429 hdr Retry-After 1 if {{ sc_http_req_rate(0) gt {task.rate} }}
  default_backend back
backend back
  server origin 127.0.0.1:{task.origin.port}
""")
    program = programs.in_trixie("usr/sbin/haproxy") if is_trixie else ["haproxy"]
    return place.start(name, [*program, "-db", "-f", str(config)], port, place.proxy_core)
