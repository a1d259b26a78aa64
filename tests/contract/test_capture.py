from __future__ import annotations

import gzip
import random
import sys
import tracemalloc
import zlib

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.contract.capture import _DECODERS, _STEPPERS, CAPTURE_BYTES, CODINGS_MAX, captured, decoded

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TEXT = b'Traceback: password="hunter2" at /srv/app/db.py\n'


def raw_deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKED = [
    (TEXT, b""),
    (TEXT, b"identity"),
    (gzip.compress(TEXT, mtime=0), b"gzip"),
    (gzip.compress(TEXT, mtime=0), b"X-GZIP"),
    (gzip.compress(TEXT[:20], mtime=0) + gzip.compress(TEXT[20:], mtime=0), b"gzip"),
    (zlib.compress(TEXT), b"deflate"),
    (raw_deflated(TEXT), b"deflate"),
    (brotli.compress(TEXT), b"br"),
    (brotli.compress(gzip.compress(TEXT, mtime=0)), b"gzip, br"),
]


@pytest.mark.parametrize(("data", "coding"), PACKED, ids=range(len(PACKED)))
def test_the_text_is_readable_and_without_secrets(data, coding):
    """Whatever the coding, also several."""
    said = captured(data, coding, b"text/html; charset=utf-8")

    assert said == "Traceback: password=*** at /srv/app/db.py\n"


