"""Weir compiled ahead of time, for the benchmarks: built anew where the source is newer."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "benchmarks" / "out" / "compiled"


@cache
def trouble() -> str:
    """Builds it if need be; why it cannot be built, or nothing."""
    if _is_fresh():
        return ""
    print("  weir is compiled, which takes a minute or two", flush=True)
    FOLDER.parent.mkdir(exist_ok=True)
    done = subprocess.run(
        ["sh", str(ROOT / "tests" / "support" / "compiled.sh"), sys.executable, str(FOLDER)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)
    return "" if done.returncode == 0 else "a build that succeeds (see above)"


def command() -> list[str]:
    """Starts what was built; isolated, since the source in the current folder would come first."""
    return [str(_python()), "-I", "-m", "proxy"]


def _python() -> Path:
    return FOLDER / "bin" / "python"


def _is_fresh() -> bool:
    built = next(FOLDER.glob("lib/python*/site-packages/proxy/compiled__mypyc.*"), None)
    source = [*(ROOT / "proxy").rglob("*.py"), ROOT / "hatch_build.py", ROOT / "pyproject.toml"]
    return built is not None and built.stat().st_ctime > max(each.stat().st_mtime for each in source)
