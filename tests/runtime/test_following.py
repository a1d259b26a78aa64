"""A config that is followed: what it refers to, and what breaks on the way."""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress

import pytest

from proxy.config import watcher
from proxy.runtime.following import Follower, Source, beside_the_loop
from tests.support.patience import until

SERVERS = 'upstream: {servers: ["http://127.0.0.1:1"]}\n'


class Followed:
    """What is reloaded; the first time it fails if it is told so."""

    def __init__(self):
        self.tokens = []
        self.is_broken = False

    async def reload(self, settings, _):
        if self.is_broken:
            self.is_broken = False
            raise ZeroDivisionError
        token = settings.admin.token
        self.tokens.append(token and token.get_secret_value())

    def refuse_reload(self, error):
        raise AssertionError(error)

    def reopen_logs(self):
        raise AssertionError


@pytest.fixture
async def followed(tmp_path, monkeypatch):
    """A service whose token is in a file, and the config."""
    monkeypatch.setattr(watcher, "SETTLE_SECONDS", 0.01)
    config = tmp_path / "weir.yaml"
    config.write_text(SERVERS + "admin: {token: 'file:token'}\n")
    (tmp_path / "token").write_text("first-token")
    service = Followed()
    following = asyncio.create_task(Follower(service, Source.read(str(config))).run())
    yield service, config
    following.cancel()
    with suppress(asyncio.CancelledError):
        await following


async def test_file_that_the_config_names_no_more_is_not_followed(followed, tmp_path):
    service, config = followed
    (tmp_path / "token").write_text("second-token")
    await until(lambda: service.tokens == ["second-token"], "the file is followed")
    config.write_text(SERVERS)
    await until(lambda: service.tokens[1:] == [None], "the config is followed")
    (tmp_path / "token").write_text("third-token")
    config.write_text(SERVERS + "admin: {token: a-fourth-token}\n")
    await until(lambda: len(service.tokens) > 2, "the config is still followed")

    assert service.tokens[2:] == ["a-fourth-token"]


async def test_reload_that_fails_is_told_and_the_next_one_follows(followed, tmp_path, caplog):
    """A mistake of ours must not end the following."""
    service, _ = followed
    service.is_broken = True
    (tmp_path / "token").write_text("second-token")
    await until(lambda: "reload_failed" in caplog.messages, "the mistake is told")
    (tmp_path / "token").write_text("third-token")
    await until(lambda: service.tokens == ["third-token"], "the next one is followed")


@pytest.mark.parametrize("collects", [True, False])
async def test_work_beside_the_loop_leaves_the_collector_as_it_was(collects):
    """It stops every thread at once, so it rests meanwhile."""
    gc.enable() if collects else gc.disable()
    try:
        meanwhile = await beside_the_loop(gc.isenabled)

        assert (meanwhile, gc.isenabled()) == (False, collects)
    finally:
        gc.enable()
