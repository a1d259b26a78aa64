from __future__ import annotations

import pytest

from proxy import faults
from proxy.config.loader import loads
from proxy.http1.head import request_head
from proxy.policy.edge import Edge

SETTINGS = """
contract:
  allow_methods: [GET, HEAD, OPTIONS]
  known_paths: ["/api/**", "/health"]
  path_methods:
    - {paths: ["/api/entities/*"], allow: [GET, PUT, DELETE, OPTIONS]}
    - {paths: ["/api/entities"], allow: [POST]}
  credentials: [X-Auth-Token, Authorization]
  open_paths: ["/api/authenticate", "/health"]
"""


def edge(text: str = SETTINGS) -> Edge:
    return Edge(loads("upstream: {servers: ['http://a']}\n" + text, "weir.yaml", environ={}).contract)


def refusal(line: str, *headers: str, by: Edge | None = None):
    head = request_head("\r\n".join([f"{line} HTTP/1.1", "Host: a", *headers, "", ""]).encode(), 8192, 100)
    return (by or edge()).refusal(head, "a")


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("GET /api/entities/17", None),
        ("PUT /api/entities/17?x=1", None),
        ("POST /api/entities", None),
        ("GET /api/other", None),
        ("GET /admin", faults.UNKNOWN_PATH),
        ("GET /api/../admin", faults.UNKNOWN_PATH),
        ("GET /%61dmin", faults.UNKNOWN_PATH),
        ("DELETE /admin", faults.UNKNOWN_PATH),
        ("POST /api/entities/17", faults.METHOD_NOT_ALLOWED),
        ("GET /api/entities", faults.METHOD_NOT_ALLOWED),
        ("PUT /api/other", faults.METHOD_NOT_ALLOWED),
        ("GET /api//entities/./17", None),
        ("PUT /api//entities/./17", faults.METHOD_NOT_ALLOWED),
        ("POST /API/entities/17", faults.UNKNOWN_PATH),
        ("GET /api/%2e%2e/health", None),
        ("GET /api/x/..%2f..%2fadmin", faults.UNKNOWN_PATH),
        ("GET /api/..;/admin", faults.UNKNOWN_PATH),
        ("GET /api/a%2Fb", None),
        ("GET /api/caf%C3%A9", None),
        ("GET /health/", faults.UNKNOWN_PATH),
        ("GET /health;x", faults.UNKNOWN_PATH),
    ],
)
def test_path_decides_then_the_method(line, fault):
    """Whatever a service may take the path for, it is known, and the method is allowed there."""
    assert refusal(line, "X-Auth-Token: a") is fault


@pytest.mark.parametrize(
    ("line", "headers", "fault"),
    [
        ("GET /api/entities/17", [], faults.MISSING_CREDENTIALS),
        ("GET /api/entities/17", ["X-Auth-Token:  "], faults.MISSING_CREDENTIALS),
        ("GET /api/entities/17", ["x-auth-token: a"], None),
        ("GET /api/entities/17", ["Authorization: Bearer a"], None),
        ("OPTIONS /api/entities/17", [], None),
        ("GET /api/authenticate", [], None),
        ("GET /health", [], None),
        ("GET /healthy", [], faults.UNKNOWN_PATH),
        ("GET /api/Authenticate", [], faults.MISSING_CREDENTIALS),
        ("GET /api/x/../authenticate", [], faults.MISSING_CREDENTIALS),
        ("GET /api/authenticate/", [], faults.MISSING_CREDENTIALS),
    ],
)
def test_credentials_must_be_there(line, headers, fault):
    """Any one of them; not for preflight requests, which never have any, and not where the door is open."""
    assert refusal(line, *headers) is fault


@pytest.mark.parametrize(
    ("target", "allow"),
    [(b"/api/entities/17", b"GET, PUT, DELETE, OPTIONS"), (b"/api/entities?a=1", b"POST"), (b"/api/x", b"GET, HEAD, OPTIONS")],
)  # fmt: skip
def test_allow_names_what_the_path_allows(target, allow):
    assert edge().allow_line(target) == b"Allow: " + allow + b"\r\n"


def test_entry_for_another_spelling_of_a_path_allows_nothing_more():
    """Where nothing else is said of methods, all of them are allowed."""
    by = edge("contract: {path_methods: [{paths: [/api/entities/*], allow: [GET]}]}")

    assert refusal("DELETE /api/other", by=by) is None
    assert refusal("DELETE /API/entities/17", by=by) is faults.METHOD_NOT_ALLOWED
    assert refusal("DELETE /api/entities/17/", by=by) is faults.METHOD_NOT_ALLOWED
    assert refusal("DELETE /api/x/../entities/17", by=by) is faults.METHOD_NOT_ALLOWED
    assert refusal("GET /API/entities/17", by=by) is None
    assert by.allow_line(b"/API/entities/17") == b"Allow: GET\r\n"


def test_nothing_is_asked_without_settings():
    by = edge("")

    assert by.is_idle
    assert refusal("DELETE /x", by=by) is None
    assert by.allow_line(b"/") == b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"


def test_credential_that_comes_twice_is_refused():
    """One could be charged and the other be served."""
    config = loads("upstream: {servers: ['http://a']}\n" + SETTINGS, "weir.yaml", environ={})
    by = Edge(
        config.contract,
        lambda head, client: b"x-auth-token" in (head.section.repeated or ()) and client == "a",
    )

    assert (
        refusal("GET /api/entities/1", "X-Auth-Token: a", "X-Auth-Token: b", by=by)
        is faults.REPEATED_CREDENTIAL
    )
    assert refusal("GET /api/entities/1", "X-Auth-Token: a", "X-Other: a", "X-Other: b", by=by) is None


def test_body_that_is_announced_too_large_is_refused_at_once():
    by = Edge(loads("upstream: {servers: ['http://a']}\n", "weir.yaml", environ={}).contract, body_bytes=10)

    assert refusal("POST /", "Content-Length: 11", by=by) is faults.BODY_TOO_LARGE
    assert refusal("POST /", "Content-Length: 10", by=by) is None
