"""What the system's resolver says about a name, as the pool is told it."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys

import pytest

from proxy.config.addresses import parse_server
from proxy.net import resolver
from proxy.net.resolver import _text, addresses_of, keep_resolving
from tests.support.weir import ROOT


async def test_address_is_told_once():
    """However many ways there are to connect to it."""
    assert await addresses_of("127.0.0.2", 80) == ["127.0.0.2"]


@pytest.mark.parametrize("told", [("fe80::1", 80, 0, 2), ("fe80::1%2", 80, 0, 2)])
def test_zone_of_an_address_is_kept(told):
    """Once; a link-local one is nothing without (RFC 4007 section 11)."""
    assert _text(socket.AF_INET6, told) == "fe80::1%2"


async def test_name_that_has_no_address_raises():
    with pytest.raises(OSError, match="not known|resolution"):
        await addresses_of("no-such-name.invalid", 80)


# In a process that has names of its own: an innocent client beside all that is done with a huge answer.
MANY = """
import asyncio, contextlib, uvloop
from proxy.reach import reach
from tests.net.bench import Bench, settings
from tests.support.innocent import innocent
from tests.support.patience import until

async def main():
    bench = Bench(settings({"upstream": {"resolve": "50ms"}}, servers=["https://many.example:1"]))
    async with innocent():
        await bench.start()
        await until(lambda: len(bench.shared.pool.addresses) == 64)
        for _ in range(5):
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(1):
                    await reach("many.example", 1)
        await asyncio.sleep(0.3)
    await bench.stop()

uvloop.run(main())
"""


@pytest.mark.measured
def test_answer_with_thousands_of_addresses_keeps_nobody_waiting(tmp_path):
    """As many as an answer over TCP holds."""
    hosts = tmp_path / "hosts"
    hosts.write_text("".join(f"127.1.{n >> 8}.{n & 255} many.example\n" for n in range(4000)))
    (tmp_path / "nsswitch").write_text("hosts: files\n")
    own_names = (
        'mount --bind "$0/hosts" /etc/hosts && mount --bind "$0/nsswitch" /etc/nsswitch.conf && exec "$@"'
    )
    inside = ["unshare", "--map-root-user", "--mount", "sh", "-c", own_names, str(tmp_path)]
    done = subprocess.run(
        [*inside, sys.executable, "-c", MANY], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr


@pytest.mark.moved
async def test_name_that_cannot_be_resolved_is_told_of_once(caplog, monkeypatch):
    """When it fails first, and again when it has been well in between; addresses, whenever they change."""
    answers = [OSError("no"), OSError("no"), ["192.0.2.1"], ["192.0.2.1"], OSError("no"), ["192.0.2.2"]]
    told = []

    async def addresses_of(host, port):
        found = answers.pop(0) if answers else ["192.0.2.2"]
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(resolver, "addresses_of", addresses_of)
    resolving = asyncio.create_task(keep_resolving(parse_server("http://shop.example"), 5.0, told.append))
    await asyncio.sleep(60)
    resolving.cancel()

    assert [record.message for record in caplog.records] == ["resolve_failed"] * 2
    assert told == [["192.0.2.1"], ["192.0.2.2"]]
