"""What calls itself Redis and answers otherwise: every request is decided in time, and nothing fills up or stands still.

The server is a real one, behind a relay that puts other words into its mouth.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from contextlib import suppress
from itertools import repeat
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from proxy.limiter.dialler import TlsFiles
from proxy.limiter.overrides import Override
from proxy.limiter.records import UNITS_MAX
from proxy.limiter.store import CrowdedError, UnreachableError
from proxy.policy.fields import DRAFT10, fields
from proxy.policy.slots import slots_of
from tests.limiter.asking import ask, ask_all, charge, impatient, limits_of, store_at
from tests.support.innocent import innocent
from tests.support.papers import Papers
from tests.support.patience import own_time, until
from tests.support.redis_servers import Relay

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
    from pathlib import Path

    from tests.support.redis_servers import Redis

TIMEOUT = 0.2
LIMITS = limits_of({"name": "per-user", "rate": "100/h"})
(LIMIT,) = LIMITS

# What is no answer to anything Weir asks.
LIES: dict[str, Iterable[bytes]] = {
    "an empty list": [b"*0\r\n"],
    "more foreign keys than were asked": [
        b"*7\r\n" + b":0\r\n" * 5 + b":9007199254740992\r\n:1795000000000000\r\n"
    ],
    "fewer foreign keys than none": [b"*7\r\n" + b":0\r\n" * 5 + b":-1\r\n:1795000000000000\r\n"],
    "a null list": [b"*-1\r\n"],
    "a list of one text": [b"*1\r\n$2\r\nhi\r\n"],
    "a list of nothing": [b"*3\r\n$-1\r\n$-1\r\n$-1\r\n"],
    "a list of lists": [b"*3\r\n*1\r\n:1\r\n*0\r\n*0\r\n"],
    "too few numbers": [b"*2\r\n:1\r\n:1\r\n"],
    "too many numbers": [b"*9\r\n" + b":1\r\n" * 9],
    "numbers that are too large": [b"*3\r\n:9223372036854775807\r\n:0\r\n:1795000000000000\r\n"],
    "numbers that are too small": [b"*3\r\n:-9223372036854775807\r\n:0\r\n:1795000000000000\r\n"],
    "a time beyond all": [b"*3\r\n:0\r\n:0\r\n:9223372036854775807\r\n"],
    "a late call of no time": [b"*1\r\n+OK\r\n"],
    "a big number": [b"*3\r\n(" + b"9" * 400 + b"\r\n:0\r\n:0\r\n"],
    "fractions": [b"*3\r\n,1.5\r\n,2.5\r\n,3.5\r\n"],
    "not a number": [b"*3\r\n,nan\r\n,inf\r\n:0\r\n"],
    "a map": [b"%1\r\n:1\r\n:2\r\n"],
    "a set": [b"~3\r\n:1\r\n:2\r\n:3\r\n"],
    "a status": [b"+OK\r\n"],
    "a number": [b":1\r\n"],
    "a text": [b"$5\r\nhello\r\n"],
    "null": [b"_\r\n"],
    "an error of nobody's": [b"-WHATEVER it is\r\n"],
    "an error without a word": [b"-\r\n"],
    "bytes that are no text": [b"-\xff\xfe\r\n"],
    "another protocol": [b"HTTP/1.1 400 Bad Request\r\n\r\n"],
    "a push": [b">2\r\n+message\r\n+x\r\n"],
    "a list that goes deep": [b"*1\r\n" * 64 + b":1\r\n"],
    "a huge text": [b"$2000000000\r\n"],
    "a huge list": [b"*2000000000\r\n"],
    "a huge list in pieces": [b"*", b"2000", b"000000", b"\r\n"],
    "a huge list in a list": [b"*2\r\n:1\r\n*2000000000\r\n:1\r\n"],
    "a huge map": [b"%2000000000\r\n"],
    "the beginning of a list": [b"*3\r\n:1\r\n"],
    "nothing": [],
}
WORDY: dict[str, Callable[[], Iterator[bytes]]] = {
    "a status without an end": lambda: repeat(b"+" + b"x" * 65536),
    "a text without an end": lambda: repeat(b"$99999\r\n" + b"x" * 99_999 + b"\r\n"),
    "replies without an end": lambda: repeat(b"*3\r\n:0\r\n:0\r\n:1795000000000000\r\n" * 1000),
    "pushes without an end": lambda: repeat(b">2\r\n+message\r\n+x\r\n" * 1000),
    "lists that begin and begin": lambda: repeat(b"*99999\r\n" * 1000),
}


@pytest.fixture
async def beside() -> AsyncIterator[None]:
    """An innocent client, whom nothing keeps waiting."""
    async with innocent():
        yield


def rss() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


@pytest.mark.parametrize("lie", LIES)
async def test_request_is_decided_whatever_is_answered(
    lie: str, redis: Redis, relay: Relay, beside: None
) -> None:
    """In time, by Redis or here; when the lying ends, Redis decides again."""
    async with store_at(relay.url, LIMITS) as store:
        await ask(store, charge(LIMIT, "warm"))
        before = rss()
        with impatient(store, TIMEOUT):
            relay.lie = lambda _: LIES[lie]
            begun = own_time()
            decisions = await ask_all(store, [[charge(LIMIT, user)] for user in range(5)])
            seconds = own_time() - begun
            relay.lie = None
        await until(lambda: store.is_up, "the store is up again", within=4.0)
        after = await ask(store, charge(LIMIT, "warm"))

        assert [decision.is_admitted for decision in decisions] == [True] * 5
        assert seconds < TIMEOUT * 2 + 0.3
        assert relay.lies
        assert after.via == "store"
        assert after.verdicts[0].remaining == 98
        assert rss() - before < 64 * 1024 * 1024


async def test_less_time_after_a_reload_counts_at_once(redis: Redis, relay: Relay) -> None:
    """Also while the link still waits as long as it had before."""
    async with store_at(relay.url, LIMITS, timeout=10.0) as store:
        await ask(store, charge(LIMIT, "warm"))
        with impatient(store, TIMEOUT):
            relay.lie = lambda _: []
            decision = await ask(store, charge(LIMIT))

        assert decision.is_admitted
        assert decision.via == "local"


@pytest.mark.parametrize("lie", LIES)
async def test_beat_ends_no_link(
    lie: str, redis: Redis, relay: Relay, caplog: pytest.LogCaptureFixture
) -> None:
    """What answers the sign of life falsely is down, says so, and is tried again; no task ends unseen."""
    caplog.set_level(logging.INFO, "weir")
    async with store_at(relay.url, LIMITS) as store:
        with impatient(store, TIMEOUT):
            relay.lie = lambda _: LIES[lie]
            store._dispatcher.links[0].beat_now()
            await until(lambda: relay.lies, "it has lied", within=3.0)
            await until(lambda: not store.status()["up"] or relay.lies > 1, "it is down", within=3.0)
            relay.lie = None
        begun = own_time()
        while (await ask(store, charge(LIMIT))).via != "store":
            assert own_time() - begun < 5.0
            await asyncio.sleep(0.05)

        assert store.replicas.count == 1
        assert store._dispatcher.links[0]._tending is not None
        assert not store._dispatcher.links[0]._tending.done()
        assert "crashed" not in caplog.text


@pytest.mark.parametrize("lie", WORDY)
async def test_words_without_an_end_fill_nothing(lie: str, redis: Redis, relay: Relay, beside: None) -> None:
    async with store_at(relay.url, LIMITS) as store:
        await ask(store, charge(LIMIT, "warm"))
        before = rss()
        with impatient(store, TIMEOUT):
            relay.lie = lambda _: WORDY[lie]()
            begun = own_time()
            decisions = await ask_all(store, [[charge(LIMIT, user)] for user in range(5)])
            seconds = own_time() - begun
            relay.lie = None
        relay.cut()
        await until(lambda: store.is_up, "the store is up again", within=4.0)

        assert [decision.is_admitted for decision in decisions] == [True] * 5
        assert seconds < TIMEOUT * 2 + 0.3
        assert rss() - before < 64 * 1024 * 1024


@pytest.mark.parametrize("lie", [*LIES, *WORDY])
async def test_connection_that_begins_with_a_lie_is_no_connection(
    lie: str, redis: Redis, relay: Relay, beside: None
) -> None:
    """Whatever the first answer is an answer to: a password, a database, a cluster's slots, a sentinel's master."""
    before = rss()
    relay.lie = lambda _: LIES[lie] if lie in LIES else WORDY[lie]()

    async def stand(url: str) -> None:
        begun = own_time()
        async with store_at(url, LIMITS, timeout=TIMEOUT) as store:
            decision = await ask(store, charge(LIMIT))
            seconds = own_time() - begun

            assert (decision.is_admitted, decision.via) == (True, "local")
            assert not store.is_up
            assert seconds < 4.0

    await asyncio.gather(
        stand(relay.url.replace("//", "//:pw@") + "/1"),
        stand(relay.url.replace("redis:", "redis+cluster:")),
        stand(relay.url.replace("redis:", "redis+sentinel:") + "/mymaster"),
    )
    assert rss() - before < 64 * 1024 * 1024


async def test_reply_in_the_smallest_pieces_is_one(redis: Redis, relay: Relay) -> None:
    async with store_at(relay.url, LIMITS) as store:
        relay.lie = lambda data: [data[at : at + 1] for at in range(len(data))]
        decisions = await ask_all(store, [[charge(LIMIT)]] * 20)

        assert [decision.verdicts[0].remaining for decision in decisions] == list(range(99, 79, -1))
        assert {decision.via for decision in decisions} == {"store"}
        assert store.figures.errors == {}


async def test_second_reply_that_nobody_asked_for_reaches_nobody(redis: Redis, relay: Relay) -> None:
    """Else every later reply would be another request's."""
    async with store_at(relay.url, LIMITS, timeout=1.0) as store:
        relay.lie = lambda data: [data, data]
        await ask(store, charge(LIMIT, "ada"))
        relay.lie = None
        await until(lambda: store.is_up, within=3.0)
        decisions = await ask_all(store, [[charge(LIMIT, user)] for user in ("ada", "bob", "bob", "bob")])

        assert [decision.verdicts[0].remaining for decision in decisions] == [98, 99, 98, 97]


