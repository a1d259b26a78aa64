"""The admin plane from outside, for commands: by the file that Weir runs with, or by its URL."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import aiohttp
import msgspec

from proxy.config.loader import load
from proxy.config.references import resolved

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

TOKEN_VARIABLE = "WEIR_ADMIN__TOKEN"  # noqa: S105 - a name: a command line would show the token to everybody
CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 10.0  # events come every second
MESSAGE_BYTES_MAX = 4 * 1024 * 1024


class _Problem(msgspec.Struct):
    detail: str = ""


class NoAnswerError(Exception):
    """One line for who asked."""


class UnclearPlaneError(Exception):
    """It cannot be asked as it is named; one line."""


class Plane(NamedTuple):
    """Where an admin plane is, and what opens it."""

    url: str
    unix_path: str | None
    token: str | None

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    @property
    def name(self) -> str:
        return f"unix:{self.unix_path}" if self.unix_path else self.url


def plane_of(config_path: str) -> Plane:
    """That of the Weir that runs with a file. Raises ConfigError."""
    admin = load(config_path).admin
    token = admin.token.get_secret_value() if admin.token else None
    listen = admin.listen
    if listen.unix_path is not None:
        return Plane("http://localhost", listen.unix_path, token)
    host = listen.host_nearby
    return Plane(
        f"http://[{host}]:{listen.port}" if ":" in host else f"http://{host}:{listen.port}", None, token
    )


def plane_at(url: str) -> Plane:
    """The plane that is named by its URL, or by `unix:/path`. The token is in the environment, or where that
    refers to, as for Weir. Raises UnclearPlaneError.
    """
    try:
        token = resolved(os.environ.get(TOKEN_VARIABLE, ""), os.environ, Path()) or None
    except ValueError as error:
        raise UnclearPlaneError(f"{TOKEN_VARIABLE}: {error}") from None
    if "@" in url.partition("://")[2].partition("/")[0] or (
        "://" not in url and "@" in url.partition("/")[0]
    ):
        raise UnclearPlaneError(f"a URL of the admin plane has no user or password: set {TOKEN_VARIABLE}")
    if url.startswith("unix:"):
        return Plane("http://localhost", url.removeprefix("unix:"), token)
    return Plane((url if "://" in url else f"http://{url}").rstrip("/"), None, token)


async def events(plane: Plane) -> AsyncIterator[tuple[str, Any]]:
    """The messages of /events by their names. Raises NoAnswerError when they end."""
    try:
        async with _session(plane) as session, session.get(f"{plane.url}/events") as response:
            if response.status != 200:
                raise NoAnswerError(await _refusal(plane, response))
            while True:
                yield _parsed(await response.content.readuntil(b"\n\n"))
    except (aiohttp.ClientError, TimeoutError, ValueError, OSError) as error:
        raise NoAnswerError(f"{plane.name} does not answer: {error or type(error).__name__}") from None


async def post(plane: Plane, path: Sequence[str], body: bytes) -> dict[str, Any]:
    """What a path of the plane answers. Raises NoAnswerError, also for a refusal."""
    url = "/".join([plane.url, *(quote(part, safe="") for part in path)])
    try:
        async with _session(plane) as session, session.post(url, data=body) as response:
            if response.status != 200:
                raise NoAnswerError(await _refusal(plane, response))
            return msgspec.json.decode(await response.content.read(MESSAGE_BYTES_MAX), type=dict[str, Any])
    except (aiohttp.ClientError, TimeoutError, ValueError, OSError) as error:
        raise NoAnswerError(f"{plane.name} does not answer: {error or type(error).__name__}") from None


@asynccontextmanager
async def _session(plane: Plane) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.UnixConnector(plane.unix_path) if plane.unix_path else aiohttp.TCPConnector()
    patience = aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
    async with aiohttp.ClientSession(
        connector=connector, headers=plane.headers, timeout=patience, read_bufsize=MESSAGE_BYTES_MAX
    ) as session:
        yield session


async def _refusal(plane: Plane, response: aiohttp.ClientResponse) -> str:
    if response.status == 401:
        return f"{plane.name} wants its token: give the file with -c, or set {TOKEN_VARIABLE}"
    told = (await response.content.read(4096)).decode("utf-8", "replace")
    with suppress(msgspec.DecodeError):
        told = msgspec.json.decode(told, type=_Problem).detail or told
    return f"{plane.name} answers {response.status}: {told if told.isprintable() else 'no text'}"


def _parsed(message: bytes) -> tuple[str, Any]:
    name, _, data = message.decode().removeprefix("event: ").partition("\ndata: ")
    return name, msgspec.json.decode(data)
