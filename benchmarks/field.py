"""Where a benchmark takes place: an empty folder, two cores, and all that runs; origin and Redis among it.

All listen on loopback, on ports that were free a moment ago, and end with the benchmark.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
OUT = HERE / "out"  # what benchmarks leave behind: results, builds, programs; not part of the repository
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
    folder: Path
    proxy_core: int = 0
    load_core: int = 1
    servers: list[Server] = field(default_factory=list)

    def start(
        self, name: str, command: list[str], port: int, core: int, environ: dict[str, str] | None = None
    ) -> Server:
        """Started in a folder of its own that is empty, so that nothing of the checkout is found first."""
        log = self.folder / f"{name}.log"
        place = self.folder / f"{name}.d"
        place.mkdir(exist_ok=True)
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["taskset", "-c", str(core), *command],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=place,
                env=os.environ | (environ or {}),
            )
        server = Server(name, port, process)
        self.servers.append(server)
        await_port(server, log)
        return server

    def stop(self, server: Server) -> None:
        self.servers.remove(server)
        server.stop()

    def stop_all(self) -> None:
        while self.servers:
            self.servers.pop().stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def await_port(server: Server, log: Path) -> None:
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
    """nginx with small answers made in memory and files of 64 KiB and 8 MiB; bodies are dropped."""
    port = free_port()
    files = place.folder / "files"
    files.mkdir(exist_ok=True)
    for name, size in (("64k", 64 * 1024), ("8m", 8 * 1024 * 1024)):
        if not (files / name).exists():
            (files / name).write_bytes(os.urandom(size))
    place.folder.chmod(0o755)
    config = place.folder / "origin.conf"
    config.write_text(
        nginx_head(place, "origin")
        + f"""
http {{
  access_log off; keepalive_requests 1000000000; sendfile on; client_max_body_size 0;
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


def nginx_head(place: Field, name: str) -> str:
    user = "user root;\n" if os.geteuid() == 0 else ""
    return f"""{user}worker_processes 1; daemon off; master_process off;
pid {place.folder}/{name}.pid; error_log {place.folder}/{name}.error.log;
events {{ worker_connections 16384; }}
"""
