"""People in the portal, by config/content-hub.yaml: not throttled, and no way out for who is."""

from __future__ import annotations

from pathlib import Path
from time import monotonic

import pytest
import yaml

from tests.support.messages import answer, get
from tests.support.origin import answering

SETTINGS = yaml.safe_load((Path(__file__).parents[2] / "config" / "content-hub.yaml").read_text())
LIMITS = {key: SETTINGS[key] for key in ("limits", "plans")}
# The same with rates of a minute, so that floods of any speed are floods.
SLOW = LIMITS | {
    "limits": [
        limit | {"rate": limit["rate"].replace("/s", "/m"), "burst": min(limit.get("burst", 15), 60)}
        for limit in LIMITS["limits"]
    ]
}
PER_SECOND, AT_ONCE = 150 / 60, 60  # of one address
COOKIE = "Cookie: .AspNetCore.Cookies=CfDJ8; theme=dark"


@pytest.fixture
async def ask(start_weir, start_origin, connect):
    """Sends requests in a row on one connection, and gives their statuses."""
    origin = await start_origin(answering(answer(200)))

    async def statuses(limits, requests):
        wire = await connect(start_weir(limits, upstream=origin))
        seen = []
        for part in range(0, len(requests), 50):
            some = requests[part : part + 50]
            await wire.send(b"".join(some))
            seen += [(await wire.response()).status for _ in some]
        return seen

    return statuses


async def test_browser_is_not_throttled(ask):
    """Twenty times as many at once as an API user may send."""
    assert set(await ask(LIMITS, [get(COOKIE, target="/api/entities/1")] * 300)) == {200}


@pytest.mark.parametrize("target", ["/api/entities/1", "/en-us/"])
async def test_cookie_beside_a_token_lifts_nothing(ask, target):
    seen = await ask(SLOW, [get(COOKIE, "X-Auth-Token: ann", target=target)] * 20)

    assert seen[:15] == [200] * 15
    assert 429 in seen[15:]


FLOODS = {
    "no token": lambda n: get(COOKIE, target="/api/entities/1"),
    "another cookie each time": lambda n: get(f"Cookie: .AspNetCore.Cookies=x{n}", target="/api/entities/1"),
    "empty tokens": lambda n: get("X-Auth-Token:", "Authorization: Bearer", target="/api/entities/1"),
    "invented tokens where none is looked at": lambda n: get(f"X-Auth-Token: x{n}", target="/en-us/login"),
    "pages by another spelling": lambda n: get(f"X-Auth-Token: x{n}", target="/api/../en-us/login"),
}


@pytest.mark.parametrize("sent", FLOODS.values(), ids=FLOODS.keys())
async def test_flood_ends_at_the_address(ask, sent):
    began = monotonic()
    seen = await ask(SLOW, [sent(number) for number in range(300)])

    assert set(seen) == {200, 429}
    assert seen.count(200) <= AT_ONCE + PER_SECOND * (monotonic() - began) + 1
