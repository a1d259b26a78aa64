"""Who invents credentials pays by address, until the service has vouched for one."""

from __future__ import annotations

import pytest

from tests.support.messages import answer, get
from tests.support.origin import answering
from tests.support.patience import until

VALID = {b"ada", b"bob", *(b"user-%d" % n for n in range(60))}
LIMIT = {
    "name": "per-user",
    "key": ["header:X-Auth-Token", "header:Authorization", "client-ip"],
    "rate": "5/h",
    "unproven": {"rate": "3/h"},
}


def service(request):
    """Knows its users, and whoever shows nothing."""
    token = request.value("X-Auth-Token")
    return answer(200 if token is None or token in VALID else 401)


@pytest.fixture
async def origin(start_origin):
    return await start_origin(answering(service))


async def statuses(ask, weir, *tokens):
    return [(await ask(weir, get(f"X-Auth-Token: {token}"))).status for token in tokens]


async def test_invented_credentials_end_where_the_address_ends(start_weir, origin, ask):
    """And a proven one beside them does not notice."""
    weir = start_weir({"limits": [LIMIT]}, upstream=origin)
    first = await statuses(ask, weir, "ada")
    invented = await statuses(ask, weir, *[f"invented-{n}" for n in range(8)])
    proven = await statuses(ask, weir, *["ada"] * 5)

    assert first == [200]
    assert invented == [401] * 3 + [429] * 5
    assert proven == [200] * 4 + [429]  # its own five are spent


async def test_new_users_behind_one_address_do_not_wait_for_each_other(start_weir, origin, ask):
    """The answer gives the address its token back: many more than the burst are served."""
    weir = start_weir({"limits": [LIMIT]}, upstream=origin)
    seen = await statuses(ask, weir, *[f"user-{n}" for n in range(20)])

    assert seen == [200] * 20


async def test_answer_tells_of_the_tightest_bucket(start_weir, origin, ask):
    weir = start_weir({"limits": [LIMIT]}, upstream=origin)
    unknown = await ask(weir, get("X-Auth-Token: nobody"))
    known = [await ask(weir, get("X-Auth-Token: ada")) for _ in range(2)]

    assert unknown.value("RateLimit") == b'"per-user";r=2;t=1200'
    assert [each.value("RateLimit-Policy") for each in known][1] == b'"per-user";q=5;w=3600'


async def test_what_is_proven_survives_restarts_and_other_replicas_know_it(start_weir, origin, ask, redis):
    settings = {"limits": [LIMIT], "store": {"url": redis.url}}
    one, two = (start_weir(settings, upstream=origin) for _ in range(2))
    assert await statuses(ask, one, "ada", "x", "y", "z", "ada") == [200, 401, 401, 401, 200]
    await until(lambda: two.admin("/status").json()["store"]["proven"] == 1, "the other has read it")
    one.stop()
    late = start_weir(settings, upstream=origin)

    assert await statuses(ask, two, "w", "ada") == [429, 200]
    assert await statuses(ask, late, "w", "ada") == [429, 200]


@pytest.mark.parametrize("moves", [False, True], ids=["keep", "address"])
async def test_address_pays_for_what_the_service_does_not_know(start_weir, origin, ask, moves):
    """`on_upstream_401: address`: the key gets its tokens back."""
    limit = LIMIT | {"unproven": None, "on_upstream_401": "address" if moves else "keep"}
    weir = start_weir({"limits": [limit]}, upstream=origin)
    seen = await statuses(ask, weir, *["mistyped"] * 4)
    anonymous = [(await ask(weir, get())).status for _ in range(6)]
    again = await statuses(ask, weir, *["mistyped"] * 3)

    assert seen == [401] * 4
    assert anonymous.count(200) == (1 if moves else 5)
    assert again == ([401] * 3 if moves else [401, 429, 429])


@pytest.mark.parametrize("store", ["memory", "redis"])
async def test_one_bad_credential_ends_where_its_bucket_and_its_address_end(
    store, start_weir, origin, ask, request
):
    """`on_upstream_401: address`: what the address cannot pay does not go back."""
    url = request.getfixturevalue("redis").url if store == "redis" else "memory"
    limit = LIMIT | {"unproven": None, "on_upstream_401": "address"}
    weir = start_weir({"limits": [limit], "store": {"url": url}}, upstream=origin)
    seen = await statuses(ask, weir, *["guessed"] * 20)

    assert seen.count(401) == 10
    assert seen[10:] == [429] * 10


async def test_decoy_beside_a_good_credential_is_not_proven_by_it(start_weir, start_origin, ask):
    """Nor by an OPTIONS, which the service answers whoever asks."""

    def looks_at_authorization(request):
        is_known = request.value("Authorization") == b"Bearer ada" or request.method == b"OPTIONS"
        return answer(200 if is_known else 401)

    origin = await start_origin(answering(looks_at_authorization))
    weir = start_weir({"limits": [LIMIT]}, upstream=origin)
    decoys = [f"X-Auth-Token: decoy-{n}" for n in range(4)]
    beside = [(await ask(weir, get(decoy, "Authorization: Bearer ada"))).status for decoy in decoys]
    asked = [(await ask(weir, get(decoys[0], method="OPTIONS"))).status for _ in range(2)]
    alone = [(await ask(weir, get(decoy))).status for decoy in decoys]

    assert beside == [200] * 4
    assert asked == [200] * 2
    assert alone == [401] + [429] * 3  # the address has paid two OPTIONS, and this one


@pytest.mark.parametrize("unchanged", [False, True])
async def test_own_304_gives_the_newcomers_their_token_back_once(unchanged, start_weir, origin, ask):
    """Else each would pay back what others owe."""
    settings = {"limits": [LIMIT | {"cost_304": 0}], "contract": {"edge_etags": True}}
    weir = start_weir(settings, upstream=origin)
    tag = (await ask(weir, get())).value("ETag").decode()
    invented = await statuses(ask, weir, "a", "b")
    more = [f"If-None-Match: {tag}"] if unchanged else []
    good = [(await ask(weir, get(f"X-Auth-Token: user-{n}", *more))).status for n in range(3)]
    again = await statuses(ask, weir, "c", "d")

    assert invented == [401] * 2
    assert good == [304 if unchanged else 200] * 3
    assert again == [401, 429]
