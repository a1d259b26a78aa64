"""Overrides from the environment."""

import pytest

from proxy.config import environment
from proxy.config.loader import ConfigError, loads

FILE = 'upstream: {servers: ["http://a"]}\nstore: {url: "redis://file", timeout: 20ms}\n'


def mistakes(environ, text=FILE):
    with pytest.raises(ConfigError) as caught:
        loads(text, "weir.yaml", environ)
    return [str(mistake) for mistake in caught.value.mistakes]


def test_variable_wins_over_the_file():
    settings = loads(FILE, "weir.yaml", {"WEIR_STORE__URL": "redis://env", "HOME": "/root"})

    assert str(settings.store.url) == "redis://env:6379"
    assert settings.store.timeout == 0.02


def test_environment_alone_is_a_config():
    """In a container no file content is needed."""
    settings = loads("", "weir.yaml", {"WEIR_UPSTREAM__SERVERS": '["http://app:9000"]'})

    assert settings.upstream.servers[0].url.host == "app"


@pytest.mark.parametrize(
    ("variable", "text", "read"),
    [
        ("WEIR_WORKERS", "4", lambda s: s.workers == 4),
        ("WEIR_WORKERS", "auto", lambda s: s.workers == "auto"),
        ("WEIR_CONTRACT__EDGE_ETAGS", "true", lambda s: s.contract.edge_etags is True),
        ("WEIR_DOWNSTREAM__LIMITS__HEADERS", "50", lambda s: s.downstream.limits.headers == 50),
        ("WEIR_DOWNSTREAM__LIMITS__BODY", "1MiB", lambda s: s.downstream.limits.body == 1024**2),
        ("WEIR_DOWNSTREAM__LIMITS__BODY", "null", lambda s: s.downstream.limits.body is None),
        ("WEIR_ADMIN__TOKEN", "12345", lambda s: s.admin.token.get_secret_value() == "12345"),
        ("WEIR_ADMIN__TOKEN", "true", lambda s: s.admin.token.get_secret_value() == "true"),
        ("WEIR_ADMIN__TOKEN", "[x", lambda s: s.admin.token.get_secret_value() == "[x"),
        ("WEIR_ADMIN__TOKEN", "null", lambda s: s.admin.token is None),
        ("WEIR_LISTEN", "127.0.0.1:1", lambda s: s.listen[0].port == 1),
        (
            "WEIR_LISTEN",
            '["127.0.0.1:1", {"address": "[::1]:2"}]',
            lambda s: [x.port for x in s.listen] == [1, 2],
        ),
        ("WEIR_RATELIMIT_FIELDS", "off", lambda s: s.ratelimit_fields == "off"),
        ("WEIR_LOG__ACCESS", "off", lambda s: s.log.access == "off"),
        ("WEIR_LIMITS", "[]", lambda s: s.limits == ()),
        ("WEIR_LIMITS", '[{"name": "a", "rate": "2/m"}]', lambda s: str(s.limits[0].rate) == "2/m"),
        ("WEIR_ERRORS__FORMAT", "problem", lambda s: s.errors.format == "problem"),
        (
            "WEIR_ERRORS__FORMAT",
            '{"content_type": "text/plain", "body": "x"}',
            lambda s: s.errors.format.body == "x",
        ),
        ("WEIR_ERRORS__FORMAT__BODY", "x", None),
        ("WEIR_STORE", '{"url": "redis://block"}', lambda s: s.store.timeout == 0.05),
        ("WEIR_FORWARDED__TRUST", '["10.0.0.0/8"]', lambda s: s.forwarded.trust[0].prefixlen == 8),
        ("WEIR_UPSTREAM__TIMEOUTS__RESPONSE", "3m", lambda s: s.upstream.timeouts.response == 180),
    ],
)
def test_variable_is_read_as_its_setting_needs_it(variable, text, read):
    """Text stays text even where it looks like a number; lists and blocks are JSON."""
    if read is None:
        assert mistakes({variable: text})
    else:
        assert read(loads(FILE, "weir.yaml", {variable: text}))