@pytest.mark.parametrize("moment", range(9))
async def test_second_reply_while_a_link_opens_breaks_it_off(
    moment: int, redis: Redis, relay: Relay, caplog: pytest.LogCaptureFixture
) -> None:
    """Also behind the last answer of all: no link is up without a connection."""
    said = 0

    def lie(data: bytes) -> list[bytes]:
        nonlocal said
        said += 1
        return [data + data] if said == moment + 1 else [data]

    relay.lie = lie
    async with store_at(relay.url, LIMITS, timeout=TIMEOUT) as store:
        begun = own_time()
        first = await ask(store, charge(LIMIT))
        seconds = own_time() - begun
        relay.lie = None
        await until(lambda: store.is_up, "the store is up", within=4.0)
        after = await ask(store, charge(LIMIT, "bob"))

        assert first.is_admitted
        assert seconds < TIMEOUT * 2 + 0.3
        assert after.via == "store"
        assert after.verdicts[0].remaining == 99
    assert "Exception" not in caplog.text


@pytest.mark.parametrize("words", ["MOVED x", "ASK", "MOVED 1 :", "ASK 1 a:b", "MOVED 1 x y"])
async def test_redirection_to_nowhere_is_trouble_and_no_crash(
    words: str, redis: Redis, relay: Relay, caplog: pytest.LogCaptureFixture
) -> None:
    """From whoever is asked: for a password, a database, a cluster's slots, a sentinel's master."""
    relay.lie = lambda _: [b"-%b\r\n" % words.encode()]
    for url in (
        relay.url,
        relay.url.replace("//", "//:pw@") + "/1",
        relay.url.replace("redis:", "redis+cluster:"),
        relay.url.replace("redis:", "redis+sentinel:") + "/mymaster",
    ):
        async with store_at(url, LIMITS, timeout=TIMEOUT) as store:
            decision = await ask(store, charge(LIMIT))

            assert (decision.is_admitted, decision.via) == (True, "local")
            assert not store.is_up
    assert "crashed" not in caplog.text


