"""The story of one exchange: whatever happens in whichever phase, it ends once and leaves nothing behind."""

from __future__ import annotations

import asyncio
from operator import attrgetter
from types import SimpleNamespace

import pytest

from proxy import faults, is_compiled
from proxy.gateway import Exchange
from proxy.http1.refused_heads import UNREAD
from proxy.limiter.memory import MemoryStore
from proxy.policy.retries import PER_SECOND, SHARE
from proxy.record import Record
from tests.net.bench import limit, settings
from tests.support.messages import answer, get, post
from tests.support.network import network
from tests.support.origin import answering
from tests.support.patience import until
from tests.support.ports import free_port
from tests.support.wire import CLEAN

UPGRADE = get("Connection: Upgrade", "Upgrade: chat")
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n"
LIMITED = limit("100/h", 100)


class LateStore(MemoryStore):
    """Decides when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = []

    def take(self, charges, waiter):
        self.waiting.append((super().take(charges, waiter), waiter))

    def decide(self):
        waiting, self.waiting = self.waiting, []
        for decision, waiter in waiting:
            waiter.decided(decision)


async def silent(visit):
    await visit.request_head()
    await visit.left()


async def half_an_answer(visit):
    await visit.request()
    await visit.send(answer(200, b"half")[:-2])
    await visit.left()


async def half_a_failure(visit):
    await visit.request()
    await visit.send(answer(500, b"half")[:-2])
    await visit.left()


async def switching(visit):
    await visit.request()
    await visit.send(SWITCH)
    await visit.left()


PHASES = {
    "within the head": (get()[:-2], silent, None),
    "deciding": (get(), silent, None),
    "waiting": (get(), silent, ("abandoned", 0)),
    "within its body": (post(b"x" * 100)[:-50], silent, ("abandoned", 0)),
    "answering": (get(), half_an_answer, ("abandoned", 200)),
    "redacting": (get(), half_a_failure, ("abandoned", 0)),
    "tunnelling": (UPGRADE, switching, ("tunnelled", 101)),
}


# --- the client leaves ---


@pytest.mark.parametrize("how", ["closes", "resets", "ends its side"])
@pytest.mark.parametrize("phase", PHASES)
async def test_client_that_leaves_in_any_phase_is_recorded_once(
    start_bench, start_origin, connect, phase, how
):
    """Its request is aborted, whatever the phase; nothing is left of it."""
    sent, script, expected = PHASES[phase]
    store = LateStore()
    origin = await start_origin(script)
    bench = await start_bench(origin, store=store, **LIMITED)
    wire = await connect(bench)
    await wire.send(sent)
    if phase == "within the head":
        await until(lambda: bench.frontend.connections)
    else:
        await until(lambda: store.waiting)
        if phase != "deciding":
            store.decide()
            visit = await origin.visit()
            await until(lambda: visit.received)
            await asyncio.sleep(0.05)
    {"closes": wire.close, "resets": wire.abort, "ends its side": wire.finish_sending}[how]()
    wire.close()
    await bench.is_empty()
    store.decide()

    if expected is not None:
        assert [(e.outcome, e.status) for e in bench.exchanges] == [expected]
        await asyncio.wait_for(visit.is_over.wait(), 5)
    else:
        assert [e.outcome for e in bench.exchanges] == (["abandoned"] if phase == "deciding" else [])
        assert origin.visits == []


async def test_connection_that_was_opened_for_a_client_that_left_is_kept_for_others(
    start_bench, start_origin, connect
):
    """It was made, nothing is wrong with it."""
    origin = await start_origin()
    bench = await start_bench(origin)
    wire = await connect(bench)
    gate, opened = asyncio.Event(), bench.address.reach

    async def open_late(upstream):
        await gate.wait()
        await opened(upstream)

    bench.address.reach = open_late
    await wire.send(get())
    await until(lambda: bench.address.connecting)
    wire.close()
    await until(lambda: not bench.frontend.connections)
    gate.set()
    await until(lambda: bench.address.idle)
    assert bench.shared.pool.counts() == {"active": 0, "idle": 1}

    wire = await connect(bench)
    await wire.send(get())
    assert (await wire.response()).status == 200
    assert len(origin.visits) == 1
    assert bench.ledger.outcomes == ["abandoned", "served"]


async def test_connection_that_fails_for_a_client_that_left_is_nobodys(start_bench, connect):
    """It is counted as the server's failure; the exchange is over."""
    bench = await start_bench(f"http://127.0.0.1:{free_port()}")
    wire = await connect(bench)
    gate, opened = asyncio.Event(), bench.address.reach

    async def open_late(upstream):
        await gate.wait()
        await opened(upstream)

    bench.address.reach = open_late
    await wire.send(get())
    await until(lambda: bench.address.connecting)
    wire.close()
    await bench.recorded()
    gate.set()
    await until(lambda: bench.ledger.upstream_failures)

    assert bench.ledger.outcomes == ["abandoned"]


