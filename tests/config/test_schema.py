"""The JSON Schema of the file: it takes what Weir takes, and shows what is mistyped."""

import json
import re
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings

from proxy.config.catalogue import entries
from proxy.config.document import read
from proxy.config.loader import ConfigError, loads
from proxy.config.schema import schema, schema_text
from tests.config.test_doubts import WARNINGS, WELL_MEANT
from tests.config.test_loader import MISTAKES, SERVERS, SIDE_BY_SIDE, configs

pytestmark = pytest.mark.unmeasured

ROOT = Path(__file__).parents[2]
FILES = sorted(
    path
    for folder in ("config", "deploy")
    for path in (ROOT / folder).rglob("*.yaml")
    if re.search(r"^(?:listen|upstream|limits):", path.read_text(), re.MULTILINE)
)


@cache
def validator():
    import jsonschema  # takes more than a second, which whoever only collects the tests need not wait

    return jsonschema.Draft7Validator(schema())


def problems(text):
    return sorted(error.message for error in validator().iter_errors(read(text).data))


def test_schema_is_a_schema():
    validator().check_schema(schema())


def test_file_in_the_repository_is_what_the_command_prints():
    assert (ROOT / "config" / "weir.schema.json").read_text() == schema_text()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_shipped_file_names_the_schema_and_fits_it(path):
    """In its first line, from where it lies: an editor completes and checks it at once."""
    text = path.read_text()
    named = re.match(r"# yaml-language-server: \$schema=(\S+)\n", text)

    assert named
    assert (path.parent / named[1]).resolve() == ROOT / "config" / "weir.schema.json"
    assert problems(text) == []


def test_there_are_shipped_files():
    assert len(FILES) >= 6


@settings(max_examples=300, deadline=None)
@given(configs())
def test_what_weir_takes_fits(data):
    text = json.dumps(data)
    try:
        loads(text, "f", {})
    except ConfigError:
        return
    assert problems(text) == []


@pytest.mark.parametrize("text", [*WELL_MEANT, *(row[0] for row in WARNINGS)])
def test_short_forms_and_doubts_fit(text):
    assert problems(f"{text}\n{SERVERS}") == []


SHORT = [
    "listen: 'unix:/run/weir.sock'",
    "listen: {address: 'a:1', tls: {cert: a, key: b}}",
    "listen: ['a:1', {address: '[::1]:2', proxy_protocol: true}]",
    "store:\nlog:\ndownstream: {timeouts: , limits: }",
    "limits: [{name: a, rate: 1/s, key: client-ip, match: }]",
    "errors: {redact: 500, format: {content_type: text/plain, body: x}}",
    "errors: {redact: ['500', 502-504]}",
    "upstream: {servers: [{url: 'HTTPS://a:1/', weight: 2}, 'http+unix:///run/s']}",
    "upstream: {servers: ['https://a'], tls: {min_version: 1.2}}",
    "admin: {token: '${TOKEN}'}\nstore: {url: 'file:url', key_secret: 'file:/run/secrets/a b'}",
    "store: {url: 'redis+sentinel://a:1,b:2/main'}",
    "workers: auto\nlimits: []\ncontract: {public_url: 'https://a:1'}",
    "log: &log {level: info}",
]


@pytest.mark.parametrize("text", SHORT)
def test_short_form_fits(text):
    assert problems(text) == []


# What only `weir check` knows: what depends on another setting, and what a pattern cannot say.
BEYOND = re.compile(
    r"is there twice|twice: case|may meet \d+ of|is asked for in headers|is above|is below|is longer than networks|is not below|is taken by"
    r"|would each grant|never granted|cannot be counted exactly|is used with|is required(?:, since| with|, with key)"
    r"|says nothing of|never has a body|have nothing to match|in the entry for|holds statuses|holds interim|upside down"
    r"|where Weir itself listens|never reached|is charged before|names a header twice|is not a method|did you mean GET|is never forwarded"
    r"|is an address within a network|looks like an IPv4|does not become JSON|is not a placeholder|at most one \*"
    r"|does not go with concurrency|is more than the 1m that|mode: decide|there is no plan|nothing to prove|no-such-file|parameters are not compared|upstream\.servers: is required|the port must be|holds 17 entries"
)


@pytest.mark.parametrize(
    ("text", "line"),
    [row for row in MISTAKES if not BEYOND.search(row[1])],
)
def test_mistyped_setting_does_not_fit(text, line):
    whole = text if "upstream: {" in text or text in ("- a", "hello") else f"{text}\n{SERVERS}\n"

    assert problems(whole)


def test_most_mistakes_are_shown_by_an_editor():
    assert sum(not BEYOND.search(line) for _, line in MISTAKES) > 70
    assert SIDE_BY_SIDE


@pytest.mark.parametrize("path", [entry.path for entry in entries() if "[]" not in entry.path])
def test_each_setting_mistyped_does_not_fit(path):
    """One letter more in its name."""
    *blocks, name = path.split(".")
    data: dict[str, object] = {f"{name}x": 1}
    for block in reversed(blocks):
        data = {block: data}

    assert problems(json.dumps(data))


def test_each_setting_has_its_help_and_default():
    made = schema()
    for entry in entries():
        node = {"$ref": "#"}
        for part in entry.path.replace("[]", "").split("."):
            node = resolved(node, made)["properties"][part]
        assert node["description"] == entry.help
        if not entry.is_required and not entry.says:
            assert node["default"] == entry.default


def resolved(node, made):
    while "properties" not in node:
        if node.get("$ref") == "#":
            return made
        if "$ref" in node:
            node = made["definitions"][node["$ref"].rpartition("/")[2]]
        else:
            node = next(
                part
                for part in [*node.get("anyOf", []), *node.get("oneOf", []), node.get("items")]
                if part and block(part)
            )
    return node


def block(node):
    return "$ref" in node or any(
        block(part)
        for part in [
            *node.get("anyOf", []),
            *node.get("oneOf", []),
            *([node["items"]] if "items" in node else []),
        ]
    )
