"""Records how real stacks fail: starts each app of apps/, asks it in each way, keeps the raw bytes of the answer.

    python -m tests.e2e.leaks.record            every app whose interpreter is at hand, into tests/e2e/leaks/corpus/

The apps run from a copy in /srv/app, so that the paths in their answers are those of a server. What they need
besides Python, Node, PHP, Ruby and Java: pip install flask django starlette fastapi uvicorn tornado bottle
cherrypy sanic litestar (into /srv/venv), npm install express koa fastify (in /srv/app), apt-get install php-cli
php-sqlite3 ruby-webrick ruby-sinatra. The tests need none of it: they send what was recorded.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.support.ports import free_port

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
APPS = Path("/srv/app")
WAYS = ("refused", "sql", "file", "key", "assertion")
# A browser's request gets the pages that are made for people.
REQUEST = "GET /{way} HTTP/1.1\r\nHost: hub.example\r\nAccept: text/html,*/*\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n"
ANSWER_BYTES = 200_000
LARGE_BYTES = 20_000  # pages that show half of the framework's source: two of them say it all, and
BEGIN_BYTES, END_BYTES = 17_000, 1_000  # of those this much: what is looked at and logged, and the end
START_SECONDS = 20.0


def command(app: Path, port: int) -> list[str]:
    runners = {
        ".py": ["/srv/venv/bin/python", app.name, str(port)],
        ".js": ["node", app.name, str(port)],
        ".rb": ["ruby", app.name, str(port)],
        ".java": ["java", app.name, str(port)],
        ".php": ["php", "-d", "display_errors=1", "-d", "html_errors=1", "-S", f"127.0.0.1:{port}", app.name],
    }
    return runners[app.suffix]


def record(app: Path) -> None:
    port = free_port()
    process = subprocess.Popen(
        command(app, port),
        cwd=APPS,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"PATH": "/usr/bin:/bin"},
    )
    try:
        await_start(process, port)
        for way in WAYS:
            raw = answer(port, way).replace(
                str(port).encode(), b"8000"[: len(str(port))].ljust(len(str(port)), b"0")
            )
            assert raw.startswith(b"HTTP/1."), f"{app.name}: {raw[:100]!r}"
            if len(raw) <= LARGE_BYTES or way in WAYS[:2]:
                (CORPUS / f"{app.stem}-{way}.http").write_bytes(shortened(raw))
    finally:
        process.kill()
        process.wait()


def await_start(process: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended at once")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"{process.args!r} does not listen")


def answer(port: int, way: str) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 20) as client:
        client.sendall(REQUEST.format(way=way).encode())
        raw = b""
        while len(raw) < ANSWER_BYTES and (data := client.recv(65536)):
            raw += data
    return raw


def shortened(raw: bytes) -> bytes:
    """The answer without the middle of a large page."""
    head, _, body = raw.partition(b"\r\n\r\n")
    if len(raw) <= LARGE_BYTES:
        return raw
    body = body[:BEGIN_BYTES] + b"\n[cut]\n" + body[-END_BYTES:]
    length = b"Content-Length: %d" % len(body)
    head = re.sub(rb"content-length: \d+", length, head, flags=re.IGNORECASE)
    return head + b"\r\n\r\n" + body


def main() -> None:
    CORPUS.mkdir(exist_ok=True)
    shutil.copytree(HERE / "apps", APPS, dirs_exist_ok=True)
    parts = {"failures", "php_fail"}
    apps = sorted(path for path in (HERE / "apps").iterdir() if path.is_file() and path.stem not in parts)
    for app in apps:
        if sys.argv[1:] and app.stem not in sys.argv[1:]:
            continue
        print(app.name, flush=True)
        record(app)


if __name__ == "__main__":
    main()
