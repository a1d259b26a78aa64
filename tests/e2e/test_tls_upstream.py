"""TLS towards servers: who is believed, by what name, what Weir shows of itself, and what a reload may change."""

from __future__ import annotations

import asyncio
import shutil
import ssl

import pytest

from tests.e2e.test_reload import reloaded, replaced
from tests.support.messages import answer, get
from tests.support.patience import closed, until


class TlsOrigin:
    """Answers each request; what it saw of each handshake is in `seen`."""

    def __init__(self, context, *, keeps):
        self.context = context
        self.keeps = keeps
        self.names = []
        self.seen = []
        self.context.sni_callback = lambda _, name, __: self.names.append(name)

    async def start(self):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.context)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def stop(self):
        await closed(self.server)

    async def _serve(self, reader, writer):
        self.seen.append(writer.get_extra_info("ssl_object"))
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(answer(200, b"by tls", *([] if self.keeps else ["Connection: close"])))
                if not self.keeps:
                    break
        except (asyncio.IncompleteReadError, OSError):
            pass
        writer.close()


@pytest.fixture
async def tls_origin(papers):
    """Starts servers with a certificate in these names."""
    origins = []

    async def start(*names, client_ca=None, version=None, keeps=False):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*papers.issue(*names))
        if client_ca:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        if version:
            context.minimum_version = context.maximum_version = version
        origins.append(await TlsOrigin(context, keeps=keeps).start())
        return origins[-1]

    yield start
    for origin in origins:
        await origin.stop()


def towards(origin, host="localhost", **tls):
    return {
        "upstream": {"servers": [f"https://{host}:{origin.port}"], "tls": {k: str(v) for k, v in tls.items()}}
    }


async def test_bundle_vouches_for_the_server(start_weir, tls_origin, papers, ask):
    """Asked for by its own name."""
    origin = await tls_origin("DNS:localhost")
    weir = start_weir(towards(origin, ca=papers.ca))
    response = await ask(weir, get())

    assert (response.status, response.body) == (200, b"by tls")
    assert origin.names == ["localhost"]


async def test_others_are_not_believed(start_weir, tls_origin, strangers, ask):
    """A bundle takes the place of the system's authorities."""
    weir = start_weir(towards(await tls_origin("DNS:localhost"), ca=strangers.ca))
    response = await ask(weir, get())

    assert response.status == 502
    assert weir.metrics().total("weir_upstream_failures_total", reason="tls_failed") >= 1


async def test_name_must_be_in_the_certificate(start_weir, tls_origin, papers, ask):
    """Whoever vouches for it."""
    weir = start_weir(towards(await tls_origin("DNS:elsewhere.example"), ca=papers.ca))
    response = await ask(weir, get())

    assert response.status == 502


async def test_name_may_be_another_than_the_host(start_weir, tls_origin, papers, ask):
    """It is asked for and it is what the certificate must carry."""
    origin = await tls_origin("DNS:service.example")
    weir = start_weir(towards(origin, host="127.0.0.1", ca=papers.ca, server_name="service.example"))
    response = await ask(weir, get())

    assert response.status == 200
    assert origin.names == ["service.example"]


async def test_client_certificate_is_shown(start_weir, tls_origin, papers, ask):
    origin = await tls_origin("DNS:localhost", client_ca=papers.ca)
    cert, key = papers.issue("DNS:weir.example")
    weir = start_weir(towards(origin, ca=papers.ca, cert=cert, key=key))
    response = await ask(weir, get())

    assert response.status == 200
    assert origin.seen[0].getpeercert()["subjectAltName"] == (("DNS", "weir.example"),)


async def test_server_that_misses_a_client_certificate_is_a_502(start_weir, tls_origin, papers, ask):
    origin = await tls_origin("DNS:localhost", client_ca=papers.ca)
    weir = start_weir(towards(origin, ca=papers.ca))
    response = await ask(weir, get())

    assert response.status == 502


@pytest.mark.parametrize(("least", "status"), [("1.2", 200), ("1.3", 502)])
async def test_least_version(start_weir, tls_origin, papers, ask, least, status):
    """A server that knows TLS 1.2 only."""
    origin = await tls_origin("DNS:localhost", version=ssl.TLSVersion.TLSv1_2)
    weir = start_weir(towards(origin, ca=papers.ca, min_version=least))
    response = await ask(weir, get())

    assert response.status == status


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_sessions_are_resumed(start_weir, tls_origin, papers, ask, version):
    """Each new connection goes on with the session of the last one."""
    origin = await tls_origin("DNS:localhost", version=version)
    weir = start_weir(towards(origin, ca=papers.ca))
    await weir.logged(lambda line: line["event"] == "resolved")  # each address has sessions of its own
    for _ in range(3):
        await ask(weir, get())

    assert [each.session_reused for each in origin.seen] == [False, True, True]


