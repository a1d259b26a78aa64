"""python -m benchmarks.tls: what TLS costs, Weir beside nginx and HAProxy in the same run.

CPU time of the whole proxy, from /proc: for a connection with one request (without TLS, with a whole
handshake, with a resumed one), and for a request on a kept connection with and without TLS. All do the same
work: forward over kept connections, an access-log line, a request id, X-Forwarded-For; no limits. TLS 1.3.
Of the rounds the middle counts.
"""

from __future__ import annotations

import argparse
import re
import socket
import ssl
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import accounting, field

KEYS = {
    "ECDSA P-256": ("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
    "RSA 2048": ("rsa:2048",),
}
CONNECTIONS = 1000  # of one run; 10 ms is what /proc can tell apart
REQUEST = b"GET /api/entities/1 HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n"


@dataclass
class Proxy:
    """One that listens without TLS, and with it once for each key."""

    server: field.Server
    ports: dict[str, int]

    @property
    def cpu(self) -> float:
        return accounting.cpu_seconds(self.server.process.pid)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tls")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of one run with kept connections")
    parser.add_argument("--client", nargs=3, metavar=("PORT", "KIND", "COUNT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        port, kind, count = options.client
        connect(int(port), kind, int(count))
        return
    found: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="weir-tls-") as folder:
        place = field.Field(Path(folder))
        try:
            upstream = field.origin(place)
            pairs = {key: _certificate(place.folder, key) for key in KEYS}
            proxies = {start.__name__: start(place, upstream, pairs) for start in (weir, haproxy, nginx)}
            for number in range(options.rounds):
                for name, proxy in proxies.items():
                    for case, cost in one_round(place, proxy, options.seconds):
                        found.setdefault((case, name), []).append(cost)
                print(f"  round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
        finally:
            place.stop_all()
    report({key: median(costs) for key, costs in found.items()})


def one_round(place: field.Field, proxy: Proxy, seconds: int):
    """Each case and its microseconds of CPU time."""
    yield "connection with one request, no TLS", per_connection(place, proxy, "plain", "plain")
    for key in KEYS:
        yield f"the same, whole handshake, {key}", per_connection(place, proxy, key, "whole")
        yield f"the same, resumed, {key}", per_connection(place, proxy, key, "resumed")
    yield "request on a kept connection, no TLS", per_request(place, proxy, "plain", seconds)
    yield "request on a kept connection, TLS", per_request(place, proxy, "ECDSA P-256", seconds)


def per_connection(place: field.Field, proxy: Proxy, listener: str, kind: str) -> float:
    before = proxy.cpu
    port = str(proxy.ports[listener])
    command = [sys.executable, "-m", "benchmarks.tls", "--client", port, kind, str(CONNECTIONS)]
    subprocess.run(
        ["taskset", "-c", str(place.load_core), *command], cwd=field.HERE.parent, check=True, timeout=60
    )
    return (proxy.cpu - before) / CONNECTIONS * 1e6


def per_request(place: field.Field, proxy: Proxy, listener: str, seconds: int) -> float:
    scheme = "http" if listener == "plain" else "https"
    url = f"{scheme}://127.0.0.1:{proxy.ports[listener]}/api/entities/1"
    before = proxy.cpu
    requests = load(url, seconds, place.load_core)
    return (proxy.cpu - before) / requests * 1e6


def load(url: str, seconds: int, core: int) -> int:
    """By wrk, which speaks TLS: how many requests were answered, all of them well."""
    command = ["taskset", "-c", str(core), "wrk", "-t4", "-c32", f"-d{seconds}s", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=True)
    answered = re.search(r"(\d+) requests in", done.stdout)
    if answered is None or "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise RuntimeError(f"{url}:\n{done.stdout}")
    return int(answered[1])


def report(costs: dict[tuple[str, str], float]) -> None:
    names = list(dict.fromkeys(name for _, name in costs))
    print(
        "| CPU us | " + " | ".join(names) + " | " + " | ".join(f"weir / {name}" for name in names[1:]) + " |"
    )
    print("|---|" + "---:|" * (2 * len(names) - 1))
    for case in dict.fromkeys(case for case, _ in costs):
        values = [costs[case, name] for name in names]
        ratios = [f"{values[0] / other:.2f}" for other in values[1:]]
        print(f"| {case} | " + " | ".join([f"{value:.0f}" for value in values] + ratios) + " |")


# --- the load ---


def connect(port: int, kind: str, count: int) -> None:
    """One connection after the other, each with one request."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # what the client checks is not measured
    session = None
    reused = 0
    for _ in range(count):
        with socket.create_connection(("127.0.0.1", port)) as sock:
            if kind == "plain":
                _ask(sock)
                continue
            resumed = session if kind == "resumed" else None
            with context.wrap_socket(sock, server_hostname="shop.example", session=resumed) as secure:
                _ask(secure)
                reused += bool(secure.session_reused)
                session = session or secure.session
    if reused < (count - 1 if kind == "resumed" else 0):
        raise RuntimeError(f"only {reused} of {count} were resumed")


def _ask(sock: socket.socket) -> None:
    sock.sendall(REQUEST)
    said = b""
    while data := sock.recv(65536):
        said += data
    if not said.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(said[:200])


# --- the proxies ---


def weir(place: field.Field, upstream: field.Server, pairs: dict[str, tuple[Path, Path]]) -> Proxy:
    ports = _ports()
    config = place.folder / "weir.yaml"
    listen = "".join(
        f"  - {{address: '127.0.0.1:{ports[key]}', tls: {{cert: {cert}, key: {private}}}}}\n"
        for key, (cert, private) in pairs.items()
    )
    config.write_text(f"""
listen:
  - 127.0.0.1:{ports["plain"]}
{listen}
admin: {{listen: 127.0.0.1:{field.free_port()}}}
upstream: {{servers: ["{upstream.url}"]}}
limits: []
drain: {{delay: 0s, timeout: 1s}}
log: {{access: {place.folder}/weir.access.log, level: warning}}
""")
    command = [sys.executable, "-m", "proxy", "run", "--config", str(config)]
    return Proxy(place.start("weir", command, ports["plain"], place.proxy_core), ports)


def haproxy(place: field.Field, upstream: field.Server, pairs: dict[str, tuple[Path, Path]]) -> Proxy:
    ports = _ports()
    config = place.folder / "haproxy.cfg"
    binds = []
    for number, (key, (cert, private)) in enumerate(pairs.items()):
        both = place.folder / f"both-{number}.pem"
        both.write_text(cert.read_text() + private.read_text())
        binds.append(f"  bind 127.0.0.1:{ports[key]} ssl crt {both} alpn http/1.1\n")
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
  bind 127.0.0.1:{ports["plain"]}
{"".join(binds)}
  unique-id-format %{{+X}}o\\ %ci:%cp_%fi:%fp_%Ts_%rt:%pid
  unique-id-header X-Request-Id
  default_backend back
backend back
  server origin 127.0.0.1:{upstream.port}
""")
    command = ["haproxy", "-db", "-f", str(config)]
    return Proxy(place.start("haproxy", command, ports["plain"], place.proxy_core), ports)


def nginx(place: field.Field, upstream: field.Server, pairs: dict[str, tuple[Path, Path]]) -> Proxy:
    ports = _ports()
    config = place.folder / "nginx.conf"
    proxied = """
    location / {
      proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Request-Id $request_id; add_header X-Request-Id $request_id;
    }
"""
    servers = [f"server {{ listen 127.0.0.1:{ports['plain']} backlog=4096; {proxied} }}\n"] + [
        f"server {{ listen 127.0.0.1:{ports[key]} ssl backlog=4096; ssl_protocols TLSv1.2 TLSv1.3;"
        f" ssl_certificate {cert}; ssl_certificate_key {private}; {proxied} }}\n"
        for key, (cert, private) in pairs.items()
    ]
    config.write_text(
        field.nginx_head(place, "nginx")
        + f"""
http {{
  log_format line '$time_iso8601 $request_id $remote_addr "$request" $status $body_bytes_sent $request_time';
  access_log {place.folder}/nginx.access.log line buffer=64k flush=1s;
  keepalive_requests 1000000000;
  upstream origin {{ server 127.0.0.1:{upstream.port}; keepalive 128; keepalive_requests 1000000000; }}
{"".join(servers)}
}}
"""
    )
    return Proxy(place.start("nginx", ["nginx", "-c", str(config)], ports["plain"], place.proxy_core), ports)


def _ports() -> dict[str, int]:
    return {name: field.free_port() for name in ("plain", *KEYS)}


def _certificate(folder: Path, key: str) -> tuple[Path, Path]:
    stem = key.partition(" ")[0]
    cert, private = folder / f"{stem}.pem", folder / f"{stem}.key"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        *KEYS[key],
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=shop.example",
    ]
    subprocess.run([*command, "-keyout", str(private), "-out", str(cert)], check=True, capture_output=True)
    private.chmod(0o644)  # of a test; HAProxy and nginx may be other users
    return cert, private


if __name__ == "__main__":
    main()
