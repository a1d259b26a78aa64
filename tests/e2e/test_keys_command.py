"""`weir keys` beside a running Weir."""

from __future__ import annotations

import asyncio
import json

import pytest
from click.testing import CliRunner

from proxy.cli import main
from tests.support.messages import get
from tests.support.ports import free_port
from tests.support.weir import run

pytestmark = pytest.mark.measured

TOKEN = "let-me-in"
SECRET = "ada-4711"
LIMITS = [{"name": "few", "key": ["header:X-Auth-Token", "cookie:sid+host"], "rate": "2/h"}]


@pytest.fixture
async def weir(start_weir, start_origin):
    return start_weir({"admin": {"token": TOKEN}, "limits": LIMITS}, upstream=await start_origin())


@pytest.fixture
def keys(tmp_path):
    """Runs the command; what it is told on standard input is bytes."""

    async def keys(*arguments, said=b"", **variables):
        path = tmp_path / "said"
        path.write_bytes(said)
        with path.open() as stdin:
            done = await asyncio.to_thread(run, "keys", *arguments, stdin=stdin, **variables)
        return done.returncode, done.stdout, done.stderr

    return keys


async def test_value_comes_from_standard_input(weir, keys, ask):
    """By the file, whose token it takes, or by the URL; the answer names no credential."""
    by_file = ("-c", str(weir.config))
    by_url = ("--admin", f"127.0.0.1:{weir.admin_port}")
    code, shown, _ = await keys("look", "few", "header:X-Auth-Token", *by_file, said=b"ada-4711\r\n")
    _, blocked, _ = await keys(
        "block", "few", "header:X-Auth-Token", "--for", "10m", "--json", *by_url, said=b"ada-4711\n", WEIR_ADMIN__TOKEN=TOKEN
    )  # fmt: skip
    refused = (await ask(weir, get(f"X-Auth-Token: {SECRET}"))).status
    whole = json.loads(blocked)["key"]
    granted, *_ = await keys(
        "grant", "few", f"header:X-Auth-Token={SECRET}", "--rate", "60/h", "--burst", "3", *by_file
    )
    passed = [(await ask(weir, get(f"X-Auth-Token: {SECRET}"))).status for _ in range(4)]
    _, released, _ = await keys("release", "few", f"key={whole}", "--json", *by_file)

    assert code == granted == 0
    assert {"tokens:    2", "rate:      2/h", "until:     -"} < set(shown.splitlines())
    assert SECRET not in shown
    assert refused == 429
    assert json.loads(released)["released"] == 1
    assert passed == [200] * 3 + [429]


async def test_parts_of_a_joined_key_come_line_by_line(weir, keys):
    code, shown, error = await keys(
        "look", "few", "cookie:sid", "host=a", "--json", "-c", str(weir.config), said=b"s1\n"
    )

    assert (code, error) == (0, "")
    assert json.loads(shown)["tokens"] == 2


async def test_what_is_wrong_is_one_line_and_an_exit_code(weir, keys):
    """2 for the command, 1 for what Weir would not do; and never a traceback."""
    here = ("-c", str(weir.config))
    other = ("--admin", f"127.0.0.1:{free_port()}")
    named = "header:X-Auth-Token=a"
    for arguments, said, code, says in (
        (("look", "few", *here), b"", 2, "Name one client"),
        (("block", "few", "--all", *here), b"", 2, "Name one client"),
        (("reset", "few", *here), b"", 2, "Name one client"),
        (("look", "few", named), b"", 2, "Name the FILE"),
        (("look", "few", named, named, *here), b"", 2, "there twice"),
        (("look", "few", "header:X-Auth-Token", *here), b"", 2, "standard input has no line"),
        (("look", "few", "header:X-Auth-Token", *here), b"\xff\n", 2, "no text"),
        (("look", "few", "header:X-Auth-Token", *here), b"a" * 99_999, 2, "longer than"),
        (("look", "few", named, "-c", "none.yaml"), b"", 2, "none.yaml"),
        (("look", "fw", named, *here), b"", 1, "no limit has the name fw"),
        (("look", "a/../b", named, *here), b"", 1, "no limit has the name"),
        (("grant", "few", named, *here), b"", 1, "rate is missing"),
        (("grant", "few", named, "--rate", "60", *here), b"", 1, "needs a period"),
        (("block", "few", named, "--rate", "6/s", *here), b"", 1, "the body must be"),
        (("look", "few", named, *other), b"", 1, "does not answer"),
        (("look", "few", named, "--admin", f"127.0.0.1:{weir.admin_port}"), b"", 1, "WEIR_ADMIN__TOKEN"),
    ):
        told = await asyncio.to_thread(CliRunner().invoke, main, ["keys", *arguments], input=said)
        assert (told.exit_code, told.stdout) == (code, ""), arguments
        assert says in " ".join(told.stderr.split()), arguments
