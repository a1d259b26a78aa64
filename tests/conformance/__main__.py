"""`python -m tests.conformance [FILE]`: the corpus against Weir, nginx and HAProxy, as a table in Markdown.

Each stands in front of the recording origin. A column says what became of a case: the status of the refusal;
`passed`, one request that h11 reads; `2 requests`, the case and something that was hidden in it;
`ambiguous`, what was sent on is refused by h11; `no answer`, closed or left waiting.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.conformance.corpus import BODY_LIMIT, Case, cases
from tests.conformance.recorder import Recorder
from tests.support.ports import free_port
from tests.support.weir import Weir

PATIENCE = 1.5  # seconds without a byte: the proxy waits for more, or has closed without an answer
START = "<!-- conformance: begin -->"
END = "<!-- conformance: end -->"

NGINX = """daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{ access_log off; client_max_body_size 64k; client_body_temp_path {folder}; proxy_temp_path {folder};
  server {{ listen 127.0.0.1:{port}; location / {{
    proxy_pass http://127.0.0.1:{origin}; proxy_http_version 1.1; proxy_set_header Host $http_host; }} }} }}
"""
HAPROXY = """defaults
  mode http
  timeout connect 2s
  timeout client 5s
  timeout server 5s
frontend edge
  bind 127.0.0.1:{port}
  default_backend service
backend service
  server origin 127.0.0.1:{origin}
"""


class Peer:
    """A program in front of the origin, ended by its process."""

    def __init__(self, folder: Path, command: list[str], config: str, origin: int) -> None:
        self.port = free_port()
        path = folder / "config"
        path.write_text(config.format(folder=folder, port=self.port, origin=origin))
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen([*command, str(path)], stdout=log, stderr=log)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)


async def outcome(case: Case, port: int, recorder: Recorder) -> str:
    recorder.forget()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers = b""
    try:
        writer.write(case.sent)
        await writer.drain()
        async with asyncio.timeout(5):
            while data := await asyncio.wait_for(reader.read(65536), PATIENCE):
                answers += data
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.transport.abort()
    await asyncio.sleep(0.01)  # for what the origin is still reading
    if recorder.refused:
        return "ambiguous"
    passed = [
        seen for seen in recorder.requests if seen.target not in (b"/after", b"http://shop.example/after")
    ]
    if passed:
        return "passed" if len(passed) == 1 else f"{len(passed)} requests"
    status = re.match(rb"HTTP/1\.[01] ([2-5]\d\d)", answers)
    if status is None or status[1] == b"200":
        return "no answer"
    return status[1].decode() + (", head sent on" if recorder.received.startswith(case.data[:4]) else "")


async def column(port: int, recorder: Recorder) -> dict[str, str]:
    for _ in range(200):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            break
    return {case.name: await outcome(case, port, recorder) for case in cases()}


async def columns(folder: Path) -> dict[str, dict[str, str]]:
    recorder = Recorder()
    await recorder.start()
    weir = Weir(folder, recorder.url)
    weir.write_config({"downstream": {"limits": {"body": BODY_LIMIT}}})
    weir.start()
    found = {"Weir": await column(weir.port, recorder)}
    weir.stop()
    for name, command, config in (
        ("nginx", ["nginx", "-c"], NGINX),
        ("HAProxy", ["haproxy", "-db", "-f"], HAPROXY),
    ):
        program = shutil.which(command[0], path="/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin")
        if program is None:
            print(f"{name} is not installed: no column", file=sys.stderr)
            continue
        place = folder / name
        place.mkdir()
        place.chmod(0o777)  # nginx may serve as another user
        peer = Peer(place, [program, *command[1:]], config, recorder.port)
        try:
            found[f"{name} {_version(program)}"] = await column(peer.port, recorder)
        finally:
            peer.stop()
    await recorder.stop()
    return found


def _version(program: str) -> str:
    said = subprocess.run([program, "-v"], capture_output=True, text=True, check=False)
    match = re.search(r"\d+\.\d+\.\d+", said.stdout + said.stderr)
    return match[0] if match else ""


def table(found: dict[str, dict[str, str]]) -> str:
    lines = ["| verdict | " + " | ".join(found) + " |", "|---" * (len(found) + 1) + "|"]
    for verdict, says in (
        ("refused", "to be refused, nothing sent on"),
        ("cut", "body to be refused, no whole request sent on"),
        ("passes", "to pass as one request"),
    ):
        names = [case.name for case in cases() if case.verdict == verdict]
        cells = [_tally(Counter(_kind(each[name]) for name in names)) for each in found.values()]
        lines.append(f"| {len(names)} {says} | " + " | ".join(cells) + " |")
    lines += ["", "| case | " + " | ".join(found) + " |", "|---" * (len(found) + 1) + "|"]
    lines += [
        f"| {case.name} | " + " | ".join(each[case.name] for each in found.values()) + " |"
        for case in cases()
    ]
    return "\n".join(lines) + "\n"


def _kind(said: str) -> str:
    return "refused" if said[:3].isdigit() else said


def _tally(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in counts.most_common())


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        text = table(asyncio.run(columns(Path(name))))
    if len(sys.argv) < 2:
        print(text)
        return
    path = Path(sys.argv[1])
    before, _, rest = path.read_text().partition(START)
    path.write_text(f"{before}{START}\n{text}{END}{rest.partition(END)[2]}")


main()
