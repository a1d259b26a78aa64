"""`weir top` beside a running Weir."""

from __future__ import annotations

import asyncio
import contextlib
import os

import pytest

from tests.support.messages import get
from tests.support.ports import free_port
from tests.support.weir import ROOT, command, environment, run

pytestmark = pytest.mark.measured

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


async def test_token_may_stand_in_a_file_as_for_weir(weir, tmp_path):
    """By the same variable; one that cannot be read is one line."""
    (tmp_path / "token").write_text(TOKEN + "\n")
    place = ("--admin", f"127.0.0.1:{weir.admin_port}", "--once")
    by_file, _, _ = await told(*place, WEIR_ADMIN__TOKEN=f"file:{tmp_path / 'token'}")
    by_name, _, _ = await told(*place, WEIR_ADMIN__TOKEN="${MINE}", MINE=TOKEN)
    code, out, err = await told(*place, WEIR_ADMIN__TOKEN="file:/nowhere/token")

    assert (by_file, by_name) == (0, 0)
    assert (code, out) == (2, "")
    assert err.startswith("WEIR_ADMIN__TOKEN: /nowhere/token: ")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    "url", ["http://me:s3cr3t@127.0.0.1:9", "me:s3cr3t@127.0.0.1:9", "https://s3cr3t@h/"]
)
async def test_password_in_the_url_is_refused_and_not_shown(url):
    code, out, err = await told("--admin", url, "--once")

    assert (code, out) == (2, "")
    assert "WEIR_ADMIN__TOKEN" in err
    assert "s3cr3t" not in err


@pytest.mark.parametrize("variables", [{"PYTHONIOENCODING": "latin-1"}, {"PYTHONIOENCODING": "ascii"}])
async def test_terminal_that_lacks_a_letter_is_shown_the_rest(weir, connect, variables):
    """Some terminals are no UTF-8."""
    await asked(weir, connect)
    code, out, err = await told("-c", str(weir.config), "--once", **variables)

    assert (code, err) == (0, "")
    assert "few" in out
    assert "over" in out


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
