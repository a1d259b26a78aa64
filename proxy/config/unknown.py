"""What stands for a setting whose value is wrong, so that everything else can still be judged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

T = TypeVar("T")


class UnknownError(Exception):
    """A check needs what is wrong itself."""


class Unknown:
    """Whoever asks it anything learns that there is no answer. It is not None: something is there."""

    def __getattr__(self, name: str) -> NoReturn:
        raise UnknownError(name)

    def __hash__(self) -> int:
        raise UnknownError

    def __eq__(self, other: object) -> bool:
        raise UnknownError

    def __lt__(self, other: object) -> bool:
        raise UnknownError

    __gt__ = __le__ = __ge__ = __lt__

    def __bool__(self) -> bool:
        raise UnknownError

    def __mul__(self, other: object) -> NoReturn:
        raise UnknownError

    __rmul__ = __add__ = __radd__ = __mul__

    def __iter__(self) -> NoReturn:
        raise UnknownError

    def __len__(self) -> int:
        raise UnknownError

    def __getitem__(self, key: object) -> NoReturn:
        raise UnknownError

    def __format__(self, spec: str) -> str:
        raise UnknownError


UNKNOWN = Unknown()


def known(values: Iterable[T]) -> Iterator[tuple[int, T]]:
    """The entries of a list that are known, with their numbers."""
    return ((index, value) for index, value in enumerate(values) if value is not UNKNOWN)


def ask(value: object, name: str) -> Any:
    """An attribute of what may be unknown itself."""
    return value if value is UNKNOWN else getattr(value, name)
