"""Servers of one name: all of its addresses are used, and followed when they change."""

from __future__ import annotations

import logging

from tests.net.serving import Gate, asked, named
from tests.support.messages import get
from tests.support.patience import until


async def test_all_addresses_of_a_name_are_used(start_bench, start_origin, connect):
    """Each is a server of its own; one that is gone finishes what it does and gets nothing new."""
    gate = Gate()
    first = await start_origin(gate, host="127.0.0.2")
    second = await start_origin(named(b"second"), host="127.0.0.3", port=first.port)
    third = await start_origin(named(b"third"), host="127.0.0.4", port=first.port)
    bench = await start_bench(f"http://localhost:{first.port}", upstream={"resolve": "1h"})
    pool = bench.shared.pool
    (server,) = pool._servers
    await until(lambda: pool.addresses[0].ip == "127.0.0.1", "the name was looked up")

    pool.resolved(server, ["127.0.0.2"])
    busy = await connect(bench)
    await busy.send(get())
    await until(lambda: len(first.requests) == 1)
    pool.resolved(server, ["127.0.0.3", "127.0.0.4"])
    bodies = [response.body for response in await asked(connect, bench, 60)]
    assert 10 <= bodies.count(b"second") <= 50
    assert bodies.count(b"second") + bodies.count(b"third") == 60
    kept = len(second.visits), len(third.visits)

    gate.is_open.set()
    assert (await busy.response()).status == 200
    await until(lambda: first.visits[0].is_over.is_set(), "its connection was closed")
    pool.resolved(server, ["127.0.0.4", "127.0.0.3"])
    await asked(connect, bench, 10)
    assert (
        len(second.visits),
        len(third.visits),
    ) == kept  # connections survive a lookup that changes nothing


async def test_addresses_are_logged_when_they_change(start_bench, caplog):
    """When some are only added, too; not when they are the same."""
    caplog.set_level(logging.INFO)
    bench = await start_bench("http://localhost:1", upstream={"resolve": "1h"})
    pool = bench.shared.pool
    await until(lambda: pool.addresses[0].ip == "127.0.0.1")
    (server,) = pool._servers
    for addresses in (["127.0.0.2"], ["127.0.0.2", "127.0.0.3"], ["127.0.0.2", "127.0.0.3"], ["127.0.0.3"]):
        pool.resolved(server, addresses)

    logged = [record.fields["addresses"] for record in caplog.records if record.getMessage() == "resolved"]
    assert logged[-3:] == [["127.0.0.2"], ["127.0.0.2", "127.0.0.3"], ["127.0.0.3"]]


async def test_what_befalls_an_address_that_is_gone_is_not_told(start_bench, caplog):
    """Checks and requests may have been under way."""
    bench = await start_bench("http://localhost:1", upstream={"resolve": "1h"})
    pool = bench.shared.pool
    await until(lambda: pool.addresses[0].ip == "127.0.0.1")
    (gone,) = pool.addresses
    pool.resolved(pool._servers[0], ["127.0.0.2", "127.0.0.3"])
    for _ in range(5):
        pool.checked(gone, "timeout")
        gone.failed()
    assert (gone.standing.is_healthy, bench.ledger.ejections) == (True, {})
    assert {"server_unhealthy", "server_ejected"}.isdisjoint(caplog.messages)


async def test_weight_of_a_name_is_shared_by_its_addresses(start_bench, start_origin, connect):
    """A name with three addresses gets no more than one with a single address."""
    single = await start_origin(named(b"single"))
    others = [await start_origin(named(b"other"), host="127.0.0.2")]
    port = others[0].port
    others += [await start_origin(named(b"other"), host=f"127.0.0.{n}", port=port) for n in (3, 4)]
    bench = await start_bench(single, f"http://localhost:{port}", upstream={"resolve": "1h"})
    pool = bench.shared.pool
    await until(lambda: pool.addresses[1].ip == "127.0.0.1")
    pool.resolved(pool._servers[1], ["127.0.0.2", "127.0.0.3", "127.0.0.4"])
    bodies = [response.body for response in await asked(connect, bench, 400)]
    assert 150 <= bodies.count(b"single") <= 250
