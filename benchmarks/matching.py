"""python -m benchmarks.matching [--compiled]: what a decision costs, by how many limits and plan keys.

And what a plan, a share and an idle wait add to it.

In this process, in memory, without sockets: the limits that a request meets, its keys hashed, its tokens
taken. Variants take turns within a round, so that what disturbs the machine disturbs all of them; figures are
medians of the rounds, and what a setting adds is the median of its differences to the plain limit.
"""

from __future__ import annotations

import gc
import subprocess
import sys
from itertools import cycle
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import process_time_ns
from typing import TYPE_CHECKING, Any

from benchmarks import programs
from proxy import is_compiled
from proxy.config.loader import loads
from proxy.config.plan_keys import key_hash
from proxy.http1.head import RequestHead, request_head
from proxy.limiter.memory import MemoryStore
from proxy.rules.rules import Rules

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 31
CALLS = 10_000
USERS = 200
LIMITS = (1, 10, 100, 500)
PLAN_KEYS = (1, 1000, 100_000)
ADDED = {
    "a plan that some keys have": "plans: [step-2]",
    "`enforce: 50%`": "enforce: 50%",
    "`max_wait: 1s` while nobody waits": "max_wait: 1s",
}


# In an environment of its own, where the compiled Weir stands before the source.
INSTALLED = "import sys; sys.path.append(sys.argv.pop()); from benchmarks import matching; matching.measure()"


def main() -> None:
    if "--compiled" in sys.argv:
        python = programs.weir(is_compiled=True).with_name("python")
        sys.exit(subprocess.run([python, "-I", "-c", INSTALLED, programs.ROOT], check=False).returncode)
    measure()


def measure() -> None:
    print(f"{'compiled' if is_compiled() else 'source'}, Python {sys.version.split()[0]}\n")
    with TemporaryDirectory() as folder:
        by_keys = {f"{count:,}": decisions(with_plan(count, folder)) for count in PLAN_KEYS}
    by_limits = {str(count): decisions(limits_by_path(count)) for count in LIMITS}
    for title, found in (("limits", rounds(by_limits)), ("plan keys", rounds(by_keys))):
        print(f"{title:12}" + "".join(f"{name:>10}" for name in found))
        print(f"{'us':12}" + "".join(f"{median(spans):10.2f}" for spans in found.values()) + "\n")
    plain = "a limit for everything"
    found = rounds({plain: decisions(one()), **{name: decisions(one(text)) for name, text in ADDED.items()}})
    print(f"{plain:40}{median(found[plain]):8.2f} us")
    for name in ADDED:
        added = [with_it - without for with_it, without in zip(found[name], found[plain], strict=True)]
        print(f"{name:40}{median(added):+8.2f} us")


def rounds(variants: dict[str, Callable[[int], object]]) -> dict[str, list[float]]:
    """Microseconds of a call, by variant and round."""
    spans: dict[str, list[float]] = {name: [] for name in variants}
    gc.collect()
    gc.disable()
    for number in range(ROUNDS + 1):
        for name, decide in variants.items():
            begun = process_time_ns()
            decide(CALLS)
            if number:  # the first warms up
                spans[name].append((process_time_ns() - begun) / CALLS / 1000)
    gc.enable()
    return spans


def decisions(config: str) -> Callable[[int], object]:
    """So many of them, by the way that an exchange takes from its head to its decision."""
    settings = loads(config, "weir.yaml", environ={})
    rules, store, nobody = Rules(settings), MemoryStore(), Nobody()
    store.configure(rules.limits)
    heads = [head(f"user-{number}") for number in range(USERS)]

    def decide(count: int) -> object:
        limits, of_whom, waits = rules.limits, cycle(heads), None
        for _ in range(count):
            known = next(of_whom)
            request = RequestHead(known.method, known.target, known.minor, known.section)
            charges, _ = limits.charges(request, "203.0.113.9")  # type: ignore[misc]  # no head here is refused
            decision = store.take(charges, nobody)
            if limits.may_wait:
                waits = decision.waits
        return waits

    return decide


def head(token: str) -> RequestHead:
    found = request_head(
        b"GET /api/v1/t0/10657 HTTP/1.1\r\nHost: api.example.com\r\nX-Auth-Token: %b\r\n\r\n"
        % token.encode(),
        8192,
        100,
    )
    assert isinstance(found, RequestHead)
    return found


CONFIG = """
upstream: {servers: ["http://127.0.0.1:9000"]}
plans: [{name: step-2, rate: 2000000/s, keys: %s}]
limits:
"""


def limits_by_path(count: int) -> str:
    """Of which a request meets one."""
    limits = (
        f"  - {{name: l{n}, rate: 1000000/s, match: {{paths: [/api/v1/t{n}/**]}}}}\n" for n in range(count)
    )
    return CONFIG.replace("%s", "[]") + "".join(limits)


def with_plan(count: int, folder: str) -> str:
    """For so many keys, half of the users' among them as far as they have room."""
    keys_file = Path(folder) / f"{count}.keys"
    keys_file.write_text("".join(f"{key_hash(f'user-{2 * number}')}\n" for number in range(count)))
    return one("plans: [step-2]", f"keys_file: {keys_file}")


def one(more: str = "", keys: str = "") -> str:
    keys = keys or f"keys: {[key_hash(f'user-{number}') for number in range(0, USERS, 2)]}"
    return CONFIG.replace("keys: %s", keys) + f"  - {{name: per-user, rate: 1000000/s, {more}}}\n"


class Nobody:
    def decided(self, decision: Any) -> None:
        """Decisions are immediate."""


if __name__ == "__main__":
    main()