async def test_request_that_its_link_has_lost_is_decided_all_the_same(redis: Redis) -> None:
    """Whatever mistake of ours kept it there."""
    async with store_at(redis.url, LIMITS, timeout=0.05) as store:
        link: Any = store._dispatcher.links[0]
        submit, lost = link.submit, []
        link.submit = lost.append
        waiting = asyncio.create_task(ask(store, charge(LIMIT)))
        await until(lambda: lost, "it is lost")
        link.submit = submit
        await asyncio.sleep(0.1)
        store.sweep()
        early = waiting.done()
        store._dispatcher.now = lambda: monotonic() + 5
        store.sweep()
        decision = await waiting

        assert not early
        assert (decision.is_admitted, decision.via) == (True, "local")
        assert store.figures.errors == {"stuck": 1}


@pytest.mark.parametrize("fits", [True, False], ids=["admitted", "refused"])
async def test_debt_beyond_all_is_no_wait_for_ever(fits: bool, redis: Redis, relay: Relay) -> None:  # noqa: FBT001 - a parameter
    """It is told as a bucket of ours can be at most: who comes back then is refused again, or is not."""
    async with store_at(relay.url, LIMITS) as store:
        relay.lie = lambda _: [
            b"*3\r\n:%d\r\n:0\r\n:1795000000000000\r\n" % ((1 << 52) if fits else -(1 << 52))
        ]
        decision = await ask(store, charge(LIMIT))
        (verdict,) = decision.verdicts

        assert decision.is_admitted is fits
        assert verdict.retry_after <= 36
        assert int(fields(decision, DRAFT10).rpartition(b";t=")[2]) <= 36
        assert not decision.waits


