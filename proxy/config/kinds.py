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

from proxy.config import patterns
from proxy.config.addresses import (
    Address,
    StoreUrl,
    UpstreamUrl,
    parse_access,
    parse_address,
    parse_collector,
    parse_host,
    parse_origin,
    parse_server,
    parse_store,
)
from proxy.config.key_names import KeySpec, parse_key
from proxy.config.names import (
    distinct_headers,
    parse_cors_origin,
    parse_key_hash,
    parse_limit_name,
    parse_media_glob,
    parse_media_type,
    parse_method,
    parse_network,
    parse_path,
    parse_plan_name,
    parse_prefix,
    parse_secret,
    parse_target,
    parse_token,
    parse_trusted,
)
from proxy.config.units import (
    WORKERS_MAX,
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


def _text(example: str, pattern: str) -> WithJsonSchema:
    """What an editor knows of it."""
    return WithJsonSchema({"type": "string", "pattern": f"^(?:{pattern})$", "examples": [example]})


_SPELLED = PlainSerializer(str, return_type=str)
_SPELLED_SPAN = PlainSerializer(format_span, return_type=str)
_SPELLED_SIZE = PlainSerializer(format_size, return_type=str)

_STATUSES = WithJsonSchema(
    {
        "anyOf": [
            {"type": "integer", "minimum": 100, "maximum": 599},
            {"type": "string", "pattern": f"^(?:{patterns.STATUSES})$", "examples": ["500-599"]},
        ]
    }
)
Timeout = Annotated[
    float,
    PlainValidator(parse_timeout),
    _SPELLED_SPAN,
    _text("10s", patterns.TIMEOUT),
]
Span = Annotated[
    float,
    PlainValidator(parse_span),
    _SPELLED_SPAN,
    _text("5s", patterns.SPAN),
]
Size = Annotated[
    int,
    PlainValidator(parse_size),
    _SPELLED_SIZE,
    _text("8KiB", patterns.SIZE),
]
Share = Annotated[
    float,
    PlainValidator(parse_share),
    PlainSerializer(format_share, return_type=str),
    _text("100%", patterns.SHARE),
]
LogField = Literal["user_agent", "referer", "host", "trace_id"]
Count = Annotated[int, Field(strict=True, ge=1, le=COUNT_MAX)]
Natural = Annotated[int, Field(strict=True, ge=0, le=COUNT_MAX)]
Nought = Annotated[int, Field(strict=True, ge=0, le=0)]
Weight = Annotated[int, Field(strict=True, ge=1, le=1000)]
Flag = Annotated[bool, Field(strict=True)]
HostName = Annotated[str, AfterValidator(parse_host), _text("service.example", patterns.HOST)]
Text = Annotated[str, Field(min_length=1)]
Secret = Annotated[SecretStr, AfterValidator(parse_secret), _text("file:/run/secrets/token", patterns.SECRET)]
Rated = Annotated[Rate, PlainValidator(parse_rate), _SPELLED, _text("15/s", patterns.RATE)]
Statuses = Annotated[StatusRange, PlainValidator(parse_statuses), _SPELLED, _STATUSES]
Network = Annotated[
    IPv4Network | IPv6Network, PlainValidator(parse_network), _SPELLED, _text("10.0.0.0/8", patterns.NETWORK)
]
Trusted = Annotated[
    IPv4Network | IPv6Network | str,
    PlainValidator(parse_trusted),
    _SPELLED,
    _text("10.1.2.3", patterns.TRUSTED),
]
Key = Annotated[KeySpec, PlainValidator(parse_key), _SPELLED, _text("header:X-Auth-Token", patterns.KEY)]
AddressValue = Annotated[
    Address, PlainValidator(parse_address), _SPELLED, _text("127.0.0.1:9901", patterns.ADDRESS)
]
AddressText = Annotated[
    str, BeforeValidator(lambda value: parse_address(value).address), _text("0.0.0.0:8080", patterns.ADDRESS)
]
ServerUrl = Annotated[
    UpstreamUrl, PlainValidator(parse_server), _SPELLED, _text("http://127.0.0.1:9000", patterns.SERVER)
]
StoreValue = Annotated[
    StoreUrl, PlainValidator(parse_store), _SPELLED, _text("redis://127.0.0.1:6379/0", patterns.STORE)
]
Origin = Annotated[str, AfterValidator(parse_origin), _text("https://api.example.com", patterns.ORIGIN)]
CorsOrigin = Annotated[
    str, AfterValidator(parse_cors_origin), _text("https://app.example.com", patterns.CORS_ORIGIN)
]
PrefixBits = Annotated[int, Field(strict=True, ge=16, le=128)]
Collector = Annotated[
    str, AfterValidator(parse_collector), _text("http://collector:4318", patterns.COLLECTOR)
]
Access = Annotated[str, PlainValidator(parse_access), _text("stdout", patterns.ACCESS)]
Workers = Annotated[
    int | Literal["auto"],
    PlainValidator(parse_workers),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1, "maximum": WORKERS_MAX}, {"const": "auto"}]}),
]
HeaderName = Annotated[str, AfterValidator(parse_token), _text("X-Auth-Token", patterns.NAME)]
HeaderGlobs = Annotated[
    dict[HeaderName, str],
    AfterValidator(distinct_headers),
    WithJsonSchema(
        {
            "type": "object",
            "propertyNames": {"pattern": f"^{patterns.NAME}$"},
            "additionalProperties": {"type": "string"},
        }
    ),
]
MediaGlob = Annotated[str, AfterValidator(parse_media_glob), _text("application/json", patterns.MEDIA_GLOB)]
MediaType = Annotated[str, AfterValidator(parse_media_type), _text("application/json", patterns.MEDIA_TYPE)]
Prefix = Annotated[str, AfterValidator(parse_prefix), _text("orders-api", patterns.LIMIT_NAME)]
LimitName = Annotated[str, AfterValidator(parse_limit_name), _text("per-user", patterns.LIMIT_NAME)]
Method = Annotated[str, AfterValidator(parse_method), _text("GET", patterns.NAME)]
Target = Annotated[str, AfterValidator(parse_target), _text("/healthz", patterns.TARGET)]
PathGlob = Annotated[str, AfterValidator(parse_path), _text("/api/*", patterns.PATH)]
KeyHash = Annotated[str, AfterValidator(parse_key_hash), _text(f"sha256:{'0' * 64}", patterns.KEY_HASH)]
PlanName = Annotated[str, AfterValidator(parse_plan_name), _text("step-2", patterns.LIMIT_NAME)]
TlsVersion = Annotated[
    Literal["1.2", "1.3"],
    BeforeValidator(parse_tls_version),
    WithJsonSchema({"enum": ["1.2", "1.3", 1.2, 1.3]}),  # without quotes it is a number to an editor
]
