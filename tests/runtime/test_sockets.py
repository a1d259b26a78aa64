"""What listens: alone or shared evenly, and never beside somebody else."""

from __future__ import annotations

import os
import socket
from collections import Counter

import pytest

from proxy.config.loader import loads
from proxy.runtime import sockets as module
from proxy.runtime.sockets import (
    InheritedSockets,
    StartError,
    close_sockets,
    open_listeners,
    open_worker_sockets,
)
from tests.support.ports import free_port
from tests.support.weir import ROOT


def settings(listen, admin=None):
    servers = 'upstream: {servers: ["http://127.0.0.1:9000"]}\n'
    return loads(
        f'{servers}listen: {listen}\nadmin: {{listen: "{admin or f"127.0.0.1:{free_port()}"}"}}', "f", {}
    )


@pytest.fixture
def opened():
    """Opens listeners, closed at the end of the test."""
    all_opened = []

    def open_(listen, copies=1):
        found = open_listeners(settings(listen), copies, InheritedSockets({}))
        all_opened.extend(found)
        return found

    yield open_
    for listeners in all_opened:
        close_sockets(listeners)


@pytest.fixture
def opened_with():
    """The sockets of each worker on one that was given; closed at the end of the test."""
    all_opened = []

    def open_(given, copies):
        handed_over = InheritedSockets({})
        handed_over._sockets = [given.dup()]
        found = open_listeners(settings(f"127.0.0.1:{given.getsockname()[1]}"), copies, handed_over)
        all_opened.extend(found)
        return [each[0] for each in found]

    yield open_
    for listeners in all_opened:
        close_sockets(listeners)


def accepted(sock):
    """How many connections wait."""
    count = 0
    while True:
        try:
            sock.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


def test_each_worker_gets_an_even_share(opened):
    """Also of connections that come all at once: 128 of two workers."""
    port = free_port()
    listeners = opened(f"127.0.0.1:{port}", 2)
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(128)]
    shares = [accepted(mine[0][0]) for mine in listeners]
    for client in clients:
        client.close()

    assert sum(shares) == 128
    assert min(shares) > 32  # by chance less than once in 10^8


def test_address_of_ipv6_takes_ipv6_alone_and_both_may_share_a_port(opened):
    """`[::]` beside `0.0.0.0`; what comes by IPv4 is never an address such as ::ffff:192.0.2.1."""
    port = free_port()
    [[[six], [four]]] = opened(f'["[::]:{port}", "0.0.0.0:{port}"]')
    with socket.create_connection(("127.0.0.1", port)), socket.create_connection(("::1", port)):
        by_four, by_six = four.accept(), six.accept()

    assert (by_four[1][0], by_six[1][0]) == ("127.0.0.1", "::1")
    assert "[::] takes IPv6 alone: list 0.0.0.0 too." in (ROOT / "docs/configuration.md").read_text()
    by_four[0].close()
    by_six[0].close()


def test_client_that_vanished_is_found_dead(opened):
    """Whoever comes by the socket is watched by the kernel, without a call for each."""
    [[[listener]]] = opened("127.0.0.1:0")
    with socket.create_connection(listener.getsockname()):
        ours, _ = listener.accept()
    with ours:
        assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
        assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 120_000


@pytest.mark.parametrize("workers", [1, 2])
def test_client_that_vanished_is_found_dead_behind_a_given_socket_too(opened_with, workers):
    """systemd knows nothing of it."""
    with socket.create_server(("127.0.0.1", 0)) as given:
        [[listener], *_] = opened_with(given, workers)
        with socket.create_connection(given.getsockname()):
            ours, _ = listener.accept()
    with ours:
        assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 120_000


@pytest.mark.parametrize("copies", [1, 2])
def test_port_in_use_is_an_error(opened, copies):
    """Although workers share theirs: somebody else's sharing is refused too."""
    port = free_port()
    opened(f"127.0.0.1:{port}", 2)
    with pytest.raises(
        StartError, match=rf"^listen: cannot listen on 127\.0\.0\.1:{port}: address .*in use$"
    ):
        opened(f"127.0.0.1:{port}", copies)


