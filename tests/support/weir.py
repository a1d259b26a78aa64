"""Weir as a user runs it: a process with a YAML file, seen through its sockets, its logs and its exit code.

Its output goes to files, which never fill up. Of a test that is marked `measured`, the process measures itself.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.support.forked import Forked, is_forkable
from tests.support.patience import until, until_now
from tests.support.ports import free_port

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
START_SECONDS = 40.0  # under coverage on a busy machine
STOP_SECONDS = 30.0

_COMPLAINT = re.compile(
    r"Traceback \(most recent call last\)|was never (?:retrieved|awaited)|Exception ignored in|ResourceWarning"
)

# As systemd does: descriptor 3, meant for this very process.
_HAND_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.argv[2], sys.argv[2:])
"""

Settings = dict[str, Any]


def overlaid(base: Settings, changes: Settings) -> Settings:
    """The base with the changes laid over it, block by block."""
    merged = dict(base)
    for name, value in changes.items():
        old = merged.get(name)
        merged[name] = overlaid(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def command(*arguments: str) -> list[str]:
    """`python -m proxy ...`, measured if the test is marked so."""
    rcfile = os.environ.get("COVERAGE_PROCESS_START")
    measured = (
        ["-m", "coverage", "run", f"--rcfile={ROOT / rcfile}", f"--data-file={ROOT / '.coverage'}"]
        if rcfile
        else []
    )
    return [sys.executable, *measured, "-m", "proxy", *arguments]


def environment() -> dict[str, str]:
    """Ours, without what would change settings, and without a second measurement by coverage's own patch."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WEIR_", "COVERAGE_"))}
    return kept | {"PYTHONWARNINGS": "default::ResourceWarning"}


def run(
    *arguments: str, within: float = START_SECONDS, stdin: IO[str] | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself."""
    asked, environ = command(*arguments), environment() | variables
    if not is_forkable(variables):
        return subprocess.run(
            asked,
            stdin=stdin,
            cwd=ROOT,
            env=environ,
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )
    with Path(os.devnull).open("rb") as nothing, TemporaryFile() as stdout, TemporaryFile() as stderr:
        streams = [file.fileno() for file in (stdin or nothing, stdout, stderr)]
        process = Forked(asked, environ, ROOT, streams)
        try:
            code = process.wait(within)
        finally:
            process.kill()
        told, complaints = (os.pread(fd, os.fstat(fd).st_size, 0).decode() for fd in streams[1:])
        return subprocess.CompletedProcess(asked, code, told, complaints)


class Weir:
    def __init__(self, folder: Path, upstream: str | None = None) -> None:
        self.folder = folder
        self.port = free_port()
        self.admin_port = free_port()
        self.config = folder / "weir.yaml"
        self.settings: Settings = {
            "listen": f"127.0.0.1:{self.port}",
            "admin": {"listen": f"127.0.0.1:{self.admin_port}"},
            "downstream": {"half_close": "abort"},  # a test's client that closes has left at once
            "upstream": {"servers": [upstream or f"http://127.0.0.1:{free_port()}"]},
            "limits": [],
            "drain": {"delay": "0s", "timeout": "5s"},
        }
        self.inside: list[str] = []  # a command that runs it in surroundings of its own
        self.is_forked = False  # by one that has imported it; else started as a user starts it
        self.tolerates_complaints = False  # of a test that provokes them
        self.exit_code: int | None = None
        self._process: subprocess.Popen[bytes] | Forked | None = None
        self._judged = 0  # characters of the log
        self._stderr = folder / "stderr.log"
        self._stdout = folder / "stdout.log"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # --- life ---

    def write_config(self, changes: Settings | None = None) -> None:
        """The file with the base settings and these changes on top; the settings are remembered."""
        self.settings = overlaid(self.settings, changes or {})
        self.config.write_text(yaml.safe_dump(self.settings, sort_keys=False))

    def launch(self, inherited: socket.socket | None = None, **variables: str) -> None:
        """Starts the process; it may not be ready yet, or never become so. A listening socket can be handed over."""
        begin = [*self.inside, *command("run", "--config", str(self.config))]
        if inherited is not None:
            begin = [sys.executable, "-c", _HAND_OVER, str(inherited.fileno()), *begin]
        self._begin(begin, Path(os.devnull), () if inherited is None else (inherited.fileno(),), **variables)

    def launch_with(self, *arguments: str, stdin: Path = Path(os.devnull)) -> None:
        """Starts the process with other arguments than `--config` and the file."""
        self._begin([*self.inside, *command(*arguments)], stdin, ())

    def _begin(self, begin: list[str], stdin: Path, fds: tuple[int, ...], **variables: str) -> None:
        self.exit_code = None
        with (
            self._stderr.open("ab") as stderr,
            self._stdout.open("ab") as stdout,
            stdin.open("rb") as given,
        ):
            environ = environment() | variables
            if self.is_forked and is_forkable(variables) and not self.inside and not fds:
                self._process = Forked(
                    begin, environ, ROOT, [file.fileno() for file in (given, stdout, stderr)]
                )
                return
            self._process = subprocess.Popen(
                begin, cwd=ROOT, env=environ, pass_fds=fds, stdin=given, stdout=stdout, stderr=stderr
            )

    def start(self, inherited: socket.socket | None = None, **variables: str) -> None:
        self.launch(inherited, **variables)
        until_now(self.is_ready_or_dead, "weir is ready", within=START_SECONDS)
        assert self.is_running, f"weir ended at once:\n{self.log_text()}"

    def is_ready_or_dead(self) -> bool:
        return not self.is_running or self.readiness() == 200

    @property
    def is_running(self) -> bool:
        assert self._process is not None
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """Of Weir itself, the only process of its command."""
        assert self._process is not None
        return self._process.pid

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, *, within: float = STOP_SECONDS) -> int:
        """The exit code."""
        assert self._process is not None
        self.exit_code = self._process.wait(within)
        return self.exit_code

    def stop(self) -> None:
        """Ends Weir by SIGTERM and judges how it went: exit code 0 and nothing that a bug leaves in the log."""
        if self._process is None or self.exit_code is not None:
            self.check_log()
            return
        self.signal(signal.SIGTERM)
        try:
            code = self.wait()
        except subprocess.TimeoutExpired:
            self._process.kill()
            self.wait()
            raise AssertionError(f"SIGTERM did not end weir:\n{self.log_text()}") from None
        self.check_log()
        assert code == 0, f"exit code {code}:\n{self.log_text()}"

    # --- its log ---

    def log_text(self) -> str:
        return self._stderr.read_text(errors="replace") if self._stderr.exists() else ""

    def log(self) -> list[dict[str, Any]]:
        """The program's log; lines that are not JSON stand as `{"event": line}`."""
        return [_line(line) for line in self.log_text().splitlines() if line]

    async def logged(
        self, wanted: Callable[[dict[str, Any]], bool], *, within: float = 30.0
    ) -> dict[str, Any]:
        """The first line of the program's log that is wanted, once it is there."""
        found = await until(
            lambda: [line for line in self.log() if wanted(line)], "a log line", within=within
        )
        return found[0]

    def check_log(self) -> None:
        """No traceback and no other sign of a bug since the last look."""
        text = self.log_text()[self._judged :]
        self._judged += len(text)
        found = None if self.tolerates_complaints else _COMPLAINT.search(text)
        assert found is None, f"weir's log has {found and found[0]!r}:\n{text[-8000:]}"

    @contextmanager
    def watched(self) -> Iterator[Weir]:
        """One test's use of a Weir that several share: it survives and logs nothing bad meanwhile."""
        assert self.is_running, "weir ended in an earlier test"
        yield self
        assert self.is_running, f"weir ended:\n{self.log_text()[-8000:]}"
        self.check_log()

    # --- its access log ---

    def access_text(self) -> str:
        return self._stdout.read_text(errors="replace") if self._stdout.exists() else ""

    def access_lines(self) -> list[dict[str, Any]]:
        text = self.access_text()
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    async def access_line(self, **wanted: Any) -> dict[str, Any]:
        """The one line with these fields, once it is written."""

        def matching() -> list[dict[str, Any]]:
            return [line for line in self.access_lines() if all(line.get(k) == v for k, v in wanted.items())]

        found = await until(matching, f"an access log line with {wanted}")
        assert len(found) == 1, found
        return found[0]

    # --- its admin plane ---

    def admin(
        self, path: str, method: str = "GET", headers: dict[str, str] | None = None, body: str | None = None
    ) -> AdminAnswer:
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=10)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return AdminAnswer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def readiness(self) -> int:
        """The status of /readyz; 0 while nobody answers."""
        try:
            return self.admin("/readyz").status
        except (OSError, http.client.HTTPException):
            return 0

    def metrics(self) -> Metrics:
        return Metrics(self.admin("/metrics").body.decode())


class AdminAnswer:
    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = {name.lower(): value for name, value in headers.items()}
        self.body = body

    def json(self) -> Any:
        return json.loads(self.body)


class Metrics:
    """One scrape."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._samples: dict[str, list[tuple[dict[str, str], float]]] = {}

    def total(self, name: str, **labels: str) -> float:
        """The sum of the samples that have these labels."""
        return sum(
            value
            for given, value in self.samples(name)
            if all(given.get(key) == wanted for key, wanted in labels.items())
        )

    def samples(self, name: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each. Of hundreds of lines, those of this name are read."""
        if name not in self._samples:
            lines = [line for line in self.text.splitlines(keepends=True) if line.startswith(name)]
            families = text_string_to_metric_families("".join(lines))
            read = [sample for family in families for sample in family.samples if sample.name == name]
            self._samples[name] = [(sample.labels, sample.value) for sample in read]
        return self._samples[name]

    def has(self, name: str) -> bool:
        return re.search(rf"^{name}(?:_\w+)?(?:\{{| )", self.text, re.MULTILINE) is not None


def _line(line: str) -> dict[str, Any]:
    try:
        parsed = json.loads(line)
    except ValueError:
        return {"event": line}
    return parsed if isinstance(parsed, dict) else {"event": line}