BOMBS = {
    "gzip": (lambda: gzip.compress(bytes(50_000_000), mtime=0), b"gzip"),
    "zlib": (lambda: zlib.compress(b"a" * 50_000_000), b"deflate"),
    "deflate": (lambda: raw_deflated(b"a" * 50_000_000), b"deflate"),
    "twice": (lambda: gzip.compress(gzip.compress(b"a" * 50_000_000, mtime=0), mtime=0), b"gzip, gzip"),
    "brotli": (lambda: brotli.compress(b"a" * 50_000_000), b"br"),
    "many members": (lambda: gzip.compress(b"a", mtime=0) * 800, b"gzip"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_stays_within_the_bound(bomb):
    """Fifty megabytes in a few bytes give what the bound lets through, and take no more on the way."""
    make, coding = BOMBS[bomb]
    packed = make()
    tracemalloc.start()
    said, whole = captured(packed, coding), decoded(packed[:CAPTURE_BYTES], coding)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(said) <= CAPTURE_BYTES
    assert len(whole or b"") <= CAPTURE_BYTES
    assert peak < 2_000_000


def test_masks_do_not_lengthen_it():
    """A mask may be longer than what it hides."""
    assert len(captured(b"otp=1 of twenty bytes " * CAPTURE_BYTES)) == CAPTURE_BYTES


def test_a_body_that_is_coded_too_often_is_not_unpacked():
    """No service does that for a good reason."""
    data = TEXT
    for _ in range(CODINGS_MAX + 1):
        data = gzip.compress(data, mtime=0)

    assert captured(data, b"gzip, " * (CODINGS_MAX + 1)).startswith(
        f"<{len(data)} bytes that cannot be decoded>"
    )


def test_a_long_body_is_cut():
    """The first 16 KiB of it, also when it is compressed."""
    lines = b"".join(b"line %d\n" % number for number in range(20_000))

    assert captured(lines) == lines[:CAPTURE_BYTES].decode()
    assert captured(gzip.compress(lines, mtime=0), b"gzip") == lines[:CAPTURE_BYTES].decode()


def test_a_compressed_body_that_breaks_off_gives_its_beginning():
    """Of incompressible data more than the bound was sent; what is there can be read."""
    numbers = random.Random(1)
    lines = b"".join(b"%x\n" % numbers.getrandbits(200) for _ in range(2000))
    said = captured(gzip.compress(lines, mtime=0)[:CAPTURE_BYTES], b"gzip")

    assert said == lines[:CAPTURE_BYTES].decode()


def test_a_secret_at_the_end_of_the_bound_is_masked():
    """What is cut off is masked as far as it is there."""
    data = b"x" * (CAPTURE_BYTES - 14) + b" password=hunter2hunter2"

    assert "hunt" not in captured(data)


@pytest.mark.parametrize("coding", [b"gzip", b"deflate", b"br", b"lzma", b"gzip,gzip,gzip,gzip", b"\xff"])
def test_what_cannot_be_decoded_says_so(coding):
    """Neither an exception nor bytes that nobody can read; the words in it are there."""
    assert captured(b"\x00\x01no such coding", coding) == "<16 bytes that cannot be decoded> no such coding"


def test_bytes_that_are_no_text_say_so():
    """An image in the log helps nobody."""
    said = captured(random.Random(1).randbytes(900))

    assert said.startswith("<900 bytes that are no text>")
    assert said.isprintable()
    assert len(said) < 100


def test_words_within_bytes_are_shown():
    """A message in a binary protocol: what went wrong is told, and its secret is not."""
    body = b"\x0a\x1fcannot connect to db01\x12\x08password\x1a\x07hunter2\x01\xff\xfe" + bytes(
        range(128, 255)
    )
    said = captured(body, b"", b"application/x-protobuf")

    assert said.startswith(f"<{len(body)} bytes that are no text> cannot connect to db01")
    assert "hunter2" not in said


def test_strings_are_bounded():
    assert len(captured(b"\x80\x81\x82abcdefgh" * 3000)) < 5000


JUNK = b"\x00\xffjunk behind it"


@pytest.mark.parametrize(
    ("packed", "coding"),
    [
        (gzip.compress(TEXT, mtime=0) + JUNK, b"gzip"),
        (gzip.compress(TEXT, mtime=0)[:-8] + b"\x00" * 8, b"gzip"),  # a wrong checksum
        (gzip.compress(TEXT[:20], mtime=0) + gzip.compress(TEXT[20:], mtime=0) + JUNK, b"gzip"),
        (zlib.compress(TEXT)[:-4] + b"\x00" * 4, b"deflate"),
        (gzip.compress(gzip.compress(TEXT, mtime=0) + JUNK, mtime=0) + JUNK, b"gzip, gzip"),
    ],
    ids=["junk", "checksum", "two members and junk", "deflate", "twice"],
)
def test_body_that_breaks_is_told_as_far_as_it_goes(packed, coding):
    """A client reads it so too: what it says must be found."""
    said = captured(packed, coding)

    assert said.startswith("Traceback: password=*** at /srv/app/db.py")
    assert decoded(packed, coding) is None or coding == b"deflate"


def test_body_with_a_broken_middle_gives_all_before_it():
    """To the byte: compressed data break somewhere in the middle of a long text."""
    numbers = random.Random(1)
    lines = b"".join(b"%x\n" % numbers.getrandbits(200) for _ in range(200))
    packed = bytearray(gzip.compress(lines, mtime=0))
    packed[len(packed) // 2 :] = numbers.randbytes(2000)
    said = captured(bytes(packed), b"gzip").encode()
    common = next(index for index, (one, other) in enumerate(zip(said, lines, strict=False)) if one != other)

    assert common > len(lines) // 3
    assert b"that cannot be decoded>" in said


def test_text_that_claims_to_be_packed_is_text():
    """A service that names a coding and forgets it."""
    assert "cannot connect" in captured(b"cannot connect to db01\n", b"gzip")


@given(st.binary(max_size=300), st.sampled_from([b"gzip", b"deflate", b"br", b"zstd", b"gzip, br"]))
def test_anything_may_come(data, coding):
    """Never an exception, never beyond the bound, never a control character of somebody's terminal."""
    for body in (data, gzip.compress(data, mtime=0)[:-3] + data, zlib.compress(data) + data):
        said = captured(body, coding)

        assert len(said) <= CAPTURE_BYTES
        assert "\x1b" not in said or said.count("\x1b") * 8 <= len(said)


@pytest.mark.parametrize(
    ("charset", "declared"),
    [
        ("utf-8", b""),
        ("utf-8", b"; charset=utf-8"),
        ("iso-8859-1", b"; charset=ISO-8859-1"),
        ("windows-1252", b'; charset="windows-1252"'),
        ("utf-16", b""),
        ("utf-16-le", b"; charset=utf-16le"),
    ],
)
def test_charsets_of_old_services_are_read(charset, declared):
    """And secrets found in them."""
    said = captured("Übel: password=hunter2".encode(charset), b"", b"text/plain" + declared)

    assert said == "Übel: password=***"


def test_utf_16_that_nobody_declared_hides_no_secret():
    """Zeros between the letters do not help."""
    assert captured("password=hunter2".encode("utf-16-le")) == "password=***"


def test_an_odd_charset_is_not_looked_up():
    """Python knows codecs that are no charsets."""
    assert captured(b"abc", b"", b"text/plain; charset=unicode_escape") == "abc"
    assert captured(b"abc", b"", b"text/plain; charset=zip") == "abc"


def test_zstandard_is_decoded_where_a_library_is_there():
    """It is optional, and one of Python's own from 3.14 on."""
    packed = zstd.compress(TEXT * 9)

    assert captured(packed, b"zstd") == captured(TEXT * 9)
    assert len(captured(zstd.compress(b"a" * 50_000_000), b"zstd")) == CAPTURE_BYTES


def test_body_whose_coding_nobody_here_knows_is_said_to_be_so(monkeypatch):
    """As where no library is installed."""
    monkeypatch.delitem(_DECODERS, b"zstd")
    monkeypatch.delitem(_STEPPERS, b"zstd")

    assert captured(b"\x28\xb5\x2f\xfd\x20\x00\x01\x00\x00", b"zstd") == "<9 bytes that cannot be decoded>"


CODINGS = st.lists(st.sampled_from([b"gzip", b"deflate", b"br", b"zstd", b"identity", b"", b"x"]), max_size=4)


@given(st.binary(max_size=300) | st.binary(max_size=300).map(gzip.compress), CODINGS, st.binary(max_size=40))
def test_never_raises_and_never_exceeds_its_bound(data, codings, content_type):
    """Any bytes, any codings, any type."""
    said = captured(data * 60, b", ".join(codings), content_type)

    assert len(said) <= CAPTURE_BYTES
    said.encode()


@given(st.binary(max_size=2000), st.integers(0, 60), st.integers(0, 255), st.sampled_from(PACKED))
def test_damage_never_raises(junk, place, value, packed):
    """A compressed body with a byte of it changed, and junk behind it."""
    data, coding = packed
    damaged = data[:place] + bytes((value,)) + data[place + 1 :] + junk

    assert len(captured(damaged, coding)) <= CAPTURE_BYTES
