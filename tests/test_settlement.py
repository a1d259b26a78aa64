"""Tokens that an answer gives back or takes, when a reload came between the request and its answer."""

from __future__ import annotations

import pytest

from proxy.limiter.memory import MemoryStore
from tests.net.bench import limit, settings
from tests.support.messages import answer, get
from tests.support.origin import answering
from tests.support.patience import until

UNAUTHORIZED = answer(401, b"", "WWW-Authenticate: Bearer")
TOKEN = "X-Auth-Token: ann"


def few(**more):
    return {"limits": [limit()["limits"][0] | {"burst": 2, "rate": "2/h"} | more]}


async def overtaken(start_bench, start_origin, connect, before, after, said):
    """A request that a reload overtakes; the bench, and the answer."""

    async def script(visit):
        await visit.request()
        await until(lambda: visit.origin.requests and bench.parts.settings is reloaded, "the config is new")
        await visit.send(said)
        while await visit.request() is not None:
            await visit.send(answer())

    origin = await start_origin(script)
    bench = await start_bench(origin, **before)
    wire = await connect(bench)
    reloaded = settings(after, servers=[origin.url])
    await wire.send(get(TOKEN))
    await until(lambda: origin.requests, "the service has the request")
    bench.reload(reloaded)
    return bench, wire, await wire.response()


async def left(wire, *lines):
    """Tokens, behind a request more."""
    await wire.send(get(*lines))
    return (await wire.response()).value("RateLimit")


@pytest.mark.parametrize(
    ("other", "said"),
    [({"on_upstream_401": "address"}, UNAUTHORIZED), ({"on_upstream_429": "drain"}, answer(429, b""))],
    ids=["401", "429"],
)
@pytest.mark.parametrize("is_charged", [False, True])
async def test_answer_settles_nothing_with_limits_that_were_not_asked(
    start_bench, start_origin, connect, other, said, is_charged
):
    """Some limit of the config heeds it; this request was charged by another one, or by none."""
    asked, limits = [], few(match={"paths": ["/elsewhere"]}, **other)["limits"]
    if is_charged:
        limits += few(name="own")["limits"]

    class Noting(MemoryStore):
        def empty(self, debts):
            asked.append(debts)

    store = Noting(lambda: 0)
    origin = await start_origin(answering(said))
    bench = await start_bench(origin, store=store, limits=limits)
    wire = await connect(bench)
    await wire.send(get(TOKEN))
    response = await wire.response()

    assert response.status == int(said[9:12])
    assert (b"r=1" in (response.value("RateLimit") or b"")) is is_charged
    assert asked == []
    assert bench.ledger.outcomes == ["served"]


@pytest.mark.parametrize("rate", ["2/h", "8/h"])
async def test_401_is_paid_by_the_address_behind_a_reload(rate, start_bench, start_origin, connect):
    settled = few(on_upstream_401="address")
    after = few(on_upstream_401="address", rate=rate)
    bench, wire, response = await overtaken(start_bench, start_origin, connect, settled, after, UNAUTHORIZED)

    assert response.status == 401
    assert b"r=1" in await left(wire, TOKEN)
    assert b"r=0" in await left(wire)  # the address has paid one, and pays this one
    assert bench.ledger.reasons == [None] * 3


@pytest.mark.parametrize(
    ("more", "said", "tokens"),
    [
        ({"cost_304": 0}, answer(304, b"", length=False), b"r=1"),
        ({"on_upstream_429": "drain"}, answer(429, b"", "Retry-After: 9"), b"r=0;t=9"),
    ],
)
async def test_answer_settles_behind_a_reload(more, said, tokens, start_bench, start_origin, connect):
    _, wire, response = await overtaken(start_bench, start_origin, connect, few(**more), few(**more), said)

    assert response.status in (304, 429)
    assert tokens in await left(wire, TOKEN)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"on_upstream_401": "address"}, UNAUTHORIZED),
        ({"cost_304": 0}, answer(304, b"", length=False)),
        ({"on_upstream_429": "drain"}, answer(429, b"", "Retry-After: 9")),
    ],
)
async def test_limit_that_is_gone_is_not_settled(more, said, start_bench, start_origin, connect):
    bench, wire, response = await overtaken(
        start_bench, start_origin, connect, few(**more), {"limits": []}, said
    )

    assert response.status in (304, 401, 429)
    assert await left(wire, TOKEN) is None
    assert bench.ledger.reasons == [None] * 2


async def test_401_takes_no_slot_of_a_limit_that_counted_by_rate_before(start_bench, start_origin, connect):
    """Nobody would give it back."""
    entry = {key: value for key, value in limit()["limits"][0].items() if key not in ("rate", "burst")}
    after = {"limits": [entry | {"concurrency": 1}]}
    before = few(on_upstream_401="address")
    bench, wire, response = await overtaken(start_bench, start_origin, connect, before, after, UNAUTHORIZED)

    assert response.status == 401
    assert not bench.store.held.slots
    assert b"r=0" in await left(wire)  # the only slot is this one's