# --- by TLS ---

BY_TLS = (
    "an empty list",
    "a list of one text",
    "a huge text",
    "a huge list in pieces",
    "another protocol",
    "nothing",
)


@pytest.fixture
async def secured(redis: Redis, tmp_path: Path) -> AsyncIterator[tuple[Relay, TlsFiles]]:
    papers = Papers(tmp_path / "papers")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*papers.issue("IP:127.0.0.1"))
    async with Relay(redis.port, context) as relay:
        yield relay, TlsFiles(ca=str(papers.ca))


@pytest.mark.unmeasured
@pytest.mark.parametrize("lie", [*BY_TLS, *WORDY])
async def test_liar_by_tls_is_one_too(
    lie: str, secured: tuple[Relay, TlsFiles], caplog: pytest.LogCaptureFixture
) -> None:
    """To a request and to a sign of life; and when it has lied, it is asked again."""
    relay, tls = secured
    async with store_at(relay.url, LIMITS, tls=tls) as store:
        await ask(store, charge(LIMIT, "warm"))
        before = rss()
        async with innocent():
            with impatient(store, TIMEOUT):
                relay.lie = lambda _: LIES[lie] if lie in LIES else WORDY[lie]()
                begun = own_time()
                decisions = await ask_all(store, [[charge(LIMIT, user)] for user in range(5)])
                seconds = own_time() - begun
                store._dispatcher.links[0].beat_now()
                await until(lambda: not store.status()["up"], "it is down", within=3.0)
                relay.lie = None
                relay.cut()
            await until(lambda: store.is_up, "the store is up again", within=5.0)

        assert [decision.is_admitted for decision in decisions] == [True] * 5
        assert seconds < TIMEOUT * 2 + 0.3
        assert rss() - before < 64 * 1024 * 1024
        assert (await ask(store, charge(LIMIT, "warm"))).verdicts[0].remaining == 98
        assert "crashed" not in caplog.text


