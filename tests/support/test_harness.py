"""The harness itself: what tells a clean end from a broken one must be able to say both."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path
from time import thread_time

import pytest

from tests.support.innocent import MOST_SECONDS, innocent, traced
from tests.support.messages import answer, chunked
from tests.support.origin import Origin, Visit, answering
from tests.support.patience import until_now
from tests.support.plugin import open_by_seam, unreal
from tests.support.weir import ROOT, Metrics, Weir, overlaid, run
from tests.support.wire import CLEAN, RESET, Broken, Wire

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def test_wire_reads_a_response_of_every_framing(start_origin, connect):
    """Length, chunked with trailers, and close-delimited bodies are told apart."""

    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.send(answer(200, b"abc", "X-A: 1"))
        await visit.send(
            answer(
                200, chunked(b"de", b"f", trailers=b"X-T: v\r\n"), "Transfer-Encoding: chunked", length=False
            )
        )
        await visit.send(answer(200, b"ghi", length=False))

    wire = await connect(await start_origin(script))
    await wire.send(GET)
    first, second, third = [await wire.response() for _ in range(3)]

    assert (first.framing, first.body, first.value("x-a")) == ("length", b"abc", b"1")
    assert (second.framing, second.body, second.trailers) == ("chunked", b"def", [(b"X-T", b"v")])
    assert (third.framing, third.body, wire.end) == ("until_close", b"ghi", CLEAN)


@pytest.mark.parametrize(
    "sent",
    [
        b"HTTP/1.1 200 O",
        answer(200, b"abc")[:-1],
        answer(200, b"5\r\nhello\r\n", "Transfer-Encoding: chunked", length=False),
    ],
)
async def test_wire_tells_a_truncated_response(start_origin, connect, sent):
    """A message that ends before its framing says so is an error, also when the connection closes politely."""

    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.send(sent)

    wire = await connect(await start_origin(script))
    await wire.send(GET)

    with pytest.raises(Broken) as broken:
        await wire.response()
    assert broken.value.end == CLEAN


async def test_wire_tells_a_reset_from_an_end(start_origin, connect):
    """A reset after data is seen as such, and the data is not lost."""

    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.send(answer(200, b"abc", length=False))
        visit.abort()

    wire = await connect(await start_origin(script))
    await wire.send(GET)

    with pytest.raises(Broken) as broken:
        await wire.response()
    assert (broken.value.end, broken.value.received) == (RESET, b"abc")


async def test_wire_gives_up_at_its_deadline(start_origin, connect):
    """A peer that says nothing costs the deadline, not the test run."""

    async def script(visit: Visit) -> None:
        await visit.left()

    wire = await connect(await start_origin(script))

    with pytest.raises(TimeoutError):
        await wire.response(within=0.05)


async def test_origin_records_whole_requests_and_every_byte(start_origin, connect):
    """Requests are recorded with their bodies; bytes that are no request yet are recorded too."""
    origin: Origin = await start_origin(answering(lambda request: answer(201, request.body)))
    wire = await connect(origin)
    data = b"POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"x", b"yz")
    await wire.send_pieces([data[:30], data[30:]])
    response = await wire.response()
    await wire.send(b"GET /half")
    visit = await origin.visit(0)
    while b"/half" not in visit.received:
        await asyncio.sleep(0.001)

    assert (response.status, response.body) == (201, b"xyz")
    assert [(r.method, r.target, r.body) for r in origin.requests] == [(b"POST", b"/p", b"xyz")]
    assert origin.received == data + b"GET /half"


async def test_origin_fails_the_test_when_its_script_does():
    """An assertion in a script is not lost with its connection."""

    async def script(visit: Visit) -> None:
        assert await visit.request() is None

    origin = Origin(script)
    await origin.start()
    wire = await Wire.open(origin.port)
    await wire.send(GET)
    await wire.rest()
    wire.close()

    with pytest.raises(AssertionError):
        await origin.stop()


def test_settings_are_laid_over_block_by_block():
    """A change replaces lists and values and leaves its neighbours."""
    assert overlaid({"a": {"b": 1, "c": [1]}, "d": 2}, {"a": {"c": []}}) == {"a": {"b": 1, "c": []}, "d": 2}


def test_metrics_add_up_by_labels():
    """A scrape is summed over the labels that a test does not name."""
    text = '# TYPE a_total counter\na_total{x="1",y="1"} 2\na_total{x="1",y="2"} 3\na_total{x="2",y="1"} 5\n'

    assert Metrics(text).total("a_total", x="1") == 5
    assert Metrics(text).has("a_total")
    assert not Metrics(text).has("b_total")


async def test_redis_is_there(redis, connect):
    """The fixture's Redis answers and is empty."""
    wire = await connect(redis.port)
    await wire.send(b"DBSIZE\r\n")

    assert await wire.until(b"\r\n") == b":0\r\n"


@pytest.mark.real
async def test_what_make_unit_runs_opens_no_socket_of_its_own(start_origin, connect):
    """But by the network of tests, which is memory there."""
    with unreal(open_by_seam):
        with pytest.raises(RuntimeError, match="mark the test `real`"):
            socket.create_server(("127.0.0.1", 0))
        wire = await connect(await start_origin())
        await wire.send(GET)

        assert (await wire.response()).status == 200


# --- Weir by a fork (tests/support/forked.py) ---


def test_forked_weir_is_a_process_of_its_own(start_weir):
    """With variables, an exit code and signals of its own."""
    first, second = (start_weir(WEIR_LOG__LEVEL=level) for level in ("debug", "error"))
    folder = Path(f"/proc/{first.pid}")

    assert len({first.pid, second.pid, os.getpid()}) == 3
    assert "serving" in first.log_text()
    assert second.log_text() == ""
    assert folder.joinpath("cwd").readlink() == ROOT
    first.signal(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    assert second.is_running
    first.start()
    first.stop()
    assert first.exit_code == 0


def test_forked_weir_that_nobody_waits_for_harms_no_other(tmp_path):
    """A test has let go of it."""
    weir = Weir(tmp_path)
    weir.write_config()
    weir.is_forked = True
    weir.start()
    weir._process._told.close()
    os.kill(weir.pid, signal.SIGKILL)
    until_now(lambda: not Path(f"/proc/{weir.pid}").exists(), "it is gone")

    assert run("--version").returncode == 0


def test_forked_command_is_told_by_its_exit_code_and_output(tmp_path):
    config = tmp_path / "weir.yaml"
    config.write_text("upstream: {servers: [http://127.0.0.1:1]}\nlimit: []\n")
    done = run("check", str(config))

    assert (done.returncode, "limit" in done.stderr) == (2, True)


def test_variables_that_an_interpreter_reads_at_its_start_have_their_effect():
    """They would be too late for a fork."""
    done = run("--help", PYTHONVERBOSE="1")

    assert "import 'click'" in done.stderr


def work_for(seconds: float) -> None:
    """Of the processor."""
    until = thread_time() + seconds
    while thread_time() < until:
        pass


async def test_innocent_client_sees_one_turn_that_is_too_long() -> None:
    """Whenever it comes, and if nothing is waited for behind it but a turn."""
    with pytest.raises(AssertionError, match="an innocent client waited"):
        async with innocent():
            await asyncio.sleep(0.01)
            asyncio.get_running_loop().call_soon(work_for, 5 * MOST_SECONDS * traced())
            await asyncio.sleep(0)
            await asyncio.sleep(0)


async def test_innocent_client_is_served_between_many_short_turns() -> None:
    async with innocent():
        for _ in range(40):
            work_for(MOST_SECONDS / 20)
            await asyncio.sleep(0)
