"""`weir top`: the dashboard in a terminal. What it shows are the server's own figures; see terminal.py."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live

from proxy.admin.client import NoAnswerError, events
from proxy.admin.terminal import Screen
from proxy.config.exits import EXIT_FAILED, EXIT_OK

if TYPE_CHECKING:
    from proxy.admin.client import Plane

TICKS_ONCE = 2  # the first has no rates


def top(plane: Plane, *, once: bool) -> int:
    """Shows the picture until it is interrupted, or the plane is gone; with `once` it shows one. Returns the
    exit code.
    """
    console = Console()
    watching = _show_once(plane, console) if once or not console.is_terminal else _show(plane, console)
    try:
        asyncio.run(watching)
    except KeyboardInterrupt:
        return EXIT_OK
    except NoAnswerError as error:
        print(error, file=sys.stderr)  # noqa: T201 - a command's own output
        return EXIT_FAILED
    return EXIT_OK


async def _show(plane: Plane, console: Console) -> None:
    screen = Screen()
    with Live(console=console, screen=True, auto_refresh=False) as live:
        async for name, told in events(plane):
            screen.take(name, told)
            live.update(screen.drawn(console.height), refresh=True)


async def _show_once(plane: Plane, console: Console) -> None:
    screen, ticks = Screen(), 0
    async for name, told in events(plane):
        screen.take(name, told)
        ticks += name == "tick"
        if ticks == TICKS_ONCE:
            console.print(screen.drawn(height=None))
            return
