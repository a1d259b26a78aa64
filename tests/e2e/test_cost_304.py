"""`cost_304: 0`: an answer that the client has already costs nothing, whoever found that out."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.messages import answer, get

OWN = answer(304, b"", 'ETag: "x"', length=False)
WHOLE = answer(200, b"whole")
LIMIT = {"name": "few", "rate": "3/h", "burst": 3, "key": ["header:X-Auth-Token", "client-ip"]}
STORES = ("memory", "redis")


@pytest.fixture
def start(start_weir, start_origin, request):
    """A Weir with one limit and this store, and an origin that says what it is told to."""

    async def begin(store, *limits, **changes):
        origin = await start_origin()

        async def script(visit):
            while await visit.request() is not None:
                await visit.send(origin.says)

        origin.says, origin.script = OWN, script
        url = request.getfixturevalue("redis").url if store == "redis" else "memory"
        weir = start_weir({"store": {"url": url}, "limits": list(limits), **changes}, upstream=origin)
        return weir, origin

    return begin


async def asked(connect, weir, count, *headers):
    wire = await connect(weir)
    responses = []
    for _ in range(count):
        await wire.send(get("X-Auth-Token: ana", *headers))
        responses.append(await wire.response())
    return responses


def seen(responses):
    return [(each.status, each.value("RateLimit").split(b";")[1]) for each in responses]


@pytest.mark.parametrize("store", STORES)
async def test_304_of_the_service_costs_nothing(start, connect, store):
    """However many there are; other answers cost what they cost, and the fields tell so."""
    weir, origin = await start(store, LIMIT | {"cost_304": 0})
    unchanged = await asked(connect, weir, 10)
    origin.says = WHOLE
    whole = await asked(connect, weir, 2)
    origin.says = OWN
    again = await asked(connect, weir, 3)
    origin.says = WHOLE
    last = await asked(connect, weir, 2)

    assert seen(unchanged) == [(304, b"r=3")] * 10
    assert seen(whole) == [(200, b"r=2"), (200, b"r=1")]
    assert seen(again) == [(304, b"r=1")] * 3
    assert seen(last) == [(200, b"r=0"), (429, b"r=0")]


@pytest.mark.parametrize("store", STORES)
async def test_304_made_here_costs_nothing_either(start, connect, store):
    weir, origin = await start(store, LIMIT | {"cost_304": 0}, contract={"edge_etags": True})
    origin.says = WHOLE
    unchanged = await asked(connect, weir, 10, "If-None-Match: *")
    whole = await asked(connect, weir, 4)

    assert seen(unchanged) == [(304, b"r=3")] * 10
    assert [each.status for each in whole] == [200, 200, 200, 429]


@pytest.mark.parametrize("store", STORES)
async def test_304_costs_as_any_answer_by_default(start, connect, store):
    weir, _ = await start(store, LIMIT)

    assert [each.status for each in await asked(connect, weir, 4)] == [304, 304, 304, 429]


@pytest.mark.parametrize("store", STORES)
async def test_each_limit_says_so_for_itself(start, connect, store):
    """And gives back what it took, also where limits do not meet every request."""
    free = {"name": "free", "rate": "9/h", "cost": 3, "cost_304": 0, "match": {"paths": ["/*"]}}
    weir, origin = await start(store, {**LIMIT, "key": "const"}, free)
    before = await asked(connect, weir, 2)
    origin.says = WHOLE
    after = await asked(connect, weir, 1)

    told = [each.value("RateLimit") for each in (*before, *after)]
    assert [each.split(b'"few";r=')[1][:1] + each.split(b'"free";r=')[1][:1] for each in told] == [
        b"29",
        b"19",
        b"06",
    ]


async def test_nothing_is_given_back_while_the_store_is_down(start, connect, redis):
    """Requests go on, by the local bucket."""
    weir, _ = await start("redis", LIMIT | {"cost_304": 0})
    redis.stop()
    while weir.admin("/status").json()["store"]["up"]:
        await asked(connect, weir, 1)
        await asyncio.sleep(0.05)
    statuses = [each.status for each in await asked(connect, weir, 4)]

    assert statuses[-1] == 429
    assert 500 not in statuses
