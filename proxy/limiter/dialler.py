"""Connections to Redis, made by redis-py: TCP, TLS or a Unix socket, with a user and a password.

Retries of redis-py's own are off: 3.5 to 4.9 s on a refused connection otherwise. What a server says until
the connection is ours is bounded as what it says later is (reply_bounds.py). Knows nothing of scripts or
buckets.
"""

from __future__ import annotations

import asyncio
import ssl

# Compiled, the types of a NamedTuple's fields are looked up when it is made.
from asyncio import Transport
from collections.abc import Callable  # noqa: TC003 - a field of a NamedTuple
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

from redis._parsers.hiredis import _AsyncHiredisParser
from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, InvalidResponse  # noqa: A004 - redis-py's, not the loop's

from proxy.limiter import discovery
from proxy.limiter.reply_bounds import Bounds
from proxy.limiter.unreachable import UncertifiedError
from proxy.paced import Paced, pace
from proxy.reach import reach

if TYPE_CHECKING:
    from asyncio import StreamReader
    from collections.abc import Sequence
    from ssl import SSLContext

    from pydantic import SecretStr

    from proxy.config.addresses import StoreUrl
    from proxy.config.sections.store import StoreSettings
    from proxy.limiter.discovery import NodeAddress

    Marks = tuple[int, ...]

STEP_TIMEOUT = 1.0  # seconds for each step of making a connection
GREETING_SECONDS = 0.3  # for a server that hung up to say why, to who asks nothing
LOSSES = (ConnectionError, RuntimeError)  # redis-py's; uvloop's, when the server closes while redis-py talks


class TlsFiles(NamedTuple):
    """Paths for connections by TLS; None takes the system's authorities, and no client certificate."""

    ca: str | None = None
    cert: str | None = None
    key: str | None = None


class Login(NamedTuple):
    """Who we are, to a server or to a sentinel."""

    username: str | None = None
    password: SecretStr | None = None


class Opened(NamedTuple):
    """A connection that is made and may be used by whoever sets its transport's protocol."""

    transport: Transport
    close: Callable[[], None]  # for good; kept, since what made the connection closes it when it goes


