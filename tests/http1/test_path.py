"""The path that limits match on: no spelling of it leads round them."""

import posixpath
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.http1.path import folded, readings, segment


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/", b"/"),
        (b"/a/b", b"/a/b"),
        (b"/a/b/", b"/a/b/"),
        (b"/a?b=/../c", b"/a"),
        (b"/?", b"/"),
        (b"/a//b", b"/a/b"),
        (b"//a", b"/a"),
        (b"///", b"/"),
        (b"/a/./b", b"/a/b"),
        (b"/a/../b", b"/b"),
        (b"/../../a", b"/a"),
        (b"/a/..", b"/"),
        (b"/a/b/..", b"/a/"),
        (b"/a/.", b"/a/"),
        (b"/.", b"/"),
        (b"/..", b"/"),
        (b"/...", b"/..."),
        (b"/.a/..b/c.", b"/.a/..b/c."),
        (b"/%61", b"/a"),
        (b"/a%2Fb", b"/a/b"),
        (b"/a%2f..%2fb", b"/b"),
        (b"/%2e%2E/a", b"/a"),
        (b"/a/%2e", b"/a/"),
        (b"/a\\..\\b", b"/b"),
        (b"/a%5C..%5cb", b"/b"),
        (b"/a%3Fb", b"/a?b"),
        (b"/%252e%252e/a", b"/%2e%2e/a"),
        (b"/100%", b"/100%"),
        (b"/%zz", b"/%zz"),
        (b"/a%00b", b"/a\0b"),
        (b"/caf%C3%A9", b"/caf\xc3\xa9"),
        (b"/A;v=1,2:@&=+$!~*'()", b"/A;v=1,2:@&=+$!~*'()"),
        (b"*", b"*"),
    ],
)
def test_path_that_most_services_see_is_among_the_readings(target, path):
    """Escapes are decoded once, a backslash is a slash, runs of slashes are one, dot segments are resolved."""
    assert path in readings(target)


PIECES = [
    b"/",
    b"//",
    b".",
    b"..",
    b"a",
    b"bc",
    b"%2e",
    b"%2F",
    b"%5c",
    b"\\",
    b"%61",
    b"%",
    b"%25",
    b"~",
    b"?",
    b"%3f",
]
targets = st.lists(st.sampled_from(PIECES), max_size=12).map(lambda pieces: b"/" + b"".join(pieces))


@given(targets)
def test_readings_hold_no_tricks(target):
    """But for the first, which is what was sent."""
    for path in readings(target)[1:]:
        assert path.startswith(b"/")
        assert b"//" not in path
        assert not {b".", b".."} & set(path.split(b"/"))


@given(targets)
def test_path_that_posix_makes_of_it_is_among_the_readings(target):
    """But for the slash at the end, which stays where there was a folder."""
    decoded = unquote_to_bytes(target.partition(b"?")[0]).replace(b"\\", b"/")
    resolved = posixpath.normpath(b"/" + decoded.lstrip(b"/")).rstrip(b"/")

    assert resolved in [path.rstrip(b"/") for path in readings(target)]


@given(targets)
def test_escaping_leads_to_the_same_readings(target):
    """However a client escapes a path, the same limits match."""
    path = target.partition(b"?")[0]
    if b"%" not in path:
        escaped = b"/" + b"".join(b"%%%02x" % byte for byte in path[1:])

        assert set(readings(path)[1:]) <= set(readings(escaped))


def test_long_path_is_read_in_linear_time():
    """Nothing in here backtracks: it would take hours."""
    assert b"/a" * 4000 + b"\xff" in readings(b"/a" * 4000 + b"\xff")
    assert b"/" in readings(b"/" + b"." * 8000 + b"/../")


# --- all that services may read ---


@pytest.mark.parametrize(
    "target", [b"/", b"/a/b", b"/a/b/?x=1", b"/A~b/c@d,e=f", b"*", b"/caf%C3%A9", b"/a%20b"]
)
def test_plain_path_has_one_reading(target):
    assert len(readings(target)) == 1


@pytest.mark.parametrize(
    ("target", "found"),
    [
        (b"/a;v=1", (b"/a;v=1", b"/a")),
        (b"/a%2Fb", (b"/a%2Fb", b"/a/b")),
        (b"//a", (b"//a", b"/a")),
        (b"/a/../b", (b"/a/../b", b"/b")),
        (b"/%61", (b"/%61", b"/a")),
        (b"/%2561", (b"/%2561", b"/%61", b"/a")),
        (b"/x/..;/a", (b"/x/..;/a", b"/a")),
        (b"/a%20", (b"/a ", b"/a")),
        (b"/caf%c3%a9/%2e", (b"/caf\xc3\xa9/%2e", b"/caf\xc3\xa9/")),
        (b"/%EF%BD%83", (b"/\xef\xbd\x83",)),
    ],
)
def test_path_has_every_reading_of_lenient_services(target, found):
    """As it was sent first; what stands for itself is what it says, escapes of it are a spelling of their own."""
    assert readings(target) == found


@given(targets)
def test_each_reading_is_there_once(target):
    found = readings(target)

    assert len(set(found)) == len(found)


@pytest.mark.parametrize(
    "target",
    [
        b"/a%00x",
        b"/a%00/../x",
        b"/%u0061",
        b"/%U0061%2f",
        b"/%25u0061",
        b"/x/%u002e%u002e/a",
        b"/x/..%u2215a",
        b"/x/%EF%BC%8E%EF%BC%8E/a",
        b"/x/%E2%80%A5/a",
        b"/x/..%EF%BC%8Fa",
        b"/x/%c0%ae%c0%ae/a",
        b"/x/..%c0%afa",
        b"/x/%e0%80%ae%f0%80%80%ae/a",
        b"/x/.%ff./a",
        b"/a%C2%A0",
        b"/a;%C2%A0=1",
    ],
)
def test_one_reading_is_that_of_services_with_odd_decoders(target):
    """IIS decodes UTF-16, C ends at NUL, others take wide dots, and dots in too many bytes, for dots."""
    assert b"/a" in {path.rstrip(b"/") for path in readings(target)}


def test_case_and_composition_are_folded():
    assert folded("/\u0131\u0130I".encode()) == b"/iii"
    assert folded(b"/API/Caf\xc3\x89") == folded("/api/cafe\u0301".encode()) == "/api/caf\u00e9".encode()
    assert folded(b"/A\xff") == b"/a\xff"


def test_segments_are_counted_from_one_without_empty_ones():
    assert [segment(b"//a//b/", n) for n in (1, 2, 3)] == [b"a", b"b", b""]


def test_readings_of_a_long_path_are_found_in_linear_time():
    for target in (
        b"/a;" * 2700,
        b"/%2561" * 1365,
        b"/..;%25" * 1000,
        b"/%u002e;%EF%BC%8F%c0%af%00%5c%3f" * 250,
    ):
        readings(target)


def test_what_is_not_utf_8_is_folded_byte_by_byte():
    assert folded(b"/A\xff") == b"/a\xff"
    assert folded("/Äb".encode()) == folded("/A\u0308B".encode())
    assert folded(b"/AB") == b"/ab"


def test_path_is_decoded_so_often_and_no_more():
    """Whoever escapes again and again gains nothing, and costs nothing."""
    path = b"/a"
    for _ in range(6):
        path = path.replace(b"%", b"%25").replace(b"a", b"%61")

    assert len(readings(path)) <= 3 * 3 + 1
    assert b"/a" not in readings(path)
    assert b"/a" in readings(b"/%2561")
