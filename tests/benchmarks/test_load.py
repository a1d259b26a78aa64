"""The load generator, against a server that answers as it is told."""

import socket
import threading
from contextlib import contextmanager, suppress

import pytest

from benchmarks import load

SMALL = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@contextmanager
def answering(*answers, pieces=1 << 16):
    """A server whose connections give these answers in turn, again and again; the requests it has seen."""
    seen = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_accept, args=(listener, answers, pieces, seen), daemon=True).start()
        yield listener.getsockname()[1], seen


def _accept(listener, answers, pieces, seen):
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_serve, args=(connection, answers, pieces, seen), daemon=True).start()


def _serve(connection, answers, pieces, seen):
    data, count = b"", 0
    with connection, suppress(OSError):  # the load ends while answers are on their way
        while more := connection.recv(65536):
            data += more
            if b"\r\n\r\n" in data:
                seen.append(data)
                data = b""
                answer = answers[count % len(answers)]
                count += 1
                for at in range(0, len(answer), pieces):
                    connection.sendall(answer[at : at + pieces])


def run(port, **more):
    options = {"connections": 2, "seconds": 0.3, "core": 0} | more
    return load.run(port, load.requests("/x", 4), **options)


@pytest.mark.parametrize("pieces", [1 << 16, 1], ids=["whole", "byte by byte"])
@pytest.mark.parametrize(
    "answer",
    [
        SMALL,
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx: y\r\n\r\n",
    ],
    ids=["length", "nothing", "chunked"],
)
def test_answers_are_counted_however_they_end(answer, pieces):
    with answering(answer, pieces=pieces) as (port, seen):
        done = run(port)

    assert done.requests > 10
    assert abs(len(seen) - done.requests) <= 2
    assert (done.refused, done.errors) == (0, 0)
    assert 0 < done.p50_ms <= done.p99_ms <= done.p999_ms <= done.max_ms * 1.02


def test_refusals_are_counted():
    with answering(SMALL, b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n") as (port, _):
        done = run(port)

    assert done.refused == pytest.approx(done.requests / 2, abs=2)


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 200 OK\r\n\r\n", SMALL + b"more", b"x" * 20000],
    ids=["without a length", "with more than its length", "none"],
)
def test_what_is_no_answer_is_an_error(answer):
    with answering(SMALL, SMALL, answer) as (port, _):
        done = run(port)

    assert done.errors > 0


def test_own_users_keep_their_connection_and_mixed_ones_do_not():
    with answering(SMALL) as (port, seen):
        run(port, mixed=False)
        own = set(seen)
        seen.clear()
        run(port, mixed=True)

    assert len(own) == 2
    assert len(set(seen)) == 4


def test_pace_is_kept():
    with answering(SMALL) as (port, _):
        done = run(port, seconds=1, rate=200)

    assert 120 < done.requests < 300


def test_bodies_have_the_size_they_announce():
    data = load.requests("/x", 1, 4096)
    head, _, body = data[4:].partition(b"\r\n\r\n")

    assert b"Content-Length: 4096" in head
    assert len(body) == 4096


def test_nobody_there_is_no_measurement():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    with pytest.raises(RuntimeError, match="refused"):
        run(port)
