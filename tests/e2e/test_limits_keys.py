"""Whose bucket a request is charged to, and that nobody gets out of it."""

from __future__ import annotations

import base64
import json
import uuid

import pytest

from tests.support.messages import get
from tests.support.network import status_by_unix
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


def token_of(user: str) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"sub": user}).encode()).rstrip(b"=").decode()
    return f"Bearer eyJhbGciOiJub25lIn0.{claims}.c2ln"


def request_of(target: str, *lines: str) -> bytes:
    """With these fields and no others."""
    return "\r\n".join([f"GET {target} HTTP/1.1", *lines, "", ""]).encode("latin-1")


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


async def test_invented_credential_beside_a_true_one_lifts_nothing(start_weir, start_origin, ask):
    """Whichever of the two fields it stands in."""
    origin = await start_origin()
    weir = start_weir({"limits": [PER_USER | {"rate": "5/m"}]}, upstream=origin)
    floods = [
        [get(f"X-Auth-Token: {n}", "Authorization: Bearer true") for n in range(20)],
        [get("X-Auth-Token: mine", f"Authorization: Bearer {n}") for n in range(20)],
    ]
    for flood in floods:
        assert await statuses(ask, weir, *flood) == [200] * 5 + [429] * 15
    assert len(origin.requests) == 10


RESPELLINGS = {
    "header:Authorization": (
        ["Authorization: Bearer true"],
        [
            ["Authorization: Bearer\t\ttrue"],
            ["Authorization: bEARER true"],
            ["Authorization: Token true"],
            ["Authorization: Bearer invented true"],
            ["Authorization: Bearer invented, Bearer true"],
            ["Authorization: Bearer true", "Authorization: Bearer invented"],
            ['Authorization: Bearer "true"'],
            ['Authorization: Token token="true"'],
            ["Authorization: Bearer token=true;"],
            ['Authorization: Token token="true", nonce="invented"'],
        ],
    ),
    "header:X-Auth-Token": (
        ["X-Auth-Token: true"],
        [["X-Auth-Token:\ttrue"], ["X-Auth-Token: invented, true"], ["X-Auth-Token: true\u00a0"]],
    ),
    "cookie:sid": (
        ["Cookie: sid=true"],
        [
            ["Cookie: sid=x; sid=true"],
            ["Cookie: sid=true; sid=x"],
            ["Cookie: SID=true"],
            ['Cookie: sid="true"'],
            ["Cookie: sid=%74rue"],
            ["Cookie: a=b sid=true"],
            ["Cookie: sid=x", "Cookie: sid=true"],
        ],
    ),
    "jwt:sub": (
        [f"Authorization: {token_of('alice')}"],
        [
            [f"Authorization: {token_of('alice').replace('Bearer', 'bearer')}"],
            [f"Authorization: {token_of('alice').replace(' ', chr(9))}"],
            [f"Authorization: {token_of('alice')}="],
            ['Authorization: Token token="{}"'.format(token_of("alice").partition(" ")[2])],
        ],
    ),
    "host": (
        ["Host: api.example"],
        [["Host: API.example"], ["Host: api.example:80"], ["Host: api.example."]],
    ),
}


@pytest.mark.parametrize(
    ("key", "plain", "respelled"),
    [(key, plain, each) for key, (plain, others) in RESPELLINGS.items() for each in others],
    ids=str,
)
async def test_credential_has_one_spelling(start_weir, start_origin, ask, key, plain, respelled):
    """It pays from the same bucket, or is refused because it can be read in two ways."""
    origin = await start_origin()
    weir = start_weir({"limits": [PER_USER | {"key": [key]}]}, upstream=origin)
    with_host = [] if key == "host" else ["Host: a"]
    requests = [request_of("/", *with_host, *lines) for lines in (plain, respelled)]

    first, second = await statuses(ask, weir, *requests)

    assert first == 200
    assert second in (400, 429)


