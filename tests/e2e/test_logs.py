"""What is logged by choice, from outside: forms, fields, samples, slow requests; a terminal and a pipe."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess

import pytest

from tests.e2e.test_reload import reloaded, replaced
from tests.support.messages import answer, get
from tests.support.origin import answering
from tests.support.patience import until
from tests.support.weir import ROOT, command, environment

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


async def test_fields_and_form_change_with_a_reload(start_weir, start_origin, ask):
    """JSON with more in it, then Apache's form."""
    weir = start_weir({"log": {"fields": ["user_agent", "trace_id"]}}, upstream=await start_origin())
    await ask(weir, get("User-Agent: curl/8", f"traceparent: 00-{TRACE}-00f067aa0ba902b7-01"))
    line = await weir.access_line(status=200)
    await reloaded(weir, replaced(weir, {"log": {"format": "combined", "fields": []}}))
    await ask(weir, get("User-Agent: curl/9", target="/next"))
    text = await until(lambda: re.search(r'.*"GET /next HTTP/1.1" 200 \d+ "-" "curl/9"', weir.access_text()))

    assert (line["user_agent"], line["trace_id"]) == ("curl/8", TRACE)
    assert text


async def test_sample_and_slow_change_with_a_reload(start_weir, start_origin, ask):
    """Nothing of what went well is logged, but what was slow says so."""

    async def slowly(request):
        await asyncio.sleep(0.2 if b"/slow" in request.start else 0)
        return answer(500 if b"/bad" in request.start else 200, b"")

    weir = start_weir(upstream=await start_origin(answering(slowly)))
    await reloaded(weir, replaced(weir, {"log": {"sample": "0%", "slow": "100ms"}}))
    for target in ("/well", "/slow", "/bad"):
        await ask(weir, get(target=target))
    bad = await weir.access_line(target="/bad")
    slow = await weir.logged(lambda line: line["event"] == "slow_request")

    assert bad["redacted_status"] == 500
    assert [line["target"] for line in weir.access_lines()] == ["/bad"]
    assert slow["request"] == "GET /slow"
    assert slow["upstream_ms"] > 150 > slow["own_ms"]


FOR_PEOPLE, JSON = r"\d\d:\d\d:\d\d\.\d{3} ", r'\{"time":'


@pytest.mark.parametrize(
    ("is_terminal", "program", "opening"),
    [
        (True, "auto", FOR_PEOPLE),
        (False, "auto", JSON),
        (True, "json", JSON),
        (False, "text", FOR_PEOPLE),
    ],
)
def test_terminal_gets_text_and_a_pipe_json(new_weir, is_terminal, program, opening):
    """If `log.program` says nothing else."""
    weir = new_weir({"log": {"program": program}})
    ours, theirs = os.openpty() if is_terminal else os.pipe()
    process = subprocess.Popen(
        command("run", "--config", str(weir.config)),
        cwd=ROOT,
        env=environment() | {"NO_COLOR": "1"},
        stderr=theirs,
    )
    os.close(theirs)
    text = ""
    while "serving" not in text:
        text += os.read(ours, 65536).decode()
    process.send_signal(signal.SIGTERM)
    code = process.wait(20)
    os.close(ours)

    assert re.match(opening, next(line for line in text.splitlines() if "serving" in line))
    assert code == 0
