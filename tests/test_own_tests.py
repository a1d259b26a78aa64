"""Each module of the pure floors is covered whole, to the branch, by the tests that carry its name."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from proxy import is_compiled
from tests.support.own_coverage import FLOORS, ROOT, modules, own_tests

# Of floors that know files and threads, the modules that know none.
PURE = {
    "config": ("addresses", "document", "key_names", "names", "overlap", "template", "units"),
    "telemetry": ("histogram", "line_forms", "recent", "safe_text", "top_keys", "traces"),
}


def pure(floor):
    return [module for module in modules(floor) if floor in FLOORS or module.stem in PURE[floor]]


@pytest.mark.parametrize("floor", [*FLOORS, *PURE])
def test_each_module_has_tests_of_its_name(floor):
    assert [module.stem for module in pure(floor) if not own_tests(module)] == []


@pytest.mark.skipif(is_compiled(), reason="what is compiled shows no lines")
@pytest.mark.timeout(600)
@pytest.mark.real
@pytest.mark.measured
@pytest.mark.parametrize("floor", [*FLOORS, *PURE])
def test_modules_are_covered_whole_by_their_own_tests(floor, tmp_path):
    """Nobody else's tests help; a line that no test can meet says why it is excluded."""
    report = tmp_path / "report.json"
    data = ROOT / f".coverage.own-{floor}" if "COVERAGE_PROCESS_START" in os.environ else tmp_path / "data"
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("COV", "PYTEST"))}
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.own_coverage", floor, str(report), str(data), *PURE.get(floor, ())],
        cwd=ROOT, env=environ, capture_output=True, text=True, check=False,
    )  # fmt: skip

    # 1: some failed. Those that measure time may, under a tracer; that they pass is seen without one.
    assert done.returncode in (0, 1), done.stdout + done.stderr
    assert {module: gaps for module, gaps in json.loads(report.read_text()).items() if gaps} == {}