@pytest.mark.parametrize(
    ("key", "plain", "respelled", "other"),
    [
        ("query:user", "/?user=ana", "/?x=1&USER=%61na", "/?user=ben"),
        ("query:user", "/?user=ana", "/?user=x&user=ana", "/?user=ben"),
        ("path:2", "/api/acme", "/API/Acme/", "/api/other"),
        ("path:2", "/api/acme", "//api//acme;v=1/x", "/api/other"),
        ("path:1+query:user", "/api?user=ana", "/Api/x?user=ana", "/other?user=ana"),
    ],
)
async def test_target_has_one_spelling(start_weir, start_origin, ask, key, plain, respelled, other):
    """Parameters and segments, alone or together."""
    origin = await start_origin()
    weir = start_weir({"limits": [PER_USER | {"key": [key]}]}, upstream=origin)

    first, second, third = await statuses(
        ask, weir, *(get(target=each) for each in (plain, respelled, other))
    )

    assert (first, third) == (200, 200)
    assert second in (400, 429)


async def test_method_is_a_key(start_weir, start_origin, ask):
    origin = await start_origin()
    weir = start_weir({"limits": [PER_USER | {"key": ["method"]}]}, upstream=origin)

    assert await statuses(ask, weir, get(), get(method="DELETE"), get(target="/b")) == [200, 200, 429]


@pytest.mark.parametrize(("when_absent", "seen"), [("share", [200, 429, 429]), ("skip", [200, 200, 200])])
async def test_requests_that_carry_nothing_share_a_bucket_or_are_not_counted(
    start_weir, start_origin, ask, when_absent, seen
):
    origin = await start_origin()
    limit = PER_USER | {"key": ["header:X-Api-Key"], "when_absent": when_absent}
    weir = start_weir({"limits": [limit]}, upstream=origin)

    assert await statuses(ask, weir, *[get()] * 3) == seen
    assert await statuses(ask, weir, *[get("X-Api-Key: a")] * 2) == [200, 429]


@pytest.mark.parametrize(
    ("key", "lines", "target", "absent"),
    [
        ("cookie:sid", ["Cookie: sid=a"], "/", [([], "/"), (["Cookie: other=a; sid="], "/")]),
        ("jwt:sub", [f"Authorization: {token_of('ada')}"], "/", [([], "/"), ([f"Authorization: {token_of('')}"], "/")]),
        ("query:user", [], "/?user=a", [([], "/"), ([], "/?user=&other=a")]),
        ("header:X-A", ["X-A: a"], "/", [([], "/"), (["X-A:  "], "/")]),
        ("header:X-A+path:1", ["X-A: a"], "/a", [([], "/a"), (["X-A: a"], "/")]),
        ("client-ip+path:2", [], "/a/b", [([], "/a"), ([], "/")]),
        (["header:X-A", "cookie:sid"], ["X-A: a"], "/", [([], "/"), (["X-B: a"], "/")]),
    ],
    ids=str,
)  # fmt: skip
async def test_whatever_a_key_names_may_be_absent(start_weir, start_origin, ask, key, lines, target, absent):
    """By one request or another that lacks it: all share one bucket, or none is counted; whoever has it pays alone."""
    limits = [
        PER_USER | {"name": mode, "key": key, "when_absent": mode, "match": {"headers": {"X-Mode": mode}}}
        for mode in ("share", "skip")
    ]
    weir = start_weir({"limits": limits}, upstream=await start_origin())

    async def seen(mode, *requests):
        return await statuses(ask, weir, *(get(f"X-Mode: {mode}", *more, target=at) for more, at in requests))

    assert await seen("share", *absent, (lines, target), (lines, target)) == [200, 429, 200, 429]
    assert await seen("skip", *absent, *absent, (lines, target), (lines, target)) == [200] * 5 + [429]


@pytest.mark.parametrize(
    ("more", "shared", "skipped"),
    [
        ({"concurrency": 1, "rate": None}, [200] * 3, [200] * 3),
        ({"mode": "shadow"}, [200] * 3, [200] * 3),
        ({"max_wait": "1m", "rate": "600/m", "burst": 1}, [200] * 3, [200] * 3),
        ({"plans": ["big"]}, [200, 429, 429], [200] * 3),
        ({"unproven": {"rate": "1/m"}}, [200, 429, 429], [200] * 3),
    ],
    ids=["slots", "shadow", "waiting", "a plan of others", "unproven"],
)
async def test_who_carries_nothing_is_told_as_it_is_counted(
    start_weir, start_origin, ask, more, shared, skipped
):
    """RateLimit fields where there is a bucket; none where nothing is counted."""
    base = PER_USER | {"key": ["header:X-Api-Key"], **more}
    base = {name: value for name, value in base.items() if value is not None}
    limits = [
        base | {"name": mode, "when_absent": mode, "match": {"headers": {"X-Mode": mode}}}
        for mode in ("share", "skip")
    ]
    plans = [{"name": "big", "rate": "90/s", "keys": ["sha256:" + "0" * 64]}] if "plans" in more else []
    weir = start_weir({"limits": limits, "plans": plans}, upstream=await start_origin())
    share, skip = [[await ask(weir, get(f"X-Mode: {mode}")) for _ in range(3)] for mode in ("share", "skip")]

    assert [each.status for each in share] == shared
    assert [each.status for each in skip] == skipped
    is_told = more.get("mode") != "shadow"
    assert {bool(each.values("RateLimit")) for each in share} == {is_told}
    assert not [each for each in skip if each.values("RateLimit") or each.values("RateLimit-Policy")]


