"""The load: wrk on its own core, and what it printed."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

SCRIPTS = Path(__file__).parent
HEADERS = (
    "User-Agent: python-requests/2.32",
    "Accept: application/json",
    "Accept-Encoding: gzip, deflate",
)
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 60e3}


@dataclass(frozen=True)
class Load:
    """One run's outcome. Times in milliseconds."""

    requests: int
    per_second: float
    p50_ms: float
    p99_ms: float
    refused: int  # answers that were not 2xx or 3xx
    errors: int  # of sockets


def run(url: str, *, connections: int, seconds: int, script: str, core: int) -> Load:
    """Bounded by `seconds` and a little."""
    threads = min(4, connections)  # each thread is one user: a connection keeps its user, as clients do
    command = [
        "taskset",
        "-c",
        str(core),
        "wrk",
        f"-t{threads}",
        f"-c{connections}",
        f"-d{seconds}s",
        "--latency",
    ]
    for header in HEADERS:
        command += ["-H", header]
    command += ["-s", str(SCRIPTS / script), url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=True)
    return parse(done.stdout)


def parse(text: str) -> Load:
    """What wrk prints with --latency."""
    requests = _number(r"(\d+) requests in", text)
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    return Load(
        requests=int(requests),
        per_second=_number(r"Requests/sec:\s+([\d.]+)", text),
        p50_ms=_milliseconds("50%", text),
        p99_ms=_milliseconds("99%", text),
        refused=int(_number(r"Non-2xx or 3xx responses: (\d+)", text, 0)),
        errors=sum(map(int, errors.groups())) if errors else 0,
    )


def _number(pattern: str, text: str, default: float | None = None) -> float:
    match = re.search(pattern, text)
    if match is None:
        if default is None:
            raise ValueError(f"wrk did not print {pattern!r}:\n{text}")
        return default
    return float(match[1])


def _milliseconds(percentile: str, text: str) -> float:
    match = re.search(rf"^\s+{percentile}\s+([\d.]+)(us|ms|s|m)\s*$", text, re.MULTILINE)
    return float(match[1]) * _UNITS[match[2]] if match else 0.0
