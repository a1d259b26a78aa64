"""The units agree with Weir's defaults; systemd itself judges them where it is installed."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess

import pytest

from proxy.config.exits import EXIT_WRONG
from proxy.config.loader import load
from tests.deploy.conftest import ROOT
from tests.support.programs import program

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
    assert unit("weir.service")["Service"]["RestartPreventExitStatus"] == str(EXIT_WRONG)


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
def test_systemd_finds_nothing(tmp_path):
    """With the drop-in for TLS."""
    shutil.copytree(FOLDER, tmp_path / "system")
    drop_ins = tmp_path / "system" / "weir.service.d"
    drop_ins.mkdir()
    (tmp_path / "system" / "tls.conf").rename(drop_ins / "tls.conf")
    files = [tmp_path / "system" / name for name in ("weir.service", "weir.socket")]
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *files], capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if "weir" in line and "not executable" not in line]

    assert said == []


def test_credentials_have_the_names_that_the_config_gives():
    """In the folder that systemd makes for the unit."""
    text = (FOLDER / "tls.conf").read_text()
    handed = re.findall(r"^LoadCredential=([\w.]+):/", text, re.MULTILINE)

    assert handed == re.findall(r"/run/credentials/weir\.service/([\w.]+)", text) == ["tls.crt", "tls.key"]


def test_what_weir_writes_is_not_for_everybody():
    assert unit("weir.service")["Service"]["UMask"] == "0027"


def test_rotated_log_is_the_one_of_the_unit(tmp_path):
    """Logrotate itself reads the file; the signal is the one that reopens the log, to the one who hears it."""
    text = (FOLDER / "weir.logrotate").read_text()
    (tmp_path / "access.log").write_text("a line\n")
    rules = tmp_path / "weir"
    rules.write_text(
        text.replace("/var/log/weir", str(tmp_path)).replace("systemctl", "echo signalled systemctl")
    )
    rules.chmod(0o644)
    command = [program("logrotate"), "--force", "--verbose", "--state", tmp_path / "state", rules]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "signalled systemctl kill --kill-whom=main --signal=HUP weir.service" in done.stdout
    assert [path.name for path in tmp_path.glob("access.log*")] == ["access.log.1"]
    assert unit("weir.service")["Service"]["LogsDirectory"] == "weir"
