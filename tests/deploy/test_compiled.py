"""The build that compiles ahead of time, as far as it needs no compiler; `make test-compiled` has the rest."""

from __future__ import annotations

import subprocess
import sys
import tomllib

from proxy import is_compiled
from tests.deploy.conftest import ROOT, clean_environment

WHEEL = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]


def test_what_is_compiled_is_there():
    """A module that was moved would silently be interpreted."""
    hook = WHEEL["hooks"]["custom"]

    assert [
        name for name in hook["compiled"] + hook["interpreted"] if not (ROOT / "proxy" / name).exists()
    ] == []


def test_source_says_that_it_is_not_compiled():
    assert not is_compiled()


def test_build_without_a_compiler_says_what_it_needs(tmp_path):
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--skip-dependency-check"]
    done = subprocess.run(
        [*command, "--outdir", tmp_path, ROOT],
        env=clean_environment(tmp_path) | {"HATCH_BUILD_HOOKS_ENABLE": "1", "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode != 0
    assert "weir cannot be compiled without" in done.stdout + done.stderr
    assert not list(tmp_path.iterdir())
