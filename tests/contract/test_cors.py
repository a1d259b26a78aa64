"""What a browser app of another origin may read of Weir's own answers, and which requests are its preflights."""

from __future__ import annotations

import pytest

from proxy.config.sections.front import CorsSettings
from proxy.contract.cors import Cors
from tests.policy.heads import head

APP = "https://app.example.com"
EXPOSED = b"Access-Control-Expose-Headers: Retry-After, RateLimit, X-Request-Id\r\n"


def cors(*origins):
    return Cors(CorsSettings(origins=origins), [b"RateLimit"], [b"x-auth-token", b"host"])


def preflight(**fields):
    given = {"Host": "a", "Origin": APP, "Access-Control-Request-Method": "GET"}
    given |= {name.replace("_", "-"): value for name, value in fields.items()}
    return head("OPTIONS", headers={name: value for name, value in given.items() if value is not None})


def test_origin_of_the_list_may_read_the_answer():
    """With its cookies too, since it is named."""
    assert cors(APP).lines({b"origin": APP.encode()}) == (
        b"Access-Control-Allow-Origin: https://app.example.com\r\n"
        b"Access-Control-Allow-Credentials: true\r\n" + EXPOSED + b"Vary: Origin\r\n"
    )


@pytest.mark.parametrize(
    "origin", [None, b"https://evil.example", b"null", b"", b"https://app.example.com, x"]
)
def test_other_origins_may_not(origin):
    """Caches learn that the answer depends on who asks."""
    fields = {b"origin": origin} if origin is not None else {}

    assert cors(APP).lines(fields) == b"Vary: Origin\r\n"


def test_star_lets_any_origin_read_without_its_cookies():
    assert cors("*").lines({b"origin": b"https://x"}) == b"Access-Control-Allow-Origin: *\r\n" + EXPOSED
    assert cors("*").lines({}) == b""


def test_nothing_is_said_without_origins():
    assert cors().is_idle
    assert cors().lines({b"origin": APP.encode()}) == b""


def test_preflight_of_a_known_origin_is_one():
    assert cors(APP).is_preflight(preflight())
    assert cors("*").is_preflight(preflight(Origin="https://x"))


@pytest.mark.parametrize(
    "fields",
    [
        {"Origin": None},
        {"Origin": "https://evil.example"},
        {"Access_Control_Request_Method": None},
        {"Authorization": "Bearer x"},
        {"Cookie": "a=b"},
        {"X_Auth_Token": "x"},
        {"Content_Length": "5"},
    ],
)
def test_what_no_browser_sends_is_no_preflight(fields):
    """It has no credentials and no body (Fetch, section 4.8)."""
    request = preflight(**fields)
    if "Content_Length" in fields:
        request.section.body_length = 5

    assert not cors(APP).is_preflight(request)


def test_other_methods_are_no_preflight():
    request = preflight()
    request.method = b"GET"

    assert not cors(APP).is_preflight(request)
