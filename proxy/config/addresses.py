"""Where things are: listen addresses, servers of the upstream, stores, origins.

Messages never repeat a URL: it may hold a password, even one that is not well formed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple
from urllib.parse import unquote

from pydantic import SecretStr

from proxy.config.wording import nearest, shown

UNIX_PATH_BYTES = 107  # sockaddr_un.sun_path: 108 with the closing NUL

# RFC 1123 section 2.1, and `_`, which names of containers have.
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,30}):(?://)?(.*)", re.DOTALL)
_HTTP_PORTS = {"http": 80, "https": 443}
_STORE_SCHEMES = (
    "redis",
    "rediss",
    "redis+unix",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
)
_REDIS_PORT = 6379
_LOOPBACKS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - of all interfaces, to be replaced
_SENTINEL_PORT = 26379


class Address(NamedTuple):
    """A place to listen on or to connect to: host and port, or the path of a Unix socket."""

    host: str
    port: int
    unix_path: str | None = None

    @property
    def address(self) -> str:
        if self.unix_path is not None:
            return f"unix:{self.unix_path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def host_nearby(self) -> str:
        """Where a process of this machine finds it: what is open to the world is on loopback too."""
        return _LOOPBACKS.get(self.host, self.host)

    def __str__(self) -> str:
        return self.address


def split_address(text: str) -> Address:
    """`host:port`, `[v6]:port` or `unix:/path`."""
    if text.startswith("unix:"):
        return Address("", 0, _unix_path(text.removeprefix("unix:"), "unix:/run/weir.sock"))
    if "://" in text:
        raise ValueError("is an address, not a URL: write host:port, such as 127.0.0.1:8080")
    host, colon, port = text.rpartition(":")
    if not colon and text.isdecimal():
        raise ValueError(f"needs a host: write 127.0.0.1:{text}, or 0.0.0.0:{text} for every interface")
    if not colon or (text.endswith("]") and text.startswith("[")):
        raise ValueError(
            f"needs a port: write {_host(text) and text}:8080" if text else "is empty: write host:port"
        )
    if host in ("", "*"):
        raise ValueError(f"needs a host: write 0.0.0.0:{_port(port, 0)} for every interface")
    if ":" in host and not host.startswith("["):
        raise ValueError("an IPv6 address goes in brackets: write [::1]:8080")
    return Address(_host(host), _port(port, 0))


def parse_address(value: object) -> Address:
    if isinstance(value, Address):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return split_address(str(value))
    if not isinstance(value, str):
        raise ValueError(f"must be an address such as 127.0.0.1:8080, not {_kind(value)}")  # noqa: TRY004 - pydantic's
    return split_address(value)


def is_loopback(address: Address) -> bool:
    """Only this machine can reach it."""
    if address.unix_path is not None or address.host.lower() == "localhost":
        return True
    try:
        return IPv4Address(address.host).is_loopback
    except ValueError:
        return address.host == "::1"


@dataclass(frozen=True, slots=True)
class UpstreamUrl:
    """One server of the upstream."""

    url: str
    scheme: str  # http or https
    host: str  # without brackets
    port: int
    unix_path: str | None = None

    @property
    def authority(self) -> str:
        """What its Host field says: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _HTTP_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def is_name(self) -> bool:
        """Its host must be looked up."""
        return self.unix_path is None and not _is_ip(self.host)

    @property
    def origin(self) -> str:
        """RFC 6454: how the service names itself in a Location."""
        return f"{self.scheme}://{self.authority}"

    def __str__(self) -> str:
        return self.url


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def parse_server(value: object) -> UpstreamUrl:
    """`http://host:port`, `https://host` or `http+unix:///path`."""
    if isinstance(value, UpstreamUrl):
        return value
    if not isinstance(value, str):
        raise ValueError(f"must be a URL such as http://127.0.0.1:9000, not {_kind(value)}")  # noqa: TRY004 - pydantic's
    match = _SCHEME.fullmatch(value)
    if match is None or "://" not in value:
        raise ValueError("must be a URL with its scheme, such as http://127.0.0.1:9000")
    scheme, rest = match[1].lower(), match[2]
    if scheme == "http+unix":
        return UpstreamUrl(
            f"http+unix://{rest}", "http", "localhost", 80, _unix_path(rest, "http+unix:///run/service.sock")
        )
    if scheme not in _HTTP_PORTS:
        raise ValueError(
            f"must begin with http://, https:// or http+unix://{_meant(scheme, (*_HTTP_PORTS, 'http+unix'))}"
        )
    authority = _authority_only(rest, "a server's URL")
    host, port = _split_authority(authority, _HTTP_PORTS[scheme])
    bracketed = f"[{host}]" if ":" in host else host
    suffix = "" if port == _HTTP_PORTS[scheme] else f":{port}"
    return UpstreamUrl(f"{scheme}://{bracketed}{suffix}", scheme, host, port)


