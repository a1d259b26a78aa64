from __future__ import annotations

import errno
import os
import select
import threading

import pytest

from proxy.telemetry import writer as words
from proxy.telemetry.writer import LineWriter
from tests.telemetry.waiting import until


@pytest.fixture
def pipe():
    """Both ends; the tests may close them."""
    ends = list(os.pipe())
    yield ends
    for fd in ends:
        try:
            os.close(fd)
        except OSError:
            pass


class Reports(list):
    def __call__(self, word, destination, cause, lines):
        self.append((word, destination, cause, lines))


class Stumbling(LineWriter):
    """Writes as many bytes as it is told, then fails as often as it is told."""

    def __init__(self, destination, report, *, steps):
        super().__init__(destination, report)
        self.steps = list(steps)

    def _write_some(self, data):
        if not self.steps:
            return super()._write_some(data)
        step = self.steps.pop(0)
        if step is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super()._write_some(data[:step])


def test_writes_lines_in_order(tmp_path):
    """Everything offered before the close is in the file after it."""
    path = tmp_path / "log"
    writer = LineWriter(str(path))
    for number in range(1000):
        writer.offer(b"%d\n" % number)
    writer.close()

    assert path.read_bytes().split() == [b"%d" % number for number in range(1000)]
    assert writer.dropped == 0


def test_appends_to_what_is_there(tmp_path):
    """A restart loses nothing; others may not read it."""
    path = tmp_path / "log"
    for line in (b"one\n", b"two\n"):
        writer = LineWriter(str(path))
        writer.offer(line)
        writer.close()

    assert path.read_bytes() == b"one\ntwo\n"
    assert path.stat().st_mode & 0o007 == 0


def test_file_that_cannot_be_opened_is_known_at_once(tmp_path):
    """A folder, or a pipe that nobody reads: an error at the start, not a wait."""
    os.mkfifo(tmp_path / "fifo")

    with pytest.raises(IsADirectoryError):
        LineWriter(str(tmp_path))
    with pytest.raises(OSError, match="No such device or address"):
        LineWriter(str(tmp_path / "fifo"))


def test_pipe_that_nobody_reads_costs_lines_and_nothing_else(pipe):
    """Offers return although the thread is stuck in a write; what has no room is counted; the close is bounded."""
    _, write_end = pipe
    reports = Reports()
    writer = LineWriter(write_end, reports, queue_bytes=300_000)
    line = b"x" * 999 + b"\n"
    for _ in range(10):
        writer.offer(line * 100)  # the pipe holds 64 KiB

    assert writer.dropped == 700

    writer.close(timeout=0.05)

    assert writer.dropped >= 900  # all but what the thread is still at
    assert [word for word, *_ in reports] == [words.CUT]
    os.close(pipe[0])  # frees the thread
    writer._thread.join(5)


def test_room_is_given_back(pipe):
    """A reader that comes late gets what waited, and later lines find room again."""
    read_end, write_end = pipe
    writer = LineWriter(write_end, queue_bytes=140_000)
    line = b"x" * 69_999 + b"\n"  # more than the pipe takes: the first one waits too
    for _ in range(3):
        writer.offer(line)

    assert writer.dropped == 1
    with open(read_end, "rb", closefd=False) as reader:
        assert [reader.readline(), reader.readline()] == [line, line]
        for _ in range(20):
            until(lambda: writer._room >= len(line))
            writer.offer(line)
            assert reader.readline() == line
    assert writer.dropped == 1
    os.close(read_end)
    writer.close()


def test_broken_pipe_is_counted_and_reported_once(pipe):
    """The reader went away: every line is lost, one report says so."""
    read_end, write_end = pipe
    os.close(read_end)
    reports = Reports()
    writer = LineWriter(write_end, reports)
    for _ in range(5):
        writer.offer(b"line\nline\n")
    writer.close()

    assert writer.dropped == 10
    assert [(word, cause) for word, _, cause, _ in reports] == [(words.FAILED, "Broken pipe")]


def test_full_disk_heals(tmp_path):
    """Lines of the bad time are lost and counted; the file is tried again by its name; both turns are reported."""
    path = tmp_path / "log"
    path.symlink_to("/dev/full")
    reports = Reports()
    writer = LineWriter(str(path), reports)
    writer.offer(b"lost\n")
    until(lambda: reports)
    path.unlink()
    writer.offer(b"kept\n")
    writer.close()

    assert path.read_bytes() == b"kept\n"
    assert writer.dropped == 1
    assert reports == [
        (words.FAILED, str(path), "No space left on device", 1),
        (words.RECOVERED, str(path), "", 0),
    ]


