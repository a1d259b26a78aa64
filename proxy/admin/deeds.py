"""`weir keys`: what an operator does to one key of a limit, from a shell.

A value that is not on the command line comes from standard input, so it stays out of the shell's history and
out of the list of processes.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import msgspec

from proxy.admin.client import NoAnswerError, post
from proxy.config.exits import EXIT_FAILED, EXIT_OK, EXIT_WRONG

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxy.admin.client import Plane

VALUE_BYTES_MAX = 32 * 1024  # a request's head holds no larger one


class UnnamedError(Exception):
    """It is not clear who is meant; the message says what to write."""


class Deed(NamedTuple):
    verb: str
    limit: str
    whom: Sequence[str]  # nobody: all keys of the limit
    amounts: Mapping[str, object]  # None where nothing is said


def keys(plane: Plane, deed: Deed, *, is_json: bool) -> int:
    """The exit code."""
    try:
        body = _body(deed)
    except UnnamedError as error:
        return _failed(str(error), EXIT_WRONG)
    try:
        told = asyncio.run(post(plane, ("limits", deed.limit, deed.verb), body))
    except NoAnswerError as error:
        return _failed(str(error), EXIT_FAILED)
    print(msgspec.json.encode(told).decode() if is_json else _lines(told))  # noqa: T201 - a command's own output
    return EXIT_OK


def _failed(message: str, code: int) -> int:
    print(message, file=sys.stderr)  # noqa: T201 - a command's own output
    return code


def _body(deed: Deed) -> bytes:
    """Raises UnnamedError."""
    named: dict[str, object] = {}
    for entry in deed.whom:
        name, value = _named(entry)
        if name in named:
            raise UnnamedError(f"{name} is there twice: one client at a time")
        named[name] = value
    named |= {name: value for name, value in deed.amounts.items() if value is not None}
    return msgspec.json.encode(named) if named else b""


def _named(entry: str) -> tuple[str, str]:
    """`header:X-Auth-Token=…`, or without a value, which comes from standard input then."""
    name, given, value = entry.partition("=")
    return name, value if given else _asked_for(name)


def _asked_for(name: str) -> str:
    """One line; not shown where it is typed. Raises UnnamedError."""
    if sys.stdin.isatty():
        return str(click.prompt(name, hide_input=True, err=True))
    line = sys.stdin.buffer.readline(VALUE_BYTES_MAX + 1)
    try:
        value = line.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise UnnamedError(f"{name}: standard input is no text in UTF-8") from None
    if len(line) > VALUE_BYTES_MAX:
        raise UnnamedError(f"{name}: standard input is longer than any value that a request can carry")
    if not value:
        raise UnnamedError(f"{name}: standard input has no line for its value")
    return value


def _lines(told: Mapping[str, Any]) -> str:
    return "\n".join(f"{name + ':':<10} {'-' if value is None else value}" for name, value in told.items())
