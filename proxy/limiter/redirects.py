"""Where a batch goes that a node of a cluster sent elsewhere
(redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec).

MOVED      the slot lives on another node, for good: there, and a survey finds the rest.
ASK        the slot is on its way, and none of the keys is here any more: there, this once, after ASKING.
TRYAGAIN   the slot is on its way, and some keys are here and some are not: each request on its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.limiter.discovery import address_of

if TYPE_CHECKING:
    from proxy.limiter.batch import Batch
    from proxy.limiter.link import Link
    from proxy.limiter.topology import Topology


def redirected(batch: Batch, link: Link, error: str, topology: Topology) -> list[tuple[Batch, Link]]:
    """What to send where; nothing if the error is none of these.

    Raises TroubleError for one that leads nowhere.
    """
    word, *rest = error.split(" ")
    if word in ("MOVED", "ASK") and len(rest) >= 2:
        host, _, port = rest[1].rpartition(":")
        named = (host.strip("[]") or topology.host_of(link)).encode("utf-8", "replace")
        target = topology.at(address_of(named, port, link.name))
        batch.is_asking = word == "ASK"
        if word == "MOVED":
            topology.look_around()
        return [(batch, target)]
    if word == "TRYAGAIN" and len(batch.requests) > 1:
        return [(part, link) for part in batch.split()]
    return []
