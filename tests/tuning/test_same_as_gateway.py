"""A simulation's figures are those of the gateway that gets the same requests at the same moments."""

import json
import random
from collections import Counter, defaultdict
from typing import NamedTuple

import pytest
import yaml

from proxy.config.loader import Config
from proxy.config.plan_keys import key_hash
from proxy.limiter.memory import MemoryStore
from proxy.telemetry.access_log import _payers
from proxy.tuning.logs import Log
from proxy.tuning.report import reported
from proxy.tuning.simulation import Simulation
from tests.support.messages import answer, get
from tests.support.origin import answering
from tests.support.patience import until

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


# --- one setting at a time ---

HEAD = """
upstream: {servers: ["%s"]}
forwarded: {trust: [127.0.0.1]}
"""
KEY = 'key: ["header:X-Auth-Token", client-ip]'
KNOWN = ["ann", "ben", "eve", "fay"]

ROWS = {
    "unproven": """
limits:
  - {name: per-user, KEY, rate: 1/s, burst: 3, unproven: {rate: 10/m, burst: 3}, on_upstream_401: address}
""",
    "unproven beside another limit": """
limits:
  - {name: per-user, KEY, rate: 1/s, burst: 3, unproven: {rate: 10/m, burst: 3}, cost_304: 0}
  - {name: all, key: const, rate: 4/s, burst: 4, on_upstream_429: drain}
""",
    "plans": """
plans:
  - {name: small, rate: 20/m, burst: 1, keys: [ANN, BEN]}
  - {name: step-2, rate: 2/s, burst: 6, keys: [EVE]}
limits:
  - {name: per-user, KEY, rate: 1/s, burst: 3, plans: [step-2, small]}
  - {name: search, KEY, match: {paths: ["/api/search/**"]}, rate: 1/s, burst: 2, plans: [small]}
""",
    "enforce": """
limits:
  - {name: per-user, KEY, rate: 1/s, burst: 2, enforce: 40%}
  - {name: by-address, key: client-ip, rate: 1/s, burst: 4, enforce: 60%}
""",
    "shadow and a candidate": """
limits:
  - {name: per-user, KEY, rate: 1/s, burst: 3}
  - {name: candidate, KEY, rate: 30/m, burst: 2, mode: shadow}
  - {name: wide, key: client-ip, rate: 2/s, burst: 3, enforce: 0%}
""",
    "cost": """
limits:
  - name: per-user
    KEY
    rate: 2/s
    burst: 6
    cost: [{match: {methods: [POST]}, cost: 5}, {match: {paths: ["/api/search/**"]}, cost: 2}, {cost: 1}]
""",
    "max_wait": """
limits:
  - {name: per-user, KEY, rate: 5/s, burst: 2, max_wait: 500ms}
  - {name: all, key: const, rate: 20/s, burst: 5}
""",
    "max_wait with plans, shares and a candidate": """
plans: [{name: step-2, rate: 10/s, burst: 3, keys: [ANN]}]
limits:
  - {name: per-user, KEY, rate: 5/s, burst: 2, max_wait: 400ms, plans: [step-2]}
  - {name: per-address, key: client-ip, rate: 10/s, burst: 2, max_wait: 200ms, enforce: 50%}
  - {name: candidate, KEY, rate: 5/s, burst: 1, max_wait: 1s, mode: shadow}
""",
}  # fmt: skip


def written(row):
    text = ROWS[row].replace("KEY", KEY)
    for name in ("ann", "ben", "eve"):
        text = text.replace(name.upper(), f"'{key_hash(name)}'")
    return HEAD + text


class Asked(NamedTuple):
    at: int
    method: str
    path: str
    token: str
    client: str


def requests_of(row, seed, count):
    """Users that the service knows and tokens that are invented; those who may wait come in crowds."""
    chosen = random.Random(seed)
    at = BEGIN_US
    scale = 5 if "max_wait" in row else 1
    for number in range(count):
        at += int(chosen.expovariate(1) * chosen.choice([1000, 20_000, 900_000]) / scale)
        token = chosen.choice(["", *KNOWN, *KNOWN, f"new-{number}", "old"])
        path = chosen.choice(["/api/entities/1", "/api/entities/2", "/api/search/x", "/api/busy"])
        yield Asked(at, chosen.choice(["GET", "GET", "POST"]), f"{path}?n={number}", token, chosen.choice(["10.0.0.7", "10.1.0.1", "2001:db8::1"]))  # fmt: skip


def service(request):
    """Knows its users, has not changed, and is busy now and then."""
    fields = {name.lower(): value for name, value in request.headers}
    if b"x-auth-token" in fields and fields[b"x-auth-token"].decode() not in KNOWN:
        return answer(401, b"who?")
    if b"/busy" in request.target and int(request.target.rpartition(b"=")[2]) % 5 == 0:
        return answer(429, b"")
    return answer(304, b"") if b"/2" in request.target and request.method == b"GET" else answer()


class CountingStore(MemoryStore):
    taken = 0

    def take(self, charges, waiter):
        self.taken += 1
        return super().take(charges, waiter)


