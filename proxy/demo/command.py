"""`weir demo`: the sample service and the gateway in one process on loopback, a tour, then service until
Ctrl-C.

The gateway's own log is not printed into the tour: it is kept (journal.py), the access log goes to a file.
"""

from __future__ import annotations

import asyncio
import json
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop
from aiohttp import web
from rich.console import Console

from proxy.config.loader import ConfigError, loads
from proxy.demo.journal import Journal
from proxy.demo.service import sample_service
from proxy.demo.tour import tour
from proxy.runtime.sockets import StartError, open_worker_sockets
from proxy.runtime.worker import Worker

if TYPE_CHECKING:
    from proxy.config.settings import Settings

LOOPBACK = "127.0.0.1"
USUAL_PORT = 8080  # the README's lines name it
ANY_PORT = 0
ACCESS_LOG = "access.log"
CONFIG = """\
listen: {listen}
upstream: {{servers: ["{service}"]}}
limits:
  - name: per-user
    key: ["header:X-Auth-Token", "header:Authorization", client-ip]
    rate: 15/s
    unproven: {{rate: 60/s}}
"""
# What a demo needs besides: any port for the admin plane, a quick end, nothing printed.
MORE = """\
admin: {{listen: "{admin}"}}
drain: {{delay: 0s, timeout: 2s}}
log: {{access: {access}}}
"""


def run_demo(*, once: bool, port: int | None) -> int:
    """0 if the tour came as it should or was stopped, 1 if not or if the demo cannot start."""
    console = Terminal(highlight=False)
    return uvloop.run(_demo(console, once=once, port=port))


class Terminal(Console):
    def on_broken_pipe(self) -> None:
        """Keeps rich from ending the process within a task."""
        try:
            super().on_broken_pipe()
        except SystemExit:
            raise BrokenPipeError from None


async def _demo(console: Console, *, once: bool, port: int | None) -> int:
    stopped = _stopped()  # before anything is made that a stop must remove
    try:
        temporary = tempfile.TemporaryDirectory(prefix="weir-demo-")
    except OSError as error:
        console.print(
            f"The demo's config needs a temporary folder: {error.strerror}", style="red", markup=False
        )
        return 1
    with temporary as folder:
        return await _show(console, Path(folder), stopped, once=once, port=port)


async def _show(
    console: Console, folder: Path, stopped: asyncio.Event, *, once: bool, port: int | None
) -> int:
    journal = Journal(lambda line: console.print(line, style="red", markup=False))
    service = web.AppRunner(sample_service(), access_log=None, shutdown_timeout=1.0)
    worker: Worker | None = None
    try:
        await service.setup()
        await web.TCPSite(service, LOOPBACK, 0).start()
        shown, worker = _worker(f"http://{LOOPBACK}:{service.addresses[0][1]}", folder, port)
        with journal:
            await worker.start()
            _introduce(console, shown.replace(f"{LOOPBACK}:0", worker.addresses[0]))
            return await _serve(console, worker, journal, stopped, once=once)
    except BrokenPipeError:  # nobody reads any more: `weir demo | head`
        return 1
    except (StartError, ConfigError) as error:
        console.print(f"weir demo: {error}", style="red", markup=False, soft_wrap=True)
        return 1
    finally:
        if worker is not None:
            await worker.stop()
        await service.cleanup()


def _worker(service: str, folder: Path, port: int | None) -> tuple[str, Worker]:
    """Its config as shown, and a gateway whose sockets are open. Raises StartError."""
    try:
        return _listening(service, folder, USUAL_PORT if port is None else port)
    except StartError:
        if port is not None:
            raise
        return _listening(service, folder, ANY_PORT)


def _listening(service: str, folder: Path, port: int) -> tuple[str, Worker]:
    shown = CONFIG.format(listen=f"{LOOPBACK}:{port}", service=service)
    settings = _settings(shown, folder)
    return shown, Worker(settings, own=open_worker_sockets(settings))


def _settings(shown: str, folder: Path) -> Settings:
    more = MORE.format(admin=f"{LOOPBACK}:0", access=json.dumps(str(folder / ACCESS_LOG)))
    return loads(shown + more, "the config of the demo", environ={})


def _stopped() -> asyncio.Event:
    """Set by Ctrl-C or SIGTERM."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    return stopped


async def _serve(
    console: Console, worker: Worker, journal: Journal, stopped: asyncio.Event, *, once: bool
) -> int:
    """The tour, then service until it is stopped."""
    base_url = f"http://{worker.addresses[0]}"
    stop = asyncio.create_task(stopped.wait())
    touring = asyncio.create_task(tour(base_url, console, journal.original))
    await asyncio.wait((touring, stop), return_when=asyncio.FIRST_COMPLETED)
    if not touring.done():
        touring.cancel()
        await asyncio.wait((touring,))
        console.print("\nStopped, before the tour had ended.")
        return 0
    result = touring.result()
    _conclude(console, result)
    if not once:
        _invite(console, worker)
        await stop
    stop.cancel()
    return result


# --- what is printed around the tour ---


def _introduce(console: Console, config: str) -> None:
    console.print("[bold]Weir[/bold] stands in front of a sample service. This is the whole config:\n")
    for line in config.splitlines():
        console.print(f"   {line}", style="cyan", markup=False, soft_wrap=True)


def _conclude(console: Console, result: int) -> None:
    if result:
        console.print("\n[bold red]Not everything came as it should: see the lines with ✗.[/bold red]")
    else:
        console.print("\n[bold green]Everything came as it should.[/bold green]")


def _invite(console: Console, worker: Worker) -> None:
    admin = f"http://{worker.admin_addresses[0]}"
    lines = (
        ("what the service offers", f"curl http://{worker.addresses[0]}/"),
        ("what a client sees", f"curl -i http://{worker.addresses[0]}/api/entities -H 'X-Auth-Token: ana'"),
        ("how often each limit refused", f"curl -s {admin}/metrics | grep weir_limit_decisions"),
        ("the state of it all", f"curl -s {admin}/status"),
        ("a line for each exchange", f"tail -f {worker.settings.log.access}"),
    )
    console.print("\nStill serving, and the tokens `ana` and `ben` are good. Ctrl-C ends.\n")
    for what, line in lines:
        console.print(f"   {what}", style="dim")
        console.print(f"   $ {line}", style="cyan", markup=False, soft_wrap=True)
