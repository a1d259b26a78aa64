"""What a certificate says of itself, beside what ssl reads in the same file."""

from __future__ import annotations

import re
import ssl
import subprocess

import certifi
import pytest

from proxy.net.certificate import first_in
from tests.support.papers import Papers
from tests.support.programs import program

PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def told_by_ssl(path):
    told = ssl._ssl._test_decode_cert(str(path))  # type: ignore[attr-defined]  # what ssl tests itself by
    names = tuple(value.lower() for kind, value in told.get("subjectAltName", ()) if kind == "DNS")
    return names, ssl.cert_time_to_seconds(told["notAfter"])


def test_names_and_end_are_read(tmp_path):
    """DNS names alone; a name's case does not count."""
    cert, _ = Papers(tmp_path).issue("DNS:Shop.Example", "IP:127.0.0.1", "DNS:*.shop.example", "email:a@b.c")
    found = first_in(cert.read_bytes())

    assert found.names == ("shop.example", "*.shop.example")
    assert (found.names, found.expires.timestamp()) == told_by_ssl(cert)


def test_end_beyond_2049_is_read(tmp_path):
    """Written as another type."""
    cert, _ = Papers(tmp_path).issue("DNS:a.example", days=12_000)

    assert first_in(cert.read_bytes()).expires.timestamp() == told_by_ssl(cert)[1]


def test_certificate_without_names_has_none(tmp_path):
    """An authority's own."""
    assert first_in(Papers(tmp_path).ca.read_bytes()).names == ()


def test_first_of_a_chain_counts(tmp_path):
    papers = Papers(tmp_path)
    cert, _ = papers.issue("DNS:a.example")

    assert first_in(b"a comment\n" + cert.read_bytes() + papers.ca.read_bytes()).names == ("a.example",)


def test_every_authority_of_the_web_is_read(tmp_path):
    """Keys, signatures and dates of all kinds."""
    with open(certifi.where(), "rb") as bundle:
        found = PEM.findall(bundle.read())
    assert len(found) > 50
    for pem in found:
        (tmp_path / "one.pem").write_bytes(pem)
        certificate = first_in(pem)
        assert (certificate.names, certificate.expires.timestamp()) == told_by_ssl(tmp_path / "one.pem")


@pytest.mark.parametrize("kept", [0, 1, 4, 30, 200])
def test_broken_certificate_is_refused(tmp_path, kept):
    """With nothing but a ValueError."""
    der = ssl.PEM_cert_to_DER_cert(Papers(tmp_path).ca.read_text())
    with pytest.raises(ValueError, match="holds"):
        first_in(ssl.DER_cert_to_PEM_cert(der[:kept]).encode())


def test_file_without_a_certificate_is_refused():
    with pytest.raises(ValueError, match="holds no certificate"):
        first_in(b"-----BEGIN PRIVATE KEY-----")


def test_certificate_of_the_first_version_is_read(tmp_path):
    """It says no version, and holds no names."""
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    request = [
        "req",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=old",
        "-keyout",
        key,
        "-out",
        tmp_path / "csr",
    ]
    signed = ["x509", "-req", "-in", tmp_path / "csr", "-key", key, "-days", "3", "-out", cert]
    for words in (request, signed):
        subprocess.run([program("openssl"), *words], check=True, capture_output=True)
    found = first_in(cert.read_bytes())

    assert (found.names, found.expires.timestamp()) == ((), told_by_ssl(cert)[1])
