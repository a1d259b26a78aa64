"""Where bodies end, by the rule that says so: test_head.py and test_head_of_responses.py have the grammar around it."""

from __future__ import annotations

import pytest

from proxy import faults
from proxy.http1.framing import CHUNKED, UNTIL_CLOSE, ends_connection, listed, why_unframed
from proxy.http1.head import RequestHead, ResponseHead, request_head, response_head

CODING = "Transfer-Encoding: chunked"


def request(*fields, version="1.1"):
    lines = "".join(f"{field}\r\n" for field in ("Host: a", *fields))
    return request_head(f"POST / HTTP/{version}\r\n{lines}\r\n".encode(), 8000, 100)


def response(*fields, status=200, version="1.1", method=b"GET"):
    lines = "".join(f"{field}\r\n" for field in fields)
    return response_head(f"HTTP/{version} {status} X\r\n{lines}\r\n".encode(), method)


@pytest.mark.parametrize(
    ("fields", "length"),
    [
        ([], 0),
        (["Content-Length: 0"], 0),
        (["Content-Length: 12"], 12),
        (["Content-Length: 000000000000000012"], 12),
        ([CODING], CHUNKED),
        (["Transfer-Encoding: Chunked"], CHUNKED),
    ],
)
def test_request_is_framed(fields, length):
    head = request(*fields)

    assert isinstance(head, RequestHead)
    assert head.section.body_length == length


@pytest.mark.parametrize(
    ("fields", "version", "fault"),
    [
        (["Content-Length: 1", "Content-Length: 1"], "1.1", faults.AMBIGUOUS_LENGTH),
        (["Content-Length: 1", CODING], "1.1", faults.AMBIGUOUS_LENGTH),
        ([CODING, CODING], "1.1", faults.AMBIGUOUS_LENGTH),
        (["Content-Length: 1,1"], "1.1", faults.AMBIGUOUS_LENGTH),
        (["Content-Length: +1"], "1.1", faults.AMBIGUOUS_LENGTH),
        (["Content-Length: 1234567890123456789"], "1.1", faults.AMBIGUOUS_LENGTH),
        ([CODING], "1.0", faults.CHUNKED_IN_HTTP10),
        (["Transfer-Encoding: gzip"], "1.1", faults.UNKNOWN_CODING),
        (["Transfer-Encoding: gzip, chunked"], "1.1", faults.UNKNOWN_CODING),
        (["Transfer-Encoding: chunked\t"], "1.1", faults.MALFORMED_HEAD),
    ],
)
def test_request_that_could_be_framed_in_two_ways_is_refused(fields, version, fault):
    assert request(*fields, version=version) is fault


@pytest.mark.parametrize(
    ("section", "is_http10", "fault"),
    [
        (b"\r\nx : y", False, faults.MALFORMED_HEAD),
        (b"\r\ncontent-length: 1\r\nx : y", False, faults.MALFORMED_HEAD),
        (b"\r\ncontent-length: x\r\nx : y", False, faults.AMBIGUOUS_LENGTH),
        (b"\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\nx : y", False, faults.AMBIGUOUS_LENGTH),
        (b"\r\ntransfer-encoding: chunked\r\nx : y", False, faults.MALFORMED_HEAD),
        (b"\r\ntransfer-encoding: chunked\r\nx : y", True, faults.CHUNKED_IN_HTTP10),
        (b"\r\ntransfer-encoding: gzip\r\nx : y", False, faults.UNKNOWN_CODING),
    ],
)
def test_malformed_section_is_told_by_its_framing_first(section, is_http10, fault):
    assert why_unframed(section, is_http10=is_http10) is fault


@pytest.mark.parametrize(
    ("fields", "more", "length"),
    [
        ([], {}, UNTIL_CLOSE),
        (["Content-Length: 5"], {}, 5),
        (["Content-Length: 5, 05", "Content-Length: 5"], {}, 5),
        (["Content-Length: 0, 00"], {}, 0),
        ([CODING], {}, CHUNKED),
        (["Content-Length: 5"], {"method": b"HEAD"}, 0),
        (["Content-Length: 5"], {"status": 304}, 0),
        (["Content-Length: 5"], {"status": 204}, 0),
        (["Content-Length: 5"], {"version": "1.0"}, 5),
        ([], {"status": 103}, 0),
        (["Connection: Upgrade", "Upgrade: websocket"], {"status": 101}, 0),
    ],
)
def test_response_is_framed(fields, more, length):
    head = response(*fields, **more)

    assert isinstance(head, ResponseHead)
    assert head.body_length == length


@pytest.mark.parametrize(
    ("fields", "more"),
    [
        (["Content-Length: 5, 6"], {}),
        (["Content-Length: 5", "Content-Length: 6"], {}),
        (["Content-Length: x"], {}),
        (["Content-Length: 1234567890123456789"], {}),
        (["Content-Length: 5", CODING], {}),
        ([CODING, CODING], {}),
        ([CODING], {"version": "1.0"}),
        (["Transfer-Encoding: gzip"], {}),
        ([], {"status": 101}),
        (["Connection: Upgrade"], {"status": 101}),
        (["Upgrade: websocket"], {"status": 101}),
    ],
)
def test_response_that_could_be_framed_in_two_ways_is_broken(fields, more):
    assert response(*fields, **more) is faults.MALFORMED_RESPONSE


def test_bodies_of_204_end_their_connection():
    """What may follow one that was announced would be read as the next answer."""
    assert response("Content-Length: 5", status=204).wants_close
    assert not response("Content-Length: 0", status=204).wants_close
    assert not response(status=204).wants_close


@pytest.mark.parametrize(
    ("options", "minor", "ends"),
    [
        (None, 1, False),
        (None, 0, True),
        (b"close", 1, True),
        (b"x, close", 1, True),
        (b"keep-alive", 0, False),
        (b"x, keep-alive", 0, False),
        (b"x", 0, True),
        (b"x", 1, False),
    ],
)
def test_connection_goes_on_or_ends(options, minor, ends):
    assert ends_connection(options, minor) is ends


def test_lists_have_no_empty_members():
    assert listed(b" A,, b\t,") == [b"a", b"b"]


def test_agreeing_lengths_become_one_field():
    head = response("Content-Length: 5", "X: y", "Content-Length: 05")

    assert isinstance(head, ResponseHead)
    assert head.passing == b"X: y\r\nContent-Length: 5\r\n"
