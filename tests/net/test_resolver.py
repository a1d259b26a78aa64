"""What the system's resolver says about a name, as the pool is told it."""

from __future__ import annotations

import socket

import pytest

from proxy.net.resolver import _text, addresses_of


async def test_address_is_told_once():
    """However many ways there are to connect to it."""
    assert await addresses_of("127.0.0.2", 80) == ["127.0.0.2"]


@pytest.mark.parametrize("told", [("fe80::1", 80, 0, 2), ("fe80::1%2", 80, 0, 2)])
def test_zone_of_an_address_is_kept(told):
    """Once; a link-local one is nothing without (RFC 4007 section 11)."""
    assert _text(socket.AF_INET6, told) == "fe80::1%2"


async def test_name_that_has_no_address_raises():
    with pytest.raises(OSError, match="not known|resolution"):
        await addresses_of("no-such-name.invalid", 80)
