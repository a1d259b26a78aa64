"""The units agree with Weir's defaults; systemd itself judges them where it is installed."""

from __future__ import annotations

import configparser
import shutil
import subprocess

import pytest

from proxy.config.loader import load
from proxy.runtime.exits import EXIT_CONFIG
from tests.deploy.conftest import ROOT

FOLDER = ROOT / "deploy" / "systemd"
SETTINGS = load(ROOT / "config" / "weir.yaml", {})


def unit(name):
    parser = configparser.RawConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # as its documentation says
    parser.read(FOLDER / name)
    return parser


def test_stop_waits_for_the_drain():
    """Systemd must not kill what Weir still lets finish."""
    seconds = int(unit("weir.service")["Service"]["TimeoutStopSec"])

    assert seconds > SETTINGS.drain.delay + SETTINGS.drain.timeout


def test_wrong_config_is_not_tried_again():
    assert unit("weir.service")["Service"]["RestartPreventExitStatus"] == str(EXIT_CONFIG)


def test_manager_hears_the_process_that_speaks():
    """sd_notify and the watchdog come from the main process, and only it gets SIGTERM."""
    service = unit("weir.service")["Service"]

    assert (service["Type"], service["NotifyAccess"], service["KillMode"]) == ("notify", "main", "mixed")
    assert int(service["WatchdogSec"]) > 1


def test_file_descriptors_suffice_for_the_connections():
    """A client's and a server's for each exchange."""
    assert int(unit("weir.service")["Service"]["LimitNOFILE"]) > 2 * SETTINGS.downstream.limits.connections


def test_socket_is_the_port_of_the_config():
    """Or the start fails: Weir refuses a socket that no setting has."""
    assert unit("weir.socket")["Socket"]["ListenStream"] == str(SETTINGS.listen[0].address)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_finds_nothing():
    files = [FOLDER / "weir.service", FOLDER / "weir.socket"]
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *files], capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if "weir" in line and "not executable" not in line]

    assert said == []
