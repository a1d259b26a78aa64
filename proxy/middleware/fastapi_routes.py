"""Limits of single routes as dependencies: `Depends(charged(limit))`, in FastAPI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import HTTPConnection  # noqa: TC002 - FastAPI reads the annotation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxy.middleware.route import RouteLimit


def charged(limit: RouteLimit) -> Callable[[HTTPConnection], Awaitable[None]]:
    async def charge(connection: HTTPConnection) -> None:
        await limit.charge(connection.scope)

    return charge
