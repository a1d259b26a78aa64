"""What an operator does to one key, live: look, grant, block, release (docs/limits.md). Reset is in test_store.py."""

from __future__ import annotations

import asyncio
import json
import re
import time

import pytest

from proxy.config.plan_keys import key_hash
from tests.support.messages import get
from tests.support.patience import until

pytestmark = pytest.mark.measured

TOKEN = "s3cret-t0ken"
OWN = {"Authorization": f"Bearer {TOKEN}"}
ADA, BOB = "X-Auth-Token: ada-4711", "X-Auth-Token: bob"
NAMED = {"header:X-Auth-Token": "ada-4711"}


def settings(url="memory", key=("header:X-Auth-Token",), **limit):
    each = {"name": "per-user", "key": list(key), "rate": "2/h", **limit}
    return {"store": {"url": url, "timeout": "2s"}, "limits": [each], "admin": {"token": TOKEN}}


def apply(weir, verb, body=NAMED, limit="per-user", headers=OWN):
    text = body if isinstance(body, str) else json.dumps(body)
    return weir.admin(f"/limits/{limit}/{verb}", "POST", headers, body=text)


async def told(ask, weir, line=ADA, count=1):
    """Statuses, and how long each shall wait."""
    answers = [await ask(weir, get(line)) for _ in range(count)]
    return [(answer.status, int(answer.value("Retry-After") or 0)) for answer in answers]


def _all_lines(weir, count):
    """Of what operators did, once there are so many."""
    lines = [line for line in weir.log() if line["event"].startswith("limit_")]
    return lines if len(lines) >= count else None


@pytest.mark.parametrize("kind", ["memory", "redis"])
async def test_operator_looks_grants_blocks_and_releases(kind, start_weir, start_origin, redis, ask):
    """At once; each leaves a line in the log, and no line names a credential."""
    weir = start_weir(settings(redis.url if kind == "redis" else "memory"), upstream=await start_origin())
    full = apply(weir, "look").json()
    used = await told(ask, weir, count=3)
    spent = apply(weir, "look", {"key": full["key"]}).json()
    grant = apply(weir, "grant", NAMED | {"rate": "60/h", "burst": 4, "for": "10m"}).json()
    granted = await ask(weir, get(ADA))
    richer = apply(weir, "look").json()
    block = apply(weir, "block", NAMED | {"for": "10m"}).json()
    now = time.time()
    during = await told(ask, weir, count=2) + await told(ask, weir, BOB)
    shut = apply(weir, "look").json()
    released = [apply(weir, "release").json()["released"] for _ in range(2)]
    after = await told(ask, weir)
    verbs = ["look", "look", "grant", "look", "block", "look", "release", "release"]
    lines = await until(lambda: _all_lines(weir, len(verbs)), "each has left its line")

    whose = {"limit": "per-user", "key": full["key"]}
    assert full == whose | {"plan": None, "rate": "2/h", "burst": 2, "tokens": 2, "full_in": 0, "until": None}
    assert [status for status, _ in used] == [200, 200, 429]
    assert (spent["tokens"], spent["until"]) == (0, None)
    assert 3500 < spent["full_in"] <= 3600
    assert grant == whose | {"rate": "60/h", "burst": 4, "until": pytest.approx(now + 600, abs=30)}
    assert (granted.status, granted.value("RateLimit-Policy")) == (200, b'"per-user";q=4;w=240')
    assert {name: richer[name] for name in ("rate", "burst", "tokens")} == {
        "rate": "60/h",
        "burst": 4,
        "tokens": 1,
    }
    assert richer["until"] == pytest.approx(now + 600, abs=30)
    assert block == whose | {"until": pytest.approx(now + 600, abs=30)}
    assert [status for status, _ in during] == [429, 429, 200]
    assert all(540 < wait <= 600 for _, wait in during[:2])
    assert (shut["rate"], shut["tokens"], shut["until"]) == ("0/s", 0, pytest.approx(now + 600, abs=30))
    assert released == [1, 0]
    assert after[0][0] == 429
    assert [(line["event"], line["verb"], line["key"]) for line in lines] == [
        (f"limit_{verb}", verb, full["key"][:16]) for verb in verbs
    ]
    assert "ada-4711" not in weir.log_text()


