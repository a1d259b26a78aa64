"""Certificates that are replaced while Weir runs: without a restart, a reload or a connection that breaks."""

from __future__ import annotations

import asyncio
import shutil
import signal
import ssl

import pytest

from tests.support.messages import get
from tests.support.patience import closed, until
from tests.support.ports import free_port

pytestmark = pytest.mark.measured


@pytest.fixture
def files(tmp_path, papers):
    """Paths of the certificate and the key that Weir uses, as a Secret has them."""
    put(tmp_path, papers.issue("DNS:old.example"))
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    return tmp_path / "tls.crt", tmp_path / "tls.key"


def put(folder, pair):
    """Both at once, by a link that is swapped."""
    target = folder / f"..{len(list(folder.iterdir()))}"
    target.mkdir()
    for file, name in zip(pair, ("tls.crt", "tls.key"), strict=True):
        shutil.copy(file, target / name)
    (folder / "..next").symlink_to(target.name)
    (folder / "..next").rename(folder / "..data")


def listening(files, **more):
    port = free_port()
    tls = {"cert": str(files[0]), "key": str(files[1])}
    return port, {"listen": [{"address": f"127.0.0.1:{port}", "tls": tls}], **more}


async def opened(papers, port):
    context = ssl.create_default_context(cafile=papers.ca)
    context.check_hostname = False
    return await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="x.example")


def name_of(writer):
    return writer.get_extra_info("ssl_object").getpeercert()["subjectAltName"][0][1]


async def served_name(papers, port):
    _, writer = await opened(papers, port)
    writer.transport.abort()
    return name_of(writer)


async def comes(look, what, within=15.0):
    async with asyncio.timeout(within):
        while not await look():
            await asyncio.sleep(0.1)


async def test_new_certificate_serves_new_connections(start_weir, start_origin, papers, files, tmp_path):
    """Those that are open go on with the old one."""
    port, changes = listening(files)
    weir = start_weir(changes, upstream=await start_origin())
    reader, writer = await opened(papers, port)
    before = weir.metrics().total("weir_certificate_expiry_timestamp_seconds", setting="listen.tls.cert")
    put(tmp_path, papers.issue("DNS:new.example", days=9))

    async def is_new():
        return await served_name(papers, port) == "new.example"

    await comes(is_new, "the new certificate")
    writer.write(get("Connection: close"))
    said = await reader.read()
    (told,) = weir.admin("/status").json()["tls"]
    after = weir.metrics().total("weir_certificate_expiry_timestamp_seconds", setting="listen.tls.cert")
    writer.transport.abort()

    assert said.startswith(b"HTTP/1.1 200 ")
    assert told["problem"] is None
    assert told["certificates"][0]["names"] == ["new.example"]
    assert after - before == pytest.approx(7 * 86400, abs=600)


async def test_hangup_looks_at_once(start_weir, papers, files, tmp_path):
    port, changes = listening(files)
    weir = start_weir(changes)
    put(tmp_path, papers.issue("DNS:new.example"))
    weir.signal(signal.SIGHUP)
    line = await weir.logged(lambda line: line["event"] == "certificates_renewed", within=10.0)

    assert line["setting"] == "listen.tls"
    assert await served_name(papers, port) == "new.example"


async def test_bad_files_change_nothing_until_they_are_good(start_weir, papers, files, tmp_path):
    """One line, one count, and a word in /status."""
    port, changes = listening(files)
    weir = start_weir(changes)
    put(tmp_path, (papers.issue("DNS:new.example")[0], papers.issue("DNS:other.example")[1]))
    line = await weir.logged(lambda line: line["event"] == "certificates_refused")
    weir.signal(signal.SIGHUP)
    name = await served_name(papers, port)
    problem = weir.admin("/status").json()["tls"][0]["problem"]
    failures = weir.metrics().total("weir_certificate_failures_total", setting="listen.tls")
    put(tmp_path, papers.issue("DNS:good.example"))
    await weir.logged(lambda line: line["event"] == "certificates_renewed")

    assert line["setting"] == "listen.tls"
    assert line["reason"].startswith(
        f"listen.tls.cert: {files[0]} and {files[1]} are no certificate with its key"
    )
    assert (name, failures) == ("old.example", 1)
    assert problem in line["reason"]
    assert len([line for line in weir.log() if line["event"] == "certificates_refused"]) == 1
    assert await served_name(papers, port) == "good.example"


async def test_every_worker_reads_for_itself(start_weir, redis, papers, files, tmp_path):
    """And all of them are one in /status and in the metrics."""
    port, changes = listening(files, workers=2, store={"url": redis.url})
    weir = start_weir(changes)
    put(tmp_path, papers.issue("DNS:new.example"))
    await until(
        lambda: len([line for line in weir.log() if line["event"] == "certificates_renewed"]) == 2,
        "both have read it",
        within=15.0,
    )
    names = {await served_name(papers, port) for _ in range(8)}
    await until(lambda: weir.admin("/status").json()["tls"][0]["certificates"][0]["names"] == ["new.example"])
    end = weir.metrics().total("weir_certificate_expiry_timestamp_seconds")

    assert names == {"new.example"}
    assert end < 4e9  # not the sum


async def test_certificate_towards_servers_is_renewed(start_weir, papers, files, tmp_path, ask):
    """With the authorities; the next connection shows it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*papers.issue("DNS:localhost"))
    context.load_verify_locations(papers.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    seen = []

    async def serve(reader, writer):
        seen.append(name_of(writer))
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
    tls = {"ca": str(papers.ca), "cert": str(files[0]), "key": str(files[1])}
    weir = start_weir({"upstream": {"servers": [url], "tls": tls}})
    first = await ask(weir, get())
    put(tmp_path, papers.issue("DNS:new.example"))
    line = await weir.logged(lambda line: line["event"] == "certificates_renewed")
    second = await ask(weir, get())
    await closed(server)

    assert (first.status, second.status) == (200, 200)
    assert seen == ["old.example", "new.example"]
    assert line["setting"] == "upstream.tls"
