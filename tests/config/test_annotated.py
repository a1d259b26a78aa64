"""The config that `weir init` writes."""

from __future__ import annotations

import pytest

from proxy.config.annotated import EXAMPLE, annotated
from proxy.config.loader import loads
from proxy.config.mistakes import ConfigError
from tests.config.test_shipped import WEIR_YAML


def test_without_a_server_it_is_the_shipped_file():
    assert annotated() == WEIR_YAML.read_text()
    assert annotated().count(EXAMPLE) == 1


def test_servers_stand_in_the_place_of_the_example():
    """And nothing else differs."""
    servers = ["http://app:9000", "http+unix:///run/app.sock"]
    settings = loads(annotated(servers), "f", {})

    assert [str(each.url) for each in settings.upstream.servers] == servers
    assert len(annotated(servers).splitlines()) == len(annotated().splitlines())


@pytest.mark.parametrize("server", ["app:9000", "", "http://", 'http://a"]\nlimits: []', "ftp://a"])
def test_what_is_no_server_is_refused(server):
    with pytest.raises(ConfigError, match=r"upstream\.servers\[0\]"):
        annotated([server])


def test_environment_is_not_asked(monkeypatch):
    """A file that is written today is read elsewhere tomorrow."""
    monkeypatch.setenv("WEIR_UPSTREAM__SERVERS", "nonsense")

    assert annotated(["http://a"])
