"""Each module of the pure floors is covered whole, to the branch, by the tests that carry its name."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from proxy import is_compiled
from tests.support.own_coverage import ROOT, modules, own_tests

FLOORS = ("clients", "contract", "http1", "policy")
# What limits on concurrency added to these is covered by tests of other names so far. No module may join them.
ELSEWHERE = {"policy/decision", "policy/fields", "policy/limits", "policy/slots", "policy/terms"}


@pytest.mark.parametrize("floor", FLOORS)
def test_each_module_has_tests_of_its_name(floor):
    assert [
        module.stem
        for module in modules(floor)
        if not own_tests(module) and f"{floor}/{module.stem}" not in ELSEWHERE
    ] == []


@pytest.mark.skipif(is_compiled(), reason="what is compiled shows no lines")
@pytest.mark.timeout(600)
@pytest.mark.real
@pytest.mark.parametrize("floor", FLOORS)
def test_modules_are_covered_whole_by_their_own_tests(floor, tmp_path):
    """Nobody else's tests help; a line that no test can meet says why it is excluded."""
    report = tmp_path / "report.json"
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("COV", "PYTEST"))}
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.own_coverage", floor, str(report)],
        cwd=ROOT, env=environ, capture_output=True, text=True, check=False,
    )  # fmt: skip

    # 1: some failed. Those that measure time may, under a tracer; that they pass is seen without one.
    assert done.returncode in (0, 1), done.stdout + done.stderr
    gaps = {module: found for module, found in json.loads(report.read_text()).items() if found}
    assert {module: found for module, found in gaps.items() if module not in ELSEWHERE} == {}
