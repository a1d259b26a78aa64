"""What an operator does to a key, as far as a store in memory shows it; tests/e2e/test_keys.py has the rest."""

from __future__ import annotations

import json
from http import HTTPStatus

import pytest

from proxy.admin.buckets import KeyVerbs, NotAppliedError
from proxy.config.sections.limits import LimitSettings
from proxy.limiter.memory import MemoryStore
from proxy.limiter.overrides import OVERRIDES_MAX
from proxy.policy.keys import KEY_BYTES
from proxy.policy.limits import Limit, Limits
from tests.limiter.contract import BLOCK

LIMITS = Limits([Limit(LimitSettings(name="few", rate="2/h"), b"secret")])


@pytest.fixture
def store():
    store = MemoryStore(lambda: 0)
    store.configure(LIMITS)
    return store


def key(number):
    return number.to_bytes(KEY_BYTES)


async def test_operator_learns_that_too_many_keys_are_blocked(store):
    """And what to do; the one that is released makes room."""
    verbs = KeyVerbs(store.keys, lambda: LIMITS)
    for number in range(OVERRIDES_MAX):
        await store.keys.put_override(("few", key(number)), BLOCK, 60)
    new = json.dumps({"key": key(OVERRIDES_MAX).hex()}).encode()
    with pytest.raises(NotAppliedError, match="1000 keys are blocked or have a grant; release") as refused:
        await verbs.apply("block", "few", new)
    released = await verbs.apply("release", "few", json.dumps({"key": key(7).hex()}).encode())
    blocked = await verbs.apply("block", "few", new)

    assert refused.value.code == HTTPStatus.CONFLICT
    assert released["released"] == 1
    assert blocked["key"] == key(OVERRIDES_MAX).hex()
