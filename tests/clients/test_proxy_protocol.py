"""The PROXY protocol: whom a header announces, and what is none."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.clients.proxy_protocol import BLOCK_MAX, SIGNATURE, NotAnnouncedError, announced, missing

V4 = st.ip_addresses(v=4)
V6 = st.ip_addresses(v=6)
PORT = st.integers(0, 65535)


def v2(command=0x21, family=0x11, block=b"", length=None):
    size = (len(block) if length is None else length).to_bytes(2, "big")
    return SIGNATURE + bytes((command, family)) + size + block


TCP4 = bytes((203, 0, 113, 7, 10, 0, 0, 1)) + b"\x01\x00\x00\x50"
TCP6 = ipaddress.ip_address("2001:db8::7").packed + ipaddress.ip_address("::1").packed + b"\x01\x00\x00\x50"


def read(stream):
    """As a reader does it: the header alone, whatever follows; the address and how much was taken."""
    data = b""
    while count := missing(data):
        taken = stream[len(data) : len(data) + count]
        if not taken:
            raise EOFError
        data += taken
    return announced(data), len(data)


GOOD = {
    b"PROXY TCP4 203.0.113.7 10.0.0.1 65535 80\r\n": "203.0.113.7",
    b"PROXY TCP4 0.0.0.1 255.255.255.255 0 1\r\n": "0.0.0.1",
    b"PROXY TCP6 2001:db8::7 ::1 5000 443\r\n": "2001:db8::7",
    b"PROXY TCP6 ::ffff:203.0.113.7 ::1 5000 443\r\n": "203.0.113.7",
    b"PROXY UNKNOWN\r\n": None,
    b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n": None,
    v2(block=TCP4): "203.0.113.7",
    v2(family=0x21, block=TCP6): "2001:db8::7",
    v2(block=TCP4 + b"\x04\x00\x03abc"): "203.0.113.7",  # a TLV behind the addresses
    v2(command=0x20, family=0x00): None,  # LOCAL
    v2(command=0x20, block=TCP4): None,
    v2(family=0x00): None,  # UNSPEC
    v2(family=0x12, block=TCP4): None,  # UDP
    v2(family=0x31, block=b"/" * 216): None,  # Unix sockets
    v2(family=0x10, block=TCP4): None,  # IPv4, but of no protocol
    v2(command=0x20, family=0xFF, block=b"ab"): None,  # LOCAL, whatever it says
}

BAD = [
    v2(family=0x41, block=TCP4),  # no such family
    v2(family=0x13, block=TCP4),  # no such protocol
    v2(family=0x22, block=b"/" * 35),
    v2(family=0x32, block=b"/" * 215),
    b"PROXY UNKNOWN a\rb\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"PROXY TCP4 203.0.113.7 10.0.0.1 65536 80\r\n",
    b"PROXY TCP4 203.0.113.7 10.0.0.1 080 80\r\n",
    b"PROXY TCP4 203.0.113.7 10.0.0.1 -1 80\r\n",
    b"PROXY TCP4 203.0.113.7 10.0.0.1 80\r\n",
    b"PROXY TCP4 203.0.113.7  10.0.0.1 80 80\r\n",
    b"PROXY TCP4 203.0.113.07 10.0.0.1 80 80\r\n",
    b"PROXY TCP4 2001:db8::7 ::1 80 80\r\n",
    b"PROXY TCP6 203.0.113.7 10.0.0.1 80 80\r\n",
    b"PROXY TCP6 fe80::1%eth0 ::1 80 80\r\n",
    b"PROXY TCP5 203.0.113.7 10.0.0.1 80 80\r\n",
    b"PROXY tcp4 203.0.113.7 10.0.0.1 80 80\r\n",
    b"proxy TCP4 203.0.113.7 10.0.0.1 80 80\r\n",
    b"PROXY TCP4 203.0.113.7 10.0.0.1 80 80\n" + b"x" * 99,
    b"PROXY UNKNOWN " + b"x" * 100,
    b"PROXY\r\n" + b"x" * 20,
    b"\xe9" * 20,
    v2(command=0x11, block=TCP4),  # version 1 in the binary form
    v2(command=0x22, block=TCP4),
    v2(block=TCP4[:-1]),
    v2(family=0x21, block=TCP4),
    v2(block=b"", length=BLOCK_MAX + 1),
    SIGNATURE[:-1] + b"X" * 20,
]


@pytest.mark.parametrize(("header", "address"), GOOD.items(), ids=repr)
def test_client_is_who_the_header_says(header, address):
    assert read(header + b"GET / HTTP/1.1\r\n") == (address, len(header))


@pytest.mark.parametrize("header", BAD, ids=repr)
def test_what_is_no_header_is_not_guessed_at(header):
    with pytest.raises(NotAnnouncedError):
        read(header)


@pytest.mark.parametrize("header", GOOD, ids=repr)
def test_part_of_a_header_is_not_a_header(header):
    for end in range(len(header)):
        assert missing(header[:end]) > 0


@given(st.one_of(st.tuples(st.just("TCP4"), V4, V4), st.tuples(st.just("TCP6"), V6, V6)), PORT, PORT)
def test_every_line_is_read(addresses, source_port, port):
    """Of version 1, as a sender writes it, the longest included."""
    family, source, destination = addresses
    line = f"PROXY {family} {source} {destination} {source_port} {port}\r\n".encode()
    mapped = source.ipv4_mapped if family == "TCP6" else None
    assert read(line + b"\r\n") == (str(mapped or source), len(line))


@given(
    st.binary(max_size=200)
    | st.binary(max_size=99).map(lambda tail: b"PROXY " + tail)
    | st.binary(max_size=99).map(lambda tail: SIGNATURE + tail)
)
@example(b"")
def test_no_input_does_anything_else(data):
    """An address or nothing, a refusal, or more is needed; never more than the bounds."""
    try:
        address, size = read(data)
    except (NotAnnouncedError, EOFError):
        return
    assert size <= max(107, 16 + BLOCK_MAX)
    assert address is None or ipaddress.ip_address(address)
