"""Where the servers are: the master that Sentinel names, the primaries of a cluster.

redis-py's own clients for them would ask for more than is needed and cannot be bounded; its cluster client
also reads all slots into tables and asks for every command there is. Knows nothing of links or buckets.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any

from redis.crc import key_slot
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from proxy.limiter.records import SHARDS, shard_tag
from proxy.limiter.replies import misunderstood
from proxy.limiter.trouble import TroubleError
from proxy.limiter.unreachable import connect_trouble

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.limiter.dialler import Dialler, Login

NodeAddress = tuple[str, int]

SLOTS = tuple(key_slot(shard_tag(shard)) for shard in range(SHARDS))  # the cluster's slot of each shard
SORTED = sorted((slot, shard) for shard, slot in enumerate(SLOTS))
RANGES_MAX = 10_000  # of slots, of 100 bytes each: what fits into a reply (reply_bounds.py)
HOST_BYTES = 255  # RFC 1035 section 2.3.4


async def master(dialler: Dialler) -> NodeAddress:
    """The address of the group's master, as the first sentinel that answers knows it. Raises TroubleError."""
    trouble: TroubleError | None = None
    for sentinel in list(dialler.sentinels):
        dialler.sentinels.remove(sentinel)  # one that swallows everything may take all of the time there is
        dialler.sentinels.append(sentinel)
        try:
            address = await _master_by(dialler, sentinel)
        except AuthenticationError:
            trouble = TroubleError(
                "auth",
                f"store.url: the sentinel {shown(sentinel)} does not accept the user name and password of"
                " store.sentinel, or of store.url without it",
            )
        except (RedisError, OSError) as error:
            trouble = connect_trouble(error, shown(sentinel))
        except TroubleError as its:
            trouble = its
        else:
            dialler.sentinels.remove(sentinel)
            dialler.sentinels.insert(0, sentinel)
            return address
    raise trouble or TroubleError("sentinel", "store.url: no address of a sentinel is known")


async def _master_by(dialler: Dialler, sentinel: NodeAddress) -> NodeAddress:
    service = dialler.url.service
    assert service is not None
    first, *others = dialler.sentinel_logins
    try:
        reply = await _asked(dialler, sentinel, first, "SENTINEL", "MASTER", service)
    except AuthenticationError:
        if not others or others[0].password is None:
            raise
        reply = await _asked(dialler, sentinel, others[0], "SENTINEL", "MASTER", service)
    except ResponseError as error:
        if "No such master" in str(error):
            raise TroubleError(
                "sentinel", f"store.url: the sentinel {shown(sentinel)} knows no master of {service}"
            ) from None
        raise
    return _master_of(reply, sentinel, service)


def _master_of(reply: Any, sentinel: NodeAddress, service: str) -> NodeAddress:
    if type(reply) is not list or not all(type(each) is bytes for each in reply):
        raise misunderstood(shown(sentinel))
    said = dict(zip(reply[::2], reply[1::2], strict=False))
    flags = said.get(b"flags", b"").split(b",")
    if b"master" not in flags or b"s_down" in flags or b"o_down" in flags:
        raise TroubleError("sentinel", f"store.url: the master of {service} is down, says {shown(sentinel)}")
    return address_of(said.get(b"ip"), said.get(b"port"), shown(sentinel))


async def primaries(dialler: Dialler, seeds: Sequence[NodeAddress]) -> list[NodeAddress]:
    """The address of each shard's primary, by the first of the nodes that answers (CLUSTER SLOTS).

    Raises TroubleError.
    """
    trouble: TroubleError | None = None
    for seed in seeds:
        try:
            return _primaries(await _asked(dialler, seed, dialler.login, "CLUSTER", "SLOTS"), seed)
        except ResponseError as error:
            if "cluster support disabled" in str(error):
                raise TroubleError(
                    "cluster",
                    f"store.url: {shown(seed)} is not part of a cluster: write redis:// in store.url",
                ) from None
            trouble = connect_trouble(error, shown(seed))
        except (RedisError, OSError) as error:
            trouble = connect_trouble(error, shown(seed))
    raise trouble or TroubleError("cluster", "store.url: no address of a node is known")


def _primaries(ranges: Any, seed: NodeAddress) -> list[NodeAddress]:
    """From ranges of slots with their nodes, the primary first."""
    found: dict[int, NodeAddress] = {}
    server = shown(seed)
    if type(ranges) is not list or len(ranges) > RANGES_MAX:
        raise misunderstood(server)
    for each in ranges:
        if type(each) is not list or len(each) < 3 or type(each[0]) is not int or type(each[1]) is not int:
            raise misunderstood(server)
        first, last, primary, *_ = each
        if type(primary) is not list or len(primary) < 2:
            raise misunderstood(server)
        host = primary[0] or seed[0].encode()  # the node does not know its own name
        its = [
            shard for _, shard in SORTED[bisect_left(SORTED, (first, 0)) : bisect_left(SORTED, (last + 1, 0))]
        ]
        if not found.keys().isdisjoint(its):
            raise misunderstood(server)  # a slot has one primary
        if its:
            found |= dict.fromkeys(its, address_of(host, primary[1], server))
    if len(found) < SHARDS:
        raise TroubleError("cluster", f"store.url: the cluster of {server} does not cover all slots")
    return [found[shard] for shard in range(SHARDS)]


def address_of(host: Any, port: Any, server: str) -> NodeAddress:
    """That a server names. Raises TroubleError if it is none."""
    try:
        name, number = host.decode("ascii"), int(port)
    except (AttributeError, TypeError, ValueError):
        raise misunderstood(server) from None
    if not 0 < len(name) <= HOST_BYTES or not 0 < number <= 65535:
        raise misunderstood(server)
    return name, number


def shown(address: NodeAddress) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def _asked(dialler: Dialler, address: NodeAddress, login: Login, *command: str) -> Any:
    try:
        connection = await dialler.connected(address, login)
        try:
            await connection.send_command(*command)
            return await connection.read_response()
        finally:
            await connection.disconnect()
    except RuntimeError:  # uvloop's, when the server closes early; redis-py's, when it only ever pushes
        raise ConnectionError("it broke off") from None
