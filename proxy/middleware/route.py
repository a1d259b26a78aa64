"""Limits of single routes: a dependency or decorator that charges the request on its way to a handler."""

from __future__ import annotations

from collections.abc import MutableMapping
from functools import wraps
from inspect import iscoroutinefunction, unwrap
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxy.middleware.passage import OwnAnswer, Passage
    from proxy.policy.limits import Limits


PLACE = "weir.passage"  # of the request's passage, in the scope of ASGI
PLACES: list[Any] = [PLACE]  # and in the requests of frameworks that have keys of their own

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Refused(Exception):  # noqa: N818 - it is no error: the middleware makes the answer of it
    """The limit of a route refuses. The middleware answers, whatever becomes of this on its way."""

    def __init__(self, answer: OwnAnswer) -> None:
        super().__init__(f"refused with {answer.status}")
        self.answer = answer


class RouteLimit:
    """Made by `Limiter.limit`."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    async def charge(self, place: MutableMapping[str, Any]) -> None:
        """`place` is where the middleware has put the passage: the scope. Raises Refused."""
        passage: Passage | None = next((place[key] for key in PLACES if key in place), None)
        if passage is None:
            raise RuntimeError("a route has a limit, but there is no middleware: add LimitMiddleware")
        answer = await passage.charge(self._limits)
        if answer is not None:
            raise Refused(answer)

    def __call__(self, handler: Callable[_P, Awaitable[_T]]) -> Callable[_P, Awaitable[_T]]:
        """Decorates a handler that is given the request: or a view that has it.

        Raises TypeError for one that is no coroutine function: it could not wait for its turn.
        """
        if not iscoroutinefunction(unwrap(handler)):
            raise TypeError(f"a limit decorates handlers that are written with async def; {handler!r} is not")

        @wraps(handler)
        async def limited(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            await self.charge(_place_in((*args, *kwargs.values())))
            return await handler(*args, **kwargs)

        return limited


def _place_in(values: tuple[object, ...]) -> MutableMapping[str, Any]:
    """A request of an ASGI framework has a scope; one of aiohttp is such a place itself."""
    for value in values:
        place = getattr(value, "scope", None) or getattr(value, "request", value)
        if isinstance(place, MutableMapping) and any(key in place for key in PLACES):
            return place
    return {}
