"""Which header fields of an answer stay when its body is replaced.

Those that describe the body that went, and those that tell of the inside of the service, go; so does any
field whose value looks like a secret or like the text of a failure, whatever its name. What a client acts on
stays; so do the fields that the config names, unless their values tell of the inside.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING

from proxy.config.names import REPLACED
from proxy.contract.insides import tells
from proxy.contract.masking import MASK, masked
from proxy.http1.headers import RESPONSE_DROPS

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from proxy.http1.head import ResponseHead

_OWN = frozenset(name.encode() for name in REPLACED)

NAME_BYTES = 64  # no field that a client acts on has a longer name
VALUE_BYTES = 1024  # a longer value is a payload of its own
LOGGED_HEADERS = 64
LOGGED_BYTES = 512  # of one name, of one value

# What the client acts on: never dropped for its name.
_STAYS = frozenset(
    b"retry-after allow www-authenticate vary strict-transport-security x-global-identifier"
    b" x-content-type-options x-frame-options referrer-policy permissions-policy content-security-policy"
    b" cross-origin-resource-policy cross-origin-opener-policy cross-origin-embedder-policy"
    b" x-request-id x-correlation-id deprecation sunset clear-site-data connection upgrade".split()
)
_STAYS_PREFIXES = (b"access-control-", b"ratelimit", b"x-ratelimit-")

# Of the body that went (RFC 9110 section 8, RFC 9530), of what may be done with it, and of when it was made.
_DESCRIBES = frozenset(
    b"date etag last-modified digest want-digest trailer accept-ranges link location refresh age expires"
    b" cache-control pragma warning repr-digest transfer-encoding sourcemap x-sourcemap content-length"
    b" x-content-duration preference-applied delta-base im accept-patch accept-post allow-csp-from".split()
)

# Of the inside of the service.
_LEAKS = frozenset(
    b"server server-timing via set-cookie set-cookie2 traceresponse traceparent tracestate nel report-to"
    b" reporting-endpoints proxy-status cache-status surrogate-control surrogate-key grpc-message"
    b" grpc-status-details-bin sprequestguid request-context x-pingback x-application-context x-real-ip"
    b" x-amz-id-2 x-chromelogger-data x-owa-version x-feserver x-beserver x-diaginfo x-varnish phpdebugbar-id"
    b" x-turbo-charged-by x-redirect-by x-cascade x-b3-traceid x-b3-spanid x-ua-compatible host"
    b" alt-svc".split()
)
_LEAKING_NAME = re.compile(
    rb"powered|aspnet|debug|exception|error|stack|trace|fault|failure|crash|reason|runtime|backend|upstream|server|sourcefile"
    rb"|drupal|generator|version|profil|sql|query|database|internal|served|hostname|generated-by|framework|engine"
    rb"|x-(?:host|node|pod|instance|machine|cluster|app|rack|kong|envoy|amzn?|azure|ms|cache|proxy|nginx|iis|jenkins|forwarded"
    rb"|original|rewrite|datadog|dynatrace|newrelic|oneagent|clockwork|wf|php|django|flask|laravel|symfony|rails|magento|sf)"
    rb"(?:-|$)"
)

# What no value of a header holds for a good reason, beside what is in insides.py.
_TELLING_VALUE = re.compile(
    rb"[Ee]xception|\b[Ee]rror\b.*(?: at | in |line )"
    rb"|(?:^|[\s\"'(=])/(?:home|usr|var|opt|srv|app|etc|tmp|root|proc|mnt|data|workspace)/|[A-Za-z]:\\"
)

# Names whose values are credentials: never in a log.
_CREDENTIAL_NAME = re.compile(
    rb"cookie|auth(?!enticate)|token|secret|passw|api-?key|session|signature|credential|jwt"
)


def kept_headers(
    headers: Iterable[tuple[bytes, bytes]], asked: Container[bytes] = ()
) -> list[tuple[bytes, bytes]]:
    """The fields that may go to the client, as they came; `asked` names more, whose secrets are for it.

    None that the replacement has of its own: a second Content-Length would be the end of another answer.
    """
    return [
        (name, value)
        for name, value in headers
        if (lower := name.lower()) not in _OWN
        and not (tells(value) if lower in asked else leaking(lower) or telling(value))
    ]


def hints(head: ResponseHead, asked: Container[bytes] = ()) -> list[tuple[bytes, bytes]]:
    """What is kept of an interim answer: Link of 103 Early Hints (RFC 8297), and what the config names."""
    return [
        (name, value)
        for name, value in head.headers
        if ((lower := name.lower()) in asked or (lower == b"link" and head.status == 103))
        and not tells(value)
    ]


@lru_cache(128)
def may_stay(names: tuple[bytes, ...]) -> bool:
    """Whether any of these lower-case names may go to the client: mostly none, and the same ones again."""
    return any(not leaking(name) for name in names if name not in RESPONSE_DROPS)


def leaking(name: bytes) -> bool:
    """Whether a field of this lower-case name goes with the body that it came with."""
    return len(name) > NAME_BYTES or _leaking(name)


@lru_cache(1024)
def _leaking(name: bytes) -> bool:
    if name in _STAYS or name.startswith(_STAYS_PREFIXES):
        return False
    return (
        name in _DESCRIBES
        or name in _LEAKS
        or name.startswith(b"content-")
        or _LEAKING_NAME.search(name) is not None
    )


def telling(value: bytes) -> bool:
    """Whether a value must not leave, whatever its field is called."""
    return len(value) > VALUE_BYTES or _telling(value)


@lru_cache(512)
def _telling(value: bytes) -> bool:
    text = value.decode("latin-1")
    return tells(value) or _TELLING_VALUE.search(value) is not None or masked(text) != text


def logged_headers(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    """The fields for the log, each as a line: without credentials, and bounded."""
    lines = [_logged(name, value) for name, value in islice(headers, LOGGED_HEADERS)]
    return masked("\n".join(lines)).split("\n")


@lru_cache(256)
def _is_credential(name: bytes) -> bool:
    return _CREDENTIAL_NAME.search(name.lower()) is not None


def _logged(name: bytes, value: bytes) -> str:
    if _is_credential(name):
        value = MASK.encode()
    text = b"%b: %b" % (name[:LOGGED_BYTES], value[:LOGGED_BYTES])
    return text.decode("utf-8", "backslashreplace").replace("\n", " ")
