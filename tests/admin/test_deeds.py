"""`weir keys` where somebody sits at a terminal; tests/e2e/test_keys_command.py has the rest."""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
from dataclasses import replace

import pytest

from proxy.admin.app import admin_app
from proxy.admin.buckets import KeyVerbs
from proxy.admin.client import Plane
from proxy.admin.deeds import Deed, keys
from proxy.config.sections.limits import LimitSettings
from proxy.limiter.memory import MemoryStore
from proxy.policy.limits import Limit, Limits
from tests.admin.test_app import TOKEN, Now

LIMITS = Limits([Limit(LimitSettings(name="few", key=["header:X-Auth-Token"], rate="2/h"), b"secret")])


@pytest.fixture
async def plane(aiohttp_client):
    store = MemoryStore(lambda: 0)
    store.configure(LIMITS)
    sources = replace(Now().sources(TOKEN), keys=KeyVerbs(store.keys, lambda: LIMITS))
    client = await aiohttp_client(admin_app(sources))
    return Plane(str(client.make_url("")).rstrip("/"), None, TOKEN)


@pytest.fixture
def terminal(monkeypatch):
    """Standard input is one."""
    ours, theirs = os.openpty()
    with os.fdopen(theirs) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield
    os.close(ours)


async def test_value_is_asked_for_at_a_terminal_and_not_shown(plane, terminal, monkeypatch, capsys):
    asked = []

    def ask(prompt, *_, **__):
        asked.append(prompt)
        return "ada-4711"

    monkeypatch.setattr(getpass, "getpass", ask)
    deed = Deed("look", "few", ["header:X-Auth-Token"], {})
    code = await asyncio.to_thread(keys, plane, deed, is_json=False)
    shown = capsys.readouterr()

    assert code == 0
    assert [prompt.strip() for prompt in asked] == ["header:X-Auth-Token:"]
    assert "tokens:    2" in shown.out.splitlines()
    assert "ada-4711" not in shown.out + shown.err
