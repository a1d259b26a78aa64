"""What must hold on plain connections and over TLS alike: how connections begin to rest, break and end."""

from __future__ import annotations

import asyncio
import http.client
import signal
import socket
import ssl
import time
from contextlib import suppress

import pytest

from tests.e2e.test_servers import OWN_NAMES
from tests.support.messages import answer, get, post
from tests.support.network import connect_securely
from tests.support.origin import answering
from tests.support.patience import until
from tests.support.wire import Wire

UPGRADE = get("Connection: Upgrade", "Upgrade: chat")
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n"
BOTH_WAYS = "tls both ways"


@pytest.fixture(params=["plain", "tls", BOTH_WAYS])
def sides(request):
    """Which of the two connections of an exchange are by TLS."""
    return request.param


@pytest.fixture
def serve(sides, start_origin, papers):
    """Starts an origin, by TLS where both sides are."""

    async def start(script=None):
        context = None
        if sides == BOTH_WAYS:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*papers.issue("IP:127.0.0.1", "DNS:app.example"))
        return await start_origin(script, context=context)

    return start


@pytest.fixture
def trusting(sides, papers):
    """What a client trusts; None where it does not speak TLS."""
    return ssl.create_default_context(cafile=str(papers.ca)) if sides != "plain" else None


@pytest.fixture
async def front(sides, new_weir, papers, trusting, connect):
    """Starts a Weir before origins, and gives what opens a connection to it."""
    secured = []

    def make(*origins, **changes):
        weir = new_weir(changes)
        upstream: dict[str, object] = {"servers": [origin.url for origin in origins]}
        if sides == BOTH_WAYS:
            upstream["tls"] = {"ca": str(papers.ca)}
        weir.write_config({"upstream": upstream})
        if trusting is not None:
            cert, key = papers.issue("DNS:localhost")
            tls = {"cert": str(cert), "key": str(key)}
            weir.write_config({"listen": [{"address": f"127.0.0.1:{weir.port}", "tls": tls}]})

        async def call():
            if trusting is None:
                return await connect(weir)
            secured.append(Wire(await connect_securely(weir.port, "127.0.0.1", trusting, "localhost")))
            return secured[-1]

        return weir, call

    yield make
    for wire in secured:
        wire.abort()
    await asyncio.sleep(0.01)  # the loop closes what was aborted


async def asked(wire, request):
    await wire.send(request)
    return await wire.response()


# --- a drain ---


async def post_until_told(wire):
    """POSTs with pauses, as a program whose pool does not look whether a connection is still open."""
    while (await asked(wire, post())).value("Connection") != b"close":
        await asyncio.sleep(0.05)
    wire.close()


async def test_drain_loses_no_post_on_a_kept_connection(front, serve):
    """Each client is told by an answer; a POST that meets a closed connection could not be sent again."""
    weir, call = front(await serve(), drain={"delay": "300ms"})
    weir.start()
    clients = [asyncio.create_task(post_until_told(await call())) for _ in range(10)]
    await asyncio.sleep(0.2)
    weir.signal(signal.SIGTERM)
    ends = await asyncio.gather(*clients, return_exceptions=True)

    assert ends == [None] * 10
    assert await asyncio.to_thread(weir.wait) == 0


# --- the end of a connection while the client still sends ---


def upload(weir, context, size):
    """As most programs do it: all is sent, then the answer is read."""
    connection = (
        http.client.HTTPSConnection("localhost", weir.port, timeout=20, context=context)
        if context
        else http.client.HTTPConnection("127.0.0.1", weir.port, timeout=20)
    )
    try:
        connection.request("POST", "/", b"x" * size)
        return connection.getresponse().status
    finally:
        connection.close()


async def test_refused_upload_shows_its_answer(front, serve, trusting):
    """However large it is: it is read on for as long as it comes, half a minute at most."""
    weir, call = front(await serve(), limits=[{"name": "one", "rate": "1/h", "key": ["const"]}])
    weir.start()
    assert (await asked(await call(), get())).status == 200

    assert await asyncio.to_thread(upload, weir, trusting, 40_000_000) == 429


