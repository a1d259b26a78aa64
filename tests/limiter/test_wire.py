"""A connection of redis-py's under our protocol, on both loops."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest
import uvloop
from redis.asyncio.connection import Connection

from proxy.config.addresses import parse_store
from proxy.limiter.dialler import Dialler, opened
from proxy.limiter.redis import RedisStore
from proxy.limiter.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.redis_servers import Redis

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class Question:
    deadline = float("inf")

    def __init__(self) -> None:
        self.reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def replied(self, reply: Any, link: Any) -> None:
        self.reply.set_result(reply)

    def failed(self) -> None:
        raise AssertionError


class Mistaken(Question):
    """A call that cannot take its reply."""

    def __init__(self) -> None:
        super().__init__()
        self.has_failed = asyncio.Event()

    def replied(self, reply: Any, link: Any) -> None:
        raise ZeroDivisionError

    def failed(self) -> None:
        self.has_failed.set()


class Losses:
    def __init__(self) -> None:
        self.count = 0
        self.said: Exception | None = None
        self.seen = asyncio.Event()

    def __call__(self, said: Exception | None) -> None:
        self.count += 1
        self.said = said
        self.seen.set()


async def taken_over(redis: Redis, lost: Callable[[Exception | None], None], **options: Any) -> Wire:
    connection = Connection(port=redis.port, **({"protocol": 2} | options))
    await connection.connect()
    (link,) = RedisStore(
        Dialler(parse_store(redis.url)), 1.0
    )._dispatcher.links  # of a store that never starts
    return Wire(opened(connection), link, lost)


async def ask(wire: Wire, command: bytes) -> Any:
    question = Question()
    wire.send(command + b"\r\n", question)
    return await asyncio.wait_for(question.reply, 5)


@pytest.mark.parametrize("loop", LOOPS)
def test_replies_come_to_their_calls(loop: str, shared_redis: Redis) -> None:
    """In order, however many are under way, errors as values."""

    async def story() -> None:
        losses = Losses()
        wire = await taken_over(shared_redis, losses)
        replies = await asyncio.gather(*(ask(wire, b"ECHO %d" % number) for number in range(200)))
        error = await ask(wire, b"GET")
        wire.close()
        await asyncio.sleep(0)

        assert replies == [b"%d" % number for number in range(200)]
        assert "wrong number of arguments" in str(error)
        assert losses.count == 0

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(story())


@pytest.mark.parametrize("loop", LOOPS)
def test_loss_is_told_once(loop: str, shared_redis: Redis) -> None:
    """And the call without a reply is still there."""

    async def story() -> None:
        losses = Losses()
        wire = await taken_over(shared_redis, losses)
        question = Question()
        wire.send(b"BLPOP nobody-pushes 0\r\n", question)
        shared_redis.ask("CLIENT", "KILL", "TYPE", "normal")
        await asyncio.wait_for(losses.seen.wait(), 5)

        assert losses.count == 1
        assert wire.calls == deque([question])

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(story())


async def test_mistake_of_ours_in_a_reply_leaves_no_call_without_an_end(
    shared_redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither its own, which is decided without Redis then, nor those behind it."""

    class Mistaken(Question):
        def replied(self, reply: Any, link: Any) -> None:
            raise ValueError(reply)

        def failed(self) -> None:
            self.reply.set_result("failed")

    losses = Losses()
    wire = await taken_over(shared_redis, losses)
    mistaken = Mistaken()
    wire.send(b"ECHO a\r\n", mistaken)
    behind = await ask(wire, b"ECHO b")

    assert (await asyncio.wait_for(mistaken.reply, 5), behind) == ("failed", b"b")
    assert losses.count == 0
    assert "crashed" in caplog.text
    wire.close()


async def test_push_of_resp3_is_nobodys_reply(shared_redis: Redis) -> None:
    losses = Losses()
    wire = await taken_over(shared_redis, losses, protocol=3)
    await ask(wire, b"CLIENT TRACKING ON BCAST PREFIX pushed:")
    shared_redis.ask("SET", "pushed:1", "x")
    replies = [await ask(wire, b"ECHO %d" % number) for number in range(3)]
    false = await ask(wire, b'EVAL "redis.setresp(3) return false" 0')

    assert replies == [b"0", b"1", b"2"]
    assert false is None or false is False
    assert losses.count == 0
    wire.close()


async def test_reply_to_nothing_ends_the_connection(shared_redis: Redis) -> None:
    """The order is lost: a later reply would go to the wrong request."""
    losses = Losses()
    wire = await taken_over(shared_redis, losses)
    wire._transport.write(b"PING\r\n")
    await asyncio.wait_for(losses.seen.wait(), 5)

    assert losses.count == 1


async def test_what_is_not_redis_ends_the_connection(shared_redis: Redis) -> None:
    losses = Losses()
    wire = await taken_over(shared_redis, losses)
    wire.data_received(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    assert losses.count == 1


async def test_mistake_of_ours_leaves_no_call_without_an_end(
    redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told, and those behind are answered."""
    wire = await taken_over(redis, Losses())
    mistaken = Mistaken()
    wire.send(b"PING\r\n", mistaken)
    behind = await ask(wire, b"PING")

    assert mistaken.has_failed.is_set()
    assert behind in (b"PONG", "PONG")
    assert [record.getMessage() for record in caplog.records] == ["crashed"]
    wire.close()
