"""`weir simulate`: replays access logs through the limits of a config, and tells what they would have done.

Tells on standard output, for people or as JSON; how far it is, on a terminal, on standard error.
"""

from __future__ import annotations

import gc
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from rich.console import Console
from rich.markup import escape

from proxy.config.exits import EXIT_OK, EXIT_WRONG
from proxy.config.loader import ConfigError, examine
from proxy.tuning.formats import FieldError
from proxy.tuning.headway import Headway
from proxy.tuning.logs import Log, LogError, legible
from proxy.tuning.plots_page import page
from proxy.tuning.report import Report, reported
from proxy.tuning.simulation import Simulation
from proxy.tuning.text import tell

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

EXIT_INTERRUPTED = 130
TEXT_WIDTH = 120  # where it is no terminal


class Wanted(NamedTuple):
    """What was typed."""

    config: str
    logs: Sequence[str]
    against: str | None = None
    key_field: str | None = None
    html: str | None = None
    is_json: bool = False


def simulate(wanted: Wanted) -> int:
    """The exit code."""
    try:
        reports = _simulated(wanted)
        if wanted.html is not None:
            Path(wanted.html).write_text(page(reports), encoding="utf-8")
        _tell(wanted, reports)
    except (ConfigError, LogError, FieldError, PageError) as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"{error.filename or 'temporary file'}: {(error.strerror or str(error)).lower()}")
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return EXIT_OK


class PageError(Exception):
    """The page would take the place of what it is made from; the message names it."""


def _check_page(wanted: Wanted) -> None:
    for read in (wanted.config, wanted.against, *wanted.logs):
        if wanted.html is not None and read is not None and _are_same(wanted.html, read):
            raise PageError(f"{wanted.html}: --html would write over what it is made from")


def _are_same(one: str, other: str) -> bool:
    try:
        return Path(one).samefile(other)
    except OSError:
        return False


def _fail(message: str) -> int:
    print(message, file=sys.stderr)  # noqa: T201 - a command's own output
    return EXIT_WRONG


def _simulated(wanted: Wanted) -> list[Report]:
    _check_page(wanted)
    names = [wanted.config] if wanted.against is None else [wanted.config, wanted.against]
    configs = [examine(name, needs_secrets=False) for name in names]
    logs = [Log(path) for path in wanted.logs]
    simulation = Simulation(configs, logs, wanted.key_field)
    searches = sum(len(replay.tallies) for replay in simulation.replays)
    with _collector_at_rest(), Headway(logs, searches) as headway:
        try:
            simulation.run(headway.read)
            return reported(simulation, headway.searched, has_plots=wanted.html is not None)
        finally:
            simulation.close()


@contextmanager
def _collector_at_rest() -> Iterator[None]:
    """What is made here goes by itself; looking for cycles in it would take as long again."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _tell(wanted: Wanted, reports: Sequence[Report]) -> None:
    if wanted.is_json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(_as_json(reports)), indent=2) + b"\n")
        return
    console = Console(highlight=False, soft_wrap=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=TEXT_WIDTH)
    tell(reports, console)
    if wanted.html is not None:
        console.print(f"\nPlots: {escape(legible(wanted.html))}", soft_wrap=True)


def _as_json(reports: Sequence[Report]) -> dict[str, object]:
    """The first config's report; with another one to compare, that stands within it."""
    first = msgspec.to_builtins(reports[0])
    assert isinstance(first, dict)
    del first["plots"]
    if len(reports) > 1:
        first["against"] = msgspec.to_builtins(reports[1])
        del first["against"]["plots"]
    return first
