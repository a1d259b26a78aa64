"""Files of certificates that change: when they are made something of, and what stays when that fails."""

from __future__ import annotations

import os
import threading
import time

import pytest

from proxy.net.credentials import LOOKS, SETTLE_SECONDS, Credentials, TlsError


class Content:
    """Made of two files that belong together."""

    shown = ()

    def __init__(self, files):
        words = [file.read_text() for file in files]
        if words[0] != words[1]:
            raise TlsError("cert", f"{words[0]} does not fit {words[1]}")
        self.word = words[0]


@pytest.fixture
def files(tmp_path):
    return [tmp_path / "cert", tmp_path / "key"]


@pytest.fixture
def credentials(files):
    write(files, "old")
    return Credentials("listen.tls", [*map(str, files), None], lambda: Content(files))


def write(files, *words):
    for file, word in zip(files, words * 2, strict=False):
        file.with_suffix(".new").write_text(word)
        file.with_suffix(".new").rename(file)


def test_bad_files_cannot_be_begun_with(files):
    write(files, "one", "other")
    with pytest.raises(TlsError, match="does not fit"):
        Credentials("listen.tls", files, lambda: Content(files))


def test_nothing_new_costs_a_look(credentials):
    before = credentials.now

    assert not credentials.reread()
    assert credentials.now is before


def test_touched_file_is_not_new(credentials, files):
    """What counts is the content."""
    before = credentials.now
    os.utime(files[0], (1, 1))

    assert not credentials.reread()
    assert credentials.now is before


def test_new_files_are_used(credentials, files):
    write(files, "new")

    assert credentials.reread()
    assert (credentials.now.word, credentials.problem) == ("new", None)
    assert not credentials.reread()


def test_bad_files_are_told_once_and_the_old_ones_stay(credentials, files):
    write(files, "new", "else")

    assert credentials.reread()
    assert (credentials.now.word, credentials.problem) == ("old", "cert: new does not fit else")
    assert not credentials.reread()


def test_problem_ends_with_good_files(credentials, files):
    """Also if they are the old ones again."""
    write(files, "new", "else")
    credentials.reread()
    write(files, "old")

    assert credentials.reread()
    assert (credentials.now.word, credentials.problem) == ("old", None)


def test_missing_file_is_a_problem(credentials, files):
    files[1].unlink()

    assert credentials.reread()
    assert credentials.now.word == "old"
    assert "No such file" in credentials.problem


def test_key_that_comes_after_its_certificate_is_waited_for(credentials, files):
    """Two files are not replaced at once."""
    write(files[:1], "new")
    later = threading.Timer(SETTLE_SECONDS / 2, write, (files[1:], "new"))
    later.start()
    began = time.monotonic()
    is_new = credentials.reread()
    later.join()

    assert time.monotonic() - began >= SETTLE_SECONDS
    assert (is_new, credentials.now.word, credentials.problem) == (True, "new", None)


def test_links_that_are_swapped_are_followed(tmp_path):
    """A Secret of Kubernetes: files are links into a folder whose link is replaced."""
    for word in ("old", "new"):
        (tmp_path / word).mkdir()
        write([tmp_path / word / "cert", tmp_path / word / "key"], word)
    (tmp_path / "..data").symlink_to("old")
    files = [tmp_path / "cert", tmp_path / "key"]
    for file in files:
        file.symlink_to(f"..data/{file.name}")
    credentials = Credentials("listen.tls", files, lambda: Content(files))
    (tmp_path / "..next").symlink_to("new")
    (tmp_path / "..next").rename(tmp_path / "..data")

    assert credentials.reread()
    assert credentials.now.word == "new"


def test_files_that_are_never_still_are_read_all_the_same(credentials, files, monkeypatch):
    """Somebody writes again and again: after so many looks, what is there counts."""
    looks = []

    def sleep(_):
        looks.append(1)
        write(files, f"word {len(looks)}")

    monkeypatch.setattr(time, "sleep", sleep)
    write(files, "new")

    assert credentials.reread()
    assert credentials.now.word == f"word {LOOKS}"
    assert len(looks) == LOOKS