# --- the server leaves ---


@pytest.mark.parametrize("is_reset", [False, True], ids=["closes", "resets"])
@pytest.mark.parametrize(
    ("said", "request_", "expected"),
    [
        (None, get(), ("faulted", 502)),
        (b"", get(), ("faulted", 502)),
        (b"", post(b"x" * 100)[:-50], ("faulted", 502)),
        (b"HTTP/1.1 200", get(), ("faulted", 502)),
        (b"HTTP/1.1 103 Early\r\n\r\n", get(), ("faulted", 502)),
        (answer(200, b"half")[:-2], get(), ("faulted", 200)),
        (answer(500, b"half")[:-2], get(), ("served", 500)),
        (SWITCH, UPGRADE, ("tunnelled", 101)),
    ],
    ids=[
        "accepted",
        "asked",
        "within its body",
        "half a head",
        "1xx",
        "half a body",
        "redacting",
        "tunnelling",
    ],
)
async def test_server_that_leaves_in_any_phase_is_recorded_once(
    start_bench, start_origin, connect, said, request_, expected, is_reset
):
    """What the client sees of it is its status, or a broken end."""

    async def script(visit):
        if said is not None:
            await visit.request_head()
            await visit.send(said)
            await asyncio.sleep(0.02)
        if is_reset:
            visit.abort()

    bench = await start_bench(await start_origin(script), downstream={"timeouts": {"body": "300ms"}})
    wire = await connect(bench)
    await wire.send(request_)
    exchange = await bench.recorded()
    wire.close()
    await bench.is_empty()

    assert (exchange.outcome, exchange.status) == expected


async def test_server_that_accepts_and_closes_at_once_never_leaves_a_client_waiting(
    start_bench, start_origin, connect
):
    """The end may come before the connection is handed over."""

    async def script(visit):
        visit.abort()

    bench = await start_bench(await start_origin(script))
    wire = await connect(bench)
    for _ in range(200):
        await wire.send(get())
        assert (await wire.response(within=3)).status == 502


async def test_connection_that_ends_while_it_is_handed_over_is_a_502(start_bench, start_origin, connect):
    """The same, made certain."""
    bench = await start_bench(await start_origin())
    opened = bench.address.reach

    async def open_and_lose(upstream):
        await opened(upstream)
        upstream.transport.abort()
        await asyncio.sleep(0.01)

    bench.address.reach = open_and_lose
    wire = await connect(bench)
    await wire.send(get())

    assert (await wire.response(within=3)).status == 502
    assert bench.address.standing.failures == 1


async def test_request_goes_to_another_server_if_one_cannot_be_reached(start_bench, start_origin, connect):
    """Nothing of it has left, so a POST may too; the one that failed is counted."""
    origin = await start_origin(answering(lambda request: answer(200, request.body)))
    dead = f"http://127.0.0.1:{free_port()}"
    bench = await start_bench(origin, dead)
    wire = await connect(bench)
    for _ in range(20):
        await wire.send(post(b"body"))
        assert (await wire.response()).body == b"body"
    failures = bench.ledger.upstream_failures

    assert set(failures) == {(dead, "connect_refused")}
    assert len(origin.requests) == 20


async def test_request_is_given_up_if_five_addresses_cannot_be_reached(start_bench, connect):
    """Not a tour of them all."""
    bench = await start_bench(*[f"http://127.0.0.1:{free_port()}" for _ in range(7)])
    wire = await connect(bench)
    await wire.send(get())

    assert (await wire.response()).status == 502
    assert list(bench.ledger.upstream_failures.values()) == [1] * 5


