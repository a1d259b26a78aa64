"""Whose bucket a request is charged to, and that nobody gets out of it."""

from __future__ import annotations

import uuid

import pytest

from tests.support.messages import get
from tests.support.patience import until

PER_USER = {
    "name": "per-user",
    "key": ["header:X-Auth-Token", "header:Authorization", "client-ip"],
    "rate": "1/m",
}
SETTINGS = {"limits": [PER_USER | {"rate": "15/s"}]}


def token() -> str:
    """A credential that no other test uses."""
    return f"X-Auth-Token: {uuid.uuid4().hex}"


async def statuses(ask, weir, *requests):
    """One after the other."""
    return [(await ask(weir, request)).status for request in requests]


async def test_users_do_not_share_a_bucket(start_weir, start_origin, ask):
    """Token, bearer and address are each a bucket; a token under another name is another user."""
    origin = await start_origin()
    limit = PER_USER
    weir = start_weir({"limits": [limit]}, upstream=origin)
    callers = [
        ("X-Auth-Token: a",),
        ("x-auth-token: b",),
        ("Authorization: a",),
        ("Authorization: Bearer a",),
        (),
    ]
    first = await statuses(ask, weir, *(get(*caller) for caller in callers))
    second = await statuses(ask, weir, *(get(*caller) for caller in callers))

    assert first == [200] * 5
    assert second == [429] * 5


@pytest.mark.parametrize(
    "disguised",
    [
        get("X-AUTH-TOKEN: secret"),
        get("X-Auth-Token:    secret  "),
        get("X-Auth-Token: secret", "Connection: X-Auth-Token"),
        get("X-Auth-Token: secret", "Authorization: Bearer other"),
        get("X-Auth-Token: secret", "X-Forwarded-For: 9.9.9.9"),
        get("X-Auth-Token: secret", target="/elsewhere?x=y"),
        get("X-Auth-Token: secret", method="DELETE"),
        get("X-Auth-Token: secret", version="HTTP/1.0"),
    ],
    ids=[
        "case",
        "spaces",
        "named by Connection",
        "second credential",
        "forged address",
        "path",
        "method",
        "version",
    ],
)
async def test_bucket_cannot_be_escaped(start_weir, start_origin, ask, disguised):
    """The same user in another guise pays from the same bucket."""
    origin = await start_origin()
    weir = start_weir({"limits": [PER_USER]}, upstream=origin)

    assert await statuses(ask, weir, get("X-Auth-Token: secret"), disguised) == [200, 429]


async def test_repeated_credential_is_refused(weir, origin, ask):
    """The service might read the other one."""
    response = await ask(weir, get(token(), token()))

    assert response.status == 400
    assert origin.received == b""


async def test_anonymous_clients_are_told_apart_behind_a_trusted_hop(start_weir, start_origin, ask):
    """By the address the hop vouches for; IPv6 addresses of one /64 are one client."""
    origin = await start_origin()
    limit = PER_USER
    weir = start_weir({"limits": [limit], "forwarded": {"trust": ["127.0.0.1/32"]}}, upstream=origin)
    addresses = [
        "9.9.9.8",
        "9.9.9.9",
        "6.6.6.6, 9.9.9.9",
        "2001:db8::1",
        "2001:db8::2",
        "2001:db8:0:1::1",
        "::ffff:9.9.9.8",
    ]
    seen = await statuses(ask, weir, *(get(f"X-Forwarded-For: {address}") for address in addresses))

    assert seen == [200, 200, 429, 200, 429, 200, 429]


async def test_no_credential_is_ever_shown(weir, origin, ask):
    """Neither in logs nor metrics nor /status nor headers."""
    await statuses(ask, weir, *[get("X-Auth-Token: SECRET-A", target="/q?token=SECRET-B")] * 20)
    await until(
        lambda: len([x for x in weir.access_lines() if x["target"].startswith("/q")]) == 20, "20 log lines"
    )
    shown = [
        weir.log_text(),
        str(weir.access_lines()),
        weir.metrics().text,
        weir.admin("/status").body.decode(),
    ]

    assert not [text for text in shown if "SECRET" in text]