def parse_origin(text: str) -> str:
    """`https://api.example.com`: scheme, host and perhaps a port (RFC 6454)."""
    match = _SCHEME.fullmatch(text)
    if match is None or match[1].lower() not in _HTTP_PORTS or "://" not in text:
        raise ValueError("must be an origin such as https://api.example.com")
    scheme = match[1].lower()
    if match[2].endswith("/"):
        raise ValueError("an origin ends with its host or port: leave out the slash at the end")
    host, port = _split_authority(_authority_only(match[2], "an origin"), _HTTP_PORTS[scheme])
    return UpstreamUrl("", scheme, host.lower(), port).origin


def parse_collector(text: str) -> str:
    """`http://collector:4318`, perhaps with a path that OTLP's own is below; without OTLP's own."""
    scheme, mark, rest = text.partition("://")
    authority, slash, path = rest.partition("/")
    if not mark or not authority or any(char in text for char in "?#"):
        raise ValueError("must be the URL of a collector such as http://collector:4318")
    origin = parse_origin(f"{scheme}{mark}{authority}")
    return (origin + slash + path).removesuffix("/v1/traces").rstrip("/")


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """Where buckets live. Its text hides the password; `repr` too."""

    kind: str  # memory, redis, unix, sentinel or cluster
    tls: bool = False
    addresses: tuple[
        tuple[str, int], ...
    ] = ()  # of the server, of the sentinels, of some nodes of the cluster
    path: str | None = None  # of a Unix socket
    service: str | None = None  # name of the group that the sentinels watch
    database: int = 0
    username: str | None = None
    password: SecretStr | None = None

    def __str__(self) -> str:
        if self.kind == "memory":
            return "memory"
        scheme = "rediss" if self.tls else "redis"
        if self.kind != "redis":
            scheme += f"+{self.kind}"
        user = (
            f"{self.username or ''}:***@" if self.password else f"{self.username}@" if self.username else ""
        )
        hosts = ",".join(
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.addresses
        )
        service = f"/{self.service}" if self.service else ""
        database = f"/{self.database}" if self.database else ""
        return f"{scheme}://{user}{hosts}{self.path or ''}{service}{database}"


def parse_store(value: object) -> StoreUrl:
    """`memory`, `redis://host:port/0` and its kin."""
    if isinstance(value, StoreUrl):
        return value
    if not isinstance(value, str):
        raise ValueError(f"must be memory or a URL such as redis://127.0.0.1:6379, not {_kind(value)}")  # noqa: TRY004 - pydantic's
    if value == "memory":
        return StoreUrl("memory")
    match = _SCHEME.fullmatch(value)
    if match is None or "://" not in value:
        raise ValueError("must be memory or a URL such as redis://127.0.0.1:6379")
    scheme = match[1].lower()
    if scheme not in _STORE_SCHEMES:
        known = (
            "memory, redis://, redis+unix://, redis+sentinel:// or redis+cluster://, with TLS rediss://,"
            " rediss+sentinel:// or rediss+cluster://"
        )
        raise ValueError(f"must be {known}{_meant(scheme, _STORE_SCHEMES)}")
    userinfo, at, rest = match[2].rpartition("@")
    username, password = _credentials(userinfo) if at else (None, None)
    if scheme == "redis+unix":
        return StoreUrl(
            "unix",
            path=_unix_path(rest, "redis+unix:///run/redis.sock"),
            username=username,
            password=password,
        )
    return _network_store(scheme, rest, username, password)


