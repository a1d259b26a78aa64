"""`weir healthcheck` against a Weir that runs, that does not, and that hangs."""

from __future__ import annotations

import signal
import socket
import time

import pytest

from tests.support.patience import until
from tests.support.weir import run

pytestmark = pytest.mark.measured


def test_healthy_is_silence(start_weir):
    weir = start_weir()
    done = run("healthcheck", "--config", str(weir.config))

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_nobody_there_is_unhealthy(new_weir):
    """One line that names the setting."""
    weir = new_weir()
    done = run("healthcheck", "--config", str(weir.config))

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert f"admin.listen: 127.0.0.1:{weir.admin_port}" in done.stderr


def test_hanging_loop_is_unhealthy(start_weir):
    """Within the 3 s that a container gives it."""
    weir = start_weir()
    weir.signal(signal.SIGSTOP)
    begin = time.monotonic()
    done = run("healthcheck", "--config", str(weir.config))
    seconds = time.monotonic() - begin
    weir.signal(signal.SIGCONT)

    assert done.returncode == 1
    assert "timed out" in done.stderr
    assert 2 <= seconds < 10


def test_someone_else_on_the_port_is_unhealthy(new_weir):
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.listen()
        weir = new_weir({"admin": {"listen": f"127.0.0.1:{other.getsockname()[1]}"}})
        done = run("healthcheck", "--config", str(weir.config))

    assert done.returncode == 1


def test_wrong_config_has_an_exit_code_of_its_own(tmp_path):
    done = run("healthcheck", "--config", str(tmp_path / "none.yaml"))

    assert done.returncode == 2
    assert "no such file" in done.stderr


def test_admin_plane_that_is_open_to_the_world_is_asked_on_loopback(new_weir):
    """With its token, which the environment gives."""
    weir = new_weir()
    secret = {"WEIR_ADMIN__TOKEN": "s3cret", "WEIR_ADMIN__LISTEN": f"0.0.0.0:{weir.admin_port}"}
    weir.start(**secret)
    done = run("healthcheck", "--config", str(weir.config), **secret)

    assert (done.returncode, done.stderr) == (0, "")


def test_admin_plane_on_a_unix_socket_is_asked_there(new_weir, tmp_path):
    path = tmp_path / "admin.sock"
    weir = new_weir({"admin": {"listen": f"unix:{path}"}})
    weir.launch()
    done = None
    for _ in range(20):
        done = run("healthcheck", "--config", str(weir.config))
        if done.returncode == 0:
            break

    assert (done.returncode, done.stderr) == (0, "")


async def test_draining_is_healthy_but_not_ready(start_weir):
    """Liveness must not end what readiness takes out."""
    weir = start_weir({"drain": {"delay": "15s"}})
    before = run("healthcheck", "--ready", "--config", str(weir.config)).returncode
    weir.signal(signal.SIGTERM)
    await until(lambda: weir.readiness() == 503, "draining")
    ready = run("healthcheck", "--ready", "--config", str(weir.config))
    healthy = run("healthcheck", "--config", str(weir.config))
    weir.signal(signal.SIGTERM)
    weir.wait()

    assert (before, ready.returncode, healthy.returncode) == (0, 1, 0)
    assert "answers /readyz with 503" in ready.stderr
