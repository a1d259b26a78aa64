"""Which certificate a client gets, and what is told of one that asks for nonsense."""

from __future__ import annotations

import ssl
import sys
from types import SimpleNamespace

import pytest

from proxy.config.sections.front import ListenTls
from proxy.runtime.listener_tls import Certificates
from tests.support.papers import Papers


@pytest.fixture
def certificates(tmp_path, monkeypatch):
    """Of one host, and of a name that stands for all hosts in no domain."""
    monkeypatch.setattr(
        sys, "unraisablehook", sys.unraisablehook
    )  # several certificates have one of their own
    papers = Papers(tmp_path)
    pairs = [papers.issue(name) for name in ("DNS:api.example.com", "DNS:*", "DNS:*.example.org")]
    tls = ListenTls(certs=[{"cert": str(cert), "key": str(key)} for cert, key in pairs])
    return Certificates(tls, "listen.tls")


def test_star_alone_is_nobodys_name(certificates):
    """It would stand for every host of one word (RFC 9525 section 6.3 has a star for one label of several)."""
    first = certificates.for_name("api.example.com")

    assert certificates.for_name("localhost") is first
    assert certificates.for_name("a.example.org") is not first


@pytest.mark.parametrize("is_asked", [False, True])
def test_client_shows_a_certificate_where_its_authorities_are_named(tmp_path, is_asked):
    papers = Papers(tmp_path)
    cert, key = papers.issue("DNS:api.example.com")
    tls = ListenTls(cert=str(cert), key=str(key), client_ca=str(papers.ca) if is_asked else None)
    context = Certificates(tls, "listen.tls").for_name("api.example.com")

    assert context.verify_mode == (ssl.CERT_REQUIRED if is_asked else ssl.CERT_NONE)
    assert len(context.get_ca_certs()) == is_asked


def test_mistakes_elsewhere_are_still_told(certificates, monkeypatch):
    """Of a name that is no text nothing is said: any client may send one."""
    told = []
    monkeypatch.setattr(sys, "__unraisablehook__", lambda found: told.append(found.exc_type))

    class Broken:
        def __del__(self):
            raise ZeroDivisionError

    def asked_for(name):
        error = None
        try:
            name.decode("ascii")
        except UnicodeDecodeError as failed:
            error = failed
        sys.unraisablehook(SimpleNamespace(exc_type=type(error), exc_value=error, object=name))

    asked_for(b"\xff.example.com")
    Broken()

    assert told == [ZeroDivisionError]