async def test_retries_have_a_budget(start_bench, start_origin, connect):
    """With none left a stale connection is a 502, and each failure is counted, retried or not."""

    async def script(visit):
        await visit.request()
        await visit.send(answer())
        await visit.request()

    origin = await start_origin(script)
    bench = await start_bench(origin)
    wire = await connect(bench)
    statuses = []
    for budget in (1, 0):
        bench.shared.retries._left = budget
        for _ in range(2):
            await wire.send(get())
            statuses.append((await wire.response()).status)

    assert statuses == [200, 200, 502, 200]
    assert bench.ledger.upstream_failures == {(bench.address.name, "stale_connection"): 2}


# --- what is told does not steer ---


@pytest.mark.skipif(is_compiled(), reason="what is compiled shows no slots")
async def test_exchange_begins_as_a_record_does(start_bench):
    """That is written out in it: whatever is new in a record must stand there too."""
    bench = await start_bench()
    exchange = Exchange(bench.shared, SimpleNamespace(peer="10.0.0.1"), UNREAD)
    record = Record(UNREAD.method, UNREAD.target, "10.0.0.1", exchange.started)

    assert {name: getattr(exchange, name) for name in Record.__slots__} == {
        name: getattr(record, name) for name in Record.__slots__
    }


@pytest.mark.parametrize("told", ["", "http://elsewhere:1"])
@pytest.mark.parametrize("dead", [1, 3])
async def test_second_tries_do_not_depend_on_the_log(
    start_bench, start_origin, connect, monkeypatch, told, dead
):
    """Whatever the record says of the server and the fault so far, each address is tried once."""
    origin = await start_origin(answering(lambda request: answer(200)))
    servers = [f"http://127.0.0.1:{free_port()}" for _ in range(dead)]
    bench = await start_bench(*servers, *([origin] if dead == 1 else []))
    pool = bench.shared.pool
    tries = []

    def meddling(exchange, avoid=None, *, fresh=False):
        first = next(each for each in pool.addresses if each.name == servers[0])
        pool._search(exchange, first)

    async def dial(address, upstream):
        for exchange in pool.searches:
            exchange.server, exchange.fault, exchange.outcome = told, faults.INTERNAL, "served"
        tries.append(address.name)
        await network().dial(address, upstream)

    monkeypatch.setattr(pool, "acquire", meddling)
    monkeypatch.setattr(pool, "dial", dial)
    wire = await connect(bench)
    await wire.send(get())

    assert (await wire.response()).status == (200 if dead == 1 else 502)
    assert len(tries) == len(set(tries)) == (2 if dead == 1 else 3)


async def test_budget_of_second_tries_does_not_depend_on_a_metric(start_bench):
    """Only requests that servers have answered add to it, however they are counted for operators."""
    bench = await start_bench()
    retries = bench.shared.retries
    now = bench.sweeper.now
    retries.refill(now, bench.shared.answered)
    retries._left = 0.0
    bench.ledger.upstream_seconds.noted.extend([0.1] * 100_000)
    bench.sweeper.sweep(now + 0.1)

    assert retries._left <= 0.1 * PER_SECOND + 0.5
    bench.shared.answered += 100
    bench.sweeper.sweep(now + 0.2)
    assert retries._left >= 100 * SHARE


# --- the client is held back from before ---


@pytest.mark.waits("what could pile up has time to")
async def test_answer_is_held_back_if_the_client_stopped_before_it_was_asked_for(
    start_bench, start_origin, connect
):
    """A pipelined request whose predecessor's answer is still on its way, decided late."""
    sent = 0

    async def script(visit):
        nonlocal sent
        await visit.request()
        await visit.send(answer(200, b"x" * 60_000))
        await visit.request()
        await visit.send(answer(200, b"", "Transfer-Encoding: chunked", length=False))
        while True:
            await visit.send(b"10000\r\n" + b"x" * 65536 + b"\r\n", within=20)
            sent += 65536

    store = LateStore()
    bench = await start_bench(await start_origin(script), store=store, send_bytes=4096, **LIMITED)
    wire = await connect(bench, receive_bytes=4096)
    await wire.send(get() * 2)
    await until(lambda: store.waiting)
    store.decide()
    await until(lambda: store.waiting)
    (connection,) = bench.frontend.connections
    # More than the high-water mark, as if the answer before had been larger.
    connection.write(b"HTTP/1.1 103 x\r\nX: " + b"x" * 200_000 + b"\r\n\r\n")
    assert connection.is_write_paused
    store.decide()
    await asyncio.sleep(1.0)

    assert connection.transport.get_write_buffer_size() < 2**20
    assert sent < 20 * 2**20
    wire.abort()


