from __future__ import annotations

import pytest

from tests.soak.soak import Plan, Soak


@pytest.mark.timeout(300)  # on a busy machine it goes on until everything has happened
async def test_short_soak_shows_nothing_unexpected(tmp_path):
    """`make soak` is the long one. How long innocents wait is not judged beside other tests."""
    plan = Plan(seconds=4.0, clients=5, hostiles=3, every=1.0, share_in_time=0.0)
    verdict = await Soak(plan, tmp_path).run()

    assert verdict.faults == [], verdict.told
