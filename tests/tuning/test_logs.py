"""Logs as files lie about: whole lines, whatever their length and wrapping."""

import errno
import gzip
import io
import os
import socket
import sys
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.tuning import logs
from proxy.tuning.logs import LINE_BYTES_MAX, Log, LogError

LINES = b"".join(b"line %d\n" % number for number in range(50_000))


@pytest.fixture
def written(tmp_path):
    def write(data):
        (tmp_path / "log").write_bytes(data)
        return Log(str(tmp_path / "log"))

    return write


def read(log):
    return b"".join(log.pieces())


@pytest.mark.parametrize(
    "pack",
    [
        bytes,
        gzip.compress,
        lambda data: gzip.compress(data[:100], mtime=0) + gzip.compress(data[100:], mtime=0),
    ],
)
def test_log_is_read_whole(written, pack):
    """Also gzipped, and appended to another one that was."""
    log = written(pack(LINES))

    assert read(log) == LINES
    assert (log.lines, log.dropped, log.problem) == (50_000, 0, None)
    assert log.read_bytes == log.size == len(pack(LINES))


def test_pieces_are_of_whole_lines(written):
    assert all(piece.endswith(b"\n") for piece in written(LINES * 10).pieces())


@pytest.mark.parametrize(
    ("data", "lines", "kept"),
    [
        (b"", 0, b""),
        (b"a", 1, b"a\n"),
        (b"a\n", 1, b"a\n"),
        (b"a\n\nb", 3, b"a\n\nb\n"),
        (b"x" * 5_000_000 + b"\nb\n", 2, b"b\n"),
        (b"a\n" + b"x" * 5_000_000, 2, b"a\n"),
        (b"x" * LINE_BYTES_MAX + b"\n", 1, b"x" * LINE_BYTES_MAX + b"\n"),
        (b"x" * (LINE_BYTES_MAX + 1) + b"\n", 1, b""),
    ],
)
def test_line_that_is_too_long_costs_only_itself(written, data, lines, kept):
    log = written(data)

    assert read(log).replace(b"\n\n\n", b"\n\n") == kept
    assert log.lines == lines
    assert log.dropped == lines - kept.count(b"\n")


@given(st.lists(st.integers(0, 30), max_size=12), st.integers(1, 40))
def test_pieces_make_no_difference(lengths, size):
    """However the file is cut, the lines are the same."""
    data = b"".join(b"x" * length + b"\n" for length in lengths)
    path = f"/proc/self/fd/{os.memfd_create('log')}"
    with open(path, "wb") as file:
        file.write(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logs, "PIECE_BYTES", size)
        patch.setattr(logs, "LINE_BYTES_MAX", 20)
        log = Log(path)
        found = read(log)
    os.close(int(path.rpartition("/")[2]))

    assert found == b"".join(b"x" * length + b"\n" for length in lengths if length <= 20)
    assert log.lines == len(lengths)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (gzip.compress(LINES, mtime=0)[:-2000], "is cut"),
        (gzip.compress(LINES, mtime=0)[:5], "is cut"),
        (gzip.compress(LINES, mtime=0) + b"junk", "has junk behind its end"),
        (b"\x1f\x8bjunk of another kind", "is broken from there on"),
        (gzip.compress(LINES, mtime=0)[:-8] + bytes(8), "is broken from there on"),
    ],
)
def test_broken_gzip_counts_as_far_as_it_goes(written, data, problem):
    log = written(data)
    found = read(log)

    assert log.problem == problem
    assert LINES.startswith(found.rpartition(b"\n")[0][:100])


def test_bomb_is_unpacked_piece_by_piece(written):
    """A thousand times larger than its file, and never whole in memory."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb") as file:
        for _ in range(200):
            file.write(b"x" * 1_000_000)
    log = written(packed.getvalue())
    tracemalloc.start()
    found = read(log)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert (found, log.dropped) == (b"", 1)
    assert peak < 16_000_000


@pytest.mark.parametrize(
    ("name", "why"), [("none", "no such file"), (".", "is a directory; name the files within it")]
)
def test_log_that_cannot_be_read_says_why(tmp_path, name, why):
    with pytest.raises(LogError, match=why):
        Log(str(tmp_path / name))


def test_log_that_breaks_while_it_is_read_says_why():
    """As a disk does, or a file that is no log at all."""
    log = Log("/proc/self/mem")
    with pytest.raises(LogError, match="^/proc/self/mem: cannot be read: Input/output error$"):
        read(log)


def test_log_that_is_a_socket_says_why(tmp_path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "sock"))
        with pytest.raises(LogError, match="sock: cannot be read: No such device or address$"):
            Log(str(tmp_path / "sock"))


def test_log_of_somebody_else_says_why(tmp_path, monkeypatch):
    def denied(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(LogError, match="log: may not be read by this user$"):
        Log(str(tmp_path / "log"))


def test_standard_input_that_is_closed_says_so(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(LogError, match="^<stdin>: is closed$"):
        Log("-")
