"""The shipped examples of proxies that ask Weir, as they are but for their ports and rates, run by the real programs."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.support.messages import answer, get, post
from tests.support.origin import answering
from tests.support.patience import until
from tests.support.ports import free_port
from tests.support.programs import program
from tests.support.weir import ROOT

pytestmark = pytest.mark.real

EXAMPLES = ROOT / "deploy" / "examples"
FRONT, DECIDING, SERVICE = "8000", "8081", "9000"
SCRIPTS = Path(sys.executable).parent  # where PyPI's package of Envoy puts it

COMMANDS = {
    "nginx": "nginx -p {folder} -c nginx.conf -g",
    "caddy": "caddy run --adapter caddyfile --config Caddyfile",
    "envoy": "envoy -c envoy.yaml --concurrency 1 --disable-hot-restart -l error",
    "haproxy": "haproxy -db -f haproxy.cfg",
}
# How long each waits for Weir; then requests pass, or fail, uncounted. A busy machine may take longer than that.
PATIENCE = {
    "nginx": [("proxy_read_timeout 1s", "proxy_read_timeout 60s")],
    "caddy": [],
    "envoy": [("timeout: 0.25s", "timeout: 60s")],
    "haproxy": [("PATIENCE = 250 ", "PATIENCE = 60000 ")],
}
AWAY = {"nginx": 500, "caddy": 502, "envoy": 200, "haproxy": 200}  # what clients get while Weir is away
FORGED = (
    *("X-Original-Method: PUT", "X-Original-URI: /forged", "X-Forwarded-Method: PUT"),
    *("X-Forwarded-Uri: /forged", "X-Forwarded-Host: forged.example", "X-Forwarded-For: 10.9.8.7"),
)


def command(name, folder):
    first, *others = COMMANDS[name].format(folder=folder).split()
    if name == "nginx":
        others.append("daemon off; pid nginx.pid; error_log nginx.log;")
    installed = SCRIPTS / first
    return [str(installed) if installed.exists() else program(first), *others]


@contextmanager
def front(name, folder, ports):
    """The program with the example's files, and with all the patience it may need."""
    texts = {path.name: path.read_text() for path in (EXAMPLES / name).iterdir()}
    for shipped, patient in PATIENCE[name]:
        assert any(shipped in text for text in texts.values()), shipped
        texts = {file: text.replace(shipped, patient) for file, text in texts.items()}
    for file, text in texts.items():  # at once: a port that was put in may look like one of the others
        (folder / file).write_text(re.sub("|".join(ports), lambda usual: str(ports[usual[0]]), text))
    if name == "caddy":  # its admin API has a fixed port
        (folder / "Caddyfile").write_text("{\n\tadmin off\n}\n" + (folder / "Caddyfile").read_text())
    with (folder / "front.log").open("wb") as log:
        process = subprocess.Popen(
            command(name, folder), cwd=folder, stdout=log, stderr=log, env=os.environ | {"HOME": str(folder)}
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def asked(connect, port, data):
    wire = await connect(port)
    await wire.send(data)
    return await wire.response()


@pytest.mark.parametrize("name", COMMANDS)
async def test_client_is_served_15_times_and_then_told_to_wait(
    name, tmp_path, start_origin, new_weir, connect
):
    """And the service has the whole request, the client the fields, and nobody can forge what Weir is told."""
    bodies = []

    def served(request):
        bodies.append(request.body)
        return answer(200, b"served")

    origin = await start_origin(answering(served))
    ports = {FRONT: free_port(), DECIDING: free_port(), SERVICE: origin.port}
    folder = tmp_path / name
    folder.mkdir()
    with front(name, folder, ports) as process:
        settings = yaml.safe_load((folder / "weir.yaml").read_text())
        for limit in settings["limits"]:  # no token comes back while the test runs
            limit["rate"] = limit["rate"].replace("/s", "/h")
        weir = new_weir(settings)
        weir.start()
        await until(lambda: listens(ports[FRONT]) or process.poll() is not None, f"{name} listens", within=30)

        def ask(data):
            return asked(connect, ports[FRONT], data)

        alice = get("X-Auth-Token: alice", target="/api?q=%2F1")
        found = [await ask(alice) for _ in range(16)]
        bob = await ask(post(b"hello", "X-Auth-Token: bob", *FORGED, target="/orders"))
        wire = await connect(ports[FRONT])
        await wire.send(get("X-Auth-Token: bob", target="/orders/1", method="HEAD"))
        head = await wire.response("HEAD")

        assert [each.status for each in found] == [200] * 15 + [429], (folder / "front.log").read_text()
        assert found[0].body == b"served"
        assert found[0].value("RateLimit").startswith(b'"per-user";r=14;')
        assert int(found[15].value("Retry-After")) >= 1
        assert b"quota-exceeded" in found[15].body
        assert bob.status == 200
        assert head.status == 200
        assert bodies == [b""] * 15 + [b"hello", b""]
        weir.stop()
        assert (await ask(get("X-Auth-Token: carol"))).status == AWAY[name]

        lines = await until(lambda: len(weir.access_lines()) == 18 and weir.access_lines(), "all are logged")
        told = [(line["method"], line["target"], line["client"]) for line in lines]

        assert told == [("GET", "/api?q=%2F1", "127.0.0.1")] * 16 + [
            ("POST", "/orders", "127.0.0.1"),
            ("HEAD", "/orders/1", "127.0.0.1"),
        ]
