"""python -m benchmarks.simulated [--compiled]: how many lines of a log weir simulate takes in a second.

Logs that differ in format, in who sends, and in what is asked for; configs of one limit and of several. CPU
time is that of the whole command, user and system, from its first instruction to its last; memory its peak.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks import programs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BEGIN = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
GAPS_MS = (0, 0, 0, 1, 1, 1, 2, 3)  # a thousand lines a second

ONE = """
limits:
  - {name: per-user, key: ["header:X-Auth-Token", client-ip], rate: 15/m, burst: 3}
"""
SEVERAL = """
limits:
  - {name: per-user, key: ["header:X-Auth-Token", client-ip], rate: 15/m, burst: 3, unproven: {rate: 60/s}}
  - {name: sign-in, match: {methods: [POST], paths: [/api/sign-in]}, key: client-ip, rate: 10/m}
  - name: search
    match: {paths: ["/api/search/**"]}
    key: ["header:X-Auth-Token", client-ip]
    rate: 5/s
    cost: 2
"""


class Line(NamedTuple):
    """What happened, whatever format tells it."""

    at: float
    user: int
    method: str
    target: str
    status: int


class Case(NamedTuple):
    name: str
    write: Callable[[Line], str]
    users: int
    has_ids: bool  # in paths, so that nearly each of them is another one
    config: str = ONE
    key_field: str | None = None
    head: str = ""


def lines(count: int, users: int, *, has_ids: bool) -> Iterator[Line]:
    chosen = random.Random(1)
    at_ms = 0
    for number in range(count):
        at_ms += chosen.choice(GAPS_MS)
        # Half of the requests are of a tenth of the users.
        user = chosen.randrange(users if number % 2 else max(1, users // 10))
        method, target = (
            "GET",
            f"/api/entities/{chosen.randrange(1_000_000) if has_ids else number % 7}?page={number % 5}",
        )
        if number % 10 == 0:
            method, target = chosen.choice((("POST", "/api/sign-in"), ("GET", f"/api/search/{number % 50}")))
        yield Line(BEGIN + at_ms / 1000, user, method, target, 200 if number % 20 else 304)


def key(user: int) -> str:
    return f"{user * 0x9E3779B97F4A7C15 & (1 << 64) - 1:016x}"


def client(user: int) -> str:
    return f"10.{user >> 16 & 255}.{user >> 8 & 255}.{user & 255}"


def moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def own(line: Line) -> str:
    who = key(line.user)
    return (
        f'{{"time":"{moment(line.at)}","request_id":"{who}{who}","client":"{client(line.user)}","peer":"10.0.0.1",'
        f'"method":"{line.method}","target":"{line.target}","status":{line.status},"source":"upstream","bytes_in":0,'
        f'"bytes_out":512,"duration_ms":3.412,"upstream_ms":2.913,"server":"127.0.0.1:9000",'
        f'"keys":{{"per-user":"{who}"}},"limits":{{"admitted":["per-user"]}}}}\n'
    )


def combined(line: Line) -> str:
    at = datetime.fromtimestamp(line.at, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")
    request = f'"{line.method} {line.target} HTTP/1.1" {line.status} 512'
    return f'{client(line.user)} - - [{at}] {request} "-" "python-requests/2.32"\n'


def keyed(line: Line) -> str:
    return f'{combined(line)[:-1]} "{key(line.user)}"\n'


def json_of_others(line: Line) -> str:
    return (
        f'{{"@timestamp":"{moment(line.at)}","client":{{"ip":"{client(line.user)}"}},'
        f'"http":{{"request":{{"method":"{line.method}"}},"response":{{"status_code":{line.status}}}}},'
        f'"url":{{"original":"{line.target}"}},"token":"{key(line.user)}"}}\n'
    )


def csv(line: Line) -> str:
    return f"{line.at:.3f},{client(line.user)},{line.method},{line.target},{line.status},{key(line.user)}\n"


CASES = (
    Case("Weir's own, 10 000 users", own, 10_000, has_ids=True),
    Case("Weir's own, 10 000 users, three limits", own, 10_000, has_ids=True, config=SEVERAL),
    Case("Weir's own, 1 000 000 users", own, 1_000_000, has_ids=True),
    Case("combined, 10 000 addresses", combined, 10_000, has_ids=True),
    Case("combined, a key, three limits", keyed, 10_000, has_ids=True, config=SEVERAL, key_field="10"),
    Case("combined, a key, 100 users, few paths", keyed, 100, has_ids=False, key_field="10"),
    Case("JSON of others, blocks within blocks", json_of_others, 10_000, has_ids=True, key_field="token"),
    Case("CSV", csv, 10_000, has_ids=True, key_field="token", head="time,client,method,path,status,token\n"),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulated")
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--compiled", action="store_true", help="the build that users get")
    parser.add_argument("--only", default="", help="cases whose names hold this")
    options = parser.parse_args()
    weir = [str(programs.weir(is_compiled=True))] if options.compiled else [sys.executable, "-m", "proxy"]
    print(f"| {options.lines:,} lines | lines a second | us a line | MiB at most |")
    print("| --- | ---: | ---: | ---: |")
    for case in CASES:
        if options.only in case.name:
            with tempfile.TemporaryDirectory(prefix="weir-simulated-") as folder:
                measure(case, Path(folder), weir, options.lines)


def measure(case: Case, folder: Path, weir: list[str], count: int) -> None:
    log, config = folder / "log", folder / "weir.yaml"
    config.write_text('upstream: {servers: ["http://127.0.0.1:9000"]}' + case.config)
    with log.open("w") as file:
        file.write(case.head)
        file.writelines(case.write(line) for line in lines(count, case.users, has_ids=case.has_ids))
    key_field = ["--key-field", case.key_field] if case.key_field else []
    command = [*weir, "simulate", str(config), str(log), *key_field, "--json"]
    child = subprocess.Popen(command, stdout=(folder / "out").open("wb"))
    _, status, used = os.wait4(child.pid, 0)
    if status or b'"requests": %d,' % count not in (folder / "out").read_bytes():
        sys.exit(f"{case.name}: not every line was read")
    seconds = used.ru_utime + used.ru_stime
    speed, span = f"{count / seconds:,.0f}", f"{seconds / count * 1e6:.2f}"
    print(f"| {case.name} | {speed} | {span} | {used.ru_maxrss / 1024:.0f} |", flush=True)


if __name__ == "__main__":
    main()
