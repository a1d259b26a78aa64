"""Everything that can go wrong with an exchange, in one table: side x phase x reason.

A fault says what the client is answered, whether the request may be sent again, and the words for log,
metric and Proxy-Status (RFC 9209 section 2.3). Knows nothing of sockets or messages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DOWNSTREAM: Final = "downstream"
UPSTREAM: Final = "upstream"

CLOSE = (
    0  # status of a fault that is answered by closing only: the client sent nothing that could be answered
)


@dataclass(frozen=True, slots=True)
class Fault:
    side: str
    phase: str  # head, body, idle, admission, connect, response_head, response_body
    reason: str  # one word for log and metric, unique in the table
    status: int  # what the client is answered while nothing was sent yet
    detail: str  # one sentence for the error object: never data of the request or of the upstream
    is_retryable: bool = False  # nothing of the request can have been processed
    proxy_error: str = ""  # RFC 9209 section 2.3 proxy error type


FAULTS: dict[str, Fault] = {}


def _row(  # noqa: PLR0913 - the columns of the table
    side: str, phase: str, reason: str, status: int, detail: str, *, retry: bool = False, error: str = ""
) -> Fault:
    fault = Fault(side, phase, reason, status, detail, retry, error)
    assert reason not in FAULTS, reason
    FAULTS[reason] = fault
    return fault


def _door(reason: str, status: int, detail: str, phase: str = "head") -> Fault:
    return _row(DOWNSTREAM, phase, reason, status, detail, error="http_request_error")


# Refused at the door: nothing is forwarded, the connection closes (design: data plane).
NOT_ANNOUNCED = _door("not_announced", CLOSE, "The connection does not begin with a PROXY header.")
MALFORMED_HEAD = _door("malformed_head", 400, "The request is not valid HTTP/1.1.")
UNSUPPORTED_VERSION = _door("unsupported_version", 400, "Only HTTP/1.1 and HTTP/1.0 are spoken here.")
AMBIGUOUS_LENGTH = _door(
    "ambiguous_length", 400, "The length of the request body is stated twice or not at all clearly."
)
CHUNKED_IN_HTTP10 = _door("chunked_in_http10", 400, "HTTP/1.0 has no Transfer-Encoding.")
UNKNOWN_CODING = _door("unknown_coding", 501, "The only transfer coding understood is chunked.")
BAD_HOST = _door("bad_host", 400, "The request needs exactly one valid Host field.")
BAD_TARGET = _door("bad_target", 400, "The request target is not valid.")
MISDIRECTED = _door("misdirected", 421, "The request target and the Host field name different authorities.")
METHOD_REFUSED = _door("method_refused", 405, "This method is not supported.")
LINE_TOO_LONG = _door("line_too_long", 414, "The request line is too long.")
HEAD_TOO_LARGE = _door("head_too_large", 431, "The header section is too large.")
TOO_MANY_HEADERS = _door("too_many_headers", 431, "The header section has too many fields.")
UNKNOWN_EXPECTATION = _door("unknown_expectation", 417, "The only expectation understood is 100-continue.")
REPEATED_CREDENTIAL = _door("repeated_credential", 400, "A credential field is repeated.")
BODY_TOO_LARGE = _door("body_too_large", 413, "The request body is too large.", "body")
MALFORMED_CHUNK = _door("malformed_chunk", 400, "The chunked request body is not valid.", "body")

# The client is slow or gone.
HEAD_TIMEOUT = _door("head_timeout", 408, "The request head did not arrive in time.")
BODY_TIMEOUT = _door("body_timeout", 408, "The request body did not arrive in time.", "body")
READ_TIMEOUT = _row(DOWNSTREAM, "response_body", "read_timeout", CLOSE, "The client stopped reading.")
CLIENT_GONE = _row(DOWNSTREAM, "response_head", "client_gone", CLOSE, "The client left before the end.")

# Admission.
LIMITED: Fault = _row(
    DOWNSTREAM,
    "admission",
    "limited",
    429,
    "The quota of this client is used up.",
    error="http_request_denied",
)
METHOD_NOT_ALLOWED = _row(
    DOWNSTREAM,
    "admission",
    "method_not_allowed",
    405,
    "This method is not allowed.",
    error="http_request_denied",
)
UNKNOWN_PATH = _row(
    DOWNSTREAM,
    "admission",
    "unknown_path",
    404,
    "There is nothing at this path.",
    error="http_request_denied",
)
MISSING_CREDENTIALS = _row(
    DOWNSTREAM,
    "admission",
    "missing_credentials",
    401,
    "This request needs credentials.",
    error="http_request_denied",
)
STORE_DOWN = _row(
    DOWNSTREAM,
    "admission",
    "store_down",
    503,
    "The request cannot be accounted for now.",
    error="proxy_internal_response",
)

# The upstream cannot be reached: nothing was processed.
CONNECT_REFUSED = _row(
    UPSTREAM,
    "connect",
    "connect_refused",
    502,
    "The service cannot be reached.",
    retry=True,
    error="connection_refused",
)
CONNECT_TIMEOUT = _row(
    UPSTREAM,
    "connect",
    "connect_timeout",
    504,
    "The service cannot be reached.",
    retry=True,
    error="connection_timeout",
)
DNS_FAILED = _row(
    UPSTREAM, "connect", "dns_failed", 502, "The service cannot be reached.", retry=True, error="dns_error"
)
TLS_FAILED = _row(
    UPSTREAM,
    "connect",
    "tls_failed",
    502,
    "The service cannot be reached.",
    retry=True,
    error="tls_certificate_error",
)
STALE_CONNECTION = _row(
    UPSTREAM, "response_head", "stale_connection", 502, "The service closed the connection.",
    retry=True, error="connection_terminated",
)  # fmt: skip

# All servers have as much to do as they may (upstream.limits).
QUEUE_FULL = _row(
    UPSTREAM,
    "connect",
    "queue_full",
    503,
    "The service is busy.",
    error="connection_limit_reached",
)
QUEUE_TIMEOUT = _row(
    UPSTREAM,
    "connect",
    "queue_timeout",
    503,
    "The service is busy.",
    error="connection_limit_reached",
)

# The upstream answered badly or not at all.
CONNECTION_LOST = _row(
    UPSTREAM,
    "response_head",
    "connection_lost",
    502,
    "The service closed the connection.",
    error="connection_terminated",
)
RESPONSE_TIMEOUT = _row(
    UPSTREAM,
    "response_head",
    "response_timeout",
    504,
    "The service did not answer in time.",
    error="http_response_timeout",
)
MALFORMED_RESPONSE = _row(
    UPSTREAM,
    "response_head",
    "malformed_response",
    502,
    "The service gave no valid answer.",
    error="http_protocol_error",
)
RESPONSE_HEAD_TOO_LARGE = _row(
    UPSTREAM, "response_head", "response_head_too_large", 502, "The service gave no valid answer.",
    error="http_response_header_section_size",
)  # fmt: skip
UNASKED_UPGRADE = _row(
    UPSTREAM,
    "response_head",
    "unasked_upgrade",
    502,
    "The service gave no valid answer.",
    error="http_upgrade_failed",
)
TRUNCATED = _row(
    UPSTREAM,
    "response_body",
    "truncated",
    502,
    "The answer of the service broke off.",
    error="http_response_incomplete",
)
RESPONSE_STALLED = _row(
    UPSTREAM,
    "response_body",
    "response_stalled",
    504,
    "The answer of the service broke off.",
    error="http_response_timeout",
)
MALFORMED_RESPONSE_BODY = _row(
    UPSTREAM, "response_body", "malformed_response_body", 502, "The answer of the service broke off.",
    error="http_response_transfer_coding",
)  # fmt: skip

# A mistake of ours: the one bare except ends the exchange with this.
INTERNAL = _row(
    DOWNSTREAM, "admission", "internal", 500, "An internal error occurred.", error="proxy_internal_error"
)
TOO_MANY_CONNECTIONS = _row(
    DOWNSTREAM,
    "idle",
    "too_many_connections",
    503,
    "Too many connections are open.",
    error="connection_limit_reached",
)
