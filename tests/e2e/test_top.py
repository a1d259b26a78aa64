"""`weir top` beside a running Weir."""

from __future__ import annotations

import asyncio
import contextlib
import os

import pytest

from tests.support.messages import get
from tests.support.ports import free_port
from tests.support.weir import ROOT, command, environment, run

TOKEN = "let-me-in"
LIMITS = [{"name": "few", "key": ["header:X-Auth-Token"], "rate": "2/h"}]


@pytest.fixture
def weir(start_weir):
    return start_weir({"admin": {"token": TOKEN}, "limits": LIMITS})


async def asked(weir, connect, times=4):
    wire = await connect(weir)
    for _ in range(times):
        await wire.send(get("X-Auth-Token: a"))
        await wire.response()


async def told(*arguments, **variables):
    done = await asyncio.to_thread(run, "top", *arguments, **variables)
    return done.returncode, done.stdout, done.stderr


async def test_shows_the_refused_key_by_the_file_and_by_the_url(weir, connect):
    """The token comes from the file, or from the environment; never from the command line."""
    await asked(weir, connect)
    code, by_file, _ = await told("-c", str(weir.config), "--once")
    _, by_url, _ = await told("--admin", f"127.0.0.1:{weir.admin_port}", "--once", WEIR_ADMIN__TOKEN=TOKEN)

    assert code == 0
    for text in (by_file, by_url):
        assert "few" in text
        assert "over" in text


async def test_without_the_token_one_line_says_what_is_needed(weir):
    code, out, err = await told("--admin", f"http://127.0.0.1:{weir.admin_port}/", "--once")

    assert (code, out) == (1, "")
    assert err.splitlines() == [
        f"http://127.0.0.1:{weir.admin_port} wants its token: give the file with -c, or set WEIR_ADMIN__TOKEN"
    ]


async def test_nobody_there_is_one_line():
    code, out, err = await told("--admin", f"http://127.0.0.1:{free_port()}", "--once")

    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert "does not answer" in err


@pytest.mark.parametrize("arguments", [[], ["-c", "a.yaml", "--admin", "x"]])
async def test_one_of_the_two_must_be_named(arguments):
    code, _, err = await told(*arguments)

    assert code == 2
    assert "weir top -c" in err


async def test_unix_socket_is_asked_too(new_weir, tmp_path):
    weir = new_weir({"limits": LIMITS, "admin": {"listen": f"unix:{tmp_path / 'admin.sock'}"}})
    weir.launch()
    await weir.logged(lambda line: line["event"] == "serving")
    code, out, err = await told("-c", str(weir.config), "--once")

    assert (code, err) == (0, "")
    assert "few" in out


async def test_terminal_shows_it_live_until_interrupted(weir, connect):
    ours, theirs = os.openpty()
    process = await asyncio.create_subprocess_exec(
        *command("top", "-c", str(weir.config)),
        cwd=ROOT,
        env=environment() | {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    text = ""
    try:
        await asked(weir, connect)
        while "over" not in text:
            text += (await asyncio.to_thread(os.read, ours, 65536)).decode(errors="replace")
        process.send_signal(2)
        reading = asyncio.create_task(asyncio.to_thread(_drained, ours))
        code = await process.wait()
        await reading
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()  # else a read of its terminal keeps the loop from ending
    os.close(ours)

    assert code == 0
    assert "Traceback" not in text


def _drained(fd):
    try:
        while os.read(fd, 65536):
            pass
    except OSError:  # the other end has gone
        return
