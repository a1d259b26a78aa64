"""TLS on either side: certificates made by openssl for the test, nothing trusted beyond them."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from contextlib import suppress

import pytest

from tests.support.messages import answer, get
from tests.support.patience import closed
from tests.support.ports import free_port
from tests.support.programs import program

pytestmark = pytest.mark.measured


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Paths of a self-signed certificate for localhost, and of its key."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = f"{program('openssl')} req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    return cert, key


async def speak(port, context, data, *, name="localhost"):
    """One answer over TLS, whole."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
    try:
        writer.write(data)
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()
        with suppress(ssl.SSLError, ConnectionError):
            await writer.wait_closed()


@pytest.fixture
def tls_weir(start_weir, certificate):
    """Serves TLS in front of an origin."""
    cert, key = certificate

    def start(origin):
        port = free_port()
        listen = [{"address": f"127.0.0.1:{port}", "tls": {"cert": str(cert), "key": str(key)}}]
        weir = start_weir({"listen": listen}, upstream=origin)
        weir.port = port
        return weir

    return start


async def test_listener_serves_tls(tls_weir, start_origin, certificate):
    """And tells the origin so."""
    origin = await start_origin()
    weir = tls_weir(origin)
    context = ssl.create_default_context(cafile=certificate[0])
    said = await speak(weir.port, context, get("Connection: close"))

    assert said.startswith(b"HTTP/1.1 200 ")
    assert said.endswith(b"\r\n\r\nok")
    assert origin.requests[0].value("X-Forwarded-Proto") == b"https"


async def test_large_answer_passes_tls(tls_weir, start_origin, certificate):
    """With backpressure on an encrypted connection."""
    body = b"0123456789abcdef" * 300_000

    async def script(visit):
        await visit.request()
        await visit.send(answer(200, body))

    weir = tls_weir(await start_origin(script))
    context = ssl.create_default_context(cafile=certificate[0])
    said = await speak(weir.port, context, get("Connection: close"))

    assert said.endswith(b"\r\n\r\n" + body)


async def test_old_tls_is_refused(tls_weir, start_origin, certificate):
    """TLS 1.2 is the least."""
    weir = tls_weir(await start_origin())
    context = ssl.create_default_context(cafile=certificate[0])
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1

    with pytest.raises((ssl.SSLError, ConnectionError)):
        await speak(weir.port, context, get())


async def test_plain_request_on_a_tls_port_harms_nobody(tls_weir, start_origin, connect, certificate):
    """The connection ends; the next one is served."""
    origin = await start_origin()
    weir = tls_weir(origin)
    wire = await connect(weir)
    await wire.send(get())
    await wire.rest()
    context = ssl.create_default_context(cafile=certificate[0])
    said = await speak(weir.port, context, get("Connection: close"))

    assert said.startswith(b"HTTP/1.1 200 ")
    assert len(origin.requests) == 1


async def test_truncated_answer_has_no_clean_end_over_tls(tls_weir, start_origin, certificate):
    """A chunked answer that breaks off has no last chunk, also where close_notify makes an end look polite."""

    async def script(visit):
        await visit.request()
        await visit.send(answer(200, b"5\r\nhello\r\n", "Transfer-Encoding: chunked", length=False))

    weir = tls_weir(await start_origin(script))
    context = ssl.create_default_context(cafile=certificate[0])
    try:
        said = await speak(weir.port, context, get())
    except (ssl.SSLError, ConnectionError):
        return  # an error is what we want

    assert b"hello" in said
    assert not said.endswith(b"0\r\n\r\n")


@pytest.fixture
async def tls_origin(certificate):
    """The port of a server that answers over TLS; at the end all of its connections are closed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(200, b"by tls", "Connection: close"))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    yield server.sockets[0].getsockname()[1]
    await closed(server)


async def test_server_that_is_not_vouched_for_is_a_502(start_weir, tls_origin, ask):
    """A self-signed certificate is not believed, and the client is told nothing of why."""
    weir = start_weir(upstream=f"https://localhost:{tls_origin}")
    response = await ask(weir, get())

    assert response.status == 502
    assert b"certificate" not in response.body.lower()


async def test_server_that_is_vouched_for_is_asked(start_weir, tls_origin, certificate, ask):
    """By the authorities of the system, which SSL_CERT_FILE names."""
    weir = start_weir(upstream=f"https://localhost:{tls_origin}", SSL_CERT_FILE=str(certificate[0]))
    response = await ask(weir, get())

    assert (response.status, response.body) == (200, b"by tls")


@pytest.mark.parametrize("missing", ["cert", "key"])
def test_missing_certificate_is_one_clear_line(new_weir, certificate, missing, tmp_path):
    """With its path; Weir does not start."""
    tls = {"cert": str(certificate[0]), "key": str(certificate[1])} | {missing: str(tmp_path / "nowhere.pem")}
    weir = new_weir({"listen": [{"address": f"127.0.0.1:{free_port()}", "tls": tls}]})
    weir.launch()
    code = weir.wait()
    lines = [line for line in weir.log_text().strip().splitlines() if "source_build" not in line]

    assert code != 0
    assert len(lines) == 1
    assert "nowhere.pem" in lines[0]
