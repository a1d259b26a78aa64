"""How many series there are is a function of the config: whatever clients send, none is made for it."""

from __future__ import annotations

import itertools
import random
import re
from http import HTTPStatus

import pytest

from tests.support.messages import answer, get
from tests.support.origin import answering

pytestmark = pytest.mark.timeout(180)

REQUESTS = 10_000
MARK = "zq7"  # in all that a client can choose
METHODS = ("GET", "HEAD", "POST", "DELETE", MARK)
STATUSES = (200, 204, 404, 500)
SERIES = re.compile(r"^(\w+(?:\{[^}]*\})?) ", re.MULTILINE)
SETTINGS = {
    "limits": [
        {
            "name": "few",
            "key": ["header:X-Auth-Token", "client-ip"],
            "rate": "2/h",
            "match": {"paths": ["/few/*"]},
        },
        {"name": "many", "key": ["header:X-Auth-Token", "client-ip"], "rate": "1000000/s"},
    ],
    "log": {"access": "off"},
}


def service(request):
    return answer(int(request.start.partition(b"status=")[2][:3] or 200), b"")


def text(chance):
    """Of a client's own: what stands in names, values and targets without making them malformed."""
    return MARK + "".join(chance.choices('abcXYZ019-._~%{}"\\=,', k=chance.randrange(12)))


def request(chance, method, folder, status):
    """Behind what decides about it, all is chance."""
    name = re.sub(r"[^a-zA-Z0-9-]", "", text(chance))
    fields = [f"X-{name}: {text(chance)}", f"User-Agent: {text(chance)}", f"X-Request-Id: {text(chance)}"]
    fields += [f"X-Auth-Token: {text(chance)}", f"Accept: {text(chance)}"]
    target = f"/{folder}/{text(chance)}?status={status}&{text(chance)}"
    if method == MARK:
        method += name
    return get(*chance.sample(fields, chance.randrange(6)), target=target, method=method)


def series(weir):
    return set(SERIES.findall(weir.admin("/metrics").body.decode()))


async def exchanged(connect, weir, requests):
    """Each on its way, and its answer; what closes the connection begins another one."""
    wire = None
    for data in requests:
        wire = wire or await connect(weir)
        await wire.send(data)
        response = await wire.response(data.partition(b" ")[0].decode())
        if response.value("Connection") == b"close":
            wire = None


async def test_statuses_that_clients_choose_make_few_series(start_weir, start_origin, connect):
    """Of a service that answers as it is told, each status without a name counts as its class."""
    weir = start_weir({"log": {"access": "off"}}, upstream=await start_origin(answering(service)))
    statuses = [status for status in range(200, 600) if status not in (204, 205, 304)]
    await exchanged(connect, weir, [get(target=f"/?status={status}") for status in statuses])
    metrics = weir.metrics()
    seen = {labels["status"] for labels, _ in metrics.samples("weir_requests_total")}

    assert seen <= {str(int(status)) for status in HTTPStatus} | {"2xx", "3xx", "4xx", "5xx"}
    assert metrics.total("weir_requests_total", status="4xx") == 100 - len(
        [status for status in HTTPStatus if 400 <= status < 500]
    )
    assert metrics.total("weir_redactions_total", status="5xx") > 80
    assert metrics.total("weir_requests_total") == len(statuses)


async def test_clients_make_no_series(start_weir, start_origin, connect):
    """After each kind of exchange has come by once, 10 000 of them with ever other names make none."""
    weir = start_weir(SETTINGS, upstream=await start_origin(answering(service)))
    kinds = list(itertools.product(METHODS, ("few", "all", "bad#"), STATUSES))
    chance = random.Random(1)
    await exchanged(connect, weir, [request(chance, *kind) for kind in kinds * 3])
    before = series(weir)
    await exchanged(connect, weir, [request(chance, *chance.choice(kinds)) for _ in range(REQUESTS)])
    after = series(weir)

    assert after - before == set()
    assert not [each for each in after if MARK in each]
    assert weir.metrics().total("weir_requests_total") == REQUESTS + len(kinds) * 3
