"""The reader of files that others write: bounded, and never kept waiting."""

import os
import pty
import socket
import threading
import time

import pytest

from proxy.config.files import (
    PATIENCE_SECONDS,
    MissingFileError,
    TooLargeError,
    UnreadableError,
    read_file,
)


@pytest.fixture
def pipe(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


def refused(path, most=10, patience=0.0):
    """What the error says, and that it came at once."""
    began = time.monotonic()
    with pytest.raises(UnreadableError) as caught:
        read_file(path, most, patience)
    assert time.monotonic() - began < 5
    return str(caught.value)


def test_file_is_read_up_to_its_bound(tmp_path):
    (tmp_path / "file").write_bytes(b"0123456789")

    assert read_file(tmp_path / "file", 10) == b"0123456789"
    with pytest.raises(TooLargeError, match="is larger than 9 bytes"):
        read_file(tmp_path / "file", 9)


def test_huge_file_is_not_read_to_its_end(tmp_path):
    """A sparse terabyte costs what its bound does."""
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)

    assert refused(tmp_path / "huge", 1000) == "is larger than 1000 bytes"


def test_link_is_followed(tmp_path):
    """ConfigMaps are made of them."""
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "file")

    assert read_file(tmp_path / "link", 10) == b"x"


def test_missing_file_is_an_error_of_its_own(tmp_path):
    with pytest.raises(MissingFileError, match="no such file"):
        read_file(tmp_path / "none", 10)


def test_pipe_is_no_file(pipe):
    """Nobody writes to it, and nobody waits."""
    assert refused(pipe) == "is a pipe; a regular file is needed, since it is read again and again"


def test_socket_is_no_file(tmp_path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "socket"))

        assert refused(tmp_path / "socket").startswith("is a socket; ")


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/dev/tty", "/dev/random"])
def test_device_is_no_file(path):
    assert refused(path).startswith("is a device or terminal; ")


def test_file_that_becomes_a_pipe_under_the_look_is_none(tmp_path, monkeypatch):
    """Between the look at what it is and the opening."""
    path = tmp_path / "file"
    path.write_text("a")
    open_now = os.open

    def swapped(*args):
        path.unlink()
        os.mkfifo(path)
        return open_now(*args)

    monkeypatch.setattr(os, "open", swapped)
    there = len(os.listdir("/proc/self/fd"))

    assert refused(path) == "is no file any more"
    assert len(os.listdir("/proc/self/fd")) == there


def test_terminal_is_no_file():
    """It is not even made the terminal of this process."""
    main, terminal = pty.openpty()
    try:
        assert refused(os.ttyname(terminal)).startswith("is a device or terminal; ")
    finally:
        os.close(main)
        os.close(terminal)


def test_folder_says_what_to_name(tmp_path):
    assert refused(tmp_path) == "is a directory; name the file within it"


def test_dash_is_a_file_for_who_has_no_patience():
    assert refused("-") == "no such file"


# --- with patience ---


def test_pipe_is_read_to_its_end(pipe):
    """In as many pieces as it comes."""

    def write():
        with pipe.open("wb", buffering=0) as file:
            file.write(b"a" * 5)
            file.write(b"b" * 5)

    writer = threading.Thread(target=write)
    writer.start()
    data = read_file(pipe, 10, PATIENCE_SECONDS)
    writer.join()

    assert data == b"aaaaabbbbb"


def test_patience_ends(pipe):
    """For a pipe without a writer, and for a writer that is silent."""
    assert refused(pipe, patience=0.05) == "gave nothing for 0.05 s"
    reader, writer = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK), os.open(pipe, os.O_WRONLY)
    try:
        assert refused(pipe, patience=0.05) == "gave nothing for 0.05 s"
    finally:
        os.close(reader)
        os.close(writer)


def test_endless_device_ends_at_the_bound():
    assert refused("/dev/zero", patience=1.0) == "is larger than 10 bytes"


def test_dash_is_standard_input(monkeypatch, tmp_path):
    reader, writer = os.pipe()
    os.write(writer, b"x: 1")
    os.close(writer)
    saved = os.dup(0)
    os.dup2(reader, 0)
    try:
        assert read_file("-", 10, 1.0) == b"x: 1"
    finally:
        os.dup2(saved, 0)
        os.close(saved)
        os.close(reader)
