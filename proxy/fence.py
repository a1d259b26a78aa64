"""The fence around what the loop itself calls: an exception there ends its exchange and goes no further."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable


class Fenced(Protocol):
    def crashed(self, error: Exception) -> None: ...


_P = ParamSpec("_P")
_Exchange = TypeVar("_Exchange", bound=Fenced)


def ends_here(
    step: Callable[Concatenate[_Exchange, _P], None],
) -> Callable[Concatenate[_Exchange, _P], None]:
    """The fence of steps that no connection calls while it reads: those have the same around their input."""

    @wraps(step)
    def guarded(exchange: _Exchange, /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            step(exchange, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - the fence
            exchange.crashed(error)

    return guarded