def test_single_setting_wins_over_its_block():
    environ = {"WEIR_STORE": '{"url": "redis://block", "timeout": "30ms"}', "WEIR_STORE__TIMEOUT": "40ms"}

    settings = loads(FILE, "weir.yaml", environ)

    assert str(settings.store.url) == "redis://block:6379"
    assert settings.store.timeout == 0.04


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        ({"WEIR_STORE_URL": "memory"}, "WEIR_STORE_URL: unknown variable; did you mean WEIR_STORE__URL? If it is not meant for Weir, unset it, or let it pass: WEIR_IGNORE=WEIR_STORE_URL"),
        ({"WEIR_LIMITZ": "[]"}, "WEIR_LIMITZ: unknown variable; did you mean WEIR_LIMITS? If it is not meant for Weir, unset it, or let it pass: WEIR_IGNORE=WEIR_LIMITZ"),
        ({"WEIR_store__url": "memory"}, "WEIR_store__url: unknown variable; did you mean WEIR_STORE__URL? If it is not meant for Weir, unset it, or let it pass: WEIR_IGNORE=WEIR_store__url"),
        ({"WEIR_STORE__PORT": "1"}, "WEIR_STORE__PORT: unknown variable; did you mean WEIR_STORE__URL? If it is not meant for Weir, unset it, or let it pass: WEIR_IGNORE=WEIR_STORE__PORT"),
        (
            {"WEIR_VERSION": "1"},
            "WEIR_VERSION: is not a setting of Weir, whose variables all begin with WEIR_; unset it, or let it pass: WEIR_IGNORE=WEIR_VERSION",
        ),
        ({"WEIR_STORE__TIMEOUT": "50"}, "WEIR_STORE__TIMEOUT: store.timeout: 50 needs a unit: write 50ms, 50s, 50m or 50h"),
        ({"WEIR_WORKERS": "many"}, "WEIR_WORKERS: workers: must be a whole number such as 1, or auto, not 'many'"),
        ({"WEIR_CONTRACT__EDGE_ETAGS": "yes"}, "WEIR_CONTRACT__EDGE_ETAGS: contract.edge_etags: must be true or false, not 'yes'"),
        ({"WEIR_ADMIN__TOKEN": ""}, "WEIR_ADMIN__TOKEN: admin.token: is empty; null leaves it out"),
        (
            {"WEIR_UPSTREAM__SERVERS": "http://a"},
            "WEIR_UPSTREAM__SERVERS: upstream.servers: must be a list as JSON: expecting value at character 1",
        ),
        ({"WEIR_LIMITS": ""}, "WEIR_LIMITS: limits: is empty; write a list as JSON, or unset it"),
        ({"WEIR_STORE": "[]"}, "WEIR_STORE: store: must be a block of settings, not a list"),
        ({"WEIR_STORE": '{"url": "memory", "url": "memory"}'}, "WEIR_STORE: store: a name is there twice in one JSON object"),
        ({"WEIR_STORE": '{"ulr": "memory"}'}, "WEIR_STORE: store.ulr: unknown setting; did you mean url?"),
        ({"WEIR_LIMITS": '[{"name": "a", "rate": 0.5}]'}, "WEIR_LIMITS: limits[0].rate: must be a rate such as 15/s, 90/m, 1000/h or 5000/d, not '0.5'"),
        ({"WEIR_LIMITS": '[{"name": "a"}]'}, "WEIR_LIMITS: limits[0].rate: is required: how many requests may come in a time, such as 15/s; or concurrency"),
        ({"WEIR_LIMITS": "[" * 100_000}, "WEIR_LIMITS: limits: nested more than 24 levels deep"),
        ({"WEIR_ERRORS__KEEP_MEMBERS": '["\\ud800"]'}, "WEIR_ERRORS__KEEP_MEMBERS: errors.keep_members: an escape stands for half a character"),
        ({"WEIR_LOG__ACCESS": "/a\udce9"}, "WEIR_LOG__ACCESS: log.access: is not UTF-8"),
    ],
)  # fmt: skip
def test_wrong_variable_says_what_to_write(environ, line):
    assert mistakes(environ) == [line]


def test_mistakes_of_file_and_environment_are_told_together():
    lines = mistakes({"WEIR_WORKERS": "0"}, FILE + "drain: {delay: 5}\n")

    assert lines == [
        "WEIR_WORKERS: workers: must be 1 to 256, or auto, not 0",
        "weir.yaml:3:16: drain.delay: 5 needs a unit: write 5ms, 5s, 5m or 5h",
    ]


def test_variable_heals_what_the_file_has_wrong():
    settings = loads("upstream: {servers: []}\n", "weir.yaml", {"WEIR_UPSTREAM__SERVERS": '["http://a"]'})

    assert settings.upstream.servers[0].url.host == "a"


def test_block_that_is_no_block_in_the_file_stays_the_mistake():
    assert mistakes(
        {"WEIR_DOWNSTREAM__LIMITS__BODY": "1B"}, 'upstream: {servers: ["http://a"]}\ndownstream: 5\n'
    ) == ["weir.yaml:2:13: downstream: must be a block of settings, not a number"]
    assert mistakes({"WEIR_STORE__URL": "memory"}, 'upstream: {servers: ["http://a"]}\nstore: redis\n') == [
        "weir.yaml:2:8: store: must be a block of settings, not text"
    ]


@pytest.mark.parametrize(
    "variable",
    [
        "WEIR_SERVICE_HOST",
        "WEIR_SERVICE_PORT",
        "WEIR_SERVICE_PORT_HTTP",
        "WEIR_PORT",
        "WEIR_PORT_8080_TCP",
        "WEIR_PORT_8080_TCP_PROTO",
        "WEIR_PORT_8080_TCP_PORT",
        "WEIR_PORT_8080_TCP_ADDR",
        "WEIR_ADMIN_SERVICE_HOST",
        "WEIR_ADMIN_PORT_9901_TCP",
    ],
)
def test_variables_that_kubernetes_makes_are_left_alone(variable):
    """A Service named weir or weir-admin puts these into every pod of its namespace."""
    assert loads(FILE, "weir.yaml", {variable: "tcp://10.0.0.1:8080"})


def test_process_environment_is_the_default(monkeypatch):
    monkeypatch.setenv("WEIR_WORKERS", "3")

    assert loads(FILE, "weir.yaml").workers == 3


def test_each_setting_outside_of_lists_has_a_variable():
    names = environment.variables()

    assert "WEIR_DOWNSTREAM__TIMEOUTS__HEAD" in names
    assert not any("[" in name for name in names)
    assert len(names) == len({name.replace("__", "_") for name in names})