async def test_refused_upload_that_takes_its_time_shows_its_answer(front, serve, trusting):
    """Longer than an ended connection is read otherwise."""
    weir, call = front(await serve(), limits=[{"name": "one", "rate": "1/h", "key": ["const"]}])
    weir.start()
    assert (await asked(await call(), get())).status == 200

    assert await asyncio.to_thread(upload_slowly, weir, trusting) == b"HTTP/1.1 429 "


def upload_slowly(weir, context):
    """In four seconds; what is answered meanwhile is read behind it."""
    plain = socket.create_connection(("127.0.0.1", weir.port), timeout=20)
    with context.wrap_socket(plain, server_hostname="localhost") if context else plain as sock:
        sock.sendall(get("Content-Length: 400000", method="POST"))
        for _ in range(40):
            time.sleep(0.1)
            sock.sendall(b"x" * 10_000)
        return sock.recv(13)


EARLY = {
    "with a length": answer(413, b"too large"),
    "chunked": answer(413, b"3\r\nbig\r\n0\r\n\r\n", "Transfer-Encoding: chunked", length=False),
}


@pytest.mark.parametrize("said", EARLY)
async def test_early_answer_to_an_upload_arrives(front, serve, sides, said):
    """The service hangs up behind it with the rest unread, which is no reason to leave it out."""

    async def script(visit):
        await visit.request_head()
        await visit.exactly(10)
        await visit.send(EARLY[said])
        visit.abort() if sides == BOTH_WAYS else visit.close()

    weir, call = front(await serve(script))
    weir.write_config({"upstream": {"ejection": {"failures": 1}}})
    weir.start()
    statuses = []
    for _ in range(8):
        wire = await call()
        with suppress(ConnectionError):
            await wire.send(get("Content-Length: 4000000", method="POST"))
            for _ in range(20):
                await wire.send(b"x" * 32768)
        statuses.append((await wire.response()).status)

    assert statuses == [413] * 8
    assert weir.admin("/status").json()["upstream"][0]["state"] == "serving"


# --- clients that are not read ---

UPLOADS = {
    "with a length": get("Content-Length: 900000", method="POST") + b"x" * 100_000,
    "chunked": get("Transfer-Encoding: chunked", method="POST") + b"fffff\r\n" + b"x" * 100_000,
    "chunked, a little": get("Transfer-Encoding: chunked", method="POST") + b"5\r\nhello\r\n",
    "chunks that hold what ends them": get("Transfer-Encoding: chunked", method="POST")
    + b"4;a\r\n0\r\n\r\r\n" * 20_000
    + b"7fffffff\r\n",
}


@pytest.mark.parametrize("is_reset", [False, True], ids=["closes", "resets"])
@pytest.mark.parametrize("sent", UPLOADS)
async def test_client_that_leaves_while_its_upload_is_held_back_is_noticed(
    front, serve, connect, sent, is_reset
):
    """It waits for a server, and what has come of it cannot be all; so nobody waits for an answer."""

    async def script(visit):
        await visit.request_head()
        await visit.left()

    origin = await serve(script)
    weir, call = front(origin, downstream={"half_close": "answer"})
    weir.write_config({"upstream": {"limits": {"connections": 1, "wait": "60s"}}})
    weir.start()
    first = await call()
    await first.send(get())
    await origin.visit()
    await until(lambda: weir.admin("/status").json()["upstream"][0]["active"] == 1)
    second = await call()
    await second.send(UPLOADS[sent].replace(b"POST /", b"POST /leaves"))
    await until(lambda: weir.metrics().total("weir_upstream_waiting") == 1, "it waits")
    second.abort() if is_reset else second.close()
    line = await weir.access_line(target="/leaves")
    first.abort()

    assert (line["outcome"], line["status"]) == ("abandoned", 0)
    assert line["duration_ms"] < 20_000


# --- tunnels ---


async def test_last_words_of_a_tunnel_arrive(front, serve):
    """The server says them and closes, with the client's bytes unread, while more of them come."""

    async def script(visit):
        await visit.request()
        await visit.send(SWITCH)
        await visit.exactly(1000)
        await visit.send(b"too much")

    weir, call = front(await serve(script))
    weir.start()
    heard = []
    for _ in range(10):
        wire = await call()
        assert (await asked(wire, UPGRADE)).status == 101

        async def talk(wire=wire):
            while True:
                await wire.send(b"x" * 16384)
                await asyncio.sleep(0)

        talking = asyncio.create_task(talk())
        heard.append(await wire.rest(within=20))
        talking.cancel()
        await asyncio.gather(talking, return_exceptions=True)

    assert heard == [b"too much"] * 10


