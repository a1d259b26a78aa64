"""`weir explain` as typed."""

from __future__ import annotations

import json

import pytest

from tests.support.weir import run

pytestmark = pytest.mark.measured

CONFIG = """\
upstream: {servers: ["http://127.0.0.1:9000"]}
store: {url: "redis://:${REDIS_PASSWORD}@h", key_secret: "file:/run/secrets/none"}
limits:
  - {name: per-user, key: ["header:X-Auth-Token", client-ip], rate: 15/s}
  - {name: sign-in, match: {methods: [POST], paths: [/api/authenticate]}, key: client-ip, rate: 10/m}
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "weir.yaml"
    path.write_text(CONFIG)
    return str(path)


def test_request_is_explained(config):
    """Where the secrets of the service are not known either, which is said."""
    done = run("explain", config, "GET", "/api/a", "-H", "X-Auth-Token: ann", "--from", "192.0.2.1")

    assert (done.returncode, done.stderr) == (0, "")
    assert "GET /api/a  client 192.0.2.1" in done.stdout
    assert "per-user  yes         header:X-Auth-Token" in done.stdout
    assert "sign-in   no: method" in done.stdout
    assert 'RateLimit: "per-user";r=14;t=1' in done.stdout
    assert "X-Forwarded-For: 192.0.2.1" in done.stdout
    assert "store.key_secret is not known here" in done.stdout


def test_limit_that_counts_nothing_of_a_request_says_so(tmp_path):
    """`when_absent: skip`, and a request that carries nothing of the key."""
    path = tmp_path / "weir.yaml"
    path.write_text(
        'upstream: {servers: ["http://127.0.0.1:9000"]}\n'
        "limits:\n"
        "  - {name: skipping, key: 'header:X-A', when_absent: skip, rate: 9/s}\n"
        "  - {name: sharing, key: 'header:X-A', when_absent: share, rate: 9/s}\n"
    )
    bare, carrying = (run("explain", str(path), "GET", "/", *more).stdout for more in ([], ["-H", "X-A: a"]))

    assert "skipping  no: nothing of its key" in bare
    assert "sharing   yes" in bare
    assert "none" in bare
    assert "skipping  yes" in carrying


def test_command_line_of_curl_is_explained_as_json(config):
    done = run(
        "explain", config, "--json", "--curl", "curl -s https://shop.example/api/authenticate -d user=ann"
    )
    found = json.loads(done.stdout)

    assert (found["method"], found["target"], found["client"]) == ("POST", "/api/authenticate", "127.0.0.1")
    assert [limit["matches"] for limit in found["limits"]] == [True, True]
    assert ["Host", "shop.example"] in found["request"]["headers"]
    assert ["X-Forwarded-Proto", "https"] in found["request"]["headers"]


def test_limit_on_concurrency_is_explained(tmp_path):
    """No rate, no burst, and what the client would be told."""
    path = tmp_path / "weir.yaml"
    path.write_text(
        'upstream: {servers: ["http://127.0.0.1:9000"]}\n'
        "limits: [{name: at-once, key: client-ip, concurrency: 20}]\n"
    )
    found = json.loads(run("explain", str(path), "--json", "GET", "/a").stdout)
    (limit,) = found["limits"]

    assert (limit["concurrency"], limit["rate"], limit["burst"]) == (20, None, None)
    assert ["RateLimit-Policy", '"at-once";q=20;qu="concurrent-requests"'] in found["response_headers"]
    assert ["RateLimit", '"at-once";r=19'] in found["response_headers"]
    assert "20 at once" in run("explain", str(path), "GET", "/a").stdout


def test_refused_request_is_explained(config):
    done = run("explain", config, "GET", "/a", "-H", "Host: a", "-H", "Host: b")

    assert done.returncode == 0
    assert "refused before any limit: 400, bad_host" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.yaml", "GET", "/"], "none.yaml: no such file"),
        (["{config}"], "give a request as METHOD and TARGET"),
        (["{config}", "GET"], "give a request as METHOD and TARGET"),
        (["{config}", "GET", "/", "--curl", "curl a"], "either as METHOD and TARGET or by --curl"),
        (["{config}", "GET", "/", "-H", "X"], "a header is written 'Name: value'"),
        (["{config}", "GET", "/", "--from", "here"], "--from takes an IP address"),
        (["{config}", "--curl", "curl a --teleport"], "--teleport is not known here"),
    ],
)
def test_mistake_is_one_line(config, arguments, said):
    done = run("explain", *(word.format(config=config) for word in arguments))

    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
