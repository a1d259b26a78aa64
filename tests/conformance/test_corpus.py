"""The corpora themselves: small, and what stands for padding becomes it."""

from __future__ import annotations

import pytest

from tests.conformance.corpus import FOLDER, message

STORED = [*(FOLDER / "requests").iterdir(), *(FOLDER / "answers").iterdir()]
STORED_BYTES_MAX = 1024


@pytest.mark.parametrize(
    ("stored", "sent"),
    [
        (b'GET /<<"a" * 5>> HTTP/1.1\r\n', b"GET /aaaaa HTTP/1.1\r\n"),
        (b'<<"X-%d: a\\r\\n" * 3>>\r\n', b"X-0: a\r\nX-1: a\r\nX-2: a\r\n\r\n"),
        (b'5;<<"\\xff" * 2>>\r\n', b"5;\xff\xff\r\n"),
        (b'X: <<a>> "b" * 3\r\n', b'X: <<a>> "b" * 3\r\n'),
    ],
)
def test_padding_is_made(tmp_path, stored, sent):
    path = tmp_path / "case"
    path.write_bytes(stored)

    assert message(path) == sent


def test_padding_is_not_stored():
    """A case is read by people."""
    assert {path.name for path in STORED if path.stat().st_size > STORED_BYTES_MAX} == set()
    assert max(len(message(path)) for path in STORED) > 64 * 1024
