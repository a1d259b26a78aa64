"""Everything that can go wrong with an exchange, in one table: what a fault decides, wherever it is met.

What the client is answered and what becomes of its connection, how the exchange ends and what counts it,
whether the request may be sent again, and the words for the log and for Proxy-Status (RFC 9209 section 2.3).
What depends on how far the exchange had come is `mishaps`. docs/failures.md is made from it. Knows nothing of
sockets or messages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

NONE: Final = 0  # status of a fault that is answered by closing only: there is nobody to answer

# Whether the client's connection stays, if nothing else speaks against it.
KEPT: Final = True
CLOSED: Final = False

# The counter that tells of it.
HEADS: Final = "weir_refused_heads_total"
FAILURES: Final = "weir_upstream_failures_total"
REQUESTS: Final = "weir_requests_total"  # which counts every exchange

# Whether the request may be sent again, as nothing of it can have been processed.
NEVER: Final = "no"
ELSEWHERE: Final = "by another server"  # it has cost the service nothing
COSTLY: Final = "by another server, within the budget"
IDEMPOTENT: Final = "if idempotent"
NOT_HERE: Final = "if idempotent, by another server"

# A further header field of the answer; without a value where it depends on the request.
PLAIN: Final = ""
ALLOW: Final = "Allow"
CHALLENGE: Final = "WWW-Authenticate: Bearer"  # RFC 9110 section 11.6.1, RFC 6750 section 3
WAIT: Final = "Retry-After"
LATER: Final = "Retry-After: 1"  # RFC 9110 section 10.2.3: a restart or a queue is over within seconds

# How an exchange ends by it, while nothing of an answer is out. What is `served` is in `record`.
REFUSED: Final = "refused"  # Weir said no: a limit, the contract, or a request it will not forward
FAULTED: Final = "faulted"  # something broke on the way
ABANDONED: Final = "abandoned"  # the client left before the end
TUNNELLED: Final = "tunnelled"  # became a byte tunnel by 101


@dataclass(frozen=True, slots=True, eq=False)
class Fault:
    reason: str  # one word for log and metric, unique in the table
    status: int  # what the client is answered while nothing was sent yet
    phase: str  # head, body, idle, admission, connect, response_head, response_body
    keeps_client: bool
    counted: str
    resent: str
    extra: str
    outcome: str
    proxy_error: str  # RFC 9209 section 2.3 proxy error type
    detail: str  # one sentence for the error object: never data of the request or of the upstream


FAULTS: dict[str, Fault] = {}


def _row(  # noqa: PLR0913, PLR0917 - the columns of the table
    reason: str,
    status: int,
    phase: str,
    keeps_client: bool,  # noqa: FBT001 - a column
    counted: str,
    resent: str,
    extra: str,
    outcome: str,
    proxy_error: str,
    detail: str,
) -> Fault:
    assert reason not in FAULTS, reason
    fault = Fault(reason, status, phase, keeps_client, counted, resent, extra, outcome, proxy_error, detail)
    FAULTS[reason] = fault
    return fault


# fmt: off
# Refused at the door: nothing is forwarded, but what came before a body was found wrong.
NOT_ANNOUNCED: Final[Fault]           = _row("not_announced",           NONE, "head",          CLOSED, HEADS,    NEVER,      PLAIN,     REFUSED,   "http_request_error", "The connection does not begin with a PROXY header.")
MALFORMED_HEAD: Final[Fault]          = _row("malformed_head",          400,  "head",          CLOSED, HEADS,    NEVER,      PLAIN,     REFUSED,   "http_request_error", "The request is not valid HTTP/1.1.")
UNSUPPORTED_VERSION: Final[Fault]     = _row("unsupported_version",     400,  "head",          CLOSED, HEADS,    NEVER,      PLAIN,     REFUSED,   "http_request_error", "Only HTTP/1.1 and HTTP/1.0 are spoken here.")
AMBIGUOUS_LENGTH: Final[Fault]        = _row("ambiguous_length",        400,  "head",          CLOSED, HEADS,    NEVER,      PLAIN,     REFUSED,   "http_request_error", "The length of the request body is stated twice or not at all clearly.")
CHUNKED_IN_HTTP10: Final[Fault]       = _row("chunked_in_http10",       400,  "head",          CLOSED, HEADS,    NEVER,      PLAIN,     REFUSED,   "http_request_error", "HTTP/1.0 has no Transfer-Encoding.")
UNKNOWN_CODING: Final[Fault]          = _row("unknown_coding",          501,  "head",          CLOSED, HEADS,    NEVER,      PLAIN,     REFUSED,   "http_request_error", "The only transfer coding understood is chunked.")
BAD_HOST: Final[Fault]                = _row("bad_host",                400,  "head",          CLOSED, HEADS,    NEVER,      PLAIN,     REFUSED,   "http_request_error", "The request needs exactly one valid Host field.")
BAD_TARGET: Final[Fault]              = _row("bad_target",              400,  "head",          CLOSED, HEADS,    NEVER,      PLAIN,     REFUSED,   "http_request_error", "The request target is not valid.")
MISDIRECTED: Final[Fault]             = _row("misdirected",             421,  "head",          CLOSED, HEADS,    NEVER,      PLAIN,     REFUSED,   "http_request_error", "The request target and the Host field name different authorities.")
UNKNOWN_METHOD: Final[Fault]          = _row("unknown_method",          501,  "head",          CLOSED, HEADS,    NEVER,      PLAIN,     REFUSED,   "http_request_error", "This method is not known here.")
METHOD_REFUSED: Final[Fault]          = _row("method_refused",          405,  "head",          CLOSED, HEADS,    NEVER,      ALLOW,     REFUSED,   "http_request_error", "This method is not supported.")
LINE_TOO_LONG: Final[Fault]           = _row("line_too_long",           414,  "head",          CLOSED, HEADS,    NEVER,      PLAIN,     REFUSED,   "http_request_error", "The request line is too long.")
HEAD_TOO_LARGE: Final[Fault]          = _row("head_too_large",          431,  "head",          CLOSED, HEADS,    NEVER,      PLAIN,     REFUSED,   "http_request_error", "The header section is too large.")
TOO_MANY_HEADERS: Final[Fault]        = _row("too_many_headers",        431,  "head",          CLOSED, HEADS,    NEVER,      PLAIN,     REFUSED,   "http_request_error", "The header section has too many fields.")
UNKNOWN_EXPECTATION: Final[Fault]     = _row("unknown_expectation",     417,  "head",          CLOSED, HEADS,    NEVER,      PLAIN,     REFUSED,   "http_request_error", "The only expectation understood is 100-continue.")
REPEATED_CREDENTIAL: Final[Fault]     = _row("repeated_credential",     400,  "head",          KEPT,   HEADS,    NEVER,      PLAIN,     REFUSED,   "http_request_error", "A credential field is repeated.")
UNCLEAR_CREDENTIAL: Final[Fault]      = _row("unclear_credential",      400,  "head",          KEPT,   HEADS,    NEVER,      PLAIN,     REFUSED,   "http_request_error", "A credential of this request can be read in more than one way.")
UNCLEAR_REQUEST: Final[Fault]         = _row("unclear_request",         400,  "head",          KEPT,   HEADS,    NEVER,      PLAIN,     REFUSED,   "http_request_error", "This request can be read in too many ways.")
STRANGE_FRONT: Final[Fault]           = _row("strange_front",           403,  "head",          CLOSED, HEADS,    NEVER,      PLAIN,     REFUSED,   "http_request_denied", "Only trusted proxies are answered here.")
BAD_FRONT: Final[Fault]               = _row("bad_front",               400,  "head",          KEPT,   HEADS,    NEVER,      PLAIN,     REFUSED,   "http_request_error", "The proxy in front does not say clearly which request it asks about.")
BODY_TOO_LARGE: Final[Fault]          = _row("body_too_large",          413,  "body",          CLOSED, HEADS,    NEVER,      PLAIN,     REFUSED,   "http_request_error", "The request body is too large.")
MALFORMED_CHUNK: Final[Fault]         = _row("malformed_chunk",         400,  "body",          CLOSED, REQUESTS, NEVER,      PLAIN,     REFUSED,   "http_request_error", "The chunked request body is not valid.")

# The client is slow or gone.
HEAD_TIMEOUT: Final[Fault]            = _row("head_timeout",            408,  "head",          CLOSED, HEADS,    NEVER,      PLAIN,     REFUSED,   "http_request_error", "The request head did not arrive in time.")
BODY_TIMEOUT: Final[Fault]            = _row("body_timeout",            408,  "body",          CLOSED, REQUESTS, NEVER,      PLAIN,     REFUSED,   "http_request_error", "The request body did not arrive in time.")
READ_TIMEOUT: Final[Fault]            = _row("read_timeout",            NONE, "response_body", CLOSED, REQUESTS, NEVER,      PLAIN,     FAULTED,   "", "The client stopped reading.")
TUNNEL_TIMEOUT: Final[Fault]          = _row("tunnel_timeout",          NONE, "response_body", CLOSED, REQUESTS, NEVER,      PLAIN,     TUNNELLED, "", "The tunnel was silent for too long.")
CROWDED_OUT: Final[Fault]             = _row("crowded_out",             NONE, "response_body", CLOSED, REQUESTS, NEVER,      PLAIN,     FAULTED,   "", "The client read too slowly, and others needed the room.")
CLIENT_GONE: Final[Fault]             = _row("client_gone",             NONE, "response_head", CLOSED, REQUESTS, NEVER,      PLAIN,     ABANDONED, "", "The client left before the end.")

# Admission.
LIMITED: Final[Fault]                 = _row("limited",                 429,  "admission",     KEPT,   REQUESTS, NEVER,      WAIT,      REFUSED,   "http_request_denied", "The quota of this client is used up.")
METHOD_NOT_ALLOWED: Final[Fault]      = _row("method_not_allowed",      405,  "admission",     KEPT,   REQUESTS, NEVER,      ALLOW,     REFUSED,   "http_request_denied", "This method is not allowed.")
UNKNOWN_PATH: Final[Fault]            = _row("unknown_path",            404,  "admission",     KEPT,   REQUESTS, NEVER,      PLAIN,     REFUSED,   "http_request_denied", "There is nothing at this path.")
MISSING_CREDENTIALS: Final[Fault]     = _row("missing_credentials",     401,  "admission",     KEPT,   REQUESTS, NEVER,      CHALLENGE, REFUSED,   "http_request_denied", "This request needs credentials.")
DRAINING: Final[Fault]                = _row("draining",                503,  "admission",     KEPT,   REQUESTS, NEVER,      LATER,     REFUSED,   "proxy_internal_response", "This server is about to stop.")
STORE_DOWN: Final[Fault]              = _row("store_down",              503,  "admission",     KEPT,   REQUESTS, NEVER,      WAIT,      REFUSED,   "proxy_internal_response", "The request cannot be accounted for now.")

# The upstream cannot be reached: nothing was processed.
CONNECT_REFUSED: Final[Fault]         = _row("connect_refused",         502,  "connect",       KEPT,   FAILURES, ELSEWHERE,  LATER,     FAULTED,   "connection_refused", "The service cannot be reached.")
CONNECT_TIMEOUT: Final[Fault]         = _row("connect_timeout",         504,  "connect",       KEPT,   FAILURES, ELSEWHERE,  LATER,     FAULTED,   "connection_timeout", "The service cannot be reached.")
DNS_FAILED: Final[Fault]              = _row("dns_failed",              502,  "connect",       KEPT,   FAILURES, ELSEWHERE,  LATER,     FAULTED,   "dns_error", "The service cannot be reached.")
TLS_FAILED: Final[Fault]              = _row("tls_failed",              502,  "connect",       KEPT,   FAILURES, COSTLY,     LATER,     FAULTED,   "tls_certificate_error", "The service cannot be reached.")

# Weir itself lacks descriptors or memory for a connection to the service.
SHORTAGE: Final[Fault]                = _row("shortage",                503,  "connect",       KEPT,   FAILURES, NEVER,      LATER,     FAULTED,   "proxy_internal_error", "Too much is under way.")

# All servers have as much to do as they may (upstream.limits).
QUEUE_FULL: Final[Fault]              = _row("queue_full",              503,  "connect",       KEPT,   FAILURES, NEVER,      LATER,     FAULTED,   "connection_limit_reached", "The service is busy.")
QUEUE_TIMEOUT: Final[Fault]           = _row("queue_timeout",           503,  "connect",       KEPT,   FAILURES, NEVER,      LATER,     FAULTED,   "connection_limit_reached", "The service is busy.")

# The upstream answered badly or not at all.
STALE_CONNECTION: Final[Fault]        = _row("stale_connection",        502,  "response_head", KEPT,   FAILURES, IDEMPOTENT, PLAIN,     FAULTED,   "connection_terminated", "The service closed the connection.")
CONNECTION_LOST: Final[Fault]         = _row("connection_lost",         502,  "response_head", KEPT,   FAILURES, NOT_HERE,   PLAIN,     FAULTED,   "connection_terminated", "The service closed the connection.")
HEAD_CUT: Final[Fault]                = _row("head_cut",                502,  "response_head", KEPT,   FAILURES, NEVER,      PLAIN,     FAULTED,   "connection_terminated", "The service closed the connection.")
RESPONSE_TIMEOUT: Final[Fault]        = _row("response_timeout",        504,  "response_head", KEPT,   FAILURES, NEVER,      PLAIN,     FAULTED,   "http_response_timeout", "The service did not answer in time.")
MALFORMED_RESPONSE: Final[Fault]      = _row("malformed_response",      502,  "response_head", KEPT,   FAILURES, NEVER,      PLAIN,     FAULTED,   "http_protocol_error", "The service gave no valid answer.")
RESPONSE_HEAD_TOO_LARGE: Final[Fault] = _row("response_head_too_large", 502,  "response_head", KEPT,   FAILURES, NEVER,      PLAIN,     FAULTED,   "http_response_header_section_size", "The service gave no valid answer.")
UNASKED_UPGRADE: Final[Fault]         = _row("unasked_upgrade",         502,  "response_head", KEPT,   FAILURES, NEVER,      PLAIN,     FAULTED,   "http_upgrade_failed", "The service gave no valid answer.")
TRUNCATED: Final[Fault]               = _row("truncated",               502,  "response_body", KEPT,   FAILURES, NEVER,      PLAIN,     FAULTED,   "http_response_incomplete", "The answer of the service broke off.")
RESPONSE_STALLED: Final[Fault]        = _row("response_stalled",        504,  "response_body", KEPT,   FAILURES, NEVER,      PLAIN,     FAULTED,   "http_response_timeout", "The answer of the service broke off.")
MALFORMED_RESPONSE_BODY: Final[Fault] = _row("malformed_response_body", 502,  "response_body", KEPT,   FAILURES, NEVER,      PLAIN,     FAULTED,   "http_response_transfer_coding", "The answer of the service broke off.")

# A mistake of ours, and the connection that is one too many.
INTERNAL: Final[Fault]                = _row("internal",                500,  "admission",     CLOSED, REQUESTS, NEVER,      PLAIN,     FAULTED,   "proxy_internal_error", "An internal error occurred.")
TOO_MANY_CONNECTIONS: Final[Fault]    = _row("too_many_connections",    503,  "idle",          CLOSED, HEADS,    NEVER,      PLAIN,     REFUSED,   "connection_limit_reached", "Too many connections are open.")
# fmt: on

# What a few rows have in common beside their columns.

# Where another proxy asks whether a request may pass: its own mistake, not that of the request.
OF_THE_FRONT: Final = frozenset((STRANGE_FRONT, BAD_FRONT, TOO_MANY_CONNECTIONS))
# No address is to blame for it, though none could be reached.
OF_OUR_OWN: Final = frozenset((SHORTAGE,))
# The error object names the limits that refused.
OF_LIMITS: Final = frozenset((LIMITED,))