async def test_client_that_reads_on_while_its_request_is_decided_is_answered(
    start_bench, start_origin, connect
):
    """What it had left unread was of before: no server is to be told that it goes on."""

    async def script(visit):
        await visit.request()
        await visit.send(answer(200, b"hello"))
        await visit.left()

    store = LateStore()
    bench = await start_bench(await start_origin(script), store=store, send_bytes=4096, **LIMITED)
    wire = await connect(bench, receive_bytes=4096)
    await wire.send(get())
    await until(lambda: store.waiting)
    (connection,) = bench.frontend.connections
    # More than the high-water mark, as if the answer before had been larger.
    connection.write(b"HTTP/1.1 103 x\r\nX: " + b"x" * 200_000 + b"\r\n\r\n")
    was_paused = connection.is_write_paused
    interim = await wire.response_head()
    await until(lambda: not connection.is_write_paused, "the client has caught up")
    store.decide()
    response = await wire.response()

    assert was_paused
    assert (interim.status, response.body) == (103, b"hello")


# --- mistakes of our own ---


BROKEN = {
    "facts": ("rules.heads", "facts"),
    "take": ("store", "take"),
    "acquire": ("pool", "acquire"),
    "request": ("rules.heads", "request"),
    "response": ("rules.heads", "response"),
}


@pytest.mark.parametrize("part", BROKEN)
async def test_mistake_of_ours_is_a_500_without_details(
    start_bench, start_origin, connect, monkeypatch, part
):
    """Wherever it happens; the exchange is recorded once, the upstream's connection is not used again."""
    owner, name = BROKEN[part]
    bench = await start_bench(await start_origin(), **LIMITED)
    monkeypatch.setattr(attrgetter(owner)(bench.shared), name, stumble)
    wire = await connect(bench)
    await wire.send(get() * 3)
    response = await wire.response()

    assert (response.status, response.value("Connection")) == (500, b"close")
    assert b"stumbled" not in response.raw_head + response.body
    assert (await wire.rest(), wire.end) == (b"", CLEAN)
    assert (bench.ledger.reasons, bench.ledger.outcomes) == (["internal"], ["faulted"])
    assert bench.address.idle == {}


def stumble(*args, **kwargs):
    raise RuntimeError("stumbled")


@pytest.mark.parametrize("part", ["facts", "take", "request", "response"])
async def test_mistake_in_the_answer_to_a_mistake_ends_the_connection(
    start_bench, start_origin, connect, monkeypatch, part
):
    """With nothing said; still recorded once, as a fault."""
    owner, name = BROKEN[part]
    bench = await start_bench(await start_origin(), **LIMITED)
    monkeypatch.setattr(attrgetter(owner)(bench.shared), name, stumble)
    monkeypatch.setattr(bench.shared.rules.pages, "refusal", stumble)
    wire = await connect(bench)
    await wire.send(get())

    assert await wire.rest() == b""
    assert [(e.outcome, e.fault) for e in bench.exchanges] == [("faulted", faults.INTERNAL)]


@pytest.mark.parametrize("sent", [b"\0", b"GET"], ids=["at the door", "by the clock"])
async def test_mistake_in_a_refusal_does_not_reach_the_loop(start_bench, connect, monkeypatch, sent):
    """Nor does it stop the clock for others."""
    bench = await start_bench(downstream={"timeouts": {"head": "200ms"}})
    monkeypatch.setattr(bench.shared.rules.pages, "refusal", stumble)
    for _ in range(2):
        wire = await connect(bench)
        await wire.send(sent)
        assert await wire.rest() == b""
    assert bench.ledger.outcomes == ["faulted"] * 2