def is_blocked(each):
    """And not merely without a token: that would be for half an hour, or not so long."""
    return each[0] == 429 and 500 < each[1] <= 600


@pytest.mark.parametrize("level", ["warning", "error"])
async def test_what_is_done_is_audited_at_every_level(level, start_weir, start_origin):
    """And what was refused, rationed: neither a token nor what was typed shows."""
    weir = start_weir(settings() | {"log": {"level": level}}, upstream=await start_origin())
    apply(weir, "block")
    apply(weir, "block", {"ada-4711": "typed"})
    apply(weir, "release", limit="ada-4711")
    for _ in range(30):
        apply(weir, "release", headers={"Authorization": "Bearer gu3ssed"})
        weir.admin("/status", headers={"Authorization": "Bearer gu3ssed"})
    weir.admin("/status")
    lines = [line for line in weir.log() if line["logger"] == "weir.audit"]
    refused = [line for line in lines if line["event"] == "admin_refused"]

    assert [line["event"] for line in lines][:1] == ["limit_block"]
    assert [(line["status"], line["verb"], line["limit"]) for line in refused][:3] == [
        (400, "block", "per-user"),
        (404, "release", None),
        (401, "release", "per-user"),
    ]
    assert (401, None) in [(line["status"], line["verb"]) for line in refused]
    assert {line["peer"] for line in refused} == {"127.0.0.1"}
    assert 10 <= len(refused) < 30
    assert not {"ada-4711", "typed", "gu3ssed"} & set(re.findall(r"[\w-]+", weir.log_text()))


async def test_block_holds_on_all_workers_and_over_a_reload(start_weir, start_origin, redis, ask):
    """Within a beat; and so does its end."""
    origin = await start_origin()
    weir = start_weir(settings(redis.url) | {"workers": 2}, upstream=origin)
    apply(weir, "block", NAMED | {"for": "10m"})

    async def answers(good):
        """Of eight requests in a row, on whichever workers."""
        for _ in range(60):
            seen = await told(ask, weir, count=8)
            if all(map(good, seen)):
                return True
            await asyncio.sleep(0.1)
        raise AssertionError(seen)

    blocked = await answers(is_blocked)
    before = weir.admin("/status", headers=OWN).json()["config"]["hash"]
    weir.write_config(settings(redis.url, rate="500/h") | {"workers": 2})
    await until(lambda: weir.admin("/status", headers=OWN).json()["config"]["hash"] != before, "it is read")
    kept = await told(ask, weir, count=8)
    apply(weir, "release")

    assert blocked
    assert all(map(is_blocked, kept))
    assert await answers(lambda each: each[0] == 200)


async def test_look_tells_the_plan(start_weir, start_origin, ask):
    """By what the client shows; a key alone is known once it has come by. A grant stands above it."""
    planned = settings(plans=["big"]) | {
        "plans": [{"name": "big", "rate": "5/h", "keys": [key_hash("ada-4711")]}]
    }
    weir = start_weir(planned, upstream=await start_origin())
    seen = [apply(weir, "look").json()]
    apply(weir, "grant", NAMED | {"rate": "60/h"})
    await ask(weir, get(ADA))
    seen.append(apply(weir, "look", {"key": seen[0]["key"]}).json())

    assert [(each["plan"], each["rate"], each["tokens"]) for each in seen] == [
        ("big", "5/h", 5),
        ("big", "60/h", 59),
    ]


async def test_key_of_several_parts_is_named_by_all_of_them(start_weir, start_origin, ask):
    weir = start_weir(settings(key=["header:X-Auth-Token+path:1"]), upstream=await start_origin())
    both = NAMED | {"path:1": "a"}
    block = apply(weir, "block", both)
    part = apply(weir, "block")
    seen = [(await ask(weir, get(ADA, target=target))).status for target in ("/a/x", "/b/x")]

    assert (block.status, part.status) == (200, 400)
    assert '"path:1": "..."' in part.json()["detail"]
    assert seen == [429, 200]


