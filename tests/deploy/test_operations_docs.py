"""docs/operations.md and docs/sidecar.md say what is so."""

from __future__ import annotations

import re

from proxy.config import exits
from proxy.config.loader import loads
from proxy.runtime import worker_process
from tests.deploy.conftest import ROOT

OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
PERFORMANCE = (ROOT / "docs" / "performance.md").read_text()
SIDECAR = (ROOT / "docs" / "sidecar.md").read_text()


def table(title):
    """The cells of the rows of the first table under a heading."""
    section = OPERATIONS.split(f"## {title}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_every_exit_code_is_told():
    codes = {int(row[0]) for row in table("Exit codes")}

    assert codes == {value for name, value in vars(exits).items() if name.startswith("EXIT_")}


def test_pauses_of_a_dying_worker_are_told():
    _, *pauses, last = (f"{pause:g}" for pause in worker_process.PAUSES)

    assert f"after {', '.join(pauses)} and then {last} s each" in OPERATIONS
    assert f"silent for {worker_process.SILENCE_SECONDS:g} s" in OPERATIONS


def test_files_that_are_named_exist():
    for name in re.findall(r"`(deploy/[\w./-]+)`", OPERATIONS + SIDECAR):
        assert (ROOT / name).exists(), name


def test_memory_that_deployments_allow_is_told_and_is_enough():
    """For hostile times too, with the defaults: at rest, for each connection, and seven times what may lie unread."""
    (told,) = re.findall(r"(\d+) MiB as the limit", OPERATIONS)
    measured = re.findall(r"^\| Weir[^|]* \| \d+ \| ([\d.]+) \|$", PERFORMANCE, re.MULTILINE)
    each = max(map(float, measured))
    limits = loads("upstream: {servers: ['http://127.0.0.1:1']}", "", {}).downstream.limits
    assert limits.buffers is not None
    most = 63 + limits.connections * each / 1024 + 7 * limits.buffers / 2**20

    for name in (
        "kubernetes/gateway/deployment.yaml",
        "kubernetes/sidecar/deployment.yaml",
        "helm/weir/values.yaml",
    ):
        assert f"limits: {{memory: {told}Mi}}" in (ROOT / "deploy" / name).read_text(), name
    assert f"With the defaults that is {most:.0f} MiB" in OPERATIONS
    assert f"{each} KiB for each of" in OPERATIONS
    assert f"{each} KiB at rest after an answer" in (ROOT / "SECURITY.md").read_text()
    assert most < int(told)
