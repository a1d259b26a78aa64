"""python -m benchmarks.guard: fails when an exchange has become more than 5 % dearer.

Counted are instructions, by callgrind: a busy machine changes nothing about them. An exchange's are divided
by those of a reference, work of the same kinds that never changes (`counted`), so that a figure holds for
other builds of the same Python too: from 3.11.7 built from source to Debian's 3.11.2 it moves by 0.6 % at
most. Hence the bound of 4 %: whatever is 5 % dearer fails. The figures stand in guard.json.

python -m benchmarks.guard --accept     writes today's figures; the commit says why an exchange is dearer now
python -m benchmarks.guard --kinds "GET, refused" --burden 0.06     tries the guard: it must fail
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.counted import BURDENED, COUNT, KINDS, REFERENCE
from benchmarks.field import HERE
from benchmarks.programs import callgrind_library, need
from proxy import is_compiled

FIGURES = HERE / "guard.json"
MOST = 1.04  # of the figure that is kept
LEAST = 0.96  # from here on, a figure that is kept is out of date: it lets what becomes dearer again pass
COUNTED = re.compile(r"^desc: Trigger: Client Request: ([^\n]+)$.*^totals: (\d+)$", re.MULTILINE | re.DOTALL)


def main() -> int:
    options = _options()
    build = (
        f"Python {'.'.join(platform.python_version_tuple()[:2])}, {'compiled' if is_compiled() else 'source'}"
    )
    every: dict[str, dict[str, float]] = json.loads(FIGURES.read_text())
    kept = every.get(build, {})
    if not kept and not options.accept:
        print(f"{FIGURES.name} has no figures for {build}: --accept writes them")
        return 1
    kinds = options.kinds or list(KINDS)
    figures = counted(
        [burdened(kind, options.burden * kept[kind]) if options.burden else kind for kind in kinds]
    )
    found = {name.partition(BURDENED)[0]: figure for name, figure in figures.items()}
    print(build)
    print(table(found, found | kept))
    if options.accept:
        FIGURES.write_text(json.dumps(every | {build: kept | found}, indent=2, sort_keys=True) + "\n")
        return 0
    return len(dearer(found, kept))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guard")
    parser.add_argument("--kinds", nargs="*", choices=list(KINDS), help="of exchanges; default: all")
    parser.add_argument("--accept", action="store_true", help="write the figures")
    parser.add_argument("--burden", type=float, default=0.0, help="share of an exchange to be wasted")
    return parser.parse_args()


# --- what is counted ---


def burdened(kind: str, burden: float) -> str:
    """The name of this kind with a burden, in rounds of the reference for each exchange."""
    return f"{kind}{BURDENED}{round(burden * COUNT)}"


def counted(kinds: list[str]) -> dict[str, float]:
    """By kind: instructions of an exchange, in those of one round of the reference."""
    need("valgrind")
    with tempfile.TemporaryDirectory(prefix="weir-guard-") as folder:
        out, path = Path(folder, "out"), _path(Path(folder, "path"))
        command = ["valgrind", "-q", "--tool=callgrind", "--instr-atstart=no", "--collect-atstart=no"]
        command += [f"--callgrind-out-file={out}", sys.executable, "-m", "benchmarks.counted"]
        command += [str(callgrind_library()), *kinds]
        environ = os.environ | {"PYTHONHASHSEED": "0", "PYTHONPATH": str(path)}
        environ.pop("COVERAGE_PROCESS_START", None)
        subprocess.run(command, cwd=path, env=environ, check=True, timeout=300, stdout=subprocess.DEVNULL)
        counts = dict(_count(each) for each in Path(folder).glob("out.*"))
    reference = counts[REFERENCE]
    return {kind: round(counts[kind] / reference, 3) for kind in kinds} | {REFERENCE: reference // COUNT}


def _path(folder: Path) -> Path:
    """A folder with the packages that are needed, and nothing else.

    Python lists each folder of its path. Files that come and go there move all that it allocates later, and
    that moves the counts by 1 %: other copies, other collisions in the cache of methods.
    """
    folder.mkdir()
    (folder / "benchmarks").symlink_to(HERE)
    if not is_compiled():  # that one is found in the environment, with what belongs to it
        (folder / "proxy").symlink_to(HERE.parent / "proxy")
    return folder


def _count(path: Path) -> tuple[str, int]:
    match = COUNTED.search(path.read_text())
    assert match is not None, path
    return match[1], int(match[2])


# --- what is made of it ---


def dearer(found: dict[str, float], kept: dict[str, float]) -> list[str]:
    """The kinds of exchanges that are."""
    return [kind for kind in found if kind != REFERENCE and found[kind] / kept[kind] > MOST]


def table(found: dict[str, float], kept: dict[str, float]) -> str:
    lines = [f"{'':28} instructions   kept    now"]
    for kind, figure in found.items():
        if kind != REFERENCE:
            change = figure / kept[kind]
            cost = f"{figure * found[REFERENCE]:12,.0f} {kept[kind]:6.3f} {figure:6.3f} {change - 1:+6.1%}"
            verdict = "DEARER" if change > MOST else "cheaper: --accept keeps that" if change < LEAST else ""
            lines.append(f"{kind:28} {cost} {verdict}".rstrip())
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
