"""Connections to Redis, made by redis-py, and who serves which shard: one server, Sentinel's master, or a
cluster.

Retries of redis-py's own are off: 3.5 to 4.9 s on a refused connection otherwise. Knows nothing of
scripts or buckets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from proxy.limiter.records import SHARDS, shard_tag
from proxy.limiter.trouble import TroubleError, connect_trouble

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio.connection import AbstractConnection

    from proxy.config.addresses import StoreUrl

Address = tuple[str, int]

SLOTS = tuple(key_slot(shard_tag(shard)) for shard in range(SHARDS))  # the cluster's slot of each shard
STEP_TIMEOUT = 1.0  # seconds for each step of making a connection


class TlsFiles(NamedTuple):
    """Paths for connections by TLS; None takes the system's authorities, and no client certificate."""

    ca: str | None = None
    cert: str | None = None
    key: str | None = None


class Dialler:
    """Makes connections by a store's URL, to whatever address."""

    def __init__(self, url: StoreUrl, tls: TlsFiles) -> None:
        self.url = url
        self.name = str(url).partition("://")[2].rpartition("@")[2]  # for messages: no user, no password
        self._type = SSLConnection if url.tls else Connection
        self._options: dict[str, Any] = {
            "username": url.username,
            "password": url.password.get_secret_value() if url.password else None,
            "db": url.database,
            "socket_timeout": STEP_TIMEOUT,
            "socket_connect_timeout": STEP_TIMEOUT,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,  # nothing of RESP3 is needed, and a Redis 5 does not know it
        }
        if url.tls:
            self._options |= {
                "ssl_ca_certs": tls.ca,
                "ssl_certfile": tls.cert,
                "ssl_keyfile": tls.key,
                "ssl_check_hostname": True,
            }

    async def connect(self, address: Address) -> AbstractConnection:
        return await self._connected(self._type(host=address[0], port=address[1], **self._options))

    async def connect_unix(self, path: str) -> AbstractConnection:
        return await self._connected(UnixDomainSocketConnection(path=path, **self._options))

    async def master(self) -> Address:
        """The address of the group's master, as the first sentinel that answers knows it."""
        url = self.url
        assert url.service is not None
        options = {
            name: self._options[name] for name in ("socket_timeout", "socket_connect_timeout", "retry")
        }
        credentials = {"username": url.username, "password": self._options["password"]}
        for extra in ({}, credentials):  # sentinels often have no password where the servers have one
            sentinel = Sentinel(  # type: ignore[no-untyped-call]  # redis-py's
                url.addresses, sentinel_kwargs=options | extra
            )
            try:
                return tuple(await sentinel.discover_master(url.service))
            except AuthenticationError:
                if extra or not url.password:
                    raise
            finally:
                await sentinel.aclose()
        raise AssertionError

    async def primaries(self, seeds: Sequence[Address]) -> list[Address]:
        """The address of each shard's primary, by the first of the nodes that answers (CLUSTER SLOTS).

        redis-py's own cluster client would also read all slots into tables and ask for every command
        there is.
        """
        trouble: Exception | None = None
        for seed in seeds:
            try:
                connection = await self.connect(seed)
            except (RedisError, OSError) as error:
                trouble = error
                continue
            try:
                await connection.send_command("CLUSTER", "SLOTS")
                return _primaries(await connection.read_response(), seed)
            except ResponseError as error:
                if "cluster support disabled" not in str(error):
                    raise connect_trouble(error, shown(seed)) from None
                raise TroubleError(
                    "cluster",
                    f"store.url: {shown(seed)} is not part of a cluster: write redis:// in store.url",
                ) from None
            except (RedisError, OSError) as error:
                trouble = error
            finally:
                await connection.disconnect(nowait=True)
        raise trouble or ConnectionError("no address of a node is known")

    @staticmethod
    async def _connected(connection: AbstractConnection) -> AbstractConnection:
        try:
            await connection.connect()  # type: ignore[no-untyped-call]  # redis-py's
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection


def shown(address: Address) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _primaries(ranges: list[Any], seed: Address) -> list[Address]:
    """From CLUSTER SLOTS: ranges of slots with their nodes, the primary first."""
    found: dict[int, Address] = {}
    for first, last, primary, *_ in ranges:
        host = primary[0].decode() if primary[0] else seed[0]  # the node does not know its own name
        for shard, slot in enumerate(SLOTS):
            if first <= slot <= last:
                found[shard] = (host, int(primary[1]))
    if len(found) < SHARDS:
        raise TroubleError("cluster", f"store.url: the cluster of {shown(seed)} does not cover all slots")
    return [found[shard] for shard in range(SHARDS)]