def test_line_that_was_torn_spoils_no_other(tmp_path):
    """The disk filled up inside a line: the next one begins on a line of its own."""
    path = tmp_path / "log"
    writer = Stumbling(str(path), Reports(), steps=[8, None, None])
    writer.offer(b"first\nsecond\nthird\n")
    writer.offer(b"fourth\n")
    writer.offer(b"fifth\n")
    writer.close()

    assert path.read_bytes() == b"first\nse\nfifth\n"
    assert writer.dropped == 3


def test_line_torn_twice_is_lost_once(tmp_path):
    """The end of the torn line was written, then the disk was full again."""
    path = tmp_path / "log"
    writer = Stumbling(str(path), Reports(), steps=[3, None, 3, None])
    for line in (b"first\n", b"second\n", b"third\n"):
        writer.offer(line)
    writer.close()

    assert path.read_bytes() == b"fir\nse\nthird\n"
    assert writer.dropped == 2


def test_pieces_make_a_whole(tmp_path):
    """A write may take less than it was given."""
    path = tmp_path / "log"
    writer = Stumbling(str(path), Reports(), steps=[1, 2, 3])
    writer.offer(b"a line in pieces\n")
    writer.close()

    assert path.read_bytes() == b"a line in pieces\n"
    assert writer.dropped == 0


def test_descriptor_that_does_not_block_is_waited_for(pipe):
    """Whoever shares the terminal may have made it non-blocking: nothing is lost by that."""
    read_end, write_end = pipe
    os.set_blocking(write_end, False)
    writer = LineWriter(write_end)
    data = b"x" * 999 + b"\n"
    writer.offer(data * 200)
    with open(read_end, "rb", closefd=False) as reader:
        lines = [reader.readline() for _ in range(200)]
    writer.close()

    assert lines == [data] * 200
    assert writer.dropped == 0


def test_reopen_follows_the_name(tmp_path):
    """logrotate: what came before is in the moved file, what comes after in a new one."""
    path, moved = tmp_path / "log", tmp_path / "log.1"
    writer = LineWriter(str(path))
    writer.offer(b"before\n")
    until(path.read_bytes)
    path.rename(moved)
    writer.offer(b"still before\n")
    writer.reopen()
    writer.offer(b"after\n")
    writer.close()

    assert moved.read_bytes() == b"before\nstill before\n"
    assert path.read_bytes() == b"after\n"


def test_reopen_that_fails_keeps_the_old_file(tmp_path):
    """The folder is gone: said, and written on where it was."""
    folder = tmp_path / "logs"
    folder.mkdir()
    reports = Reports()
    writer = LineWriter(str(folder / "log"), reports)
    kept = os.open(folder / "log", os.O_RDONLY)
    (folder / "log").unlink()
    folder.rmdir()
    writer.reopen()
    writer.offer(b"after\n")
    writer.close()

    assert os.read(kept, 100) == b"after\n"
    assert [word for word, *_ in reports] == [words.FAILED]
    os.close(kept)


def test_nothing_is_taken_after_the_close(tmp_path):
    """Counted, since it was lost; a second close does no harm."""
    writer = LineWriter(str(tmp_path / "log"))
    writer.close()
    writer.offer(b"late\n")
    writer.close()

    assert writer.dropped == 1


def test_processes_that_share_a_pipe_tear_no_line(pipe):
    """Pieces are whole lines that a pipe takes at once or not at all, also when it is nearly full."""
    reader, writer = pipe
    sizes = []

    class Watched(LineWriter):
        def _write_some(self, data):
            written = super()._write_some(data)
            sizes.append((bytes(data[:written]), written))
            return written

    lines = [b"%d %b\n" % (number, b"x" * (number * 37 % 900)) for number in range(400)]
    log = Watched(writer, is_shared=True)
    log.offer(b"".join(lines))
    found = b""
    while len(found) < sum(map(len, lines)):
        found += os.read(reader, 65536)
    log.close()

    assert found == b"".join(lines)
    assert max(size for _, size in sizes) <= select.PIPE_BUF
    assert all(piece.endswith(b"\n") for piece, _ in sizes)


def test_line_that_no_pipe_takes_at_once_is_written_all_the_same(pipe):
    reader, writer = pipe
    log = LineWriter(writer, is_shared=True)
    line = b"x" * (2 * select.PIPE_BUF) + b"\n"
    log.offer(line)
    found = b""
    while len(found) < len(line):
        found += os.read(reader, 65536)
    log.close()

    assert found == line


def test_thread_that_cannot_be_had_is_asked_for_again(tmp_path, monkeypatch):
    """As many as may be are in use; nobody who writes a line is told."""
    path = tmp_path / "log"
    writer = LineWriter(str(path))

    def refuse(_):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        writer.offer(b"first\n")
    writer.offer(b"second\n")
    writer.close()

    assert path.read_bytes() == b"first\nsecond\n"
