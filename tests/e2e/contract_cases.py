"""The rows of the contract: what is asked, what the service says, and what docs/contract.md says of it."""

from __future__ import annotations

from dataclasses import dataclass

TOKEN = "X-Auth-Token: ana"
JSON = "Content-Type: application/json"
ENTITY = b'{"id": 17, "name": "poster"}'
TRACE = b'{"error": "SqlException: Login failed for user svc_hub", "at": "EntityReader.cs:line 42"}'
ETAG = 'ETag: "KEWz1VCr7xoCXzhSsEzJ+Q0R0Fh3ZVkJxQ0p1nN2s1Y="'


@dataclass(frozen=True)
class Case:
    status: int  # that the client sees
    title: str
    says: str  # of this row, for the reader
    said: tuple[bytes, ...] | None = (
        None  # by the service: status line and header lines, then the body; None: it is not asked
    )
    body: bytes = b""
    method: str = "GET"
    target: str = "/api/entities/17"
    headers: tuple[str, ...] = ()
    sent: bytes = b""  # the request's body
    times: int = 1  # asked so often, at once; the last answer is shown

    @property
    def is_own(self) -> bool:
        """The service's answer is not what the client gets."""
        return self.said is None or self.status >= 500


def _said(status: str, *headers: str) -> tuple[bytes, ...]:
    return (f"HTTP/1.1 {status}".encode(), *(header.encode() for header in headers))


CASES = (
    Case(200, "handled", "The body passes byte for byte, in pieces as they come; the RateLimit fields say what is left of the user's tokens.", _said("200 OK", JSON, ETAG), ENTITY),
    Case(201, "created", "`Location` and `X-Global-Identifier` stay; an answer without one of them passes and is counted in `weir_contract_violations_total`. With `contract.public_url` the origin of `Location` becomes the public one.", _said("201 Created", "Location: https://hub.example/api/entities/18", "X-Global-Identifier: dT7ZL0w2K", JSON), b'{"id": 18}', "POST", "/api/entities", (JSON,), b'{"name": "poster"}'),
    Case(204, "handled, nothing returned", "No body and no Content-Length, whatever the service sent; the connection stays usable.", _said("204 No Content", "Content-Length: 0"), b"", "DELETE"),
    Case(304, "the copy is still good", "`If-None-Match` and `ETag` pass exactly as written. The answer may tell the length that the 200 would have. For a service without ETags `contract.edge_etags` makes them: docs/etags.md.", _said("304 Not Modified", ETAG), b"", headers=('If-None-Match: "KEWz1VCr7xoCXzhSsEzJ+Q0R0Fh3ZVkJxQ0p1nN2s1Y="',)),
    Case(400, "not understood", "The service's own error object passes untouched. What is no valid request is refused by Weir before the service hears of it: see docs/supported-http.md.", _said("400 Bad Request", JSON), b'{"errorCode": "E12", "message": "name is missing"}', "PUT", headers=(JSON,), sent=b"{}"),
    Case(401, "credentials needed", "`WWW-Authenticate` passes; an answer without it is counted.", _said("401 Unauthorized", "WWW-Authenticate: Bearer", JSON), b'{"errorCode": "E1"}'),
    Case(403, "refused", "Untouched.", _said("403 Forbidden", JSON), b'{"errorCode": "E3"}'),
    Case(404, "not there", "Untouched.", _said("404 Not Found", JSON), b'{"errorCode": "E4"}'),
    Case(405, "method not supported", "The service's own passes, and keeps `Allow`. With `contract.allow_methods` Weir refuses other methods itself.", _said("405 Method Not Allowed", "Allow: GET, PUT", JSON), b'{"errorCode": "E5"}', "PATCH"),
    Case(409, "conflict", "Untouched.", _said("409 Conflict", JSON), b'{"errorCode": "E9"}', "PUT", headers=(JSON,), sent=b"{}"),
    Case(429, "too many requests", "The service never hears of it. `Retry-After` is when the next request passes, in whole seconds; nothing that is refused costs a token.", None, times=40),
    Case(429, "too many requests, by the service itself", "Passes untouched, and counts as the service's in `weir_requests_total{source=\"upstream\"}`.", _said("429 Too Many Requests", "Retry-After: 3", JSON), b'{"errorCode": "E29"}'),
    Case(500, "critical error", "The details stay inside: a fixed error object takes their place, before a byte of them leaves. The log has the service's answer by the request id.", _said("500 Internal Server Error", "Server: Kestrel", "X-Powered-By: ASP.NET", JSON), TRACE),
    Case(503, "the service cannot serve", "As 500; `Retry-After` stays.", _said("503 Service Unavailable", "Retry-After: 120", "Server: Kestrel", JSON), TRACE),
    Case(414, "refused at the door", "As every refusal of Weir's own: an error object with the request id, and the connection closes where the rest of the request cannot be told apart.", None, target="/" + "x" * 9000),
)  # fmt: skip