async def test_mistake_with_a_late_decision_is_a_500(start_bench, start_origin, connect, monkeypatch):
    """What the store calls must not raise into the store."""
    store = LateStore()
    bench = await start_bench(await start_origin(), store=store, **LIMITED)
    monkeypatch.setattr(bench.shared.pool, "acquire", stumble)
    wire = await connect(bench)
    await wire.send(get())
    await until(lambda: store.waiting)
    store.decide()

    assert (await wire.response()).status == 500


@pytest.mark.parametrize("name", ["request", "response"])
async def test_mistake_on_a_new_connection_does_not_lose_it(
    start_bench, start_origin, connect, monkeypatch, name
):
    """Opened for this request, it is closed with it."""
    bench = await start_bench(await start_origin())
    monkeypatch.setattr(bench.shared.rules.heads, name, stumble)
    wire = await connect(bench)
    await wire.send(get())
    assert (await wire.response()).status == 500
    await until(lambda: not bench.address.open)


async def test_broken_telemetry_ends_connections_not_the_process(
    start_bench, start_origin, connect, monkeypatch
):
    """Others are served once it works again."""
    bench = await start_bench(await start_origin())
    with monkeypatch.context() as patch:
        patch.setattr(bench.ledger, "record", stumble)
        wire = await connect(bench)
        await wire.send(get())
        await wire.rest()
    wire = await connect(bench)
    await wire.send(get())

    assert (await wire.response()).status == 200


@pytest.mark.moved
async def test_exchange_that_broken_telemetry_has_ended_ends_once(
    start_bench, start_origin, connect, monkeypatch
):
    """Its connection is to give way to others just then: what it is told in between changes nothing."""
    bench = await start_bench(await start_origin())
    write = bench.ledger.write

    def write_and_stumble(exchange):
        write(exchange)
        asyncio.get_running_loop().call_soon(exchange.downstream.give_way)
        stumble()

    monkeypatch.setattr(bench.ledger, "write", write_and_stumble)
    wire = await connect(bench)
    await wire.send(get("Connection: close"))
    await wire.rest()
    await bench.is_empty()

    assert bench.ledger.outcomes == ["served"]


async def test_what_comes_on_a_connection_that_was_ended_is_nothing(start_bench, start_origin, connect):
    """A loop may have had it in hand. It is not kept either."""
    origin = await start_origin()
    bench = await start_bench(origin)
    wire = await connect(bench)
    (connection,) = await until(lambda: list(bench.frontend.connections))
    connection.lost()
    connection.data_received(get())
    assert connection.buffer == b""
    await wire.rest()
    await bench.is_empty()

    assert bench.exchanges == []
    assert origin.visits == []


async def test_mistake_with_a_connection_that_has_just_opened_is_a_500(
    start_bench, start_origin, connect, monkeypatch
):
    """Nobody else uses it: what it may be good for is not known."""
    origin = await start_origin()
    bench = await start_bench(origin)
    reach = bench.address.reach

    async def reach_and_stumble(upstream):
        await reach(upstream)
        stumble()

    bench.address.reach = reach_and_stumble
    wire = await connect(bench)
    await wire.send(get())

    assert (await wire.response()).status == 500
    assert bench.ledger.reasons == ["internal"]
    assert (await (await origin.visit()).is_over.wait()) is True
    await until(lambda: not bench.address.open)


# --- reload and drain ---


async def test_reload_leaves_running_exchanges_alone(start_bench, start_origin, connect):
    """In every phase: they end by the rules and on the connection they began with; the next one goes by the new."""
    go_on = asyncio.Event()

    async def slow(visit):
        while await visit.request_head() is not None:
            await visit.send(answer(200, b"from the old one")[:-5])
            await go_on.wait()
            await visit.send(b"d one")

    old, new = await start_origin(slow), await start_origin(answering(answer(200, b"from the new one")))
    store = LateStore()
    bench = await start_bench(old, store=store, **LIMITED)
    answering_, deciding, resting = await connect(bench), await connect(bench), await connect(bench)
    await answering_.send(get())
    await until(lambda: store.waiting)
    store.decide()
    await answering_.until(b"\r\n\r\n")
    await deciding.send(get())
    await until(lambda: store.waiting)
    bench.reload(settings(LIMITED, servers=[new.url]))
    store.decide()
    go_on.set()
    assert (await deciding.response()).body == b"from the new one"
    assert await answering_.exactly(16) == b"from the old one"
    await until(lambda: not bench.pools[0].addresses[0].open)
    for wire in (answering_, deciding, resting):
        await wire.send(get())
        await until(lambda: store.waiting)
        store.decide()
        assert (await wire.response()).body == b"from the new one"


