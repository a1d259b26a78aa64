"""What is asked once and remembered is what would be asked of each line."""

import random
from functools import cache

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.loader import loads
from proxy.rules.rules import Rules
from proxy.tuning import charging as charging_module
from proxy.tuning import routes as routes_module
from proxy.tuning.charging import NOTHING, Charging
from proxy.tuning.logged import Logged
from proxy.tuning.replay import Replay
from proxy.tuning.routes import UNREADABLE, Routes

SEVERAL = """
upstream: {servers: ["http://a"]}
downstream: {methods: [LIST]}
contract: {known_paths: ["/api/**", /health, "/files/**"], path_methods: [{paths: [/api/read/**], allow: [GET]}]}
limits:
  - {name: per-user, key: ["header:X-Auth-Token", client-ip], rate: 1/s, exempt: {paths: [/health], cidrs: [10.0.0.0/16]}}
  - {name: sign-in, match: {methods: [POST], paths: [/api/sign-in]}, key: client-ip, rate: 10/m}
  - {name: exact, match: {paths: [/api/Exact], exact: true}, key: client-ip, rate: 10/m}
  - {name: batch, match: {headers: {X-Client: "batch-*"}}, key: ["header:X-Auth-Token"], rate: 1/s}
  - name: priced
    key: ["header:X-Auth-Token", client-ip]
    rate: 9/s
    cost: [{match: {methods: [POST]}, cost: 3}, {match: {paths: ["/files/**"]}, cost: 2}]
"""
BY_PATH = """
upstream: {servers: ["http://a"]}
limits: [{name: per-tenant, key: ["path:2", "query:user", client-ip], rate: 1/s}]
"""
ONE = """
upstream: {servers: ["http://a"]}
limits: [{name: per-user, key: ["header:X-Auth-Token", client-ip], rate: 1/s, unproven: {rate: 1/s}}]
"""
MANY = 'upstream: {servers: ["http://a"]}\nlimits:\n' + "".join(
    f"  - {{name: l{number}, rate: 1/s, key: client-ip, match: {{paths: [/api/{number}/**]}}}}\n"
    for number in range(routes_module.PATTERNS_MAX + 2)
)

TARGETS = st.sampled_from(
    [
        "/api/sign-in", "/API/sign-in", "/api/Exact", "/api/exact", "/api/read/1", "/api/read/2?user=ann", "/health", "/api/../health",
        "/files/a%20b", "/files/%2e%2e/api/read/1", "/none", "/api/7/x", "*", "http://weir.invalid/api/read/1", "/a b", "/a#b", "/a?b#c",
        "/\u00e9", "", "?x", "/api//read;v=1/1", "/api/read/1?user=ben&user=eve", "/%zz",
    ]
)  # fmt: skip
LINES = st.builds(
    Logged,
    client=st.sampled_from(["10.0.0.7", "10.1.0.1", "2001:db8::1", "unix"]),
    method=st.sampled_from(["GET", "POST", "LIST", "TRACE", "get", "", "OPTIONS"]),
    target=TARGETS,
    credential=st.sampled_from(["", "", "ann", "ben"]),
    fault=st.sampled_from([None, None, None, "missing_credentials"]),
    keys=st.sampled_from([b"", b"", b'{"per-user":"00ff00ff00ff00ff"}', b'{"batch":"11","priced":["22","33"]}']).map(msgspec.Raw),
    limits=st.sampled_from([b"", b'{"exempt":["per-user"]}']).map(msgspec.Raw),
)  # fmt: skip


@cache
def compiled(text):
    settings = loads(text, "f", {})
    return settings, Rules(settings)


def charging(text):
    """One that remembers nothing yet."""
    settings, rules = compiled(text)
    return Charging(settings, rules, settings.limits)


def told(due):
    charges = [(each.terms, each.key) for each in due.charges]
    return charges, [*due.exempt], [*due.labels], due.client, due.may_be_new


