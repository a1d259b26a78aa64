"""Sockets that listen become sites of an aiohttp runner: listeners with their TLS, and the admin plane."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from proxy.admin.app import admin_app
from proxy.net.credentials import TlsError
from proxy.runtime.sockets import BACKLOG, StartError
from proxy.runtime.tls import ListenerTls

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from proxy.admin.app import AdminSources
    from proxy.config.sections.front import AdminSettings, Listen, ListenTls
    from proxy.runtime.sockets import Doors


def listener_tls(listens: Sequence[Listen]) -> list[ListenerTls | None]:
    """Of each listener, its TLS. Raises StartError for files that cannot be used."""
    return [
        _tls(listen.tls, f"listen[{number}].tls" if len(listens) > 1 else "listen.tls")
        for number, listen in enumerate(listens)
    ]


def _tls(tls: ListenTls | None, setting: str) -> ListenerTls | None:
    try:
        return ListenerTls(tls, setting) if tls is not None else None
    except TlsError as error:
        raise StartError(f"{setting}.{error}") from None


async def serve_listeners(
    runner: web.BaseRunner, doors: Doors, listeners: Sequence[ListenerTls | None]
) -> None:
    for sockets, tls in zip(doors, listeners, strict=True):
        context = tls.front if tls is not None else None
        for sock in sockets:
            await web.SockSite(runner, sock, ssl_context=context, backlog=BACKLOG).start()


async def serve_admin(
    settings: AdminSettings, sources: AdminSources, sockets: list[socket.socket]
) -> web.AppRunner:
    token = settings.token
    app = admin_app(sources, token.get_secret_value() if token else None)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    for sock in sockets:
        await web.SockSite(runner, sock, backlog=BACKLOG).start()
    return runner


def addresses(runner: web.BaseRunner | None) -> list[str]:
    return [address_text(address) for address in runner.addresses] if runner else []


def address_text(address: object) -> str:
    if isinstance(address, tuple):
        host, port = address[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return f"unix:{address}"
