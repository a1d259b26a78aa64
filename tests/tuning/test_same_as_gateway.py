"""A simulation's figures are those of the gateway that gets the same requests at the same moments."""

import json
import random
from collections import Counter, defaultdict

import pytest
import yaml

from proxy.config.loader import Config
from proxy.limiter.memory import MemoryStore
from proxy.tuning.logs import Log
from proxy.tuning.report import reported
from proxy.tuning.simulation import Simulation
from tests.support.messages import answer, get
from tests.support.origin import answering

BEGIN_US = 1_767_225_600_000_000

CONFIG = """
upstream: {servers: ["%s"]}
forwarded: {trust: [127.0.0.1]}
contract: {allow_methods: [GET, POST], known_paths: ["/api/**", /health]}
limits:
  - {name: per-user, key: ["header:X-Auth-Token", client-ip], rate: 1/s, burst: 3, exempt: {paths: [/health]}}
  - {name: sign-in, match: {methods: [POST], paths: [/api/sign-in]}, key: client-ip, rate: 10/m, burst: 1}
  - {name: search, match: {paths: ["/api/search/**"]}, key: ["header:X-Auth-Token", client-ip], rate: 30/m, burst: 3, cost: 2}
  - {name: all, key: const, rate: 3/s, burst: 4}
  - {name: candidate, key: ["header:X-Auth-Token", client-ip], rate: 3/s, mode: shadow}
  - {name: inside, key: client-ip, rate: 1/s, exempt: {cidrs: [10.0.0.0/16]}}
  - {name: unchanged, match: {paths: [/api/entities/*]}, key: ["header:X-Auth-Token", client-ip], rate: 1/s, burst: 4, cost_304: 0}
"""


def traffic(seed, count):
    """Requests with their moments: users in bursts, some without a token, paths that are limited and not."""
    chosen = random.Random(seed)
    at = BEGIN_US
    for _ in range(count):
        at += int(chosen.expovariate(1) * chosen.choice([1000, 20_000, 90_000]))
        token = chosen.choice(["", "ann", "ann", "ben", "eve", "fay"])
        path = chosen.choice(["/api/entities/1", "/api/entities/2", "/api/sign-in", "/api/sign-in", "/api/search/a%20b?q=1", "/health", "/api/../api/search/x", "/none"])  # fmt: skip
        method = chosen.choice(["GET", "GET", "POST", "POST", "PUT"])
        yield at, method, path, token, chosen.choice(["10.0.0.7", "10.1.0.1", "2001:db8::1", "2001:db8::2"])


def unchanged(request):
    return answer(304, b"") if request.target.endswith(b"2") and request.method == b"GET" else answer()


async def replayed(start_bench, connect, start_origin, requests):
    """What the gateway did: statuses, and for each limit what its verdicts were by key."""
    origin = await start_origin(answering(unchanged))
    now = 0
    store = MemoryStore(lambda: now)
    changes = yaml.safe_load(CONFIG % origin.url)
    del changes["upstream"]
    bench = await start_bench(origin, store=store, **changes)
    wire = await connect(bench)
    lines = []
    for at, method, path, token, client in requests:
        now = at - BEGIN_US
        headers = [f"X-Forwarded-For: {client}", *([f"X-Auth-Token: {token}"] if token else [])]
        await wire.send(get(*headers, target=path, method=method))
        response = await wire.response()
        lines.append((at, method, path, token, client, response.status))
    await bench.recorded(len(lines))
    return lines, bench.exchanges


def judged(exchanges):
    """By limit: requests that it was asked about, those that it refused, and both by key."""
    matched, refused, keys = Counter(), Counter(), defaultdict(lambda: [0, 0])
    for exchange in exchanges:
        for charge, verdict in zip(
            exchange.charges, exchange.decision.verdicts if exchange.decision else (), strict=True
        ):
            name = charge.limit.name
            matched[name] += 1
            refused[name] += not verdict.is_admitted
            seen = keys[name, charge.key.hex()[:16]]
            seen[0] += 1
            seen[1] += not verdict.is_admitted
    return matched, refused, keys


def simulated(path, key_field=None):
    reading = Config(CONFIG % "http://a", "f", {})
    simulation = Simulation([reading], [Log(str(path))], key_field)
    simulation.run(lambda: None)
    (report,) = reported(simulation, lambda: None)
    simulation.close()
    return report


def as_csv(lines):
    rows = (
        f"{at},{method},{path},{token},{client},{status}\n"
        for at, method, path, token, client, status in lines
    )
    return "time,method,path,token,client,status\n" + "".join(rows)


def as_own_log(lines, exchanges):
    """With the keys of the limits in place of the token, as Weir writes it."""
    rows = []
    for (at, method, path, _, client, status), exchange in zip(lines, exchanges, strict=True):
        verdicts = exchange.decision.verdicts if exchange.decision else ()
        row = {
            "time": f"2026-01-01T00:{(at - BEGIN_US) // 60_000_000:02}:{(at - BEGIN_US) / 1e6 % 60:09.6f}Z",
            "client": client,
            "method": method,
            "target": path,
            "status": status,
            "source": exchange.source,
            "keys": {charge.limit.name: charge.key.hex()[:16] for charge in exchange.charges},
            "limits": {"admitted": [verdict.limit.name for verdict in verdicts]},
        }
        rows.append(json.dumps({key: value for key, value in row.items() if value != {}}) + "\n")
    return "".join(rows)


@pytest.mark.parametrize("seed", range(4))
async def test_simulation_is_the_gateway(start_bench, connect, start_origin, tmp_path, seed):
    """By limit and by key, over several limits that must all admit, exemptions, shadow, refunds and costs."""
    lines, exchanges = await replayed(start_bench, connect, start_origin, traffic(seed, 600))
    matched, refused, keys = judged(exchanges)
    (tmp_path / "log.csv").write_text(as_csv(lines))
    (tmp_path / "weir.log").write_text(as_own_log(lines, exchanges))

    for report in (simulated(tmp_path / "log.csv"), simulated(tmp_path / "weir.log")):
        assert (report.requests, report.skipped) == (600, 0)
        assert {limit.name: limit.matched for limit in report.limits} == matched
        assert {limit.name: limit.refused for limit in report.limits if limit.refused} == +refused
        limited = {
            (limit.name, key.key): [key.requests, key.refused]
            for limit in report.limits
            for key in limit.limited
        }
        assert limited == {key: seen for key, seen in keys.items() if seen[1]}
        assert sum(limit.exempt for limit in report.limits) == sum(
            len(exchange.exempt) for exchange in exchanges
        )
    assert len(+refused) >= 4  # limits that refused anything: else it would show little