async def test_silent_tunnel_gives_its_place_back(front, serve):
    """A client that vanished says nothing any more, not even that it is gone."""

    async def script(visit):
        while (request := await visit.request()) is not None:
            if request.value("Upgrade") is None:
                await visit.send(answer())
            else:
                await visit.send(SWITCH)
                await visit.left()

    weir, call = front(await serve(script), downstream={"timeouts": {"tunnel": "1s"}})
    weir.write_config({"upstream": {"limits": {"connections": 1, "wait": "20s"}}})
    weir.start()
    tunnel = await call()
    assert (await asked(tunnel, UPGRADE)).status == 101
    response = await asked(await call(), get())

    assert response.status == 200
    assert await tunnel.rest(within=5) == b""
    assert (await weir.access_line(status=101))["outcome"] == "tunnelled"


# --- servers that come and go ---


async def test_rolling_restart_is_no_outage(front, serve):
    """One server after the other is away, the first one still ejected when the second one goes."""
    servers = [await serve(), await serve()]
    weir, call = front(*servers)
    weir.start()
    wire = await call()
    statuses = [(await asked(wire, post())).status for _ in range(20)]

    def idle(number):
        return weir.admin("/status").json()["upstream"][number]["idle"]

    for number, server in enumerate(servers):
        await server.stop()
        await until(lambda: idle(number) == 0, "its connections are known to be closed")  # noqa: B023 - awaited here
        statuses += [(await asked(wire, post())).status for _ in range(40)]
        await server.start()

    assert statuses == [200] * 100
    await weir.logged(lambda line: line["event"] == "server_ejected")


async def test_dead_family_of_addresses_costs_no_request(front, serve):
    """A name whose IPv6 address refuses: more requests than may be sent again meet it first."""
    origin = await serve()
    weir, call = front(origin)
    url = origin.url.replace("127.0.0.1", "app.example")
    weir.write_config({"upstream": {"servers": [url], "ejection": {"failures": None}}})
    weir.inside = ["unshare", "--map-root-user", "--mount", "sh", "-c", OWN_NAMES, str(weir.folder)]
    (weir.folder / "nsswitch").write_text("hosts: files\n")
    (weir.folder / "hosts").write_text("::1 app.example\n127.0.0.1 app.example\n")
    weir.start()
    await until(lambda: len(weir.admin("/status").json()["upstream"]) == 2, "both addresses are known")

    async def post_often(wire):
        return [(await asked(wire, post())).status for _ in range(40)]

    said = await asyncio.gather(*[post_often(await call()) for _ in range(10)])

    assert said == [[200] * 40] * 10
    assert weir.metrics().total("weir_upstream_failures_total", reason="connect_refused") > 100


async def test_connection_is_let_go_of_before_its_server_ends_it(front, serve):
    """Less a second than it says. A POST that met its end could not be sent again."""
    origin = await serve(answering(answer(200, b"ok", "Keep-Alive: timeout=1")))
    weir, call = front(origin)
    weir.start()
    wire = await call()
    statuses = [(await asked(wire, post())).status for _ in range(3)]

    assert statuses == [200] * 3
    assert len(origin.visits) == 3


async def test_stale_connection_is_told_of_once(front, serve):
    """With what the server has said of it, and what is set."""

    async def script(visit):
        await visit.request()
        await visit.send(answer(200, b"ok", "Keep-Alive: timeout=30"))
        await visit.request_head()

    weir, call = front(await serve(script))
    weir.start()
    wire = await call()
    statuses = [(await asked(wire, post())).status for _ in range(4)]
    await weir.logged(lambda line: line["event"] == "stale_connection")
    (line,) = [line for line in weir.log() if line["event"] == "stale_connection"]

    assert statuses == [200, 502] * 2
    assert (line["keep_alive"], line["idle_timeout"]) == (30, 55)
