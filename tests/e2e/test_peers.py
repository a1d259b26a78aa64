"""Who the other end of a socket is, also of one that is gone before anybody could ask."""

from __future__ import annotations

import signal
import socket
import struct

import pytest

from tests.support.messages import get
from tests.support.network import status_by_unix
from tests.support.patience import until
from tests.support.ports import free_port

pytestmark = pytest.mark.real

CLAIM = get("X-Forwarded-For: 198.51.100.7", "X-Original-Method: GET", "X-Original-URI: /")
RESETS = 30
LISTENERS = {
    "forward": ({}, b""),
    "decide": ({"mode": "decide", "front": "nginx"}, b""),
    "announced": ({"proxy_protocol": True}, b"PROXY UNKNOWN\r\n"),
}


def reset(port, data):
    """A connection that is reset as soon as its request is sent."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.sendall(data)


@pytest.mark.measured
@pytest.mark.parametrize(("listen", "opening"), LISTENERS.values(), ids=LISTENERS)
async def test_connection_that_is_reset_before_it_is_accepted_is_no_peer_of_a_unix_socket(
    listen, opening, new_weir, start_origin, connect, tmp_path
):
    """Which may say who the client is: nobody is charged, and nothing is forwarded."""
    port, path = free_port(), tmp_path / "weir.sock"
    weir = new_weir(
        {
            "listen": [{"address": f"127.0.0.1:{port}", **listen}, f"unix:{path}"],
            "forwarded": {"trust": ["unix:"]},
            "limits": [{"name": "few", "key": "client-ip", "rate": "1/h"}],
        },
        upstream=await start_origin(),
    )
    weir.start()
    weir.signal(signal.SIGSTOP)
    for _ in range(RESETS):
        reset(port, opening + CLAIM)
    weir.signal(signal.SIGCONT)
    wire = await connect(port)  # is accepted behind them
    await wire.send(opening + CLAIM)
    await wire.response()

    assert await status_by_unix(path, CLAIM) == 200
    lines = await until(lambda: len(weir.access_lines()) > 1 and weir.access_lines(), "both are logged")
    assert [line["client"] for line in lines] == ["127.0.0.1", "198.51.100.7"]