async def test_reload_while_a_connection_opens_is_served_by_the_old_server(
    start_bench, start_origin, connect
):
    """Which is let go of then."""
    old, new = await start_origin(answering(answer(200, b"old"))), await start_origin()
    bench = await start_bench(old)
    gate, opened = asyncio.Event(), bench.address.reach

    async def open_late(upstream):
        await gate.wait()
        await opened(upstream)

    bench.address.reach = open_late
    wire = await connect(bench)
    await wire.send(get())
    await until(lambda: bench.address.connecting)
    bench.reload(settings(servers=[new.url]))
    gate.set()
    assert (await wire.response()).body == b"old"
    await until(lambda: not bench.pools[0].addresses[0].open)


async def test_last_answer_of_a_drain_is_whole(start_bench, start_origin, connect):
    """It began before; the connection ends behind it, so that nobody waits for its idle time."""
    go_on = asyncio.Event()

    async def script(visit):
        await visit.request()
        await visit.send(answer(200, b"x" * 10)[:-5])
        await go_on.wait()
        await visit.send(b"x" * 5)
        await visit.left()

    bench = await start_bench(await start_origin(script))
    running, resting = await connect(bench), await connect(bench)
    await running.send(get())
    await running.until(b"\r\n\r\n")
    bench.shared.is_draining = True
    ending = asyncio.create_task(bench.runner.cleanup())
    assert (await resting.rest(), resting.end) == (b"", CLEAN)
    go_on.set()
    assert (await running.rest(), running.end) == (b"x" * 10, CLEAN)
    running.close()
    await asyncio.wait_for(ending, 3)


async def test_answer_that_promised_to_stay_is_kept_to(start_bench, start_origin, connect):
    """Begun before the drain: its client may ask again at once. That answer is the last."""
    go_on = asyncio.Event()

    async def script(visit):
        await visit.request()
        await visit.send(answer(200, b"xx")[:-1])
        await go_on.wait()
        await visit.send(b"x")
        await answering(answer())(visit)

    bench = await start_bench(await start_origin(script))
    wire = await connect(bench)
    await wire.send(get())
    assert (await wire.response_head()).value("Connection") is None
    bench.shared.is_draining = True
    go_on.set()
    assert await wire.exactly(2) == b"xx"
    await wire.send(post())
    response = await wire.response()

    assert (response.status, response.value("Connection")) == (200, b"close")


async def test_answer_during_a_drain_says_close(start_bench, start_origin, connect):
    """Served or refused."""
    bench = await start_bench(await start_origin(), **limit(burst=1))
    for status in (200, 429):
        bench.shared.is_draining = True
        wire = await connect(bench)
        await wire.send(get())
        response = await wire.response()
        assert (response.status, response.value("Connection")) == (status, b"close")
        assert (await wire.rest(), wire.end) == (b"", CLEAN)
        wire.close()


# --- what is recorded ---


async def test_what_was_sent_is_what_is_recorded(start_bench, start_origin, connect):
    """Bytes of bodies, both ways, without their framing."""

    async def script(visit):
        await visit.request()
        await asyncio.sleep(0.01)
        await visit.send(answer(200, b"5\r\nhello\r\n0\r\n\r\n", "Transfer-Encoding: chunked", length=False))
        await visit.left()

    origin = await start_origin(script)
    bench = await start_bench(origin)
    wire = await connect(bench)
    await wire.send(post(b"seven b"))
    await wire.response()
    (exchange,) = bench.exchanges

    assert (exchange.bytes_in, exchange.bytes_out, exchange.source) == (7, 5, "upstream")
    assert exchange.server == origin.url
    assert 0 < exchange.upstream_seconds <= exchange.finished - exchange.started