async def test_requests_under_way_when_a_connection_by_tls_ends_are_decided_in_time(
    secured: tuple[Relay, TlsFiles], caplog: pytest.LogCaptureFixture
) -> None:
    """On asyncio's loop as on uvloop."""
    relay, tls = secured
    async with store_at(relay.url, LIMITS, timeout=0.5, tls=tls) as store:
        await ask(store, charge(LIMIT, "warm"))
        relay.lie = lambda _: []
        asking = asyncio.create_task(ask_all(store, [[charge(LIMIT, user)] for user in range(5)]))
        await until(lambda: relay.lies, "they are under way")
        begun = own_time()
        relay.lie = None
        relay.cut()
        decisions = await asking
        seconds = own_time() - begun

        assert {decision.via for decision in decisions} == {"store"}
        assert seconds < 0.5
        assert store.figures.errors == {"connection": 1}
        assert "Exception in callback" not in caplog.text


# --- every command ---

VERBS: dict[str, Callable[[Any], Awaitable[object]]] = {
    "look": lambda store: store.keys.debt(LIMIT.terms, charge(LIMIT).key),
    "reset": lambda store: store.keys.reset(LIMIT, charge(LIMIT).key),
    "reset all": lambda store: store.keys.reset(LIMIT, b""),
    "block": lambda store: store.keys.put_override((LIMIT.name, charge(LIMIT).key), Override(0), 60.0),
    "release": lambda store: store.keys.release((LIMIT.name, charge(LIMIT).key)),
    "slots": lambda store: store.keys.under_way(LIMIT, charge(LIMIT).key),
}


@pytest.mark.parametrize("verb", VERBS)
async def test_operator_is_told_of_an_answer_that_is_none(
    verb: str, redis: Redis, relay: Relay, caplog: pytest.LogCaptureFixture
) -> None:
    """In time, whatever is answered; afterwards all is as it was."""
    async with store_at(relay.url, LIMITS, timeout=TIMEOUT) as store:
        for lie, words in LIES.items():
            relay.lie = lambda _, words=words: words
            with suppress(UnreachableError, CrowdedError):
                async with asyncio.timeout(5):
                    told = await VERBS[verb](store)
                assert told is None or (isinstance(told, int) and 0 <= told <= UNITS_MAX), lie
            relay.lie = None
            await until(lambda: store.is_up, "the store is up again", within=5.0)

        assert "crashed" not in caplog.text
        assert (await ask(store, charge(LIMIT, "warm"))).via == "store"


@pytest.mark.unmeasured
@pytest.mark.parametrize("lie", LIES)
async def test_slot_is_decided_whatever_is_answered(
    lie: str, redis: Redis, relay: Relay, beside: None
) -> None:
    """And comes back, however its end is answered."""
    limits = limits_of({"name": "few", "concurrency": 2})
    (limit,) = limits
    async with store_at(relay.url, limits, timeout=TIMEOUT) as store:
        relay.lie = lambda _: LIES[lie]
        decisions = await ask_all(store, [[charge(limit, user)] for user in range(5)])
        for decision in decisions:
            store.vacate(slots_of(decision))
        relay.lie = None
        await until(lambda: store.is_up, "the store is up again", within=5.0)
        held = [await ask(store, charge(limit, "ada")) for _ in range(3)]

        assert [decision.is_admitted for decision in held] == [True, True, False]
        assert not relay.lie
        for decision in held:
            store.vacate(slots_of(decision))
        assert not store.held.slots


# --- lists that are as long as what was asked for ---

ODD = {
    "a fraction": b",1.5",
    "not a number": b",nan",
    "less than nothing": b":-1",
    "nothing": b"_",
    "a list": b"*0",
}


