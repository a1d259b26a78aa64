"""deploy/compose.yaml: what it starts is there, and fits together."""

from __future__ import annotations

import http.client
import re
import subprocess
import sys

import yaml

from proxy.config.loader import load
from tests.deploy.conftest import DOCKERFILE, ROOT
from tests.support.patience import until_now
from tests.support.ports import free_port
from tests.support.programs import program

FOLDER = ROOT / "deploy"
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())
WEIR = COMPOSE["services"]["weir"]
SCRAPE = yaml.safe_load((FOLDER / "compose" / "prometheus.yml").read_text())["scrape_configs"][0]


TOKEN = "0123456789abcdef"


def filled(text):
    """As compose does, with a token in the environment."""
    return re.sub(r"\$\{WEIR_ADMIN_TOKEN:\?[^}]+\}", TOKEN, text)


def settings():
    return load(
        FOLDER / "compose" / "weir.yaml", {name: filled(value) for name, value in WEIR["environment"].items()}
    )


def test_config_and_environment_are_good():
    """Other services are reached by their names."""
    found = settings()

    assert found.store.url.kind == "redis"
    for url in (str(found.store.url), str(found.upstream.servers[0].url)):
        assert any(f"//{name}:" in url for name in COMPOSE["services"]), url


def test_prometheus_scrapes_the_admin_plane_with_its_token():
    """From a secret that is made of the same variable."""
    found = settings().admin
    secret = SCRAPE["authorization"]["credentials_file"].removeprefix("/run/secrets/")

    assert found.token.get_secret_value() == TOKEN
    assert COMPOSE["services"]["prometheus"]["secrets"] == [secret]
    assert COMPOSE["secrets"][secret] == {"environment": "WEIR_ADMIN_TOKEN"}
    assert SCRAPE["static_configs"] == [{"targets": [f"weir:{found.listen.port}"]}]


def test_no_token_is_in_a_file():
    """Without one in the environment compose says so, and starts nothing."""
    assert WEIR["environment"]["WEIR_ADMIN__TOKEN"].startswith("${WEIR_ADMIN_TOKEN:?")


def test_rules_are_mounted_where_prometheus_looks():
    (path,) = yaml.safe_load((FOLDER / "compose" / "prometheus.yml").read_text())["rule_files"]
    mounts = dict(volume.split(":")[:2] for volume in COMPOSE["services"]["prometheus"]["volumes"])

    assert [FOLDER / host for host, inside in mounts.items() if path.startswith(inside + "/")] == [
        FOLDER / "prometheus"
    ]
    assert (FOLDER / "prometheus" / path.rpartition("/")[2]).exists()


def test_promtool_finds_nothing(tmp_path):
    path = tmp_path / "prometheus.yml"  # with what is elsewhere in the container
    text = (FOLDER / "compose" / "prometheus.yml").read_text()
    path.write_text(
        text.replace("/etc/prometheus-rules", str(FOLDER / "prometheus")).replace(
            "/run/secrets", str(tmp_path)
        )
    )
    (tmp_path / "admin-token").write_text(TOKEN)
    done = subprocess.run(
        [program("promtool"), "check", "config", path], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_folders_that_are_mounted_exist():
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", []):
            assert (FOLDER / volume.split(":")[0]).exists(), volume


def test_weir_may_no_more_than_it_needs():
    """And is given the time that its drain takes."""
    found = settings().drain

    assert WEIR["read_only"] is True
    assert WEIR["cap_drop"] == ["ALL"]
    assert int(WEIR["stop_grace_period"].removesuffix("s")) > found.delay + found.timeout
    assert "ENTRYPOINT" in DOCKERFILE
    assert WEIR["command"][0] == "run"


def test_ports_are_published_on_loopback_only():
    for service in COMPOSE["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_sample_service_starts_by_its_command():
    port = free_port()
    python, flag, code = COMPOSE["services"]["service"]["entrypoint"]
    process = subprocess.Popen(
        [sys.executable, flag, code.replace("9000", f'{port}, host="127.0.0.1"')],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )

    def status():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status
        except OSError:
            assert process.poll() is None
            return 0
        finally:
            connection.close()

    try:
        assert until_now(status, within=20.0) == 200
    finally:
        process.terminate()
        process.wait(10)
    assert python == "python"