async def gone_through(start_bench, connect, start_origin, row, asked):
    """Each exchange, in the order in which they came; who waits is not waited for."""
    origin = await start_origin(answering(service))
    now = 0
    store = CountingStore(lambda: now)
    changes = yaml.safe_load(written(row).replace("%s", origin.url))
    del changes["upstream"]
    bench = await start_bench(origin, store=store, **changes)
    wires, free = [], []
    may_wait = "max_wait" in row
    for number, (at, method, path, token, client) in enumerate(asked):
        now = at - BEGIN_US
        if not free:
            wires.append(await connect(bench))
            free.append(wires[-1])
        wire = free.pop()
        headers = [f"X-Forwarded-For: {client}", *([f"X-Auth-Token: {token}"] if token else [])]
        await wire.send(get(*headers, target=path, method=method))
        if may_wait:
            await until(lambda: store.taken > number, "the limits are asked")  # noqa: B023 - within the turn
        else:
            await wire.response()
            free.append(wire)
    await bench.recorded(len(asked))
    return sorted(bench.exchanges, key=lambda exchange: int(exchange.target.rpartition(b"=")[2]))


def own_log(asked, exchanges):
    """As Weir writes it."""
    rows = []
    for (at, method, path, _, client), exchange in zip(asked, exchanges, strict=True):
        keys, plan = _payers(exchange.charges)
        row = {
            "time": f"2026-01-01T00:{(at - BEGIN_US) // 60_000_000:02}:{(at - BEGIN_US) / 1e6 % 60:09.6f}Z",
            "client": client,
            "method": method,
            "target": path,
            "status": exchange.status,
            "source": exchange.source,
            "keys": json.loads(bytes(keys)),
            "plan": plan,
        }
        rows.append(json.dumps({key: value for key, value in row.items() if value is not None}) + "\n")
    return "".join(rows)


def csv_log(asked, exchanges, told=str):
    rows = (
        f"{each.at},{each.method},{each.path},{told(each.token) if each.token else ''},{each.client},{exchange.status}\n"
        for each, exchange in zip(asked, exchanges, strict=True)
    )
    return "time,method,path,token,client,status\n" + "".join(rows)


def figures(exchanges):
    """By limit: what it was asked, refused, refused as new, and let wait; and by key what was asked and refused."""
    counts, keys = defaultdict(Counter), defaultdict(Counter)
    for exchange in exchanges:
        of_limits = defaultdict(list)
        for verdict in exchange.decision.verdicts:
            of_limits[verdict.limit.name].append(verdict)
        for name, verdicts in of_limits.items():
            counts[name]["matched"] += 1
            counts[name]["refused"] += any(not verdict.is_admitted for verdict in verdicts)
            for verdict in verdicts:
                if verdict.terms.is_newcomer:
                    counts[name]["refused_as_new"] += not verdict.is_admitted
                else:
                    keys[name, verdict.charge.key.hex()[:16]]["requests"] += 1
                    keys[name, verdict.charge.key.hex()[:16]]["refused"] += not verdict.is_admitted
    return {name: +each for name, each in counts.items()}, {
        k: dict(v) for k, v in keys.items() if v["refused"]
    }


def told_figures(report):
    counts = {
        limit.name: +Counter(
            matched=limit.matched, refused=limit.refused, refused_as_new=limit.refused_as_new
        )
        for limit in report.limits
    }
    keys = {
        (limit.name, key.key): {"requests": key.requests, "refused": key.refused}
        for limit in report.limits
        for key in limit.limited
    }
    return counts, keys


def simulation_of(row, path, key_field=None):
    simulation = Simulation(
        [Config(written(row).replace("%s", "http://a"), "f", {})], [Log(str(path))], key_field
    )
    simulation.run(lambda: None)
    (report,) = reported(simulation, lambda: None)
    simulation.close()
    return report


@pytest.mark.parametrize("row", ROWS)
async def test_each_setting_is_replayed(start_bench, connect, start_origin, tmp_path, row):
    """From a log with credentials, from one with their hashes, and from Weir's own, which has neither."""
    asked = list(requests_of(row, len(row), 300))
    exchanges = await gone_through(start_bench, connect, start_origin, row, asked)
    counts, keys = figures(exchanges)
    (tmp_path / "log.csv").write_text(csv_log(asked, exchanges))
    (tmp_path / "hashed.csv").write_text(csv_log(asked, exchanges, key_hash))
    (tmp_path / "weir.log").write_text(own_log(asked, exchanges))

    for name, key_field in (("log.csv", "token"), ("weir.log", None)):
        report = simulation_of(row, tmp_path / name, key_field)
        assert (report.requests, report.skipped) == (300, 0)
        assert told_figures(report) == (counts, keys), name
        waited = sum(exchange.waited > 0 for exchange in exchanges)
        most = max(limit.waited for limit in report.limits if limit.mode == "enforce")
        assert (most > 0) == (waited > 0) == ("max_wait" in row)
        if row == "max_wait":
            assert most == waited
    if "enforce: 4" not in ROWS[row] and "enforce: 5" not in ROWS[row]:  # by hashes of the credential itself
        assert told_figures(simulation_of(row, tmp_path / "hashed.csv", "token"))[0] == counts
    assert all(each["refused"] for each in counts.values())  # else it would show little