def test_second_listener_that_fails_closes_the_first(opened):
    """Nothing of a failed start listens on."""
    first, taken = free_port(), free_port()
    opened(f"127.0.0.1:{taken}")
    with pytest.raises(StartError, match=r"listen\[1\]"):
        opened(f'["127.0.0.1:{first}", "127.0.0.1:{taken}"]', 2)

    assert opened(f"127.0.0.1:{first}")


def test_admin_that_fails_closes_the_listeners(opened):
    port = free_port()
    taken = free_port()
    opened(f"127.0.0.1:{taken}")
    with pytest.raises(StartError, match=r"admin\.listen"):
        open_worker_sockets(settings(f"127.0.0.1:{port}", f"127.0.0.1:{taken}"))

    assert opened(f"127.0.0.1:{port}")


def test_any_port_is_the_same_for_all_workers(opened):
    listeners = opened("127.0.0.1:0", 3)

    assert len({mine[0][0].getsockname()[1] for mine in listeners}) == 1


def test_name_with_two_addresses_gets_both(opened):
    """localhost: as many sockets as it has addresses."""
    port = free_port()
    known = {info[4][0] for info in socket.getaddrinfo("localhost", port, type=socket.SOCK_STREAM)}
    listeners = opened(f"localhost:{port}")

    assert {sock.getsockname()[0] for sock in listeners[0][0]} == known


def test_address_of_another_machine_is_an_error(opened):
    with pytest.raises(StartError, match=r"listen: cannot listen on 192\.0\.2\.1:80: cannot assign"):
        opened("192.0.2.1:80")


def test_name_that_does_not_exist_is_an_error(opened):
    with pytest.raises(StartError, match=r"listen: cannot listen on no-such-host\.invalid:80: "):
        opened("no-such-host.invalid:80")


def test_unix_socket_that_is_answered_is_in_use(opened, tmp_path):
    """It is not taken away from who listens on it."""
    path = tmp_path / "weir.sock"
    listeners = opened(f"unix:{path}", 2)
    with pytest.raises(StartError, match="in use"):
        opened(f"unix:{path}")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))

    assert Counter(accepted(mine[0][0]) for mine in listeners) == {2: 1, 0: 1}  # the client, and who asked


def test_unix_socket_that_was_left_behind_is_replaced(opened, tmp_path):
    """By a Weir that was killed."""
    path = tmp_path / "weir.sock"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))

    assert opened(f"unix:{path}")


def test_file_in_the_place_of_a_socket_stays(opened, tmp_path):
    path = tmp_path / "weir.sock"
    path.write_text("precious")
    with pytest.raises(StartError, match="in use"):
        opened(f"unix:{path}")

    assert path.read_text() == "precious"


def test_folder_that_may_not_be_written_is_an_error(opened, tmp_path):
    with pytest.raises(StartError, match=r"listen: cannot listen on /no/such/folder: no such file"):
        opened("unix:/no/such/folder")


def test_unix_socket_whose_queue_is_full_is_in_use(opened, tmp_path):
    """Who listens on it is slow, and not gone."""
    path = tmp_path / "weir.sock"
    clients = []
    with socket.socket(socket.AF_UNIX) as slow:
        slow.bind(str(path))
        slow.listen(0)
        with pytest.raises(BlockingIOError):
            while True:
                clients.append(socket.socket(socket.AF_UNIX))
                clients[-1].settimeout(0)
                clients[-1].connect(str(path))
        with pytest.raises(StartError, match="in use"):
            opened(f"unix:{path}")
    for client in clients:
        client.close()

    assert path.exists()


# --- from systemd ---


def test_number_of_sockets_that_is_none_is_an_error():
    with pytest.raises(StartError, match="LISTEN_FDS: must be a number, not 'two'"):
        InheritedSockets({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "two"})


def test_unix_socket_that_systemd_has_opened_is_served(tmp_path, monkeypatch):
    path = tmp_path / "weir.sock"
    with socket.socket(socket.AF_UNIX) as given:
        given.bind(str(path))
        given.listen()
        fd = os.dup(given.fileno())
    monkeypatch.setattr(module, "FIRST_FD", fd)
    handed_over = InheritedSockets({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"})
    listeners = open_listeners(settings(f"unix:{path}"), 1, handed_over)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        found = accepted(listeners[0][0][0])
    close_sockets(listeners[0])

    assert found == 1
