"""Other programs that tests need: redis-server, and httpbin served by gunicorn. Each on a free port, ended by its id."""

from __future__ import annotations

import http.client
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.support.patience import until_now
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def program(name: str) -> str:
    """The path of a program; a test that cannot have it fails and says what to install."""
    path = shutil.which(name)
    assert path is not None, f"the tests need {name}: sh tests/programs.sh installs it"
    return path


@contextmanager
def redis_server(folder: Path) -> Iterator[RedisServer]:
    """An empty Redis without persistence."""
    server = RedisServer(folder, free_port())
    server.start()
    try:
        yield server
    finally:
        server.stop()


class RedisServer:
    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self.process: subprocess.Popen[bytes] | None = None
        self._folder = folder

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Also after a `stop`, on the same port; what it held is gone."""
        options = {
            "port": self.port,
            "bind": "127.0.0.1",
            "save": "",
            "appendonly": "no",
            "dir": str(self._folder),
        }
        arguments = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        with (self._folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen([program("redis-server"), *arguments], stdout=log, stderr=log)
        until_now(self._answers, "redis-server answers")

    def stop(self) -> None:
        if self.process is not None:
            _end(self.process)
            self.process = None

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as sock:
                sock.sendall(b"PING\r\n")
                return sock.recv(64).startswith(b"+PONG")
        except OSError:
            return False


@contextmanager
def httpbin(folder: Path) -> Iterator[int]:
    """The port of httpbin under gunicorn, with kept connections."""
    port = free_port()
    options = [
        "--bind",
        f"127.0.0.1:{port}",
        "--worker-class",
        "gthread",
        "--threads",
        "16",
        "--keep-alive",
        "60",
    ]
    with (folder / "httpbin.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", *options, "httpbin:app"], stdout=log, stderr=log
        )
    try:
        until_now(lambda: _is_up(process, port), "httpbin answers", within=20.0)
        yield port
    finally:
        _end(process)


def _is_up(process: subprocess.Popen[bytes], port: int) -> bool:
    assert process.poll() is None, "gunicorn ended at once: see httpbin.log"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/status/200")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)