async def test_health_check_uses_the_same_files(start_weir, tls_origin, papers):
    """And the same name."""
    origin = await tls_origin("DNS:service.example", client_ca=papers.ca)
    cert, key = papers.issue("DNS:weir.example")
    changes = towards(origin, "127.0.0.1", ca=papers.ca, server_name="service.example", cert=cert, key=key)
    changes["upstream"]["health"] = {"path": "/", "interval": "1s", "timeout": "1s", "fall": 1}
    weir = start_weir(changes)
    await until(lambda: len(origin.seen) >= 2, "it is checked")

    assert weir.admin("/status").json()["upstream"][0]["state"] == "serving"


@pytest.mark.measured
async def test_reload_with_a_bad_file_changes_nothing(start_weir, tls_origin, papers, ask, tmp_path):
    """And one with a good file changes what the next connection is made with."""
    origin = await tls_origin("DNS:localhost")
    bad = tmp_path / "bad.pem"
    bad.write_text("nothing")
    weir = start_weir(towards(origin, ca=papers.ca))
    await reloaded(weir, replaced(weir, towards(origin, ca=bad)))
    line = await weir.logged(lambda line: line["event"] == "reload_refused")
    kept = await ask(weir, get())
    shutil.copy(papers.ca, tmp_path / "good.pem")
    await reloaded(weir, replaced(weir, towards(origin, ca=tmp_path / "good.pem", min_version="1.3")))
    after = await ask(weir, get())

    assert line["mistakes"] == [f"{weir.config}: upstream.tls.ca: {bad} holds no certificate"]
    assert (kept.status, after.status) == (200, 200)
    assert weir.admin("/status").json()["config"]["last_reload"]["successful"]
    assert not origin.seen[-1].session_reused  # of another context


@pytest.mark.parametrize("which", ["ca", "server_name", "cert and key", "min_version"])
async def test_reload_with_other_files_is_followed(start_weir, tls_origin, papers, strangers, ask, which):
    """A server that could not be trusted, or did not trust us, can from then on."""
    origin = await tls_origin("DNS:service.example", client_ca=papers.ca, version=ssl.TLSVersion.TLSv1_2)
    cert, key = papers.issue("DNS:weir.example")
    other_cert, other_key = strangers.issue("DNS:weir.example")
    good = {
        "ca": papers.ca,
        "server_name": "service.example",
        "cert": cert,
        "key": key,
        "min_version": "1.2",
    }
    bad = {
        "ca": {"ca": strangers.ca},
        "server_name": {"server_name": "another.example"},
        "cert and key": {"cert": other_cert, "key": other_key},
        "min_version": {"min_version": "1.3"},
    }[which]
    weir = start_weir(towards(origin, **good | bad))
    before = await ask(weir, get())
    await reloaded(weir, replaced(weir, towards(origin, **good)))
    after = await ask(weir, get())

    assert (before.status, after.status) == (502, 200)


def test_file_that_is_missing_is_one_clear_line(new_weir, tmp_path):
    """At the start."""
    tls = {"cert": str(tmp_path / "nowhere.pem"), "key": str(tmp_path / "nowhere.key")}
    weir = new_weir({"upstream": {"servers": ["https://localhost:1"], "tls": tls}})
    weir.launch()
    code = weir.wait()

    assert code == 1
    assert f"upstream.tls.cert: cannot read {tls['cert']}" in weir.log_text()


@pytest.mark.measured
async def test_key_that_is_encrypted_is_refused(new_weir, papers, tmp_path):
    """Rather than asked for at the terminal."""
    cert, key = papers.issue("DNS:weir.example")
    papers._openssl(
        "ec", "-in", str(key), "-aes128", "-passout", "pass:secret", "-out", str(tmp_path / "locked.key")
    )
    tls = {"cert": str(cert), "key": str(tmp_path / "locked.key")}
    weir = new_weir({"upstream": {"servers": ["https://localhost:1"], "tls": tls}})
    weir.launch()
    code = weir.wait()

    assert code == 2
    assert "encrypted" in weir.log_text()
