"""Measures, for one floor of the code, what of each module is covered by the tests that carry its name.

usage: python -m tests.support.own_coverage FLOOR REPORT DATA [MODULE...]

REPORT is a file that gets {module: [what is not covered]}, DATA one that gets what coverage has measured.
Without a MODULE it is all of the floor.

These tests run once, in this process. Coverage notes for each line and branch in which test file it was
met, and what was met at the import alone counts for all. Between two test files every cache of the code is emptied: the
later one would seem to cover nothing of what the first has asked already.
"""

from __future__ import annotations

import functools
import importlib
import json
import sys
from pathlib import Path

import coverage
import pytest

ROOT = Path(__file__).parents[2]
IMPORTED = "import"
# Whose modules are covered whole by their own tests, all of them.
FLOORS = ("clients", "contract", "http1", "policy", "rules")


def own_tests(module: Path) -> list[Path]:
    """`test_NAME.py`, and `test_NAME_more.py`."""
    folder, name = ROOT / "tests" / module.parent.name, module.stem
    return sorted([*folder.glob(f"test_{name}.py"), *folder.glob(f"test_{name}_*.py")])


def modules(floor: str) -> list[Path]:
    return sorted(path for path in (ROOT / "proxy" / floor).glob("*.py") if path.stem != "__init__")


class Contexts:
    """Tells coverage whose turn it is."""

    def __init__(self, measured: coverage.Coverage) -> None:
        self._measured = measured
        self._now = IMPORTED

    def _enter(self, name: str) -> None:
        if name != self._now:
            self._now = name
            empty_caches()
            self._measured.switch_context(name)

    def pytest_sessionstart(self) -> None:
        """Examples are few and the same each time: no line may be met by luck."""
        from hypothesis import settings  # noqa: PLC0415 - once pytest has seen it, which rewrites its asserts

        settings.register_profile("alike", derandomize=True, max_examples=30, deadline=None)
        settings.load_profile("alike")

    @pytest.hookimpl(tryfirst=True)
    def pytest_make_collect_report(self, collector: pytest.Collector) -> None:
        if isinstance(collector, pytest.Module):
            self._enter(collector.path.stem)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> None:
        self._enter(item.path.stem)


def empty_caches() -> None:
    for name, module in list(sys.modules.items()):
        if name.startswith("proxy."):
            for value in vars(module).values():
                if isinstance(value, functools._lru_cache_wrapper):
                    value.cache_clear()


def missing(measured: coverage.Coverage, module: Path) -> list[str]:
    """Lines and branches that no test of its own meets."""
    measured.get_data().set_query_contexts(
        [f"^{name}$" for name in [IMPORTED, *(path.stem for path in own_tests(module))]]
    )
    analysis = measured._analyze(str(module))
    branches = [f"{line}->{to}" for line, goals in analysis.missing_branch_arcs().items() for to in goals]
    return [*map(str, sorted(analysis.missing)), *branches]


def main(floor: str, report: str, data: str, *names: str) -> int:
    chosen = [module for module in modules(floor) if not names or module.stem in names]
    measured = coverage.Coverage(
        data_file=data, branch=True, include=[f"{ROOT}/proxy/{floor}/*"], config_file=False
    )
    measured.start()
    measured.switch_context(IMPORTED)
    for module in chosen:
        importlib.import_module(f"proxy.{floor}.{module.stem}")
    options = ["-q", "-n0", "--memory", "-p", "no:cacheprovider"]
    options += [
        "-W",
        "ignore::pytest.PytestAssertRewriteWarning",
    ]  # some are imported already, to be measured
    files = dict.fromkeys(str(path) for module in chosen for path in own_tests(module))
    code = pytest.main([*options, *files], plugins=[Contexts(measured)])
    measured.stop()
    measured.save()
    Path(report).write_text(json.dumps({module.stem: missing(measured, module) for module in chosen}))
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
