"""Secrets that stand in variables and files."""

import os

import pytest

from proxy.config import catalogue
from proxy.config.loader import Config, ConfigError

SERVERS = 'upstream: {servers: ["http://a"]}\n'
ENVIRON = {"TOKEN": "t0ken", "ODD": "p@ss/w:rd?#", "EMPTY": "", "URL": "redis://:pw@h:1/2"}


def reading(tmp_path, text, environ=ENVIRON):
    return Config(SERVERS + text, str(tmp_path / "weir.yaml"), environ)


def settings(tmp_path, text, environ=ENVIRON):
    return reading(tmp_path, text, environ).settings


def mistakes(tmp_path, text, environ=ENVIRON):
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, text, environ)
    return [str(mistake).removeprefix(f"{tmp_path}/weir.yaml:") for mistake in caught.value.mistakes]


def test_variable_stands_for_a_secret(tmp_path):
    tree = settings(tmp_path, "admin: {token: '${TOKEN}'}\nstore: {key_secret: 'a-${TOKEN}-b'}")

    assert tree.admin.token.get_secret_value() == "t0ken"
    assert tree.store.key_secret.get_secret_value() == "a-t0ken-b"


@pytest.mark.parametrize("path", [entry.path for entry in catalogue.entries() if entry.is_secret])
def test_every_secret_may_stand_elsewhere(tmp_path, path):
    """A file that is not there shows that it was looked for."""
    *blocks, name = path.split(".")
    text = "".join(f"{{{block}: " for block in blocks) + f"{{{name}: 'file:gone'}}" + "}" * len(blocks)

    assert mistakes(tmp_path, text.removeprefix("{").removesuffix("}"))[0].endswith("/gone: no such file")


def test_variable_within_a_url_is_escaped(tmp_path):
    """Whatever the password holds, the host stays the host."""
    url = settings(tmp_path, "store: {url: 'redis://me:${ODD}@h:6379/1'}").store.url

    assert url.password.get_secret_value() == ENVIRON["ODD"]
    assert (url.username, url.addresses[0][0], url.database) == ("me", "h", 1)


def test_variable_may_be_the_whole_url(tmp_path):
    url = settings(tmp_path, "store: {url: '${URL}'}").store.url

    assert (url.password.get_secret_value(), url.database) == ("pw", 2)


def test_file_stands_for_a_secret(tmp_path):
    """Its folder is that of the config; the line's end is not part of it."""
    (tmp_path / "token").write_text("t0ken\n")
    (tmp_path / "url").write_text("redis://:pw@h\r\n")
    found = reading(tmp_path, f"admin: {{token: 'file:token'}}\nstore: {{url: 'file:{tmp_path}/url'}}")

    assert found.settings.admin.token.get_secret_value() == "t0ken"
    assert found.settings.store.url.password.get_secret_value() == "pw"
    assert sorted(found.files) == [tmp_path / "token", tmp_path / "url"]


def test_file_may_stand_within_a_url(tmp_path):
    (tmp_path / "password").write_text("a@b\n")

    url = settings(tmp_path, "store: {url: 'redis://:${file:password}@h'}").store.url

    assert url.password.get_secret_value() == "a@b"


def test_variable_of_weir_may_refer_too(tmp_path):
    environ = ENVIRON | {"WEIR_ADMIN__TOKEN": "${TOKEN}", "WEIR_STORE": '{"key_secret": "${TOKEN}"}'}
    tree = settings(tmp_path, "", environ)

    assert tree.admin.token.get_secret_value() == tree.store.key_secret.get_secret_value() == "t0ken"


def test_other_settings_take_text_as_it_is(tmp_path):
    tree = settings(tmp_path, "limits: [{name: a, rate: 1/s, match: {paths: ['/${TOKEN}']}}]")

    assert tree.limits[0].match.paths == ("/${TOKEN}",)


def test_alias_of_a_reference_is_resolved_where_it_stands(tmp_path):
    tree = settings(tmp_path, "admin: {token: &t '${TOKEN}'}\nstore: {key_secret: *t}")

    assert tree.store.key_secret.get_secret_value() == "t0ken"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("admin: {token: '${NOBODY}'}", ["2:16: admin.token: the variable NOBODY is not set"]),
        ("admin: {token: '${EMPTY}'}", ["2:16: admin.token: the variable EMPTY is empty"]),
        ("admin: {token: 'file:none'}", ["2:16: admin.token: {}/none: no such file"]),
        ("admin: {token: 'file:empty'}", ["2:16: admin.token: {}/empty: is empty"]),
        ("admin: {token: 'file:huge'}", ["2:16: admin.token: {}/huge: is larger than 65536 bytes"]),
        ("admin: {token: 'file:binary'}", ["2:16: admin.token: {}/binary: is not UTF-8"]),
        ("admin: {token: 'file:pipe'}", ["2:16: admin.token: {}/pipe: is a pipe; a regular file is needed, since it is read again and again"]),
        ("admin: {token: 'file:'}", ["2:16: admin.token: {}: is a directory; name the file within it"]),
        ("admin: {token: 'file:spaced'}", ["2:16: admin.token: has a space, a control or a non-ASCII character"]),
        ("store: {url: 'redis://:${NOBODY}@h', tls: {ca: x}}", ["2:14: store.url: the variable NOBODY is not set"]),
        ("store: {url: '${TOKEN}'}", ["2:14: store.url: must be memory or a URL such as redis://127.0.0.1:6379"]),
        ("admin: {listen: 0.0.0.0:1, token: '${NOBODY}'}\nworkers: x", ["2:35: admin.token: the variable NOBODY is not set", "3:10: workers: must be a whole number such as 1, or auto, not 'x'"]),
    ],
)  # fmt: skip
def test_what_cannot_be_had_is_a_mistake_at_its_place(tmp_path, text, lines):
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "huge").write_bytes(b"x" * 65537)
    (tmp_path / "binary").write_bytes(b"\xff")
    (tmp_path / "spaced").write_text("t0k en")
    os.mkfifo(tmp_path / "pipe")

    found = mistakes(tmp_path, text)

    assert found == [line.replace("{}", str(tmp_path)) for line in lines]
    assert "t0k" not in "".join(found)


def test_what_a_variable_holds_never_shows():
    """Not even where it is no good."""
    with pytest.raises(ConfigError) as caught:
        Config(
            f"{SERVERS}store: {{url: '${{A}}'}}\nadmin: {{token: '${{B}}'}}",
            "f",
            {"A": "hunter2zz", "B": "hunter 2zz"},
        )

    assert "hunter" not in str(caught.value)
