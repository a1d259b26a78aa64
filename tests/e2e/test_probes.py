"""Probes and the admin plane under attack: they answer, and nobody's request notices."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from proxy.admin import bounds
from tests.support.messages import get
from tests.support.patience import until
from tests.support.ports import free_port
from tests.support.weir import run

pytestmark = pytest.mark.measured

GET = b"GET %b HTTP/1.1\r\nHost: a\r\nUser-Agent: kube-probe/1.34\r\n\r\n"
SILENT = 1100  # more than the descriptors that a process has if nobody raises them
PROBES = free_port()
SETTINGS = {"admin": {"token": "s3cret", "probes": f"127.0.0.1:{PROBES}"}}


def probe(path, port=PROBES, *, headers=b""):
    """The status, and how long it took; 0 if the connection ended without one."""
    begin = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(GET.replace(b"\r\n\r\n", b"\r\n" + headers + b"\r\n") % path.encode())
        line = sock.makefile("rb").readline()
    return int(line.split()[1]) if line else 0, time.monotonic() - begin


async def probed(path, port=PROBES, **options):
    return await asyncio.to_thread(probe, path, port, **options)


async def test_probes_need_no_token_and_nothing_else_is_there(weir):
    answers = {
        path: probe(path)[0] for path in ("/healthz", "/readyz", "/metrics", "/status", "/", "/limits")
    }

    assert answers == {
        "/healthz": 200,
        "/readyz": 200,
        "/metrics": 404,
        "/status": 404,
        "/": 404,
        "/limits": 404,
    }


async def test_admin_plane_has_its_own_still(weir):
    assert weir.admin("/healthz").status == 200
    assert weir.admin("/status").status == 401


async def test_healthcheck_asks_the_probes(start_weir):
    """They are open when the admin plane is not to be reached."""
    port = free_port()
    weir = start_weir({"admin": {"probes": f"127.0.0.1:{port}"}})
    weir.write_config({"admin": {"listen": f"127.0.0.1:{free_port()}"}})
    done = run("healthcheck", "--ready", "--config", str(weir.config))

    assert (done.returncode, done.stderr) == (0, "")


async def test_probes_on_a_unix_socket(start_weir, tmp_path):
    path = tmp_path / "probes.sock"
    start_weir({"admin": {"probes": f"unix:{path}"}})
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        sock.sendall(GET % b"/healthz")

        assert sock.recv(1000).startswith(b"HTTP/1.1 200 ")


async def test_taken_port_is_one_line(new_weir):
    with socket.create_server(("127.0.0.1", 0)) as other:
        weir = new_weir({"admin": {"probes": f"127.0.0.1:{other.getsockname()[1]}"}})
        weir.launch()

        assert weir.wait() == 1
    assert "admin.probes: cannot listen on 127.0.0.1:" in weir.log_text()


async def test_draining_shows_until_the_end(start_weir):
    port = free_port()
    weir = start_weir({"admin": {"probes": f"127.0.0.1:{port}"}, "drain": {"delay": "15s"}})
    weir.signal(signal.SIGTERM)
    await until(lambda: probe("/readyz", port)[0] == 503, "draining")

    assert probe("/healthz", port)[0] == 200
    weir.signal(signal.SIGTERM)
    weir.wait()


async def test_supervisor_answers_for_its_workers(start_weir):
    port = free_port()
    weir = start_weir({"workers": 2, "admin": {"probes": f"127.0.0.1:{port}"}})

    assert probe("/readyz", port)[0] == 200
    assert weir.admin("/status").json()["workers"]


# --- under attack ---


class Silent:
    """Connections that say nothing, or not enough."""

    def __init__(self, port, word=b""):
        self._port = port
        self._word = word
        self._sockets = []

    def __enter__(self):
        for _ in range(SILENT):
            sock = socket.socket()
            sock.settimeout(0.0)
            sock.connect_ex(("127.0.0.1", self._port))
            self._sockets.append(sock)
        for sock in self._sockets:
            try:
                sock.send(self._word)
            except OSError:  # not through yet, or already cut
                continue
        return self

    def __exit__(self, *_):
        for sock in self._sockets:
            sock.close()


def open_files(weir):
    return len(os.listdir(Path("/proc", str(weir.pid), "fd")))


@pytest.mark.parametrize("word", [b"", b"GET /healthz HTTP/1.1\r\nX-Half: "])
@pytest.mark.parametrize("where", ["admin", "probes"])
async def test_silent_connections_take_nothing_down(weir, origin, ask, where, word):
    """Neither the data plane, nor the probes, nor the admin plane itself."""
    with Silent(weir.admin_port if where == "admin" else PROBES, word):
        response = await ask(weir, get())
        health, seconds = await probed("/healthz")
        admin, _ = await probed("/status", weir.admin_port, headers=b"Authorization: Bearer s3cret\r\n")
        files = open_files(weir)

    assert response.status == 200
    assert (health, admin) == (200, 200)
    assert seconds < 3.5  # one SYN of a full queue is sent again after a second, the next after two more
    assert files < 400


async def test_head_that_does_not_end_is_bounded(weir):
    """By its size, and by the count of its headers."""
    long, _ = await probed("/healthz", weir.admin_port, headers=b"X: " + b"a" * 9000 + b"\r\n")
    many, _ = await probed("/healthz", weir.admin_port, headers=b"X: a\r\n" * (bounds.HEADERS_MAX + 10))

    assert (long, many) == (400, 400)