WRONG = [
    ("look", "", 400, "header:X-Auth-Token"),
    ("grant", "", 400, '"rate": "60/s", "burst": 60, "for": "1h"'),
    ("release", "{}", 400, "header:X-Auth-Token"),
    ("look", NAMED | {"rate": "1/s"}, 400, "one of"),
    ("block", NAMED | {"burst": 1}, 400, "one of"),
    ("block", {"key": 4711}, 400, "one of"),
    ("block", {"key": "00" * 16, "header:X-Auth-Token": "a"}, 400, "one of"),
    ("grant", NAMED, 400, "rate is missing"),
    ("grant", NAMED | {"rate": 60}, 400, "rate: 60 needs a period"),
    ("grant", NAMED | {"rate": "60"}, 400, "needs a period"),
    ("grant", NAMED | {"rate": ["1/s"]}, 400, "rate: must be a rate"),
    ("grant", NAMED | {"rate": "0/s"}, 400, "refuse every request"),
    ("grant", NAMED | {"rate": "9999999999999/s"}, 400, "more than"),
    ("grant", NAMED | {"rate": "1/d", "burst": 10**9}, 400, "cannot be counted exactly"),
    ("grant", NAMED | {"rate": "1/s", "burst": 10**30}, 400, "burst: must be"),
    ("grant", NAMED | {"rate": "1/s", "burst": True}, 400, "burst: must be"),
    ("grant", NAMED | {"rate": "1/s", "burst": "5"}, 400, "burst: must be"),
    ("grant", NAMED | {"rate": "1/s", "burst": 1}, 400, "below the cost of 2"),
    ("block", NAMED | {"for": "0s"}, 400, "for: must be at least"),
    ("block", NAMED | {"for": "8d"}, 400, "for: "),
    ("block", NAMED | {"for": "169h"}, 400, "more than the 168h"),
    ("block", NAMED | {"for": 600}, 400, "600 needs a unit"),
    ("block", NAMED | {"for": 1e300}, 400, "for: must be a span"),
    ("block", NAMED | {"for": None}, 400, "for: must be a span"),
    ("block", "[" * 50_000, 400, "one of"),
    ("block", '{"header:X-Auth-Token": "' + "a" * 70_000 + '"}', 413, ""),
]


async def test_wrong_body_changes_nothing_and_is_told_what_to_write(start_weir, start_origin, ask):
    """Nor does an unknown limit; without the token nobody may look even."""
    weir = start_weir(settings(cost=2), upstream=await start_origin())
    for verb, body, status, says in WRONG:
        reply = apply(weir, verb, body)
        assert (verb, reply.status) == (verb, status), body
        assert says in reply.json().get("detail", ""), body
    unknown = [apply(weir, verb, limit="per-usr").status for verb in ("look", "grant", "block", "release")]
    stranger = [apply(weir, verb, headers={}).status for verb in ("look", "grant", "block", "release")]

    assert unknown == [404] * 4
    assert stranger == [401] * 4
    assert await told(ask, weir) == [(200, 0)]


async def test_verbs_want_a_token_to_be_set(start_weir, start_origin):
    weir = start_weir(settings() | {"admin": {}}, upstream=await start_origin())

    assert [apply(weir, verb, headers={}).status for verb in ("look", "grant", "block", "release")] == [
        403
    ] * 4


async def test_without_redis_nothing_is_changed_and_the_answer_says_so(start_weir, redis):
    weir = start_weir(settings(redis.url))
    redis.kill()
    await until(lambda: not weir.admin("/readyz", headers=OWN).json()["store"]["up"], "the loss is noticed")
    replies = [
        apply(weir, "look"),
        apply(weir, "grant", NAMED | {"rate": "60/h"}),
        apply(weir, "block"),
        apply(weir, "release"),
    ]

    assert [reply.status for reply in replies] == [503] * 4
    assert all("store.url" in reply.json()["detail"] for reply in replies)
