"""What a session tells a server of many buckets: in calls of a few hundred, and whether it was heard.

Knows nothing of what is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from proxy.limiter.replies import misunderstood
from proxy.limiter.trouble import TroubleError, reply_trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from proxy.limiter.link import Link

T = TypeVar("T")


def rounds(link: Link, told: Sequence[T], key: Callable[[T], bytes], most: int) -> Iterator[list[T]]:
    """Parts of at most so many; in a cluster, a call holds buckets of one shard only. `key` is a bucket's."""
    by_place: dict[int, list[T]] = {}
    for each in told:
        by_place.setdefault(key(each)[0] & link.mask, []).append(each)
    for part in by_place.values():
        for start in range(0, len(part), most):
            yield part[start : start + most]


def heard(reply: Any, link: Link) -> list[Any]:
    """What the server replied to one of them. Raises TroubleError if it was not told."""
    if isinstance(reply, Exception):
        raise reply_trouble(reply, link.name)
    if type(reply) is not list:
        raise misunderstood(link.name)
    if len(reply) == 1:
        raise TroubleError("timeout", f"store.url: {link.name} is told too slowly")
    return reply
