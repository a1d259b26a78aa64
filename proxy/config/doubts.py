"""What is valid and probably not meant: `weir check` warns of it, and `--strict` makes it a mistake.

A doubt takes the settings and yields the path of what looks wrong and a sentence that says why, and what to
write if it was not meant. It is a function in `DOUBTS`. No message repeats a secret. Knows nothing of files.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING

from proxy.config.units import US

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from ipaddress import IPv4Network, IPv6Network

    from proxy.config.settings import Settings

    Place = tuple[tuple[str | int, ...], str]
    Doubt = Callable[[Settings], Iterator[Place]]

# RFC 1918, RFC 6598 (carriers, and many a cluster), RFC 4193.
PRIVATE_NETWORKS = tuple(
    map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"))
)


def about(settings: Settings) -> Iterator[Place]:
    """Path and message of each."""
    for doubt in DOUBTS:
        yield from doubt(settings)


def small_bursts(settings: Settings) -> Iterator[Place]:
    """Who sends the requests of a second at once, as most programs do, is refused."""
    for index, limit in enumerate(settings.limits):
        a_second = limit.rate.count * US // limit.rate.period_us
        if limit.burst < a_second:
            yield (
                ("limits", index, "burst"),
                (
                    f"{limit.burst} is below the {a_second} requests that {limit.rate} allows in a second:"
                    f" who sends those at once is refused; write {a_second} or more, or leave it out"
                ),
            )


def trusted_strangers(settings: Settings) -> Iterator[Place]:
    """Whoever is trusted says who the client is, and so whose tokens are spent."""
    for index, network in enumerate(settings.forwarded.trust):
        if network.prefixlen == 0:
            why = "lets every client choose the address that it is charged by"
        elif any(_covers(network, private) for private in PRIVATE_NETWORKS):
            why = "is a whole private network: whoever is in it can choose the address that is charged"
        else:
            continue
        yield ("forwarded", "trust", index), f"{network} {why}; name the proxies that stand in front"


def _covers(network: IPv4Network | IPv6Network, other: IPv4Network | IPv6Network) -> bool:
    return network.version == other.version and other.subnet_of(network)  # type: ignore[arg-type]  # one version


DOUBTS: tuple[Doubt, ...] = (small_bursts, trusted_strangers)