class Dialler:
    """Makes connections by a store's URL, to whatever address."""

    def __init__(self, url: StoreUrl, tls: TlsFiles | None = None, sentinel: Login | None = None) -> None:
        """Sentinels without a login of their own are asked with none, then with that of the servers."""
        self.url = url
        self._way = (url, tls or TlsFiles(), sentinel)
        self.name = str(url).partition("://")[2].rpartition("@")[2]  # for messages: no user, no password
        self.login = Login(url.username, url.password)
        self.sentinel_logins = [Login(), self.login] if sentinel is None else [sentinel]
        self.sentinels = list(url.addresses)  # whichever answered last comes first
        self._type: type[_Plain | _Secure] = _Secure if url.tls else _Plain
        self._made: tuple[list[Marks], SSLContext] | None = None  # what connections by TLS are made with
        self._tls: dict[str, Any] = {}
        if url.tls:
            ca, cert, key = tls or TlsFiles()
            self._tls = {
                "ssl_ca_certs": ca,
                "ssl_certfile": cert,
                "ssl_keyfile": key,
                "ssl_check_hostname": True,
            }

    @classmethod
    def of(cls, settings: StoreSettings) -> Self:
        files, theirs = settings.tls, settings.sentinel
        sentinel = Login(theirs.username, theirs.password) if theirs.password is not None else None
        return cls(settings.url, TlsFiles(files.ca, files.cert, files.key), sentinel)

    def is_like(self, other: Dialler) -> bool:
        """It leads to the same place in the same way."""
        return self._way == other._way

    async def connect(self, address: NodeAddress) -> Opened:
        return opened(await self.connected(address, self.login, self.url.database))

    async def connect_unix(self, path: str) -> Opened:
        options = _options(self.login, self.url.database)
        return opened(await _connected(_Local(path=path, **options)))

    async def master(self) -> NodeAddress:
        """The address of the group that the sentinels watch. Raises TroubleError."""
        return await discovery.master(self)

    async def primaries(self, seeds: Sequence[NodeAddress]) -> list[NodeAddress]:
        """The address of each shard, by what one of these nodes of the cluster says. Raises TroubleError."""
        return await discovery.primaries(self, seeds)

    async def connected(self, address: NodeAddress, login: Login, database: int = 0) -> AbstractConnection:
        """One of redis-py's, for commands before there is any need for speed."""
        host, port = address
        connection = self._type(host=host, port=port, **_options(login, database), **self._tls)
        if isinstance(connection, _Secure):
            connection.ssl_context.context = await self._context(connection)
        return await _connected(connection)

    async def _context(self, connection: SSLConnection) -> SSLContext:
        """Made when its files, or the system's, have changed: to read them takes 20 ms. Raises OSError."""
        paths = [self._tls[name] for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")]
        marks = [_marks(path) for path in (*paths, ssl.get_default_verify_paths().cafile)]
        if self._made is None or self._made[0] != marks:
            self._made = marks, await asyncio.to_thread(connection.ssl_context.get)
        return self._made[1]


def _marks(path: str | None) -> Marks:
    """What tells one file from another of the same name."""
    if path is None:
        return ()
    found = Path(path).stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


class _Abrupt(AbstractConnection):
    """Ends at once, also where redis-py ends it: by TLS that would wait for the other side, for 30 s."""

    is_accepted = False  # a server took the connection, whatever became of it

    async def disconnect(self, *_: Any, **__: Any) -> None:
        if self._writer is not None:
            pace(self._writer.transport, is_over=True)
            self._writer.transport.abort()
        await super().disconnect(nowait=True)


class _Raced(_Abrupt, Connection):
    """Over whichever address of a name answers first."""

    async def _connect(self) -> None:
        async with asyncio.timeout(STEP_TIMEOUT):
            self._sock = await reach(self.host, self.port)
        await super()._connect()  # type: ignore[no-untyped-call]  # redis-py's
        assert self._writer is not None
        pace(self._writer.transport)
        self.is_accepted = True

    def _connection_arguments(self) -> dict[str, Any]:
        arguments = dict(super()._connection_arguments())
        host, _ = arguments.pop("host"), arguments.pop("port")
        arguments["sock"] = self._sock
        if "ssl" in arguments:
            arguments["server_hostname"] = host
            arguments["ssl"].sslobject_class = Paced
        return arguments


class _Plain(_Raced, Connection): ...


class _Secure(_Raced, SSLConnection):
    is_agreed = False  # the handshake is over, as far as we can see

    async def _connect(self) -> None:
        await super()._connect()
        self.is_agreed = True

    @property
    def may_lack_a_certificate(self) -> bool:
        """Whether it may: by TLS 1.3 a server says so after the handshake (RFC 8446 section 4.4.2.4)."""
        return self.is_agreed and self.certfile is None


class _Local(_Abrupt, UnixDomainSocketConnection):
    """A connection by a Unix socket. redis-py's own says who we are while it connects, and once more."""

    async def _connect(self) -> None:
        async with asyncio.timeout(STEP_TIMEOUT):
            self._reader, self._writer = await asyncio.open_unix_connection(self.path)
        self.is_accepted = True


def _options(login: Login, database: int) -> dict[str, Any]:
    return {
        "username": login.username,
        "password": login.password.get_secret_value() if login.password else None,
        "db": database,
        "socket_timeout": STEP_TIMEOUT,
        "socket_connect_timeout": STEP_TIMEOUT,
        "retry": Retry(NoBackoff(), 0),
        "parser_class": _BoundedParser,
        "protocol": 2,  # nothing of RESP3 is needed, and a Redis 5 does not know it
    }


async def _connected(connection: _Abrupt) -> AbstractConnection:
    try:
        await connection.connect()  # type: ignore[no-untyped-call]  # redis-py's
    except BaseException as error:
        lacks_one = isinstance(connection, _Secure) and connection.may_lack_a_certificate
        await connection.disconnect()
        if not connection.is_accepted or type(error) not in LOSSES:
            raise
        if said := await _greeting(connection):
            raise ConnectionError(said) from error
        if lacks_one:
            raise UncertifiedError from error
        raise
    return connection


async def _greeting(connection: _Abrupt) -> str:
    """The error that a server says before it is asked anything, if it does. Raises SSLError if TLS said it.

    It hangs up then, under our first words, and what was said before is lost with the connection. Only for a
    server that took the first one: who refused it may be back by now, and has nothing to say.
    """
    try:
        async with asyncio.timeout(GREETING_SECONDS):
            await connection._connect()  # type: ignore[no-untyped-call]  # noqa: SLF001 - no public way
            reader = connection._reader  # noqa: SLF001 - no public way
            said = await reader.readline() if reader is not None else b""
    except ssl.SSLError:
        raise
    except (OSError, TimeoutError, ValueError):
        return ""
    finally:
        await connection.disconnect()
    return said.strip().decode("latin-1").removeprefix("-") if said.startswith(b"-") else ""


def opened(connection: AbstractConnection) -> Opened:
    """Takes over a connection that is connected."""
    writer = connection._writer  # noqa: SLF001 - there is no public way to it
    assert writer is not None
    transport = cast("Transport", writer.transport)

    def close() -> None:
        pace(transport, is_over=True)
        connection._close()  # type: ignore[no-untyped-call]  # noqa: SLF001 - the only one that needs no task

    return Opened(transport, close)


class _BoundedStream:
    """What redis-py reads from: a server may say so much and no more."""

    def __init__(self, stream: StreamReader) -> None:
        self._stream = stream
        self._bounds = Bounds()

    async def read(self, size: int) -> bytes:
        data = await self._stream.read(size)
        if self._bounds.are_broken(data):
            raise InvalidResponse("it answers more than was asked")
        return data

    def at_eof(self) -> bool:
        """`redis-py` asks it of what rests in its pool."""
        return self._stream.at_eof()


class _BoundedParser(_AsyncHiredisParser):
    """The one of redis-py."""

    def on_connect(self, connection: AbstractConnection) -> None:
        super().on_connect(connection)  # type: ignore[no-untyped-call]  # redis-py's
        self._stream = _BoundedStream(self._stream)  # type: ignore[assignment, arg-type]  # all it asks of one

    async def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return await super().read_response(*args, **options)
        except ValueError as error:  # redis-py's, of a redirection that names no place
            raise InvalidResponse("it does not answer as Redis does") from error
