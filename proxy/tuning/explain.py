"""`weir explain`: what becomes of one request, as text or as JSON."""

from __future__ import annotations

import sys
from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from proxy.config.exits import EXIT_OK, EXIT_WRONG
from proxy.config.loader import ConfigError, examine
from proxy.tuning.curl import of_curl
from proxy.tuning.explanation import explained
from proxy.tuning.typed_request import TypedError, typed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from proxy.tuning.explanation import Explanation, LimitExplained
    from proxy.tuning.typed_request import TypedRequest

KEYED_BY = "store.key_secret"
TEXT_WIDTH = 120  # where it is no terminal


class Arguments(NamedTuple):
    """What was typed."""

    config: str
    method: str | None = None
    target: str | None = None
    headers: Sequence[str] = ()
    peer: str = "127.0.0.1"
    curl: str | None = None
    is_json: bool = False


def explain(asked: Arguments) -> int:
    """The exit code."""
    try:
        request = _request(asked)
        config = examine(asked.config, needs_secrets=False)
        scheme = "https" if request.target.lower().startswith("https://") else "http"
        found = explained(config.settings, request.head(), _peer(asked.peer), scheme)
    except (ConfigError, TypedError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - a command's own output
        return EXIT_WRONG
    if asked.is_json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
    else:
        _tell(found, config.unknown_secrets)
    return EXIT_OK


def _request(asked: Arguments) -> TypedRequest:
    if asked.curl is not None:
        if asked.method is not None or asked.headers:
            raise TypedError("give a request either as METHOD and TARGET or by --curl")
        return of_curl(asked.curl)
    if asked.method is None or asked.target is None:
        raise TypedError("give a request as METHOD and TARGET, such as GET /api/a, or by --curl")
    return typed(asked.method, asked.target, asked.headers)


def _peer(text: str) -> str:
    """The address that the connection came from."""
    try:
        return str(ip_address(text))
    except ValueError:
        raise TypedError(f"--from takes an IP address, not {text!r}") from None


def _tell(found: Explanation, unknown_secrets: Iterable[str]) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=TEXT_WIDTH)

    def say(text: str) -> None:
        console.print(text, soft_wrap=True)

    say(f"[bold]{escape(found.method)} {escape(found.target)}[/bold]  client {escape(found.client)}")
    if found.refused is not None:
        status, reason, detail = found.refused.status, found.refused.reason, found.refused.detail
        say(f"\n[yellow]refused before any limit: {status}, {reason}[/yellow] ({detail})")
    console.print()
    is_counted = found.refused is None
    console.print(_limits_table(found.limits, is_counted=is_counted) if found.limits else "no limit is asked")
    if KEYED_BY in unknown_secrets:
        say(f"[yellow]{KEYED_BY} is not known here: hashes are not those of the service[/yellow]")
    if found.request is not None:
        say(f"\n[dim]to the service[/dim]\n{escape(found.request.line)}")
        _say_headers(console, found.request.headers)
    say("\n[dim]added to the answer[/dim]" if found.request is not None else "\n[dim]the answer's head[/dim]")
    _say_headers(console, found.response_headers)


def _say_headers(console: Console, headers: Iterable[tuple[str, str]]) -> None:
    for name, value in headers:
        console.print(f"{escape(name)}: {escape(value)}", soft_wrap=True)


def _limits_table(limits: Iterable[LimitExplained], *, is_counted: bool) -> Table:
    limits = list(limits)
    may_wait = any(limit.max_wait != "0s" for limit in limits)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for heading in ("limit", "applies", "key", "hash", "rate", "burst", "cost", "plan"):
        table.add_column(heading, overflow="fold")
    if may_wait:
        table.add_column("waits", overflow="fold")
    for limit in limits:
        table.add_row(
            limit.name,
            _applies(limit, is_counted=is_counted),
            "\n".join(key.source for key in limit.keys),
            "\n".join(key.hash for key in limit.keys),
            limit.rate or f"{limit.concurrency} at once",
            str(limit.burst or ""),
            str(limit.cost),
            limit.plan or "",
            *([limit.max_wait] if may_wait else []),
        )
    return table


def _applies(limit: LimitExplained, *, is_counted: bool) -> str:
    if limit.why_not is not None:
        return f"no: {limit.why_not}"
    if is_counted and not limit.keys:
        return "no: nothing of its key"
    return "in shadow" if limit.mode == "shadow" else "yes"