class Slip:
    """One line of one reply is another."""

    def __init__(self, reply: int, line: int, words: bytes) -> None:
        self._replies = reply + 1  # until it is made
        self._line = line
        self._words = words

    def __call__(self, data: bytes) -> list[bytes]:
        self._replies -= 1
        lines = data.split(b"\r\n")
        if not self._replies and len(lines) > self._line:
            lines[self._line] = self._words
        return [b"\r\n".join(lines)]

    def is_made(self) -> bool:
        return self._replies <= 0


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("call", range(3), ids=["replicas", "overrides", "proven"])
async def test_odd_number_in_a_beat_is_forgotten(
    call: int, odd: str, redis: Redis, relay: Relay, caplog: pytest.LogCaptureFixture
) -> None:
    """In each place of the reply: what was heard once goes into no later call, and Redis decides again."""
    limits = limits_of(
        {"name": "a", "key": ["header:X-Auth-Token"], "rate": "9/s", "unproven": {"rate": "9/s"}}
    )
    (limit,) = limits
    async with store_at(relay.url, limits, timeout=1.0) as store:
        for place in range(4):
            slip = relay.lie = Slip(call, place + 1, ODD[odd])
            store._dispatcher.links[0].beat_now()
            await until(slip.is_made, within=3.0)
            relay.lie = None
            for _ in range(3):
                await until(lambda: store.is_up, "the store is up again", within=5.0)
                store._dispatcher.links[0].beat_now()
                await asyncio.sleep(0.02)
            assert (await ask(store, charge(limit, place))).via == "store"

    assert "crashed" not in caplog.text


# --- lists that are longer than what was asked for ---

MANY = b"*50000\r\n" + b"$3\r\na:b\r\n" * 50_000
NOW = b":1795000000000000\r\n"
PAGES = {  # by the call of a beat that it answers
    "notes": (0, b"*5\r\n:1\r\n:1\r\n" + NOW + NOW + MANY),
    "overrides": (1, b"*5\r\n:0\r\n:1\r\n" + NOW + MANY + b"*50000\r\n" + b":1\r\n" * 50_000),
    "proven": (2, b"*5\r\n:1\r\n" + NOW + NOW + b":1\r\n" + MANY),
}


@pytest.mark.parametrize("page", PAGES)
async def test_page_that_is_too_long_keeps_nobody_waiting(page: str, redis: Redis, relay: Relay) -> None:
    """It is no answer, so the link begins anew."""
    limits = limits_of(
        {"name": "a", "key": ["header:X-Auth-Token"], "rate": "9/s", "unproven": {"rate": "9/s"}}
    )
    number, words = PAGES[page]
    async with store_at(relay.url, limits, timeout=1.0) as store:
        answered = 0

        def lie(data: bytes) -> list[bytes]:
            nonlocal answered
            answered += 1
            return [words] if answered == number + 1 else [data]

        async with innocent():
            relay.lie = lie
            store._dispatcher.links[0].beat_now()
            await until(lambda: not store.is_up, "it is down", within=3.0)
        relay.lie = None
        await until(lambda: store.is_up, "the store is up again", within=5.0)


async def test_crash_in_a_beat_is_logged_and_the_link_goes_on(
    redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """/status tells it, and the next connection is tried."""
    async with store_at(redis.url, LIMITS) as store:
        replicas: Any = store.replicas
        announce = replicas.announce

        async def crash(link: object) -> list[bytes]:
            raise ZeroDivisionError

        replicas.announce = crash
        store._dispatcher.links[0].beat_now()
        await until(lambda: not store.is_up, "it is down")
        status = store.status()
        replicas.announce = announce
        await until(lambda: store.is_up, "it is up again", within=5.0)

        assert "ZeroDivisionError" in caplog.text
        assert "ZeroDivisionError" in str(status)
        assert status["up"] is False
        assert (await ask(store, charge(LIMIT))).via == "store"