@pytest.mark.parametrize(
    "target",
    [
        "/API/Sign-In",
        "/api/sign-in/",
        "/api/sign-in;v=1",
        "/api/%73ign-in",
        "//api/sign-in",
        "/x/../api/sign-in",
    ],
)
async def test_path_of_a_limit_has_one_spelling(start_weir, start_origin, ask, target):
    origin = await start_origin()
    limit = PER_USER | {"match": {"paths": ["/api/sign-in"]}, "key": "client-ip"}
    weir = start_weir({"limits": [limit]}, upstream=origin)

    assert await statuses(ask, weir, get(target="/api/sign-in"), get(target=target), get()) == [200, 429, 200]


async def test_only_the_very_path_is_exempt(start_weir, start_origin, ask):
    origin = await start_origin()
    weir = start_weir({"limits": [PER_USER | {"exempt": {"paths": ["/health"]}}]}, upstream=origin)
    targets = ["/health", "/health", "/Health", "/health/", "/health;x", "/%68ealth", "/x/../health"]

    assert (
        await statuses(ask, weir, *(get(target=target) for target in targets)) == [200, 200, 200] + [429] * 4
    )


async def test_limit_with_two_buckets_is_told_of_once(start_weir, start_origin, ask):
    """By the one that has the least left; in the fields, the log and the metrics."""
    origin = await start_origin()
    weir = start_weir({"limits": [PER_USER | {"rate": "5/m"}]}, upstream=origin)
    await statuses(ask, weir, *[get("X-Auth-Token: a")] * 3)
    both = await ask(weir, get("X-Auth-Token: a", "Authorization: Bearer b", target="/both"))

    assert both.value("RateLimit-Policy") == b'"per-user";q=5;w=60'
    assert both.value("RateLimit").startswith(b'"per-user";r=1;')
    assert (await weir.access_line(target="/both"))["limits"] == {"admitted": ["per-user"]}
    assert weir.metrics().total("weir_limit_decisions_total", limit="per-user", decision="admitted") == 4


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


async def test_hop_on_a_unix_socket_vouches_for_clients_if_it_is_trusted(start_weir, start_origin, tmp_path):
    """Else all who come by it are one client."""
    origin = await start_origin()
    for trust, seen in (["unix:"], [200, 200, 429]), ([], [200, 429, 429]):
        path = tmp_path / f"{len(trust)}.sock"
        settings = {"listen": f"unix:{path}", "limits": [PER_USER], "forwarded": {"trust": trust}}
        start_weir(settings, upstream=origin)
        addresses = ["9.9.9.8", "9.9.9.9", "6.6.6.6, 9.9.9.9"]

        assert [await status_by_unix(path, get(f"X-Forwarded-For: {each}")) for each in addresses] == seen


async def test_bits_of_an_ipv6_client_can_be_chosen(start_weir, start_origin, ask):
    """A /48 for a provider that hands these out; NAT64 is told apart by the IPv4 address in it."""
    origin = await start_origin()
    forwarded = {"trust": ["127.0.0.1/32"], "ipv6_prefix": 48}
    weir = start_weir({"limits": [PER_USER], "forwarded": forwarded}, upstream=origin)
    addresses = [
        "2001:db8:0:1::1",
        "2001:db8:0:2::1",
        "2001:db8:1::1",
        "64:ff9b::1.2.3.4",
        "64:ff9b::1.2.3.5",
    ]
    addresses += ["1.2.3.4"]

    seen = await statuses(ask, weir, *(get(f"X-Forwarded-For: {address}") for address in addresses))

    assert seen == [200, 429, 200, 200, 200, 429]


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
