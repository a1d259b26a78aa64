"""Several certificates on one listener: which one a client is served with."""

from __future__ import annotations

import asyncio
import re
import ssl

import pytest

from tests.support.messages import get
from tests.support.papers import Papers
from tests.support.ports import free_port
from tests.support.weir import run


def pair(papers, *names):
    cert, key = papers.issue(*(f"DNS:{name}" for name in names))
    return {"cert": str(cert), "key": str(key)}


@pytest.fixture
def serving(start_weir, start_origin):
    """A Weir with these settings of `listen[].tls`."""

    async def start(**tls):
        port = free_port()
        listen = [{"address": f"127.0.0.1:{port}", "tls": tls}]
        weir = start_weir({"listen": listen}, upstream=await start_origin())
        weir.port = port
        return weir

    return start


def client(papers, **more):
    """One that believes the test's authority."""
    context = ssl.create_default_context(cafile=papers.ca)
    context.check_hostname = False
    for name, value in more.items():
        setattr(context, name, value)
    return context


async def names_for(weir, context, name):
    """Of the certificate that who asks for `name` is served with; and the answer to a request."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", weir.port, ssl=context, server_hostname=name or ""
    )
    writer.write(get("Connection: close"))
    said = await reader.read()
    found = writer.get_extra_info("ssl_object").getpeercert()["subjectAltName"]
    writer.transport.abort()
    assert said.startswith(b"HTTP/1.1 200 "), said
    return [value for _, value in found]


SERVED = {
    "shop.example": "shop.example",
    "SHOP.example": "shop.example",
    "blog.example": "blog.example",
    "a.wild.example": "*.wild.example",
    "special.wild.example": "special.wild.example",
    "a.b.wild.example": "shop.example",
    "wild.example": "shop.example",
    "elsewhere.example": "shop.example",
    None: "shop.example",
}


@pytest.mark.measured
@pytest.mark.parametrize("form", ["with cert and key", "certs alone"])
async def test_name_that_is_asked_for_is_served(serving, papers, form):
    """By the certificate that has it, whole or by a star for one label; all others by the first."""
    certs = [
        pair(papers, name)
        for name in ("shop.example", "blog.example", "*.wild.example", "special.wild.example")
    ]
    weir = await serving(
        **(certs[0] | {"certs": certs[1:]} if form == "with cert and key" else {"certs": certs})
    )
    served = {asked: await names_for(weir, client(papers), asked) for asked in SERVED}

    assert served == {asked: [name] for asked, name in SERVED.items()}


async def test_client_certificate_is_required_under_every_name(serving, papers):
    """Not only of who asks for the first."""
    weir = await serving(
        **pair(papers, "shop.example"), certs=[pair(papers, "blog.example")], client_ca=str(papers.ca)
    )
    known = client(papers)
    known.load_cert_chain(*papers.issue("DNS:client.example"))
    for name in ("shop.example", "blog.example"):
        assert await names_for(weir, known, name) == [name]
        with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
            await names_for(weir, client(papers), name)


async def test_client_certificate_of_strangers_is_refused(serving, papers, tmp_path):
    """The log stays clean of it."""
    strangers = Papers(tmp_path / "strangers")
    weir = await serving(**pair(papers, "shop.example"), client_ca=str(papers.ca))
    stranger = client(papers)
    stranger.load_cert_chain(*strangers.issue("DNS:client.example"))
    with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
        await names_for(weir, stranger, "shop.example")

    assert 'level":"error' not in weir.log_text().replace(" ", "")


@pytest.mark.parametrize(("least", "serves"), [("1.2", True), ("1.3", False)])
async def test_least_version_holds_under_every_name(serving, papers, least, serves):
    weir = await serving(
        **pair(papers, "shop.example"), certs=[pair(papers, "blog.example")], min_version=least
    )
    old = client(papers, maximum_version=ssl.TLSVersion.TLSv1_2)
    for name in ("shop.example", "blog.example"):
        if serves:
            assert await names_for(weir, old, name) == [name]
        else:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await names_for(weir, old, name)


async def test_name_that_is_no_ascii_fails_quietly(serving, papers):
    """The handshake ends; nothing is told of it, since anybody can send one."""
    weir = await serving(certs=[pair(papers, "shop.example"), pair(papers, "blog.example")])
    data = hello(papers, "blog.example").replace(b"blog.example", b"bl\xff\xfe.example")
    reader, writer = await asyncio.open_connection("127.0.0.1", weir.port)
    writer.write(data)
    said = await reader.read()
    writer.close()

    assert b"blog" not in said
    assert "UnicodeDecodeError" not in weir.log_text()
    assert await names_for(weir, client(papers), "blog.example") == ["blog.example"]


def hello(papers, name):
    """The first bytes of a client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        client(papers).wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("file", ["cert", "key"])
def test_mistake_names_the_certificate(new_weir, papers, file, tmp_path):
    """Which of them."""
    bad = pair(papers, "blog.example") | {file: str(tmp_path / "nowhere.pem")}
    tls = pair(papers, "shop.example") | {"certs": [bad]}
    weir = new_weir({"listen": [{"address": f"127.0.0.1:{free_port()}", "tls": tls}]})
    weir.launch()
    code = weir.wait()

    assert code == 1
    assert f"listen.tls.certs[0].{file}: cannot read {tmp_path}/nowhere.pem" in weir.log_text()


@pytest.mark.measured
def test_check_refuses_files_that_are_bad(new_weir, papers, tmp_path):
    """Those that are here; others it cannot judge, and says so."""
    good = pair(papers, "shop.example")
    bad = good | {"key": pair(papers, "blog.example")["key"]}
    away = {"cert": str(tmp_path / "nowhere.pem"), "key": good["key"]}
    weir = new_weir()
    found = {}
    for name, tls in (("good", good), ("bad", bad), ("away", away)):
        weir.write_config({"listen": [{"address": "127.0.0.1:8443", "tls": {"certs": [good, tls]}}]})
        found[name] = run("check", str(weir.config))

    assert [each.returncode for each in found.values()] == [0, 2, 0]
    assert f"{weir.config}:7:13: listen[0].tls.certs[1].cert: " in found["bad"].stderr
    assert (
        f"not checked: listen[0].tls.certs[1].cert: cannot read {tmp_path}/nowhere.pem"
        in found["away"].stdout
    )
    assert "not checked" not in found["good"].stdout


@pytest.mark.parametrize("command", [["check"], ["run", "--config"]])
@pytest.mark.parametrize("setting", ["cert", "key", "client_ca"])
def test_tls_file_that_is_no_pem_is_told_like_any_mistake(tmp_path, papers, command, setting):
    """By its line, exit 2, nothing listens."""
    cert, key = papers.issue("DNS:weir.example")
    (tmp_path / "junk.pem").write_text("no PEM")
    files = {"cert": str(cert), "key": str(key)} | {setting: str(tmp_path / "junk.pem")}
    tls = "".join(f"      {name}: {path}\n" for name, path in files.items())
    path = tmp_path / "weir.yaml"
    path.write_text(f"listen:\n  - address: 127.0.0.1:0\n    tls:\n{tls}upstream:\n  servers: [http://a]\n")
    result = run(*command, str(path))
    line = {"cert": 4, "key": 4, "client_ca": 6}[setting]

    assert result.returncode == 2
    assert re.match(rf"{path}:{line}:\d+: listen\[0\]\.tls\.", result.stderr), result.stderr
    assert len(result.stderr.splitlines()) == 1
