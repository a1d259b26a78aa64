"""The settings in force, as `weir check --print` shows them."""

import re

import pytest

from proxy.config.loader import Config, loads
from proxy.config.printed import printed
from tests.config.test_schema import FILES

SERVERS = 'upstream: {servers: ["http://a"]}\n'


def lines(text, environ=None):
    return {
        line.partition("#")[0].strip(): line.rpartition("# ")[2]
        for line in printed(Config(text, "weir.yaml", environ or {})).splitlines()
    }


def test_each_setting_says_where_it_comes_from():
    found = lines(
        f"{SERVERS}limits:\n  - {{name: a, rate: 3/s}}\n",
        {"WEIR_LOG__LEVEL": "debug", "WEIR_STORE": '{"max_keys": 5}'},
    )

    assert found['- url: "http://a"'] == "weir.yaml:1"
    assert found["weight: 1"] == "default"
    assert found["- name: a"] == "weir.yaml:3"
    assert found["burst: 3"] == "default"
    assert found["level: debug"] == "WEIR_LOG__LEVEL"
    assert found["max_keys: 5"] == "WEIR_STORE"
    assert found["denial_cache: true"] == "WEIR_STORE"


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.parent.name == "config"], ids=lambda path: path.name
)
def test_what_is_printed_is_the_same_config(path):
    config = Config(path.read_text(), str(path), {})

    assert loads(printed(config), "printed", {}) == config.settings


def test_every_kind_of_value_can_be_read_again():
    text = (
        f"{SERVERS}listen: ['a:1', {{address: 'unix:/b', tls: {{cert: c, key: d}}}}]\nworkers: auto\nstore: {{url: 'redis://h'}}\n"
        "limits: [{name: '1.5', rate: 90/m, match: {headers: {X-A: 'no', X-B: 'a # b'}, paths: ['/a b'], methods: [PUT]}}]\n"
        'errors: {redact: 500, format: {content_type: application/json, body: \'{"a": "{title}"}\'}}\n'
        "contract: {rules: [{status: 200-299, media_types: [a/*]}], path_methods: [{allow: [GET]}]}\nforwarded: {trust: ['::1', 10.1.0.0/16]}\n"
    )
    config = Config(text, "f", {})

    assert loads(printed(config), "printed", {}) == config.settings


def test_no_secret_is_printed():
    text = (
        f"{SERVERS}admin: {{token: hunter2}}\nstore: {{url: 'redis://me:hunter2@h', key_secret: hunter2}}\n"
        "limits: [{name: a, rate: 1/s, exempt: {headers: {X-Inside: hunter2}}}]\n"
    )
    found = printed(Config(text, "f", {}))

    assert "hunter2" not in found
    assert "X-Inside" in found
    assert len(re.findall(r"\*{3}", found)) >= 4
