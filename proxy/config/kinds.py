"""The kinds of values a setting can have: for each, how it is parsed from YAML and how it is written back.

Knows nothing of single settings.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    SecretStr,
    WithJsonSchema,
)

from proxy.config.addresses import (
    Address,
    StoreUrl,
    UpstreamUrl,
    parse_access,
    parse_address,
    parse_host,
    parse_origin,
    parse_server,
    parse_store,
)
from proxy.config.key_names import KeySpec, parse_key
from proxy.config.names import (
    distinct_headers,
    parse_cors_origin,
    parse_media_glob,
    parse_method,
    parse_network,
    parse_path,
    parse_secret,
    parse_target,
    parse_token,
    parse_trusted,
)
from proxy.config.units import (
    Rate,
    StatusRange,
    format_share,
    format_size,
    format_span,
    parse_rate,
    parse_share,
    parse_size,
    parse_span,
    parse_statuses,
    parse_timeout,
    parse_tls_version,
    parse_workers,
)

COUNT_MAX = 1_000_000_000


def wrapped(value: object) -> object:
    """One entry may stand without its list."""
    return [value] if isinstance(value, str | int | dict) and not isinstance(value, bool) else value


def _text(example: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "examples": [example]})


_SPELLED = PlainSerializer(str, return_type=str)

Timeout = Annotated[
    float, PlainValidator(parse_timeout), PlainSerializer(format_span, return_type=str), _text("10s")
]
Span = Annotated[
    float, PlainValidator(parse_span), PlainSerializer(format_span, return_type=str), _text("5s")
]
Size = Annotated[
    int, PlainValidator(parse_size), PlainSerializer(format_size, return_type=str), _text("8KiB")
]
Share = Annotated[
    float, PlainValidator(parse_share), PlainSerializer(format_share, return_type=str), _text("100%")
]
LogField = Literal["user_agent", "referer", "host", "trace_id"]
Count = Annotated[int, Field(strict=True, ge=1, le=COUNT_MAX)]
Natural = Annotated[int, Field(strict=True, ge=0, le=COUNT_MAX)]
Nought = Annotated[int, Field(strict=True, ge=0, le=0)]
Weight = Annotated[int, Field(strict=True, ge=1, le=1000)]
Flag = Annotated[bool, Field(strict=True)]
HostName = Annotated[str, AfterValidator(parse_host)]
Text = Annotated[str, Field(min_length=1)]
Secret = Annotated[SecretStr, AfterValidator(parse_secret)]
Rated = Annotated[Rate, PlainValidator(parse_rate), _SPELLED, _text("15/s")]
Statuses = Annotated[StatusRange, PlainValidator(parse_statuses), _SPELLED, _text("500-599")]
Network = Annotated[IPv4Network | IPv6Network, PlainValidator(parse_network), _SPELLED, _text("10.0.0.0/8")]
Trusted = Annotated[
    IPv4Network | IPv6Network | str, PlainValidator(parse_trusted), _SPELLED, _text("10.1.2.3")
]
Key = Annotated[KeySpec, PlainValidator(parse_key), _SPELLED, _text("header:X-Auth-Token")]
AddressValue = Annotated[Address, PlainValidator(parse_address), _SPELLED, _text("127.0.0.1:9901")]
AddressText = Annotated[
    str, BeforeValidator(lambda value: parse_address(value).address), _text("0.0.0.0:8080")
]
ServerUrl = Annotated[UpstreamUrl, PlainValidator(parse_server), _SPELLED, _text("http://127.0.0.1:9000")]
Store = Annotated[StoreUrl, PlainValidator(parse_store), _SPELLED, _text("redis://127.0.0.1:6379/0")]
Origin = Annotated[str, AfterValidator(parse_origin)]
CorsOrigin = Annotated[str, AfterValidator(parse_cors_origin)]
PrefixBits = Annotated[int, Field(strict=True, ge=16, le=128)]
Access = Annotated[str, PlainValidator(parse_access), _text("stdout")]
Workers = Annotated[
    int | Literal["auto"],
    PlainValidator(parse_workers),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"const": "auto"}]}),
]
HeaderName = Annotated[str, AfterValidator(parse_token)]
Headers = Annotated[dict[HeaderName, str], AfterValidator(distinct_headers)]
MediaGlob = Annotated[str, AfterValidator(parse_media_glob)]
Method = Annotated[str, AfterValidator(parse_method)]
Target = Annotated[str, AfterValidator(parse_target)]
PathGlob = Annotated[str, AfterValidator(parse_path)]
TlsVersion = Annotated[Literal["1.2", "1.3"], BeforeValidator(parse_tls_version)]