def _network_store(scheme: str, rest: str, username: str | None, password: SecretStr | None) -> StoreUrl:
    family, _, kind = scheme.partition("+")
    kind = kind or "redis"
    if "?" in rest or "#" in rest:
        raise ValueError(
            "a store's URL has no query and no fragment; escape ? as %3F and # as %23 in a password"
        )
    hosts, _, path = rest.partition("/")
    service: str | None = None
    database = path
    if kind == "sentinel":
        service, _, database = path.partition("/")
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,128}", service):
            raise ValueError(f"needs the service that the sentinels watch: {scheme}://host:26379/mymaster")
    if kind == "cluster" and path:
        raise ValueError("a cluster has no databases: end the URL after the last host")
    if kind == "redis" and "," in hosts:
        raise ValueError(
            f"names several hosts: write {family}+cluster:// or {family}+sentinel://, or keep one host"
        )
    if database and not re.fullmatch("[0-9]{1,4}", database):
        raise ValueError(
            "the number of the database at the end of the URL must be a whole number, such as /0"
        )
    default_port = _SENTINEL_PORT if kind == "sentinel" else _REDIS_PORT
    addresses = tuple(_split_authority(host, default_port) for host in hosts.split(","))
    return StoreUrl(
        kind, family == "rediss", addresses, None, service, int(database or 0), username, password
    )


def _credentials(userinfo: str) -> tuple[str | None, SecretStr | None]:
    if "/" in userinfo or "@" in userinfo or "?" in userinfo or "#" in userinfo:
        raise ValueError("escape / as %2F, @ as %40, ? as %3F and # as %23 in the password of a URL")
    username, colon, password = userinfo.partition(":")
    return unquote(username) or None, SecretStr(unquote(password)) if colon and password else None


def _authority_only(rest: str, what: str) -> str:
    authority, _, path = rest.partition("/")
    if "@" in rest:
        raise ValueError(f"{what} cannot hold credentials")
    if path or "?" in rest or "#" in rest:
        raise ValueError(f"{what} ends with its host or port: paths pass as the client sent them")
    return authority


def _split_authority(authority: str, default_port: int) -> tuple[str, int]:
    if not authority:
        raise ValueError("a host is missing in the URL")
    if authority.startswith("["):
        host, bracket, port = authority.partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise ValueError("the IPv6 address in the URL must end with ]")
        return _host(f"{host}]"), _port(port[1:], 1) if port else default_port
    if authority.count(":") > 1:
        raise ValueError("an IPv6 address goes in brackets, such as [::1]:6379")
    host, colon, port = authority.partition(":")
    return _host(host), _port(port, 1) if colon else default_port


def _host(text: str) -> str:
    if text.startswith("["):
        try:
            return str(IPv6Address(text[1:-1])) if text.endswith("]") else _no_host()
        except ValueError:
            raise ValueError("what stands in brackets must be an IPv6 address, such as [::1]") from None
    if re.fullmatch(r"[0-9.]+", text):
        try:
            return str(IPv4Address(text))
        except ValueError:
            raise ValueError(
                "the host looks like an IPv4 address but is none: four numbers from 0 to 255"
            ) from None
    return text if len(text) <= 253 and _HOST_NAME.fullmatch(text) else _no_host()  # RFC 1035 section 2.3.4


def parse_host(text: str) -> str:
    """A name or an IP address, alone."""
    try:
        return _host(f"[{text}]" if ":" in text else text)
    except ValueError:
        raise ValueError("must be a name or an IP address, without a port") from None


def _no_host() -> str:
    raise ValueError("the host must be a name, an IPv4 address or an IPv6 address in brackets")


def _port(text: str, low: int) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not low <= int(text) <= 65535:
        raise ValueError(f"the port must be a whole number from {low} to 65535")
    return int(text)


def _unix_path(path: str, example: str) -> str:
    if not path.startswith("/") or "\0" in path:
        raise ValueError(f"the path of a Unix socket must be absolute: {example}")
    if len(path.encode()) > UNIX_PATH_BYTES:
        raise ValueError(f"the path of a Unix socket holds at most {UNIX_PATH_BYTES} bytes")
    return path


def _meant(scheme: str, known: tuple[str, ...]) -> str:
    close = nearest(scheme, known)
    return f"; did you mean {close}://?" if close else ""


def _kind(value: object) -> str:
    return "a number" if isinstance(value, int) and not isinstance(value, bool) else shown(value)


def parse_access(value: object) -> str:
    """Where the access log goes: stdout, off or a file."""
    if not isinstance(value, str):
        hint = "; did you mean off?" if value is False else ""
        raise ValueError(f"must be stdout, off or the path of a file, not {_kind(value)}{hint}")  # noqa: TRY004 - pydantic's
    if value in ("stdout", "off"):
        return value
    if "/" not in value or value.endswith("/") or "\0" in value:
        meant = nearest(value, ("stdout", "off"))
        hint = (
            f"did you mean {meant}?" if meant else f"a file is written with its folder: {shown(f'./{value}')}"
        )
        raise ValueError(f"must be stdout, off or the path of a file, not {shown(value)}; {hint}")
    return value
