"""Anything a client may send, through real sockets: no mistake of ours escapes, and what reaches the origin is
what h11 reads as the very list of requests that Weir believes it sent.
"""

from __future__ import annotations

import asyncio

import pytest
import uvloop
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from proxy.record import SERVED
from tests.conformance.corpus import AFTER, cases
from tests.conformance.recorder import Recorder
from tests.http1.oracle import mutated, request_heads
from tests.net.bench import Bench, settings
from tests.support.memory import MemoryLoop
from tests.support.wire import Wire

SHORT = {
    # Whatever length a mutation states, four requests behind it are more: nothing waits for bytes that never come.
    "downstream": {"limits": {"body": "100B"}, "timeouts": {"head": "1s", "body": "1s", "idle": "1s"}}
}
CORPUS = [case.data for case in cases() if len(case.data) < 1000]
BODIES = [b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"1;a=b\r\nh\r\n0\r\nX: y\r\n\r\n", b"0\r\n\r\n"]


@st.composite
def whole_requests(draw):
    return draw(request_heads()) + draw(st.sampled_from(BODIES))


@st.composite
def streams(draw):
    """A few requests, sound or not, and where the bytes are cut."""
    kinds = st.one_of(whole_requests(), mutated(whole_requests()), mutated(st.sampled_from(CORPUS)))
    data = b"".join(draw(st.lists(kinds, min_size=1, max_size=3)))
    cut = draw(st.integers(0, len(data)))
    return data[:cut], data[cut:] + AFTER * 4


class Stage:
    def __init__(self) -> None:
        self.recorder = Recorder()
        self.bench: Bench

    async def start(self):
        await self.recorder.start()
        self.bench = Bench(settings(SHORT, servers=[self.recorder.url]))
        await self.bench.start()

    async def send(self, pieces):
        self.recorder.forget()
        self.bench.ledger.recorded.clear()
        self.bench.ledger.logged.clear()
        wire = await Wire.open(self.bench.port)
        try:
            await wire.send_pieces([piece for piece in pieces if piece])
        except ConnectionError:
            pass  # refused before the last byte
        await wire.rest()
        wire.close()
        await self.bench.is_empty()

    async def stop(self):
        await self.bench.stop()
        await self.recorder.stop()


@pytest.fixture
def runner(request):
    is_in_memory = request.config.getoption("memory")
    with asyncio.Runner(loop_factory=MemoryLoop if is_in_memory else uvloop.new_event_loop) as runner:
        yield runner


@pytest.fixture
def stage(runner):
    stage = Stage()
    runner.run(stage.start())
    yield stage
    runner.run(stage.stop())


@pytest.mark.unmeasured
@effort(
    max_examples=400,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(pieces=streams())
def test_upstream_reads_what_was_believed_to_be_sent(runner, stage, pieces):
    """Requests that were answered by the origin are those it has seen, in their order, and no others."""
    runner.run(stage.send(pieces))
    exchanges, recorder = stage.bench.exchanges, stage.recorder

    assert stage.bench.complaints == []
    assert [e for e in exchanges if e.status == 500] == []
    assert recorder.refused == []
    served = [(e.method, e.target, e.bytes_in) for e in exchanges if e.outcome == SERVED]
    assert [(r.method, r.target, len(r.body)) for r in recorder.requests] == served