@pytest.mark.measured
@pytest.mark.parametrize("text", [SEVERAL, BY_PATH, ONE, MANY], ids=["several", "by path", "one", "many"])
@given(lines=st.lists(LINES, min_size=2, max_size=12))
def test_line_is_charged_as_if_it_were_the_only_one(text, lines):
    """Whatever other lines came before it that look alike."""
    remembering = charging(text)
    found = [remembering.due(line) for line in lines]

    assert [told(due) for due in found] == [told(charging(text).due(line)) for line in lines]


def test_line_that_is_no_request_says_nothing_of_its_client():
    """A scan for holes does not hide what the same client asks for later."""
    charges = charging(ONE)
    before = charges.due(Logged(client="192.0.2.1", method="GET", target="/caf\u00e9"))
    after = charges.due(Logged(client="192.0.2.1", method="GET", target="/"))

    assert before is NOTHING
    assert len(after.charges) == 1


def test_method_that_the_config_adds_is_a_request():
    assert charging(SEVERAL).due(Logged(client="192.0.2.1", method="LIST", target="/health?")).charges


def test_paths_make_few_routes():
    """However many there are."""
    routes = Routes(loads(SEVERAL, "f", {}))
    paths = [f"/api/read/{number}" for number in range(1000)]

    assert len({routes.number("GET", path) for path in paths}) == 1
    assert len({routes.number(method, "/api/read/1") for method in ("GET", "POST", "PUT")}) == 3
    assert routes.number("get", "/api/read/1") == UNREADABLE


def test_lines_without_measure_are_not_remembered():
    """Each could have a hundred kilobytes, and there may be thousands."""
    charges = charging(SEVERAL)
    for number in range(20):
        long = f"{number}" * 50_000
        for more in ({"credential": long}, {"target": f"/api/{long}"}, {"client": long}, {"keys": msgspec.Raw(f'{{"a":"{long}"}}'.encode())}):  # fmt: skip
            charges.due(Logged(**{"client": "192.0.2.1", "method": "GET", "target": "/api/a"} | more))

    assert len(charges._known) <= 20  # the clients that are none, and whose labels are cut
    assert charges._routes._known == {("GET", "/api/a"): 0}
    label = own_label("x" * 50_000, charges)
    assert label == "x" * charging_module.LABEL_LETTERS


def own_label(key, charges):
    keys = msgspec.Raw(f'{{"per-user":"{key}"}}'.encode())
    return charges.due(Logged(client="192.0.2.1", method="GET", target="/api/a", keys=keys)).labels[0]


def test_what_is_remembered_is_bounded(monkeypatch):
    """And right again when it is asked for once more."""
    monkeypatch.setattr(charging_module, "DUES_KNOWN", 20)
    monkeypatch.setattr(routes_module, "LINES_KNOWN", 20)
    charges = charging(SEVERAL)
    chosen = random.Random(1)
    for number in range(500):
        chosen_one = chosen.randrange(number + 1)
        due = charges.due(
            Logged(client="192.0.2.1", method="GET", target=f"/api/{number}", credential=str(chosen_one))
        )
        assert [charge.limit.name for charge in due.charges] == ["per-user", "priced"]

    assert len(charges._known) + len(charges._old) <= 20
    assert len(charges._routes._known) <= 20
    assert len(charges._routes._numbers) == 1


@pytest.mark.parametrize("fault", ["connect_refused", "dns_failed", "queue_timeout"])
def test_tokens_come_back_where_no_server_could_be_had(fault):
    """As the gateway gives them back, when it was known."""
    settings, rules = compiled(ONE.replace("1/s,", "1/h, burst: 2,"))
    charges, replay = Charging(settings, rules, settings.limits), Replay(rules.limits, 100)
    lines = [
        Logged(client="192.0.2.1", method="GET", target="/", source="weir", status=502, duration_ms=1.0)
    ] * 9
    replay.play([(number * 10_000, charges.charge(line)) for number, line in enumerate(lines)])
    spent = {limit.name: tally.refused for limit, tally in replay.tallies.items()}
    replay = Replay(rules.limits, 100)
    for line in lines:
        line.fault = fault
    replay.play([(number * 10_000, charges.charge(line)) for number, line in enumerate(lines)])

    assert spent == {"per-user": 7}
    assert {limit.name: tally.refused for limit, tally in replay.tallies.items()} == {"per-user": 0}
