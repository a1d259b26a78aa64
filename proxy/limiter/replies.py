"""What a server replied, judged before it is believed: its shape, its types and its bounds.

Whatever calls itself Redis may answer anything: another kind of reply, numbers that no bucket and no clock
can have, more than was asked. Such a reply is trouble like any other. Knows nothing of connections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from proxy.limiter.records import UNITS_MAX
from proxy.limiter.trouble import TroubleError

if TYPE_CHECKING:
    from collections.abc import Sequence

REPLICAS_MAX: Final = 10_000  # more than any service has; what is beyond it is somebody's joke
STRINGS_MAX: Final = 10_000  # of a list, each looked at: 5 ms; a page of SCAN has 500


def are_numbers(reply: Sequence[Any], count: int) -> bool:
    """So many whole numbers, none beyond what a script can count.

    Sorted and added up, which costs less than a look at each. What is no whole number makes the sum none, and
    what is not a number at all stands anywhere in an order.
    """
    if len(reply) != count:
        return False
    try:
        ordered = sorted(reply)
        are_whole = type(sum(reply)) is int
    except TypeError:  # not all of them are numbers
        return False
    return are_whole and ordered[0] >= -UNITS_MAX and ordered[-1] <= UNITS_MAX


def numbers(reply: Any, count: int, server: str) -> list[int]:
    """Raises TroubleError."""
    if type(reply) is not list or ((reply or count) and not are_numbers(reply, count)):
        raise misunderstood(server)
    return reply


def blobs(reply: Any, server: str, most: int = STRINGS_MAX) -> list[bytes]:
    """A list of strings, at most so many. Raises TroubleError."""
    if type(reply) is not list or len(reply) > most or not all(type(each) is bytes for each in reply):
        raise misunderstood(server)
    return reply


def server_time(reply: Any, server: str) -> int:
    """What TIME said, in microseconds. Raises TroubleError."""
    if type(reply) is not list or len(reply) != 2 or not all(part.isdigit() for part in blobs(reply, server)):
        raise misunderstood(server)
    return int(reply[0][:12]) * 1_000_000 + int(reply[1][:6])


def misunderstood(server: str) -> TroubleError:
    return TroubleError("protocol", f"store.url: {server} does not answer as Redis does")
