"""`on_upstream_429`: the service's own 429 passes, is counted apart, and may empty the client's bucket everywhere."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.support.messages import answer, get
from tests.support.origin import answering

DRAINS = {"name": "per-user", "rate": "15/s", "key": ["header:X-Auth-Token"], "on_upstream_429": "drain"}


def busy(*lines):
    """A service that says 429 to /busy, with these lines."""
    return answering(
        lambda request: answer(429, b"busy", *lines) if request.target == b"/busy" else answer(200)
    )


@pytest.fixture
def asked(connect):
    async def ask(weir, target="/", user="ana"):
        wire = await connect(weir)
        await wire.send(get(f"X-Auth-Token: {user}", target=target))
        response = await wire.response()
        wire.close()
        return response

    return ask


async def test_429_of_the_service_passes_and_is_counted_apart(start_weir, start_origin, asked):
    """By default no bucket is touched."""
    origin = await start_origin(busy("Retry-After: 20"))
    weir = start_weir({"limits": [{**DRAINS, "rate": "3/h", "on_upstream_429": "ignore"}]}, upstream=origin)
    responses = [await asked(weir, target) for target in ("/busy", "/", "/busy", "/")]
    counts = {
        source: weir.metrics().total("weir_requests_total", status="429", source=source)
        for source in ("upstream", "weir")
    }

    assert [response.status for response in responses] == [429, 200, 429, 429]
    assert (responses[0].body, responses[0].value("Retry-After")) == (b"busy", b"20")
    assert responses[3].json()["status"] == 429
    assert counts == {"upstream": 2, "weir": 1}


@pytest.mark.parametrize("store", ["memory", "redis"])
@pytest.mark.parametrize(("said", "least", "most"), [("20", 18, 20), ("1000000000000", 58, 60), ("-1", 1, 1)])
async def test_bucket_is_empty_for_the_retry_after(
    start_weir, start_origin, asked, request, store, said, least, most
):
    """Of this client alone; the answer itself passes as it is, but for the tokens that are told."""
    url = request.getfixturevalue("redis").url if store == "redis" else "memory"
    origin = await start_origin(busy(f"Retry-After: {said}"))
    weir = start_weir({"store": {"url": url, "timeout": "1s"}, "limits": [DRAINS]}, upstream=origin)
    passed = await asked(weir, "/busy")
    refused = await asked(weir)
    other = await asked(weir, user="bob")

    assert (passed.body, passed.value("Retry-After")) == (b"busy", said.encode())
    assert passed.value("RateLimit") == b'"per-user";r=0;t=%d' % most
    assert (refused.status, refused.json()["status"]) == (429, 429)
    assert least <= int(refused.value("Retry-After")) <= most
    assert other.status == 200
    assert len(origin.requests) == 2


async def test_all_replicas_refuse_until_the_same_moment(start_weir, start_origin, asked, redis):
    """And admit when it has come, as their Retry-After said."""
    origin = await start_origin(busy("Retry-After: 2"))
    settings = {"store": {"url": redis.url, "timeout": "1s"}, "limits": [DRAINS]}
    one, two = start_weir(settings, upstream=origin), start_weir(settings, upstream=origin)
    before = time.monotonic()
    assert (await asked(one, "/busy")).status == 429
    since = time.monotonic()
    refused = [await asked(weir) for weir in (two, one, two)]
    admitted = []
    for weir in (two, one):
        while (await asked(weir)).status != 200:
            await asyncio.sleep(0.01)
        admitted.append(time.monotonic())

    assert [response.status for response in refused] == [429] * 3
    assert {response.value("Retry-After") for response in refused} <= {b"1", b"2"}
    assert admitted[0] - before >= 2.0
    assert admitted[1] - since < 4.0
    assert len(origin.requests) == 3


async def test_drained_even_if_the_answer_is_replaced(start_weir, start_origin, asked):
    origin = await start_origin(busy("Retry-After: 20"))
    weir = start_weir({"limits": [DRAINS], "errors": {"redact": [429]}}, upstream=origin)
    weir.tolerates_complaints = True
    first = await asked(weir, "/busy")
    second = await asked(weir)

    assert b"busy" not in first.body
    assert (second.status, second.value("Retry-After")) == (429, b"20")
    assert len(origin.requests) == 1
