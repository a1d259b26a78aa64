"""What a session tells a server of many buckets: in calls of a few hundred, and whether it was heard.

Knows nothing of what is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from proxy.limiter.replies import misunderstood
from proxy.limiter.trouble import TroubleError, reply_trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from proxy.limiter.link import Link

T = TypeVar("T")


def rounds(link: Link, told: Iterable[T], key: Callable[[T], bytes], most: int) -> Iterator[list[T]]:
    """Parts of at most so many, each as soon as it is full; in a cluster, a call holds buckets of one shard
    only. `key` is a bucket's.
    """
    by_place: dict[int, list[T]] = {}
    for each in told:
        place = key(each)[0] & link.mask
        part = by_place.setdefault(place, [])
        part.append(each)
        if len(part) >= most:
            yield by_place.pop(place)
    yield from by_place.values()


def heard(reply: Any, link: Link) -> list[Any]:
    """What the server replied to one of them. Raises TroubleError if it was not told."""
    if isinstance(reply, Exception):
        raise reply_trouble(reply, link.name)
    if type(reply) is not list:
        raise misunderstood(link.name)
    if len(reply) == 1:
        raise TroubleError("timeout", f"store.url: {link.name} is told too slowly")
    return reply
