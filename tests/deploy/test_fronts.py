"""The shipped examples of proxies that ask Weir, as they are but for their ports and rates, run by the real programs."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import yaml

from tests.support.messages import answer, get, post
from tests.support.origin import answering
from tests.support.patience import until, yardstick
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
    "caddy": [("response_header_timeout 1s", "response_header_timeout 60s")],
    "envoy": [("timeout: 0.25s", "timeout: 60s")],
    "haproxy": [
        ("WEIR_PATIENCE 250", "WEIR_PATIENCE 60000"),
        ("WEIR_PATIENCE 60\n", "WEIR_PATIENCE 60000\n"),
    ],
}
AWAY = {"nginx": 500, "caddy": 502, "envoy": 200, "haproxy": 200}  # what clients get while Weir is away
# The same while it does not answer, and how many seconds they wait for it.
FROZEN = {"nginx": (500, 1.0), "caddy": (504, 1.0), "envoy": (200, 0.25), "haproxy": (200, 0.25)}
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


def prepare(name, folder, ports, *, is_patient=True):
    """The example's files, with all the patience that the program may need: Weir's settings."""
    texts = {path.name: path.read_text() for path in (EXAMPLES / name).iterdir()}
    for shipped, patient in PATIENCE[name] if is_patient else ():
        assert any(shipped in text for text in texts.values()), shipped
        texts = {file: text.replace(shipped, patient) for file, text in texts.items()}
    for file, text in texts.items():  # at once: a port that was put in may look like one of the others
        (folder / file).write_text(re.sub("|".join(ports), lambda usual: str(ports[usual[0]]), text))
    if name == "caddy":  # its admin API has a fixed port
        (folder / "Caddyfile").write_text("{\n\tadmin off\n}\n" + (folder / "Caddyfile").read_text())
    return yaml.safe_load((folder / "weir.yaml").read_text())


@contextmanager
def front(name, folder):
    """The program; Weir runs already, so that it finds it at once."""
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


class Case:
    """A front, the Weir that it asks and the service, with their clients."""

    def __init__(self, name, folder, origin, bodies, new_weir, connect):  # noqa: PLR0913, PLR0917 - fixtures
        self.bodies = bodies  # of the requests that the service had
        self.name, self.folder = name, folder / name
        self.folder.mkdir()
        self.ports = {FRONT: free_port(), DECIDING: free_port(), SERVICE: origin.port}
        self._new_weir, self._connect = new_weir, connect

    @asynccontextmanager
    async def runs(self, *, is_patient=True, of_limits=None, **changes):
        """Settings of Weir as in the example, but that no token comes back while the test runs."""
        settings = prepare(self.name, self.folder, self.ports, is_patient=is_patient)
        for limit in settings["limits"]:
            limit["rate"] = limit["rate"].replace("/s", "/h")
            limit.update(of_limits or {})
        self.weir = self._new_weir(settings | changes)
        self.weir.start()
        with front(self.name, self.folder) as self.process:
            port = self.ports[FRONT]
            await until(lambda: listens(port) or not self.is_alive, f"{self.name} listens", within=30)
            yield self

    @property
    def is_alive(self):
        return self.process.poll() is None

    async def ask(self, data, method="GET"):
        wire = await self._connect(self.ports[FRONT])
        await wire.send(data)
        return await wire.response(method)

    def log(self):
        return (self.folder / "front.log").read_text()


@pytest.fixture
async def case(name, tmp_path, start_origin, new_weir, connect):
    bodies = []

    def served(request):
        bodies.append(request.body)
        return answer(200, b"served")

    return Case(name, tmp_path, await start_origin(answering(served)), bodies, new_weir, connect)


@pytest.mark.parametrize("name", COMMANDS)
async def test_client_is_served_15_times_and_then_told_to_wait(name, case):
    """And the service has the whole request, the client the fields, and nobody can forge what Weir is told."""
    async with case.runs():
        alice = get("X-Auth-Token: alice", target="/api?q=%2F1")
        found = [await case.ask(alice) for _ in range(16)]
        bob = await case.ask(post(b"hello", "X-Auth-Token: bob", *FORGED, target="/orders"))
        head = await case.ask(get("X-Auth-Token: bob", target="/orders/1", method="HEAD"), "HEAD")

        assert [each.status for each in found] == [200] * 15 + [429], case.log()
        assert found[0].body == b"served"
        assert found[0].value("RateLimit").startswith(b'"per-user";r=14;')
        assert int(found[15].value("Retry-After")) >= 1
        assert b"quota-exceeded" in found[15].body
        assert bob.status == 200
        assert head.status == 200
        assert case.bodies == [b""] * 15 + [b"hello", b""]
        weir = case.weir
        weir.stop()
        assert (await case.ask(get("X-Auth-Token: carol"))).status == AWAY[name]

        lines = await until(lambda: len(weir.access_lines()) == 18 and weir.access_lines(), "all are logged")
        told = [(line["method"], line["target"], line["client"]) for line in lines]

        assert told == [("GET", "/api?q=%2F1", "127.0.0.1")] * 16 + [
            ("POST", "/orders", "127.0.0.1"),
            ("HEAD", "/orders/1", "127.0.0.1"),
        ]


@pytest.mark.parametrize("name", COMMANDS)
async def test_front_outlives_requests_of_many_fields(name, case):
    """Those that Weir would take are served; of more the client is told, by a status that is its own doing."""
    async with case.runs():
        found = {}
        for count in (90, 94, 95, 96, 97, 98, 99, 100, 101, 110):
            fields = [f"X-P{number}: " for number in range(count)]
            found[count] = (await case.ask(get("X-Auth-Token: alice", *fields))).status

        assert found[90] == 200, case.log()
        assert set(found.values()) <= {200, 400, 403, 431}, found
        assert (await case.ask(get("X-Auth-Token: bob"))).status == 200
        assert case.is_alive


@pytest.mark.parametrize("name", COMMANDS)
async def test_frozen_weir_holds_up_no_request_for_long(name, case):
    status, seconds = FROZEN[name]
    async with case.runs(is_patient=False), yardstick() as machine:
        case.weir.signal(signal.SIGSTOP)
        started = time.perf_counter()
        try:
            found = (await case.ask(get("X-Auth-Token: alice"))).status
        finally:
            case.weir.signal(signal.SIGCONT)
        waited = time.perf_counter() - started

        assert found == status, case.log()
        assert waited < seconds + 0.5 + machine.late(since=started)


@pytest.mark.parametrize("name", COMMANDS)
async def test_nobody_waits_for_a_weir_that_is_known_to_be_away(name, case):
    async with case.runs(is_patient=False), yardstick() as machine:
        case.weir.stop()
        for _ in range(20):
            started = time.perf_counter()
            found = (await case.ask(get("X-Auth-Token: alice"))).status
            waited = time.perf_counter() - started
            if waited < 0.5 + machine.late(since=started):
                break

        assert found == AWAY[name], case.log()
        assert waited < 0.5 + machine.late(since=started)


@pytest.mark.parametrize("name", COMMANDS)
async def test_store_that_is_away_denies_where_a_limit_says_so(name, case):
    store = {"url": f"redis://127.0.0.1:{free_port()}"}
    async with case.runs(store=store, of_limits={"on_store_error": "deny"}):
        refused = await case.ask(get("X-Auth-Token: alice"))

        assert refused.status == 503, case.log()
        assert int(refused.value("Retry-After")) >= 1


DOOR = {
    "unknown method": b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n",
    "no host": b"GET / HTTP/1.0\r\n\r\n",
    "long target": get(target="/" + "a" * 8300),
}


@pytest.mark.parametrize("data", DOOR.values(), ids=DOOR)
@pytest.mark.parametrize("name", ["nginx", "envoy"])
async def test_client_makes_no_failure_of_what_is_refused_at_the_door(name, case, data):
    """nginx makes a 500 of all that it does not know; for Envoy a failure of Weir lets pass."""
    async with case.runs():
        assert (await case.ask(data)).status in {400, 403, 414, 426}, case.log()
